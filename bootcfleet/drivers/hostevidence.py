"""Asks a host, in one command, why it is not what it should be."""

from __future__ import annotations

import re
from collections.abc import Mapping

from bootcfleet.domain.hostevidence import HostEvidence, read_evidence
from bootcfleet.domain.plaintext import one_line
from bootcfleet.drivers.bootmarker import (
    ASK_SYSTEMD,
    BOOT_ID,
    kernel_boot_id,
    soft_reboots,
    with_count,
)
from bootcfleet.drivers.command import Executor
from bootcfleet.errors import FleetError

#: Stands first in the program, so that whoever sees it run knows what it is.
TITLE = "# bootcfleet: gathers what this host can tell of its last boots; changes nothing"

#: Each line that a command says is indented by a space, so that none is taken for a part's name.
#: bootc comes last: it may wait for its lock.  Its argument is the boot asked for: -1 or 0.
PROGRAM = (
    TITLE
    + r"""
LC_ALL=C SYSTEMD_PAGER= SYSTEMD_COLORS=0 PATH="$PATH:/usr/sbin:/sbin"
export LC_ALL SYSTEMD_PAGER SYSTEMD_COLORS PATH
command -v timeout >/dev/null && slow='timeout 15' || slow=
part() {
  echo "--8<-- bootcfleet $1"
  bytes=$2; shift 2
  "$@" 2>/dev/null </dev/null | tail -c "$bytes" | sed 's/^/ /'
  echo
}
log() { $slow journalctl -q --no-pager --utc -o short-iso "$@"; }
boots() { $slow journalctl -q --no-pager --list-boots | tail -n 5; }
failed() { systemctl list-units --failed --plain --no-legend --no-pager | head -n 20; }
failed_logs() {
  failed | head -n 5 | while read -r unit _; do log -b 0 -n 5 -u "$unit"; done
}
counters() {
  for file in /boot/grub2/grubenv /boot/grub/grubenv; do
    grep -aE '^(boot_counter|boot_success|boot_indeterminate|[a-z_]*rollback_trigger)=' "$file"
  done
}
reboots() { last -x -n 30 reboot shutdown runlevel | head -n 8; }
previous() { if [ "$boot" = -1 ]; then echo 1; fi; }
boot=$1
echo # What a shell's profile said before may have no end of its line.
case $(systemctl show --property=SoftRebootsCount --value 2>/dev/null) in
'' | 0) ;;
*) boot=0 ;; # A soft reboot is no new boot for the journal.
esac
part boot_id 100 cat BOOT_ID
part systemd 200 ASK_SYSTEMD
part previous 10 previous
part state 100 systemctl is-system-running
part failed 1500 failed
part failed-units 2500 failed_logs
part motd 600 cat /run/motd.d/boot-status /etc/motd.d/boot-status
part grubenv 300 counters
part boots 800 boots
part last 900 reboots
part boot-complete 1000 log -b 0 -n 6 -u ostree-boot-complete.service
part greenboot 1500 log -b 0 -n 15 -u 'greenboot*' -u 'redboot*'
if [ "$1" = -1 ]; then
  part finalize 2000 log -b "$boot" -n 15 -u ostree-finalize-staged.service \
    -u bootc-finalize-staged.service
  part greenboot-before 2500 log -b "$boot" -n 20 -u 'greenboot*' -u 'redboot*'
fi
part warnings 3500 log -b "$boot" -n 30 -p warning
part status 60000 $slow bootc status --format=json --format-version=1
""".replace("BOOT_ID", BOOT_ID).replace("ASK_SYSTEMD", " ".join(ASK_SYSTEMD))
)

#: Seconds: every part has its own limit where it may be slow.
_TIMEOUT = 120.0


def gather_evidence(executor: Executor, host: str, *, previous_boot: bool) -> HostEvidence:
    """What the host tells of the boot before this one, or with `previous_boot` false of this one.

    Never raises for what a host does: evidence that cannot be had is a note in it.
    """
    boot = "-1" if previous_boot else "0"
    try:
        result = executor.run(["sh", "-c", PROGRAM, "sh", boot], timeout=_TIMEOUT, as_root=True)
    except FleetError as error:
        return HostEvidence(host, notes=(f"it could not be asked: {one_line(error.message, 300)}",))
    parts = _parts(result.stdout)
    if "boot_id" not in parts:
        said = one_line(result.stderr or result.stdout, 300) or "nothing"
        return HostEvidence(host, notes=(f"it could not be asked: it says {said}",))
    return read_evidence(host, _boot(parts), parts)


def _boot(parts: Mapping[str, str]) -> str | None:
    """The boot, with its soft reboots where systemd counts them (`bootmarker`)."""
    found = kernel_boot_id(parts["boot_id"])
    if found is None:
        return None
    try:
        return with_count(found, soft_reboots(parts.get("systemd", "")) or 0)
    except ValueError:
        return found


def _parts(text: str) -> dict[str, str]:
    """The parts by name, without the indentation."""
    pieces = re.split(r"^--8<-- bootcfleet ([a-z_-]+)$\n?", text, flags=re.MULTILINE)[1:]
    bodies = (re.sub(r"^ ", "", body, flags=re.MULTILINE).strip("\n") for body in pieces[1::2])
    return dict(zip(pieces[::2], bodies, strict=True))
