"""A rollout's lock on a host: /var/lib/bootcfleet/lock.json, which outlives reboots.

/var is the one directory that a bootc host keeps over all of its deployments.  Whatever looks at
the lock and then changes it does both on the host, in one command and under flock(1), so that of
two controllers exactly one wins: a file made with noclobber or ln would be enough to take a free
lock, but not to renew one or to break a stale one, where two could remove each other's.
The kernel lets go of a flock when its process ends, however it ends.

The script is a fixed text; what it works with are its arguments.
"""

from __future__ import annotations

import json
import re
import socket

from bootcfleet.domain.hostlock import LockHolder, check_rollout, clock, read_lock
from bootcfleet.drivers.bootc_faults import classify, last_error, printable
from bootcfleet.drivers.command import CommandResult, CommandTimeoutError, Executor
from bootcfleet.errors import HostError, HostFault

#: Where the lock and other notes of rollouts are, on a host.
DIRECTORY = "/var/lib/bootcfleet"

#: Stands first in the script, so that whoever sees it run knows what it is.
TITLE = "# bootcfleet: the lock of a rollout on this host"

#: ``sh -c SCRIPT sh VERB DIRECTORY ROLLOUT SECONDS STALE OWNER CONTROLLER``.  Rollout, owner and
#: controller are JSON as it stands in the file, a line for each, so that `grep -x` compares them.
#: Says ``ANSWER NOW``, then the lock as it is (take, read) or as it was (release, break).
SCRIPT = (
    TITLE
    + r"""
LC_ALL=C; umask 022; export LC_ALL
verb=$1 dir=$2 rollout=$3 seconds=$4 stale=$5 owner=$6 controller=$7
lock=$dir/lock.json
fail() { echo "$*" >&2; exit 1; }
clock() { now=$(date +%s) || exit 1; }
# What a shell's profile says before may have no end of its line.
say() { printf '\n--8<-- bootcfleet lock %s %s\n' "$1" "$now"; }
show() { say "$1"; printf '%s\n' "$text"; exit; }
number() { printf '%s\n' "$text" | sed -n 's/^ "'"$1"'": \([0-9]\{1,12\}\),\{0,1\}$/\1/p'; }
own() { printf '%s\n' "$text" | grep -qxF -- " \"rollout\": $rollout,"; }
stale() { until=$(number expires); [ -n "$until" ] && [ "$now" -ge "$until" ]; }
keep() { sync -- "$1" 2>/dev/null || sync; }
write() {
  text=$(
    printf '{\n "version": 1,\n "owner": %s,\n "rollout": %s,\n' "$owner" "$rollout"
    printf ' "controller": %s,\n "taken": %s,\n "expires": %s\n}\n' \
      "$controller" "$1" "$((now + seconds))"
  )
  said=$(printf '%s\n' "$text" | dd of="$lock.new" conv=fsync 2>&1) || fail "$said"
  mv -f -- "$lock.new" "$lock" || exit 1
  keep "$dir"
}
clock
if [ "$verb" = read ]; then
  text=$(cat -- "$lock" 2>/dev/null) && show held
  [ ! -e "$lock" ] || fail "$lock cannot be read"
  say free; exit
fi
if [ ! -d "$dir" ]; then
  [ "$verb" = take ] || { say free; exit; }
  mkdir -p -m 0755 -- "$dir" || exit 1
  keep "${dir%/*}"
fi
command -v flock >/dev/null || fail 'flock (of util-linux) is not installed'
exec 9>"$dir/.flock" || exit 1
flock 9 || fail "flock does not work in $dir"
clock
if [ ! -e "$lock" ]; then
  [ "$verb" = take ] || { say free; exit; }
  write "$now"; show taken
fi
text=$(cat -- "$lock") || exit 1
case $verb in
take)
  if own; then
    since=$(number taken)
    write "${since:-$now}"; show renewed
  fi
  stale || show held
  [ "$stale" = break ] || show stale
  write "$now"; show broken ;;
release) own || show held ;;
break)
  [ -z "$rollout" ] || own || show held
  [ "$stale" != keep-live ] || stale || show held ;;
esac
rm -f -- "$lock" || exit 1
keep "$dir"
show removed
"""
)
_ANSWER = re.compile(r"^--8<-- bootcfleet lock ([a-z]+) (\d{1,12})$\n?", re.MULTILINE)


