"""Fixtures that several tests of commands use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bootcfleet.ops.lab import Lab


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A lab without hosts, its registry running; commands run beside it, with no keys or ledger."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with Lab(tmp_path / "lab") as lab:
        lab.start_registry()
        yield lab
