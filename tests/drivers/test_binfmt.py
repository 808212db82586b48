"""What the kernel says of its handlers, and what is asked for when one is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootcfleet.drivers.binfmt import require_emulation
from bootcfleet.errors import ToolMissingError

GOOD = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: PF\noffset 0\n"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (None, "no qemu-aarch64 in {folder}"),
        (GOOD.replace("enabled", "disabled"), "qemu-aarch64 is disabled"),
        (GOOD.replace("PF", "P"), "qemu-aarch64 does not work in containers (flag F)"),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, said: str | None, message: str) -> None:
    if said is not None:
        (tmp_path / "qemu-aarch64").write_text(said)
    with pytest.raises(ToolMissingError) as caught:
        require_emulation("linux/arm64", folder=tmp_path)
    where = message.format(folder=tmp_path)
    assert caught.value.message == f"linux/arm64 cannot be built here: {where}"
    assert "qemu-user-static" in (caught.value.hint or "")


def test_what_is_there_is_enough(tmp_path: Path) -> None:
    (tmp_path / "qemu-aarch64").write_text(GOOD)
    require_emulation("linux/arm64", folder=tmp_path)