def take(
    executor: Executor,
    host: str,
    *,
    rollout: str,
    owner: str,
    seconds: float,
    controller: str | None = None,
    break_stale: bool = False,
    timeout: float = 60.0,
) -> LockHolder:
    """Lock the host for a rollout, or renew its lock; one round trip.

    `owner` is ``user@machine``, `controller` this machine unless it is said.  The lock lives for
    `seconds` from now, by the host's clock.  The same rollout may take it again from anywhere: it
    was resumed.  `break_stale` replaces a lock that has expired.

    Raises `HostError`: ``locked`` when another rollout has it (the message says who), or what
    kept the lock from being written.  Raises `ValueError` for an id that no rollout has.
    """
    words = [
        json.dumps(check_rollout(rollout)),
        str(max(1, int(seconds))),
        "break" if break_stale else "",
        json.dumps(owner),
        json.dumps(controller or socket.gethostname()),
    ]
    answer, holder = _ask(executor, host, "take", words, timeout)
    if holder is None:
        raise _garbage(host, answer)
    if answer in {"taken", "renewed", "broken"}:
        return holder
    if holder.stale:
        raise HostError(
            host,
            HostFault.LOCKED,
            f"it has a stale lock: {holder.title}",
            hint=f"resume that rollout, or break the lock: bootcfleet fleet unlock {host}",
        )
    wait = f"wait until {clock(holder.expires)}" if holder.readable else "look at it on the host"
    raise HostError(
        host,
        HostFault.LOCKED,
        f"it is locked: {holder.title}",
        hint=f"{wait}, or when that rollout is gone for good break the lock: "
        f"bootcfleet fleet unlock --force {host}",
    )


def release(executor: Executor, host: str, *, rollout: str, timeout: float = 60.0) -> bool:
    """Unlock the host where the lock is this rollout's; whether it was.  Raises `HostError`."""
    answer, _ = _ask(executor, host, "release", [json.dumps(check_rollout(rollout))], timeout)
    return answer == "removed"


def read(executor: Executor, host: str, *, timeout: float = 60.0) -> LockHolder | None:
    """Who has locked the host; needs no root rights.  Raises `HostError`."""
    return _ask(executor, host, "read", [], timeout)[1]


def break_lock(
    executor: Executor,
    host: str,
    *,
    rollout: str = "",
    live: bool = True,
    timeout: float = 60.0,
) -> LockHolder | None:
    """Remove the lock that the host has; who had it, or None where there was none.

    With a `rollout` only that one's lock goes: somebody looked at it before.  Without `live` a
    lock that has not expired stays.  Raises `HostError`: ``locked`` for a lock that stays.
    """
    whose = json.dumps(check_rollout(rollout)) if rollout else ""
    words = [whose, "", "" if live else "keep-live"]
    answer, holder = _ask(executor, host, "break", words, timeout)
    if holder is None or answer != "held":
        return holder
    if rollout and holder.rollout != rollout:
        raise HostError(
            host,
            HostFault.LOCKED,
            f"its lock has changed hands: {holder.title}",
            hint=f"look again: bootcfleet fleet locks {host}",
        )
    raise HostError(
        host,
        HostFault.LOCKED,
        f"its lock has not expired: {holder.title}",
        hint=f"when that rollout is gone for good: bootcfleet fleet unlock --force {host}",
    )


def _ask(
    executor: Executor, host: str, verb: str, words: list[str], timeout: float
) -> tuple[str, LockHolder | None]:
    """What the script answered, and the lock that it showed."""
    argv = ["sh", "-c", SCRIPT, "sh", verb, DIRECTORY, *words, *[""] * (5 - len(words))]
    try:
        result = executor.run(argv, timeout=timeout, as_root=verb != "read")
    except CommandTimeoutError as error:
        raise HostError(
            host, HostFault.TIMEOUT, f"its lock did not answer within {timeout:g} s"
        ) from error
    found = _ANSWER.search(result.stdout)
    if found is None or not result.ok:
        raise _failure(host, result)
    answer, now = found.group(1), int(found.group(2))
    if answer == "free":
        return answer, None
    return answer, read_lock(result.stdout[found.end() :], now)


def _failure(host: str, result: CommandResult) -> HostError:
    if result.ok:
        return _garbage(host, last_error(result.stdout))
    said = result.stderr or result.stdout
    fault, hint = classify(1, said)
    lines = [printable(line) for line in result.stderr.splitlines() if line.strip()]
    return HostError(
        host, fault, f"its lock cannot be had: {last_error(said)}", hint=hint, details=lines[-10:]
    )


def _garbage(host: str, said: str) -> HostError:
    return HostError(
        host, HostFault.GARBAGE_OUTPUT, f"the command about its lock said {said[:60]!r}"
    )
