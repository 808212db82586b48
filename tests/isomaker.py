"""Small installer ISOs that really boot, laid out as the real ones are."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from bootcfleet.domain.isomenu import udev_escape
from tests.tools import need

LABEL = "TEST-9-x86_64"
SYSLINUX = Path("/usr/lib/ISOLINUX/isolinux.bin"), Path("/usr/lib/ISOLINUX/isohdpfx.bin")
_LDLINUX = Path("/usr/lib/syslinux/modules/bios/ldlinux.c32")
_GRUB = Path("/usr/lib/grub")
_MODULES = "iso9660 part_gpt part_msdos normal configfile echo serial terminal search sleep"
_EFI_MODULES = f"{_MODULES} fat linux"
#: What GRUB does here instead of booting: it prints the words that the kernel would get.
_SHOW = "function linux {{ echo BOOT $@; }}\nfunction linuxefi {{ echo BOOT $@; }}\n"


def need_iso_tools() -> None:
    """What making and reading these ISOs takes."""
    for tool in ("xorriso", "mcopy", "mformat", "grub-mkimage"):
        need(tool)


def grub_menu(command: str, *, label: str = LABEL) -> str:
    return (
        'set default="0"\nset timeout=1\n'
        f"menuentry 'Install' {{\n\t{command} /images/pxeboot/vmlinuz "
        f"inst.stage2=hd:LABEL={label} quiet\n\tinitrd /images/pxeboot/initrd.img\n}}\n"
        f"menuentry 'Test and install' {{\n\t{command} /images/pxeboot/vmlinuz "
        f"inst.stage2=hd:LABEL={label} rd.live.check quiet\n\tinitrd /i\n}}\n"
    )


def isolinux_menu(label: str = LABEL) -> str:
    return (
        "serial 0 115200\nprompt 1\ndisplay boot.msg\ndefault linux\ntimeout 600\nlabel linux\n"
        f"  kernel vmlinuz\n  append initrd=initrd.img inst.stage2=hd:LABEL={label} quiet\n"
    )


def _run(*argv: str | Path) -> None:
    subprocess.run([str(word) for word in argv], check=True, capture_output=True)


def _tree(folder: Path, label: str, before: str) -> Path:
    tree = folder / "tree"
    for name in ("images/pxeboot", "EFI/BOOT", "isolinux", "boot/grub2"):
        (tree / name).mkdir(parents=True)
    (tree / ".discinfo").write_text("1700000000.0\nTest 9\nx86_64\n")
    (tree / "images/pxeboot/vmlinuz").write_bytes(b"kernel" * 40_000)
    (tree / "images/pxeboot/initrd.img").write_bytes(bytes(range(256)) * 2_000)
    (tree / "a file's name").write_text("spaces and quotes\n")
    (tree / "EFI/BOOT/grub.cfg").write_text(
        before + grub_menu("linuxefi", label=udev_escape(label))
    )
    efi = tree / "EFI/BOOT/BOOTX64.EFI"
    if (_GRUB / "x86_64-efi").is_dir():
        _run(
            "grub-mkimage", "-O", "x86_64-efi", "-o", efi, "-p", "/EFI/BOOT", *_EFI_MODULES.split()
        )
    else:
        efi.write_bytes(b"MZ")
    image = tree / "images/efiboot.img"
    _run("mformat", "-C", "-i", image, "-f", "2880", "::")
    _run("mmd", "-i", image, "::/EFI", "::/EFI/BOOT")
    _run("mcopy", "-i", image, efi, tree / "EFI/BOOT/grub.cfg", "::/EFI/BOOT/")
    return tree


def isolinux_iso(folder: Path, label: str = LABEL) -> Path:
    """As RHEL 9: isolinux for BIOS, a FAT image that is a file for UEFI, an isohybrid MBR."""
    tree = _tree(folder, label, "")
    for source in (SYSLINUX[0], _LDLINUX):
        if not source.exists():
            need(f"{source.name} (isolinux, syslinux-common)")
        shutil.copy(source, tree / "isolinux")
    (tree / "isolinux/isolinux.cfg").write_text(isolinux_menu(udev_escape(label)))
    target = folder / "boot.iso"
    command = "-b isolinux/isolinux.bin -c isolinux/boot.cat -no-emul-boot -boot-load-size 4"
    more = "-boot-info-table -eltorito-alt-boot -e images/efiboot.img -no-emul-boot"
    _run(
        *("xorriso -as mkisofs -J -joliet-long -R -V".split()),
        *(label, "-o", target, "-isohybrid-mbr", SYSLINUX[1]),
        *command.split(),
        *more.split(),
        "-isohybrid-gpt-basdat",
        tree,
    )
    return target


def grub_iso(folder: Path, label: str = LABEL, *, show: bool = False) -> Path:
    """As RHEL 10 and Fedora: GRUB for both, the EFI system partition behind the files.

    With `show` its menu prints on the serial console what the kernel would be given.
    """
    before = "serial --unit=0\nterminal_output serial\n" + _SHOW.format() if show else ""
    tree = _tree(folder, label, before)
    platform = _GRUB / "i386-pc"
    if not platform.is_dir():
        need("grub-pc-bin")
    (tree / "boot/grub2/grub.cfg").write_text(before + grub_menu("linux", label=udev_escape(label)))
    boot = tree / "images/eltorito.img"
    _run(
        *("grub-mkimage -O i386-pc-eltorito -p /boot/grub2 biosdisk".split()),
        *("-o", boot),
        *_MODULES.split(),
    )
    target = folder / "boot.iso"
    first = (
        "-partition_offset 16 -append_partition 2 C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
        f" {tree}/images/efiboot.img -appended_part_as_gpt -c boot.cat --boot-catalog-hide"
        " -iso_mbr_part_type EBD0A0A2-B9E5-4433-87C0-68B6B72699C7 -b images/eltorito.img"
        " -no-emul-boot -boot-load-size 4 -boot-info-table --grub2-boot-info"
        " -eltorito-alt-boot -e --interval:appended_partition_2:all:: -no-emul-boot"
    )
    _run(
        *("xorriso -as mkisofs -J -joliet-long -R -V".split()),
        *(label, "-o", target, "--grub2-mbr", platform / "boot_hybrid.img"),
        *first.split(),
        tree,
    )
    return target
