"""The timers by which a host updates itself, kept still while a rollout is at work on it.

``bootc-fetch-apply-updates.timer`` upgrades and reboots at once (field note *bootc on a host*);
``rpm-ostreed-automatic.timer`` does the same by rpm-ostree where that is installed and
``AutomaticUpdatePolicy`` says so (rpm-ostreed.conf(5)).

A mask of ``--runtime`` is gone after a reboot, and an enabled timer is active again: it is to be
inhibited once more in each boot, for which its ``OnBootSec=1h`` leaves time.  Which timers were
active is noted on the host, in /var, so that any controller can put them back.  What was not
active is not touched, so neither an admin's mask nor a timer that was stopped on purpose changes.
"""

from __future__ import annotations

from bootcfleet.drivers.bootc_faults import classify, last_error, printable
from bootcfleet.drivers.command import CommandResult, CommandTimeoutError, Executor
from bootcfleet.drivers.hostlock import DIRECTORY
from bootcfleet.errors import HostError, HostFault

TIMERS = ("bootc-fetch-apply-updates.timer", "rpm-ostreed-automatic.timer")

#: Stands first in the scripts, so that whoever sees them run knows what they are.
TITLE = "# bootcfleet: the update timers of this host, for a rollout"

#: ``sh -c SCRIPT sh VERB DIRECTORY BOOT_ID TIMER…``.  The note of a timer holds the boot that it
#: was active in: in another boot it is started again only where it is enabled, because an image
#: whose timer is off means that.  Says a line ``UNIT WORD`` for each timer that was touched.
SCRIPT = (
    TITLE
    + r"""
LC_ALL=C; umask 022; export LC_ALL
verb=$1 dir=$2; read -r boot <"$3" || exit 1
shift 3
active() { [ "$(systemctl is-active -- "$1" 2>/dev/null)" = active ]; }
bad=0
for unit do
  note=$dir/inhibited.$unit
  case $verb in
  inhibit)
    active "$unit" || continue
    [ -d "$dir" ] || mkdir -p -m 0755 -- "$dir" || exit 1
    printf '%s\n' "$boot" >"$note.new" && mv -f -- "$note.new" "$note" || exit 1
    sync -- "$note" "$dir" 2>/dev/null || sync
    systemctl stop -- "$unit" || bad=1
    case $(systemctl is-active -- "${unit%.timer}.service" 2>/dev/null) in
    active|activating|reloading|deactivating)
      systemctl stop -- "${unit%.timer}.service" || bad=1
      # systemd calls a oneshot service that was stopped failed, and the system degraded.
      systemctl reset-failed -- "${unit%.timer}.service" 2>/dev/null ;;
    esac
    systemctl mask --runtime -- "$unit" >/dev/null 2>&1
    if active "$unit"; then echo "$unit is still active" >&2; bad=1; fi
    echo "--8<-- bootcfleet timer $unit inhibited" ;;
  restore)
    [ -e "$note" ] || continue
    read -r then <"$note" || then=
    systemctl unmask --runtime -- "$unit" >/dev/null 2>&1
    if [ "$then" = "$boot" ] || systemctl is-enabled --quiet -- "$unit" 2>/dev/null; then
      said=$(systemctl start -- "$unit" 2>&1) || case $said in
      *masked*|*'not found'*|*'not loaded'*) ;;
      *) printf '%s\n' "$said" >&2; bad=1; continue ;;
      esac
    fi
    rm -f -- "$note" || exit 1
    echo "--8<-- bootcfleet timer $unit restored" ;;
  esac
done
exit $bad
"""
)

_BOOT_ID = "/proc/sys/kernel/random/boot_id"


def active(executor: Executor, host: str, *, timeout: float = 60.0) -> bool:
    """Whether the host would update itself; needs no root rights.  Raises `HostError`."""
    result = _run(executor, host, ["systemctl", "is-active", "--", *TIMERS], timeout, as_root=False)
    words = result.stdout.split()
    if not words or result.exit_code == 127:
        raise _failure(host, "systemctl is-active", result)
    return "active" in words


def inhibit(executor: Executor, host: str, *, timeout: float = 120.0) -> tuple[str, ...]:
    """Stop the timers that are active until `restore` or a reboot; those that were.

    An update that one of them has begun is stopped, too: it would reboot the host.
    Raises `HostError`.
    """
    return _change(executor, host, "inhibit", timeout)


def restore(executor: Executor, host: str, *, timeout: float = 120.0) -> tuple[str, ...]:
    """Let the timers that `inhibit` stopped go on; those that it was due for.

    A timer that the image of another boot does not enable stays off, and so does one that an
    admin has masked or removed meanwhile.  Raises `HostError`.
    """
    return _change(executor, host, "restore", timeout)


def _change(executor: Executor, host: str, verb: str, timeout: float) -> tuple[str, ...]:
    argv = ["sh", "-c", SCRIPT, "sh", verb, DIRECTORY, _BOOT_ID, *TIMERS]
    result = _run(executor, host, argv, timeout, as_root=True)
    if not result.ok:
        raise _failure(host, f"its update timer cannot be {_DONE[verb]}", result)
    mark = "--8<-- bootcfleet timer "
    lines = [line for line in result.stdout.splitlines() if line.startswith(mark)]
    return tuple(line.removeprefix(mark).split()[0] for line in lines)


_DONE = {"inhibit": "stopped", "restore": "started again"}


def _run(
    executor: Executor, host: str, argv: list[str], timeout: float, *, as_root: bool
) -> CommandResult:
    try:
        return executor.run(argv, timeout=timeout, as_root=as_root)
    except CommandTimeoutError as error:
        raise HostError(
            host, HostFault.TIMEOUT, f"its update timer did not answer within {timeout:g} s"
        ) from error


def _failure(host: str, what: str, result: CommandResult) -> HostError:
    said = result.stderr or result.stdout
    fault, hint = classify(1, said)
    lines = [printable(line) for line in result.stderr.splitlines() if line.strip()]
    return HostError(
        host,
        fault,
        f"{what}: {last_error(said)}",
        hint=hint or "look at it with `systemctl status 'bootc-fetch*' 'rpm-ostreed*'` there",
        details=lines[-10:],
    )
