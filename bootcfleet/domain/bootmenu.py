"""Boot menus: GRUB's configuration and iPXE's scripts, as text.

Sources: GNU GRUB's manual (chapter Network), ipxe.org/cmd and ipxe.org/cfg,
dracut.cmdline(7), Anaconda's boot options. What machines and people put into a menu
is checked before (`menu_word`): GRUB's and iPXE's scripts are languages.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

#: Where kernel and initrd are in an installation tree, whatever its architecture.
KERNEL = "images/pxeboot/vmlinuz"
INITRD = "images/pxeboot/initrd.img"

#: What GRUB ($grub_cpu) and iPXE (${buildarch}) call the architectures.
_GRUB_CPU = {"x86_64": "x86_64", "aarch64": "arm64"}
_IPXE_ARCH = {"x86_64": "x86_64", "i386": "x86_64", "arm64": "aarch64"}
#: One argument of the kernel that means itself to GRUB (in quotes) and to iPXE.
_ARGUMENT = re.compile(r"[A-Za-z0-9_.,:=/@%+~!?*\[\]-]+")


def ipxe_arch(word: str | None) -> str | None:
    """The architecture that iPXE's ``${buildarch}`` stands for; BIOS says i386."""
    return _IPXE_ARCH.get(word or "")


def argument_problem(text: str) -> str | None:
    """Why `text` cannot be one kernel argument in a menu, or None."""
    if _ARGUMENT.fullmatch(text):
        return None
    return f"{text!r} cannot be a kernel argument: no spaces, quotes, $, &, ; or |"


def _plain(text: str) -> str:
    """A title that ends no string and begins no variable."""
    return "".join(
        c if c.isascii() and c.isprintable() and c not in "'\"$\\{}" else " " for c in text
    )


@dataclass(frozen=True)
class Entry:
    """What a machine boots: URLs and arguments.

    `base` is the server (``http://192.0.2.1:8000``), `kickstart` the URL of its
    kickstart, `archs` the architectures there are boot directories for.
    """

    name: str
    title: str
    base: str
    kickstart: str
    archs: tuple[str, ...]
    mac: str | None = None
    arguments: tuple[str, ...] = ()

    def tree(self, arch: str) -> str:
        """The path of the boot directory, with the machine's name in it."""
        return f"/host/{self.name}/boot/{arch}"

    def words(self, arch: str) -> list[str]:
        """The arguments of Anaconda's kernel."""
        words = [f"inst.stage2={self.base}{self.tree(arch)}", f"inst.ks={self.kickstart}"]
        # The interface that it booted from, where dracut and `network --device=bootif` look.
        words += [f"BOOTIF=01-{self.mac.replace(':', '-')}"] if self.mac else []
        words += [] if any(word.startswith("ip=") for word in self.arguments) else ["ip=dhcp"]
        return [*words, *self.arguments]


def grub_default() -> str:
    """GRUB's configuration for everybody: on to the one of this MAC address, else the disk.

    ``$root`` is the server that GRUB has it from.
    """
    return "\n".join(
        [
            "# Written by bootcfleet kickstart serve.",
            'if [ -n "$net_default_mac" ]; then',
            "  configfile ($root)/grub/grub.cfg-01-$net_default_mac",
            "fi",
            "# It came back: nobody knows this machine.",
            'echo "bootcfleet: no machine with the MAC address $net_default_mac is known."',
            'echo "Add it to the inventory (install: mac:), then boot again."',
            *_grub_disk(timeout=10),
        ]
    )


def grub_disk(name: str) -> str:
    """The menu of a machine that is installed."""
    return "\n".join(
        [f"# {_plain(name)} is installed: it boots from its disk.", *_grub_disk(timeout=1)]
    )


def _grub_disk(*, timeout: int) -> list[str]:
    return [
        f"set timeout={timeout}",
        "set default=0",
        "menuentry 'Boot from the disk' {",
        '  if [ "$grub_platform" = efi ]; then',
        "    exit",
        "  else",
        "    set root=(hd0)",
        "    chainloader +1",
        "  fi",
        "}",
        "",
    ]


def grub_install(entry: Entry) -> str:
    """The menu of a machine that is to be installed: it begins by itself after 3 seconds."""
    lines = ["# Written by bootcfleet kickstart serve.", "set timeout=3", "set default=0"]
    for arch in entry.archs:
        inner = [
            f"menuentry 'Install {_plain(entry.title)}' {{",
            f"  linux ($root){entry.tree(arch)}/{KERNEL} "
            + " ".join(f"'{word}'" for word in entry.words(arch)),
            f"  initrd ($root){entry.tree(arch)}/{INITRD}",
            "}",
        ]
        if len(entry.archs) > 1:
            cpu = _GRUB_CPU.get(arch, arch)
            inner = [f'if [ "$grub_cpu" = {cpu} ]; then', *(f"  {line}" for line in inner), "fi"]
        lines += inner
    return "\n".join([*lines, *_grub_disk(timeout=3)[2:]])


def ipxe_default(base: str) -> str:
    """iPXE's first script: on to the one of the MAC address that it booted from."""
    return "\n".join(
        [
            "#!ipxe",
            f"chain --replace {base}/ipxe/${{netX/mac:hexhyp}}?arch=${{buildarch}} || goto unknown",
            ":unknown",
            f"echo bootcfleet: {base} has no menu for the MAC address ${{netX/mac}}",
            "echo Add it to the inventory (install: mac:), then boot again.",
            "sleep 10",
            "exit",
            "",
        ]
    )


def ipxe_disk(name: str) -> str:
    """The script of a machine that is installed."""
    return "\n".join(
        [
            "#!ipxe",
            f"echo bootcfleet: {_plain(name)} is installed and boots from its disk",
            "iseq ${platform} efi && exit ||",
            "sanboot --no-describe --drive 0x80 || exit",
            "",
        ]
    )


def ipxe_install(entry: Entry, arch: str) -> str:
    """The script of a machine that is to be installed.

    Whatever fails is tried again, from a new menu: with hundreds of machines a
    server may be busy, and a menu's token may have been used.
    """
    tree = f"{entry.base}{entry.tree(arch)}"
    again = f"{entry.base}/ipxe/{(entry.mac or '').replace(':', '-')}?arch=${{buildarch}}"
    words = " ".join(entry.words(arch))
    return "\n".join(
        [
            "#!ipxe",
            f"echo bootcfleet: installing {_plain(entry.title)}",
            f"kernel {tree}/{KERNEL} initrd=initrd.img {words} || goto failed",
            f"initrd --name initrd.img {tree}/{INITRD} || goto failed",
            "boot || goto failed",
            ":failed",
            "echo bootcfleet: that failed; again in 15 seconds",
            "sleep 15",
            f"chain --replace {again} || goto failed",
            "",
        ]
    )


def missing_arch(wanted: str | None, archs: Sequence[str]) -> str | None:
    """Why there is nothing to boot, or None."""
    if not archs:
        return "no boot directory is served; start it with --boot DIR"
    if wanted is not None and wanted not in archs:
        return f"no boot directory for {wanted}, only for {', '.join(archs)}"
    return None
