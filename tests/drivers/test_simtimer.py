"""The update timer of simulated hosts: what systemctl says, and that it moves its host."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from bootcfleet.domain.faults import FaultSpec
from bootcfleet.domain.reference import Digest
from bootcfleet.drivers import simshell
from bootcfleet.drivers.simbootc import Said
from bootcfleet.drivers.simhost import Deployment, Pulled, SimHost
from bootcfleet.drivers.simtimer import DROP_INS, TIMER, SimTimers, fire
from bootcfleet.drivers.ssh import _PUT


def pulled(letter: str) -> Pulled:
    return Pulled(Digest("sha256:" + letter * 64), letter, None, "amd64", True, ())


@dataclass
class Tag:
    """What the followed tag is."""

    image: Pulled

    def pull(self, reference: str) -> Pulled:
        return self.image


@pytest.fixture
def tag() -> Tag:
    return Tag(pulled("a"))


@pytest.fixture
def host(tag: Tag) -> SimHost:
    deployment = Deployment("r.example/web:prod", "registry", pulled("a"))
    return SimHost("h1", tag.pull, deployment, boot_seconds=0.0)


Shell = Callable[..., Said]


@pytest.fixture
def shell(host: SimHost) -> Shell:
    def call(line: str, user: str = "root", stdin: bytes = b"") -> Said:
        given = simshell.Input(lambda: stdin)
        return simshell.run(simshell.Session(host, user, given, lambda: False), line)

    return call


def test_its_life_by_systemctl(host: SimHost, shell: Shell) -> None:
    assert shell(f"systemctl is-active {TIMER}") == Said("inactive\n", "", 3)
    assert shell(f"systemctl is-enabled {TIMER}") == Said("disabled\n", "", 1)
    assert shell(f"systemctl enable --now {TIMER}", "admin").code == 1
    assert shell(f"systemctl enable --now {TIMER}").code == 0
    assert shell(f"systemctl is-active {TIMER}") == Said("active\n")
    assert shell(f"systemctl mask --runtime --now {TIMER}").code == 0
    assert shell(f"systemctl is-enabled {TIMER}").stdout == "masked-runtime\n"
    assert "is masked" in shell(f"systemctl start {TIMER}").stderr
    host.reboot()
    assert shell(f"systemctl is-active {TIMER}").stdout == "active\n"
    shell(f"systemctl mask {TIMER}")
    host.reboot()
    shown = shell(f"systemctl show --property=LoadState,ActiveState,UnitFileState {TIMER}")
    assert shown.stdout == "LoadState=masked\nActiveState=inactive\nUnitFileState=masked\n"
    shell(f"systemctl unmask {TIMER}")
    assert shell(f"systemctl is-enabled {TIMER}").stdout == "enabled\n"
    shell(f"systemctl disable --now {TIMER}")
    assert (host.timer.active, host.timer.enabled) == (False, False)


def test_a_drop_in_is_a_file_in_a_folder(host: SimHost, shell: Shell) -> None:
    path = f"{DROP_INS}50-x.conf"
    put = f"sh -c '{_PUT.replace(chr(39), chr(39) + chr(34) + chr(39) + chr(34) + chr(39))}' sh"
    assert "No such file" in shell(f"{put} {path} 0644", stdin=b"[Timer]\n").stderr
    assert shell(f"mkdir -p {DROP_INS}", "admin").code == 1
    assert shell(f"mkdir -p {DROP_INS}").code == 0
    assert shell(f"{put} {path} 0644", stdin=b"[Timer]\n").code == 0
    assert shell(f"cat {path}").stdout == "[Timer]\n"
    assert shell(f"systemctl show -p=DropInPaths {TIMER}").stdout == f"DropInPaths={path}\n"
    assert "not empty" in shell(f"rmdir {DROP_INS}").stderr
    assert shell(f"rm {path}").code == 0
    assert shell(f"rm {path}").code == 1
    assert shell(f"rm -f {path} && rmdir {DROP_INS}").code == 0
    assert host.files == {}


def test_firing_moves_the_host_when_there_is_something(host: SimHost, tag: Tag) -> None:
    fire(host)
    assert host.reboots == 0
    tag.image = pulled("b")
    fire(host)
    assert (host.reboots, host.booted.image.version) == (1, "b")
    fire(host)
    assert host.reboots == 1
    # Back, when the tag goes back; and as often as it is fired, when the host cannot.
    tag.image = pulled("a")
    host.break_with(FaultSpec.parse("returns-old"))
    fire(host)
    fire(host)
    assert (host.reboots, host.booted.image.version) == (3, "b")
    host.break_with(FaultSpec.parse("lock-held"))
    fire(host)


@pytest.fixture
def timers(host: SimHost) -> Iterator[SimTimers]:
    timers = SimTimers([host], 0.05)
    timers.start()
    yield timers
    timers.stop()


def test_only_an_active_timer_fires(host: SimHost, tag: Tag, timers: SimTimers) -> None:
    asked = threading.Event()
    pull = host.pull

    def counted(reference: str) -> Pulled:
        asked.set()
        return pull(reference)

    host.pull = counted
    tag.image = pulled("b")
    assert not asked.wait(0.4)
    host.timer.active = host.timer.enabled = True
    deadline = time.monotonic() + 30
    while host.reboots == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert host.booted.image == replace(pulled("b"))
    timers.stop()
    assert host.timer.moved == 1
