"""What serial consoles look like."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.bootconsole import BootState, clean, diagnose, tail

KERNEL = "[    0.000000] Linux version 6.12.0-55.el10 (gcc)\n"


@pytest.mark.parametrize(
    ("text", "state", "final"),
    [
        ("", BootState.SILENT, False),
        ("\n \n", BootState.SILENT, False),
        ("Booting from Hard Disk...\nBoot failed: not a bootable disk\n", BootState.NO_DISK, True),
        ("SeaBIOS (version 1.16.2)\nBooting from Hard Disk...\n", BootState.NO_DISK, False),
        ("SeaBIOS\nBooting from Hard Disk...\nGRUB loading.\n", BootState.BOOTING, False),
        ("UEFI Interactive Shell v2.2\nShell> ", BootState.NO_DISK, True),
        ("No bootable device.\n", BootState.NO_DISK, True),
        ("BdsDxe: No bootable option or device was found.\n", BootState.NO_DISK, True),
        ("error: no such device: 1234.\nEntering rescue mode...\ngrub rescue> ",
         BootState.GRUB_RESCUE, True),
        ("GNU GRUB  version 2.12\n\ngrub> ", BootState.GRUB, True),
        (KERNEL + "Kernel panic - not syncing: Attempted to kill init!\n", BootState.PANIC, True),
        (KERNEL + "[    0.080000] Kernel panic - not syncing: IO-APIC + timer doesn't work!  Boot "
         "with apic=debug and send a report.\n", BootState.TIMER, True),
        (KERNEL + "VFS: Unable to mount root fs on unknown-block(0,0)\n"
         "Kernel panic - not syncing: VFS\n", BootState.NO_ROOT, True),
        (KERNEL + "ALERT!  LABEL=root does not exist.  Dropping to a shell!\n(initramfs) ",
         BootState.NO_ROOT, True),
        (KERNEL + "dracut-initqueue[400]: Warning: dracut-initqueue: timeout, still waiting\n"
         "Entering emergency mode. Exit the shell to continue.\n", BootState.EMERGENCY, True),
        (KERNEL + "You are in emergency mode. After logging in\n"
         "Give root password for maintenance\n", BootState.EMERGENCY, True),
        (KERNEL + "*** Warning -- SELinux targeted policy relabel is required.\n",
         BootState.RELABEL, False),
        (KERNEL + "systemd[1]: Failed to load SELinux policy.\n", BootState.SELINUX, True),
        (KERNEL + "[FAILED] Failed to start sshd.service - OpenSSH server daemon.\n\nlogin: ",
         BootState.SSHD, False),
        (KERNEL + "\nRed Hat Enterprise Linux 10.0\n\nhost login: ", BootState.LOGIN, False),
        (KERNEL + "[  *] A start job is running for Wait for Network to be Configured (1min)\n"
         "[ *] Job NetworkManager-wait-online.service/start running (2min)\n",
         BootState.NETWORK, False),
        (KERNEL + "[  OK  ] Reached target Basic System.\n", BootState.BOOTING, False),
        # Of the boot before: the machine has started again since.
        (KERNEL + "Kernel panic - not syncing: once\n" + KERNEL + "[  OK  ] Started udev\n",
         BootState.BOOTING, False),
    ],
)  # fmt: skip
def test_what_it_looks_like(text: str, state: BootState, final: bool) -> None:
    found = diagnose(clean(text.encode()))
    assert (found.state, found.final) == (state, final)
    assert found.meaning
    assert found.remedy


def test_a_console_as_it_comes() -> None:
    raw = b"\x1b[0;30;47mWelcome to GRUB!\r\n\x1b[01;01H\x1b[2J[\x1b[0;32m  OK  \x1b[0m] Up\r\n"
    assert clean(raw) == "Welcome to GRUB!\n[  OK  ] Up\n"
    assert clean(b"\x1bc\x1b[=3h\x1b[?7lSeaBIOS\n") == "SeaBIOS\n"
    # Written over in place: the last state counts.
    assert clean(b"wait 1s\rwait 2s\r\n") == "wait 2s\n"
    assert tail("a\n\n b \n\nc\n", 2) == (" b", "c")


@given(st.binary(max_size=300))
def test_any_bytes_can_be_shown(raw: bytes) -> None:
    text = clean(raw)
    assert all(c.isprintable() or c in "\t\n" for c in text)
    diagnose(text)
