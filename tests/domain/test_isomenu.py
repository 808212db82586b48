"""Menus of installer ISOs: which lines boot a kernel, and what editing them leaves alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.isomenu import (
    MenuKind,
    boot_lines,
    edit_menu,
    kickstart_word,
    label_problem,
    split_arguments,
    udev_escape,
)

GRUB = """\
set default="1"
set timeout=60
### linux /in/a/comment quiet
menuentry 'Install linux /not/this' --class fedora {
\tlinuxefi /images/pxeboot/vmlinuz inst.stage2=hd:LABEL=A\\x20B quiet # why
\tinitrdefi /images/pxeboot/initrd.img
}
submenu 'More' { menuentry "Rescue; me" { linux ${p}/vmlinuz "a b" inst.rescue ; initrd /i } }
if true ; then linux /vmlinuz \\
  one \\
  two
fi
linux /vmlinuz
"""
ISOLINUX = """\
default vesamenu.c32
timeout 600
label linux
  kernel vmlinuz
  append initrd=initrd.img inst.stage2=hd:LABEL=A\\x20B quiet
label local
  localboot 0xffff
label none
  kernel memtest
  append -
  APPEND  initrd=initrd.img rd.live.check\t
"""
KS = r"inst.ks=hd:LABEL=A\x20B:/ks.cfg"


def test_grub_lines() -> None:
    assert [(line.keyword, line.text) for line in boot_lines(GRUB, MenuKind.GRUB)] == [
        ("linuxefi", r"/images/pxeboot/vmlinuz inst.stage2=hd:LABEL=A\x20B quiet"),
        ("linux", "${p}/vmlinuz a b inst.rescue"),
        ("linux", "/vmlinuz one two"),
        ("linux", "/vmlinuz"),
    ]


def test_grub_edit_changes_nothing_else() -> None:
    edited = edit_menu(GRUB, MenuKind.GRUB, (KS, "x=[a]"))
    added = f" {KS} 'x=[a]'"
    assert edited == (
        GRUB.replace("quiet # why", f"quiet{added} # why")
        .replace("inst.rescue ;", f"inst.rescue{added} ;")
        .replace("two\n", f"two{added}\n")
        .replace("linux /vmlinuz\n", f"linux /vmlinuz{added}\n")
    )


def test_isolinux_edit() -> None:
    edited = edit_menu(ISOLINUX, MenuKind.ISOLINUX, (KS, "inst.text"))
    assert edited == ISOLINUX.replace("B quiet", f"B quiet {KS} inst.text").replace(
        "rd.live.check\t", f"rd.live.check {KS} inst.text\t"
    )


def test_crlf_stays() -> None:
    text = "label a\r\n append initrd=i quiet\r\n"
    edited = edit_menu(text, MenuKind.ISOLINUX, ("x",))
    assert edited == "label a\r\n append initrd=i quiet x\r\n"
    assert edit_menu("linux /k a\r\n", MenuKind.GRUB, ("x",)) == "linux /k a x\r\n"


@pytest.mark.parametrize(
    ("kind", "line"), [(MenuKind.GRUB, "linux /k {}"), (MenuKind.ISOLINUX, "append {}")]
)
def test_another_kickstart_is_replaced(kind: MenuKind, line: str) -> None:
    text = line.format("inst.ks=hd:LABEL=A:/osbuild.ks quiet ks=cdrom:/x") + "\n"
    edited = edit_menu(text, kind, (KS,)).split()
    assert edited == line.format(f"quiet {KS}").split()
    kept = edit_menu(text, kind, ("inst.text",))
    assert "osbuild.ks" in kept
    assert kept.endswith("ks=cdrom:/x inst.text\n")


def test_label_as_the_menu_spells_it() -> None:
    assert kickstart_word("A B", [GRUB]) == KS
    assert kickstart_word("A B", ["linux /k root=live:CDLABEL=A\\X20B"]) == KS
    assert kickstart_word("A B", ["x LABEL=other:/"]) == KS
    # The hexadecimal digits as the medium writes them.
    assert kickstart_word("A/B", [r"inst.stage2=hd:LABEL=A\x2FB quiet"]) == (
        r"inst.ks=hd:LABEL=A\x2FB:/ks.cfg"
    )
    assert udev_escape("Fedora-E(x) #1+é") == r"Fedora-E\x28x\x29\x20#1+é"


def test_labels_that_cannot_be_named() -> None:
    assert label_problem("RHEL-9-4-0-BaseOS-x86_64") is None
    assert label_problem("") == "the ISO has no volume id, by which the kickstart would be found"
    assert label_problem("a:b") == (
        "the volume id 'a:b' cannot stand in inst.ks=hd:LABEL=…:/ks.cfg"
    )


def test_arguments() -> None:
    assert split_arguments(["inst.text console=ttyS0,115200n8", "ip=[fe80::1]"]) == (
        "inst.text",
        "console=ttyS0,115200n8",
        "ip=[fe80::1]",
    )
    with pytest.raises(ValueError, match="no spaces, quotes"):
        split_arguments(["a=$x"])
    with pytest.raises(ValueError, match="the kickstart is the one that is embedded"):
        split_arguments(["inst.ks=http://example.com/ks"])


@given(st.text(alphabet="lnux /k\\'\"{};#$\n\t\r &|x20=-"), st.sampled_from(MenuKind))
def test_any_menu(text: str, kind: MenuKind) -> None:
    """Editing only inserts: without the insertions the text is what it was."""
    before = boot_lines(text, kind)
    edited = edit_menu(text, kind, ("inst.text",))
    assert edited.replace(" inst.text", "") == text
    after = boot_lines(edited, kind)
    # A quote that never ends swallows what follows it; nothing else does.
    if all(text[: line.arguments[-1].end] != text for line in before):
        assert [line.text for line in after] == [f"{line.text} inst.text" for line in before]
