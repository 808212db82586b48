"""What a serial console says about a boot: where it stands, what is wrong, what helps."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

#: Lines of the console's end that are shown.
TAIL = 25

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[0-Z\\-~])")


class BootState(StrEnum):
    """What a console looks like; stable words in JSON."""

    NO_DISK = "no-bootable-device"
    GRUB_RESCUE = "grub-rescue"
    GRUB = "grub-shell"
    TIMER = "timer-test"
    PANIC = "kernel-panic"
    NO_ROOT = "root-not-found"
    EMERGENCY = "emergency-shell"
    RELABEL = "selinux-relabel"
    SELINUX = "selinux-policy"
    NETWORK = "waiting-for-network"
    LOGIN = "login-prompt"
    SSHD = "sshd-failed"
    BOOTING = "booting"
    SILENT = "silent"


@dataclass(frozen=True)
class Diagnosis:
    """What a console looks like: the line that says so, what it means, what helps.

    `final` is whether waiting longer is of no use.
    """

    state: BootState
    line: str
    meaning: str
    remedy: str
    final: bool = False

    def to_json(self) -> dict[str, Any]:
        """The diagnosis as JSON-ready data."""
        return {
            "state": self.state.value,
            "line": self.line,
            "meaning": self.meaning,
            "remedy": self.remedy,
        }


@dataclass(frozen=True)
class _Sign:
    state: BootState
    pattern: re.Pattern[str]
    meaning: str
    remedy: str
    final: bool = False


def _sign(state: BootState, pattern: str, meaning: str, remedy: str, *, final: bool) -> _Sign:
    return _Sign(state, re.compile(pattern, re.IGNORECASE), meaning, remedy, final)


# The first that matches wins: causes before their consequences. Texts are those of the Linux
# kernel, dracut, initramfs-tools, systemd, GRUB 2, SeaBIOS and OVMF.
_SIGNS = (
    _sign(
        BootState.SELINUX,
        r"failed to (load|mount) SELinux policy|Failed to load SELinux policy",
        "the SELinux policy cannot be loaded, and systemd stops",
        "the image's policy is broken or missing: reinstall selinux-policy-targeted in the image; "
        "to look around, boot with the kernel argument enforcing=0",
        final=True,
    ),
    _sign(
        BootState.NO_ROOT,
        r"VFS: Unable to mount root|ALERT!.*does not exist|Warning: /dev/\S+ does not exist"
        r"|Could not boot\.|dracut-initqueue.*timeout.*starting",
        "the kernel runs, but the root filesystem was not found or has no driver",
        "the initramfs has no driver for this disk, or root= is wrong: rebuild it with virtio_blk "
        "and virtio_pci (dracut --add-drivers), and look at the kernel arguments",
        final=True,
    ),
    _sign(
        # The kernel counts ticks for some hundredths of a second while the emulated processor waits
        # for a real one (arch/x86/kernel/apic/io_apic.c, check_timer).
        BootState.TIMER,
        r"Kernel panic - not syncing: IO-APIC \+ timer doesn't work",
        "the kernel's test of the timer failed, as it does where emulation gets too little time",
        "try again when this machine is less busy, or where KVM works",
        final=True,
    ),
    _sign(
        BootState.PANIC,
        r"Kernel panic - not syncing",
        "the kernel has stopped",
        "read the lines before the panic; with 'CPU ISA level is lower than required' the image "
        "needs a newer processor (x86-64-v3), else more --memory may help",
        final=True,
    ),
    _sign(
        BootState.EMERGENCY,
        r"emergency (shell|mode)|Entering emergency|Reached target emergency|"
        r"Press Enter for maintenance|Give root password for maintenance|\(initramfs\)",
        "the boot has ended in an emergency shell, which waits for somebody",
        "look for the first FAILED or 'Dependency failed' above: most often a filesystem of "
        "/etc/fstab that is not there",
        final=True,
    ),
    _sign(
        BootState.GRUB_RESCUE,
        r"grub rescue>|error: .*unknown filesystem|error: no such (device|partition)",
        "GRUB does not find its own files",
        "the boot partition is missing or its filesystem is not known to GRUB: build the disk anew "
        "and look at the partitions in its configuration",
        final=True,
    ),
    _sign(
        BootState.GRUB,
        r"^\s*grub>",
        "GRUB has no menu and waits at its prompt",
        "grub.cfg or the boot entries are missing: `bootc install` writes them, so look at its log",
        final=True,
    ),
    _sign(
        BootState.NO_DISK,
        r"No bootable device|Boot failed: not a bootable disk|BdsDxe: No bootable option"
        r"|UEFI Interactive Shell|Shell>",
        "the firmware finds nothing to boot on the disk",
        "try the other firmware: with --uefi, or without it; BIOS boot needs GRUB in the boot "
        "sector, UEFI an EFI partition",
        final=True,
    ),
    _sign(
        BootState.SSHD,
        r"Failed to start .*(OpenSSH|sshd|ssh\.service|Secure Shell)",
        "the system has booted, but sshd did not start",
        "look at sshd's configuration in the image: sshd -t; host keys must be writable to be made",
        final=False,
    ),
    _sign(
        BootState.RELABEL,
        r"SELinux.*relabel|relabel.*is required|autorelabel",
        "SELinux is labelling every file anew, which takes minutes, and reboots then",
        "give it more time: --timeout 30m",
        final=False,
    ),
)

_LOGIN = re.compile(r"\blogin:\s*$")
_NETWORK = re.compile(
    r"(A start job is running for|Failed to start|TIME.*).*(wait.?online|Network.*Configured)",
    re.IGNORECASE,
)


def clean(raw: bytes) -> str:
    """The console as lines of plain text: no colours, no cursor moves, no control characters."""
    text = _ESCAPES.sub("", raw.decode("utf-8", "replace")).replace("\r\n", "\n")
    # A line that is written over and over (a start job's seconds): its last state counts.
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")]
    return "\n".join("".join(c for c in line if c.isprintable() or c == "\t") for line in lines)


def tail(text: str, lines: int = TAIL) -> tuple[str, ...]:
    """The last lines that are not empty."""
    return tuple(line.rstrip() for line in text.split("\n") if line.strip())[-lines:]


def diagnose(text: str) -> Diagnosis:
    """What a console (see `clean`) looks like."""
    if not text.strip():
        return Diagnosis(
            BootState.SILENT,
            "",
            "nothing was written to the serial console",
            "the kernel may run without saying so: add the kernel argument console=ttyS0 "
            "(aarch64: ttyAMA0) to the disk, or try the other firmware (--uefi)",
        )
    # What was printed before the last start of the kernel is of another boot.
    start = max((m.start() for m in re.finditer(r"^.*Linux version \d", text, re.M)), default=0)
    lines = [line.strip() for line in text[start:].split("\n") if line.strip()]
    for sign in _SIGNS:
        for line in lines:
            if sign.pattern.search(line):
                return Diagnosis(sign.state, line, sign.meaning, sign.remedy, sign.final)
    last = lines[-1] if lines else ""
    if last.startswith("Booting from Hard Disk"):
        # As it looks for the moment before GRUB greets, and for ever where there is no GRUB.
        return Diagnosis(
            BootState.NO_DISK,
            last,
            "the BIOS has started the disk's boot sector, and nothing followed",
            "the disk may only boot by UEFI: try it with --uefi",
        )
    if any(_LOGIN.search(line) for line in lines[-3:]):
        return Diagnosis(
            BootState.LOGIN,
            last,
            "the system is up, but SSH cannot be reached",
            "sshd must be enabled in the image (systemctl enable sshd), its port 22 open in the "
            "firewall, and the network must ask DHCP for an address",
        )
    for line in reversed(lines[-10:]):
        if _NETWORK.search(line):
            return Diagnosis(
                BootState.NETWORK,
                line,
                "the system waits for a network that does not come up",
                "the machine gets an address by DHCP: remove static addresses of other networks "
                "(kernel argument ip=, NetworkManager connections bound to a MAC or name)",
            )
    return Diagnosis(
        BootState.BOOTING,
        last,
        "the system was still starting",
        "give it more time: --timeout 20m; software emulation takes ten times as long as KVM",
    )
