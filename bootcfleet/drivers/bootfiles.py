"""Boot directories: mounted or unpacked installer ISOs, and files in them.

Nothing outside of a directory is ever opened, whatever links say.
"""

from __future__ import annotations

import configparser
from dataclasses import dataclass
from pathlib import Path

from bootcfleet.domain.bootmenu import INITRD, KERNEL
from bootcfleet.errors import UsageError

_ARCHS = ("x86_64", "aarch64")


@dataclass(frozen=True)
class BootTree:
    """A boot directory: its (real) root, and what it is for."""

    arch: str
    root: Path
    has_stage2: bool

    def find(self, parts: tuple[str, ...]) -> Path | None:
        """The real path of a regular file in it, or None."""
        try:
            path = self.root.joinpath(*parts).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            return None
        return path if path.is_relative_to(self.root) and path.is_file() else None


def open_tree(text: str) -> BootTree:
    """The tree of ``DIR`` or ``ARCH=DIR``.

    Without ARCH, ``.treeinfo`` says it, else it is x86_64.  Raises `UsageError`
    for a directory that nothing can be booted from.
    """
    before, separator, after = text.partition("=")
    arch, folder = (before, after) if separator and before in _ARCHS else (None, text)
    root = Path(folder).expanduser().resolve()
    if not root.is_dir():
        raise UsageError(
            f"--boot {folder}: there is no such directory",
            hint=f"mount the installer ISO there: sudo mount -o loop,ro BOOT.iso {folder}",
        )
    arch = arch or _arch_of(root)
    if arch not in _ARCHS:
        raise UsageError(
            f"--boot {folder} is for {arch}; only {' and '.join(_ARCHS)} are booted from here"
        )
    tree = BootTree(arch, root, (root / "images/install.img").is_file())
    missing = [name for name in (KERNEL, INITRD) if tree.find(tuple(name.split("/"))) is None]
    if missing:
        raise UsageError(
            f"--boot {folder} has no {' and no '.join(missing)}",
            hint="give the top directory of a mounted or unpacked installer ISO (boot or dvd)",
        )
    return tree


def _arch_of(root: Path) -> str:
    """What ``.treeinfo`` says (productmd: INI, [general] or [tree] arch)."""
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string((root / ".treeinfo").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, configparser.Error):
        return "x86_64"
    for section in ("tree", "general"):
        if parser.has_option(section, "arch"):
            return parser.get(section, "arch").strip()
    return "x86_64"
