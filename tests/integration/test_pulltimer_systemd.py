"""Enrolments for pull mode on a real systemd: no timer fires because it was enrolled."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bootcfleet.domain.pulltimer import TIMER
from tests.tools import need, need_root

pytestmark = pytest.mark.integration

#: Not fired, and as it is to be; nothing more to do.
ENROLLED = [False, "loaded", "enabled", "active", "ours", 0]


def test_on_a_real_systemd(tmp_path: Path) -> None:
    """Each time with a window that opened and closed since the timer was started."""
    need_root()
    need("/lib/systemd/systemd")
    argv = [need("unshare"), "--pid", "--mount", "--fork", "--kill-child", "--mount-proc"]
    argv += [sys.executable, "-m", "tests.integration.pulltimersystemd", str(tmp_path)]
    result = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    # That this can fail: systemd does fire for an opening that is over.
    assert told["without care"] is True
    assert told["as shipped"] == ["loaded", "enabled", "active", ""]
    for name in (
        "enrolled",
        "with other times",
        "stopped meanwhile",
        "mended",
        "masked, enrolled",
        "not enabled, enrolled",
        "enabled until the reboot, enrolled",
    ):
        assert told[name] == ENROLLED, name
    # systemd calls it active all the same.
    assert told["a zone that the host has not"] == (
        f"{TIMER} is bad-setting, enabled and elapsed after all was done"
    )
    assert told["undone"] == ["loaded", "enabled", "active", ""]
    assert told["masked"][:2] == ["masked", "masked"]
    assert told["masked, undone"] == ["masked", "masked", "inactive", ""]
    assert told["not enabled, undone"] == ["loaded", "disabled", "active", ""]
    assert [*told["masked since, undone"][:2], told["masked since, undone"][3]] == [
        "masked", "masked", "",
    ]  # fmt: skip
    assert told["missing"] == ["not-found", "", "inactive", "ours"]
    assert told["missing, undone"] == ["not-found", "", "inactive", ""]
    (later,) = told["read after ours"]
    assert later.endswith("/override.conf")
