"""What a real systemd makes of our commands: run inside namespaces of its own, prints JSON.

A systemd of a user is a systemd: timers, masks, oneshot services and targets are the same.  Its
units lie where a runtime mask counts, as those of an image do, and `systemctl` is
``systemctl --user``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bootcfleet.domain.health import GREENBOOT_ARGV, GREENBOOT_UNITS, read_greenboot
from bootcfleet.drivers import bootmarker, updatetimer
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.drivers.hostprobe import probe

TIMER = updatetimer.TIMERS[0]
SERVICE = TIMER.replace(".timer", ".service")

UNITS = {
    TIMER: "[Timer]\nOnBootSec=1h\n[Install]\nWantedBy=timers.target\n",
    SERVICE: "[Service]\nType=oneshot\nExecStart=/bin/sleep 600\n",
}
GREENBOOT = {
    GREENBOOT_UNITS[0]: "[Unit]\nBefore=boot-complete.target\n[Service]\nType=oneshot\n"
    "RemainAfterExit=yes\nExecStart=/bin/sh -c 'read -r code </run/go; exit $code'\n"
    "[Install]\nRequiredBy=boot-complete.target\n",
    GREENBOOT_UNITS[1]: "[Unit]\nDescription=Boot Completion Check\n",
}


@contextmanager
def started(folder: Path, known: Mapping[str, str]) -> Iterator[Path]:
    """Mount, start systemd with the `known` units; the folder that they are in."""
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    for path in ("/run/systemd/system", "/run/user/0"):
        Path(path).mkdir(parents=True)
    units = folder / "home/.local/share/systemd/user"
    units.mkdir(parents=True)
    (folder / "bin").mkdir()
    os.environ |= {"HOME": str(folder / "home"), "XDG_RUNTIME_DIR": "/run/user/0"}
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "DBUS_SESSION_BUS_ADDRESS"):
        os.environ.pop(name, None)
    wrapper = folder / "bin/systemctl"
    wrapper.write_text('#!/bin/sh\nexec /usr/bin/systemctl --user "$@"\n')
    wrapper.chmod(0o755)
    for name, text in known.items():
        (units / name).write_text(text)
    with (folder / "log").open("wb") as log:
        systemd = subprocess.Popen(
            ["/lib/systemd/systemd", "--user"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        while not Path("/run/user/0/systemd/private").exists():
            assert systemd.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        yield units
    finally:
        systemd.kill()
        systemd.wait()


def story(folder: Path, units: Path) -> dict[str, object]:
    """What happened, by name."""
    told: dict[str, object] = {}
    updatetimer.DIRECTORY = "/run/lib"
    host = LocalExecutor(env={"PATH": f"{folder / 'bin'}:/usr/bin:/bin"})

    def systemctl(*words: str) -> str:
        return host.run(["systemctl", *words]).stdout.strip()

    def state() -> list[str]:
        return [
            systemctl("is-active", TIMER),
            systemctl("is-enabled", TIMER),
            systemctl("is-active", SERVICE),
        ]

    systemctl("is-system-running", "--wait")
    told["soft reboots"] = bootmarker.soft_reboots(systemctl(*bootmarker.ASK_SYSTEMD[1:])) or 0
    told["userspace is up"] = bootmarker.userspace_start(systemctl(*bootmarker.ASK_BASIC[1:])) > 0
    told["idle"] = [updatetimer.active(host, "h"), updatetimer.inhibit(host, "h")]
    systemctl("enable", "--now", TIMER)
    systemctl("start", "--no-block", SERVICE)
    while systemctl("is-active", SERVICE) != "activating":
        time.sleep(0.05)
    told["active"] = [updatetimer.active(host, "h"), *state()]
    seen = probe(host, "h")
    told["look"] = [seen.timer, seen.units[TIMER].enabled, seen.units[SERVICE].active]
    told["inhibit"] = [updatetimer.inhibit(host, "h"), *state()]
    seen = probe(host, "h")
    told["look, inhibited"] = [seen.timer, seen.units[TIMER].load, seen.system_state]
    told["look, greenboot"] = [seen.greenboot, seen.units[GREENBOOT_UNITS[0]].installed]
    told["system"] = systemctl("is-system-running")
    told["start"] = host.run(["systemctl", "start", TIMER]).exit_code
    told["again"] = updatetimer.inhibit(host, "h")
    told["restore"] = [updatetimer.restore(host, "h"), *state()]
    told["twice"] = [updatetimer.restore(host, "h"), *state()]
    updatetimer.inhibit(host, "h")
    systemctl("mask", TIMER)
    told["masked by an admin"] = [updatetimer.restore(host, "h"), *state()]
    systemctl("unmask", TIMER)
    systemctl("start", TIMER)
    systemctl("disable", TIMER)
    updatetimer.inhibit(host, "h")
    Path(f"/run/lib/inhibited.{TIMER}").write_text("another-boot\n")
    told["off in another image"] = [updatetimer.restore(host, "h"), *state()]

    def verdict() -> str:
        return str(read_greenboot(host.run(GREENBOOT_ARGV).stdout).verdict)

    told["no greenboot"] = verdict()
    os.mkfifo("/run/go")
    for name, text in GREENBOOT.items():
        (units / name).write_text(text)
    systemctl("daemon-reload")
    told["not enabled"] = verdict()
    systemctl("enable", GREENBOOT_UNITS[0])
    told["not begun"] = verdict()
    for code in ("0", "3"):
        systemctl("start", "--no-block", GREENBOOT_UNITS[1])
        while systemctl("is-active", GREENBOOT_UNITS[0]) != "activating":
            time.sleep(0.05)
        told[f"runs, then {code}"] = verdict()
        Path("/run/go").write_text(f"{code}\n")
        while systemctl("is-active", GREENBOOT_UNITS[0]) == "activating" or (
            code == "0" and systemctl("is-active", GREENBOOT_UNITS[1]) != "active"
        ):
            time.sleep(0.05)
        told[f"ended with {code}"] = verdict()
        systemctl("stop", *reversed(GREENBOOT_UNITS))
    return told


if __name__ == "__main__":
    with started(Path(sys.argv[1]), UNITS) as where:
        print(json.dumps(story(Path(sys.argv[1]), where)))
