"""bootc's update timer on simulated hosts: its unit, what systemctl says of it, and its firing.

Opt-in: without a period it never fires.  An active timer does what
``bootc-fetch-apply-updates.service`` does, ``bootc upgrade --apply --quiet``, and the host
reboots at once when there was something (field note *bootc on a host*).
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Iterable, Sequence

from bootcfleet.drivers import simbootc
from bootcfleet.drivers.simbootc import Said
from bootcfleet.drivers.simhost import SimHost

TIMER = "bootc-fetch-apply-updates.timer"
DROP_INS = f"/etc/systemd/system/{TIMER}.d/"

#: Seconds between two looks at which timers are due.
_TICK = 0.1


def systemctl(host: SimHost, verb: str, options: Sequence[str], *, root: bool) -> Said:
    """Answer ``systemctl VERB [OPTIONS] bootc-fetch-apply-updates.timer``."""
    timer = host.timer
    runtime, now = "--runtime" in options, "--now" in options
    match verb:
        case "is-active":
            return Said("active\n") if timer.active else Said("inactive\n", "", 3)
        case "is-enabled":
            text = _enabled(host)
            return Said(f"{text}\n", "", 0 if text == "enabled" else 1)
        case "show":
            return _show(host, options)
        case "list-units" | "list-timers":
            return Said(f"{TIMER} loaded active waiting\n" if timer.active else "")
    if not root:
        return Said("", "Interactive authentication required.\n", 1)
    with host.lock:
        match verb:
            case "start" | "restart" | "enable" | "reenable" if timer.masked or timer.masked_now:
                return Said("", f"Failed to {verb} unit: Unit {TIMER} is masked.\n", 1)
            case "start" | "restart":
                _activate(host)
            case "stop":
                timer.active = False
            case "enable" | "reenable":
                timer.enabled = True
                if now:
                    _activate(host)
            case "disable":
                timer.enabled = False
                timer.active = timer.active and not now
            case "mask":
                timer.masked, timer.masked_now = timer.masked or not runtime, True
                timer.active = timer.active and not now
            case "unmask":
                timer.masked, timer.masked_now = timer.masked and runtime, False
            case _:
                return Said("", f"Unknown command verb '{verb}'.\n", 1)
    return Said()


def _activate(host: SimHost) -> None:
    host.timer.active = True
    host.timer.since = time.monotonic()


def _enabled(host: SimHost) -> str:
    timer = host.timer
    if timer.masked:
        return "masked"
    if timer.masked_now:
        return "masked-runtime"
    return "enabled" if timer.enabled else "disabled"


def _show(host: SimHost, options: Sequence[str]) -> Said:
    masked = host.timer.masked or host.timer.masked_now
    drop_ins = sorted(path for path in host.files if path.startswith(DROP_INS) and path != DROP_INS)
    known = {
        "Id": TIMER,
        "LoadState": "masked" if masked else "loaded",
        "ActiveState": "active" if host.timer.active else "inactive",
        "SubState": "waiting" if host.timer.active else "dead",
        "UnitFileState": _enabled(host),
        "FragmentPath": "/dev/null" if masked else f"/usr/lib/systemd/system/{TIMER}",
        "DropInPaths": " ".join(drop_ins),
        "NeedDaemonReload": "no",
    }
    wanted: list[str] = []
    for option in options:
        name, _, value = option.partition("=")
        if name in {"--property", "-p"}:
            wanted += value.split(",")
    shown = {name: known.get(name, "") for name in wanted} if wanted else known
    if "--value" in options:
        return Said("".join(f"{value}\n" for value in shown.values()))
    return Said("".join(f"{name}={value}\n" for name, value in shown.items()))


class SimTimers:
    """Fires the timers of a lab's hosts, every `period` seconds each, in one thread."""

    def __init__(self, hosts: Iterable[SimHost], period: float) -> None:
        self._hosts = tuple(hosts)
        self._period = period
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lab-timers", daemon=True)

    def start(self) -> None:
        """Begin to fire those that are active."""
        self._thread.start()

    def stop(self) -> None:
        """Fire no more."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def _run(self) -> None:
        # Fixed for each host, as FixedRandomDelay= is: they do not all fire together.
        offsets = {
            host.name: zlib.crc32(host.name.encode()) % 997 / 997 * self._period
            for host in self._hosts
        }
        while not self._stopping.wait(min(_TICK, self._period)):
            for host in self._hosts:
                due = max(host.timer.since, host.timer.fired + self._period)
                if host.timer.fired < host.timer.since:
                    due += offsets[host.name]
                if host.timer.active and host.up and time.monotonic() >= due:
                    host.timer.fired = time.monotonic()
                    fire(host)
                if self._stopping.is_set():
                    return


def fire(host: SimHost) -> None:
    """What the service does: an upgrade that is applied at once.

    A bootc that waits for its lock is left to the next time: the thread is all hosts'.
    """
    said = simbootc.run(host, ["upgrade", "--apply", "--quiet"], root=True, gone=lambda: True)
    if said.reboots:
        host.timer.moved += 1
        host.reboot()
