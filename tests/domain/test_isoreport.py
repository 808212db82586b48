"""What is read out of xorriso's reports."""

from __future__ import annotations

import pytest

from bootcfleet.domain.isoreport import AppendedPartition, BootImage, parse_report

HEAD = """\
Volume Id    : RHEL-10-0 BaseOS
Volume Set Id: x
"""
CATALOGUE = """\
El Torito catalog  : 78  1
El Torito images   :   N  Pltf  B   Emul  Ld_seg  Hdpt  Ldsiz         LBA
El Torito boot img :   1  BIOS  y   none  0x0000  0x00      4          79
El Torito boot img :   2  UEFI  y   none  0x0000  0x00   5760        2353
El Torito img path :   1  /images/eltorito.img
System area summary: MBR protective-msdos-label grub2-mbr cyl-align-off GPT
"""
APPENDED = """\
-append_partition 2 28732ac11ff8d211ba4b00a0c93ec93b --interval:imported_iso:9412d-15171d::'b.iso'
-append_partition 2 28732ac11ff8d211ba4b00a0c93ec93b --interval:imported_iso:9412d-15171d::'b.iso'
"""


def test_report() -> None:
    files = "'/EFI/BOOT/BOOTAA64.EFI'\n'/it'\"'\"'s here'\n"
    report = parse_report(HEAD + CATALOGUE + APPENDED + files)
    assert report.volume_id == "RHEL-10-0 BaseOS"
    assert report.files == {"/EFI/BOOT/BOOTAA64.EFI", "/it's here"}
    assert report.architecture == "aarch64"
    assert report.boot_images == (
        BootImage("BIOS", "/images/eltorito.img", 79),
        BootImage("UEFI", None, 2353),
    )
    assert report.appended == (
        AppendedPartition(2, "28732ac11ff8d211ba4b00a0c93ec93b", 9412 * 512, 5760 * 512),
    )
    assert not report.efi_in_files
    assert not report.unreachable_efi


def test_efi_that_is_neither_file_nor_partition() -> None:
    assert parse_report(HEAD + CATALOGUE).unreachable_efi
    path = "El Torito img path :   2  /boot/efi.img\n"
    report = parse_report(HEAD + CATALOGUE + path)
    assert not report.unreachable_efi
    assert report.efi_in_files
    assert report.efi_images == ("/boot/efi.img",)


def test_no_iso() -> None:
    with pytest.raises(ValueError, match="xorriso reports no volume"):
        parse_report("")
