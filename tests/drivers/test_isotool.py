"""Progress and failures of the tools that write ISOs; the checksum against isomd5sum itself."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from bootcfleet.drivers.command import CommandResult, LocalExecutor, OnLine
from bootcfleet.drivers.isomd5 import implant, implanted
from bootcfleet.drivers.isotool import IsoTool, is_iso
from bootcfleet.errors import FleetError, ToolMissingError
from tests.tools import need

PROGRESS = """\
xorriso : UPDATE :      18 nodes read in 1 seconds
xorriso : UPDATE : Writing:      26702s    3.6%   fifo 100%  buf  50%
xorriso : UPDATE : Writing:     157877s   21.4%   fifo 100%  buf  50%  381.8xD
xorriso : FAILURE : Cannot write: No space left on device
libburn : aborted
"""


class _Told(LocalExecutor):
    """Says what xorriso said, and fails."""

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float | None = None,
        stdin: bytes | None = None,
        as_root: bool = False,
        on_line: OnLine | None = None,
    ) -> CommandResult:
        assert on_line is not None
        for line in PROGRESS.splitlines():
            on_line("stderr", line)
        return CommandResult(tuple(argv), 32, "", PROGRESS, 1.0)


def test_progress_and_failure() -> None:
    told: list[float] = []
    with pytest.raises(FleetError) as caught:
        IsoTool(_Told()).rewrite(["xorriso"], told.append)
    assert told == [pytest.approx(0.036), pytest.approx(0.214)]
    assert caught.value.message == "xorriso could not write the ISO (exit code 32)"
    assert caught.value.details == ("xorriso : FAILURE : Cannot write: No space left on device",)


def test_no_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissingError) as caught:
        IsoTool(LocalExecutor()).report(tmp_path / "a.iso")
    assert caught.value.hint == "install the package xorriso"
    with pytest.raises(ToolMissingError) as caught:
        IsoTool(LocalExecutor()).fat_write(tmp_path / "a.img", tmp_path / "x", "/grub.cfg")
    assert caught.value.hint == "install the package mtools"


def test_checksum_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "x.iso"
    path.write_bytes(b"x" * 40_000)
    assert not is_iso(path)
    assert implanted(path) == (None, False)
    with pytest.raises(FleetError, match="it is no ISO"):
        implant(path, told=lambda share: None)
    assert path.read_bytes() == b"x" * 40_000


@pytest.mark.integration
@pytest.mark.parametrize("size", [1, 300_000, 700_001, 5_000_000])
@pytest.mark.parametrize("supported", [False, True])
def test_checksum_is_isomd5sums(tmp_path: Path, size: int, supported: bool) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/data").write_bytes(random.Random(size).randbytes(size))
    ours, theirs = tmp_path / "ours.iso", tmp_path / "theirs.iso"
    argv = [need("xorriso"), "-as", "mkisofs", "-o", str(ours), "-V", "X", str(tmp_path / "tree")]
    subprocess.run(argv, check=True, capture_output=True)
    shutil.copy(ours, theirs)
    flags = ["--supported-iso"] if supported else []
    subprocess.run([need("implantisomd5"), *flags, str(theirs)], check=True, capture_output=True)
    shares: list[float] = []
    digest = implant(ours, supported=supported, told=shares.append)
    assert ours.read_bytes() == theirs.read_bytes()
    assert implanted(ours) == (digest, supported)
    assert shares == sorted(shares)
    # A checksum that is there already is made again.
    assert implant(ours, supported=supported, told=shares.append) == digest
    # Of an ISO of a few hundred KiB checkisomd5 refuses what implantisomd5 has just made.
    assert _checked(ours) == (size > 500_000)
    with ours.open("r+b") as stream:
        stream.write(b"!")
    assert not _checked(ours)


def _checked(iso: Path) -> bool:
    return subprocess.run([need("checkisomd5"), str(iso)], capture_output=True).returncode == 0
