"""Update timers and greenboot's verdict on a real systemd."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bootcfleet.drivers.updatetimer import TIMERS
from tests.tools import need, need_root

pytestmark = pytest.mark.integration


def test_on_a_real_systemd(tmp_path: Path) -> None:
    need_root()
    need("/lib/systemd/systemd")
    argv = [need("unshare"), "--pid", "--mount", "--fork", "--kill-child", "--mount-proc"]
    argv += [sys.executable, "-m", "tests.integration.undersystemd", str(tmp_path)]
    result = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr
    timer = [TIMERS[0]]
    assert json.loads(result.stdout) == {
        "soft reboots": 0,
        "userspace is up": True,
        "idle": [False, []],
        "active": [True, "active", "enabled", "activating"],
        "look": [True, "enabled", "activating"],
        "look, inhibited": [False, "masked", "running"],
        "look, greenboot": [False, False],
        # An update that was under way is stopped, and leaves no failed unit behind.
        "inhibit": [timer, "inactive", "masked-runtime", "inactive"],
        "system": "running",
        "start": 1,
        "again": [],
        "restore": [timer, "active", "enabled", "inactive"],
        "twice": [[], "active", "enabled", "inactive"],
        "masked by an admin": [timer, "inactive", "masked", "inactive"],
        "off in another image": [timer, "inactive", "disabled", "inactive"],
        "no greenboot": "none",
        "not enabled": "none",
        "not begun": "running",
        "runs, then 0": "running",
        "ended with 0": "passed",
        "runs, then 3": "running",
        "ended with 3": "failed",
    }
