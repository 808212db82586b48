"""Only who may have changed is asked again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from bootcfleet.drivers.bootc import BootcHost, HostFacts
from bootcfleet.drivers.hostwatch import HostWatch, News
from bootcfleet.errors import HostError, HostFault
from bootcfleet.ops.fleet import Fleet
from bootcfleet.ops.fleetwatch import FleetWatch


class Asked:
    """Stands in for a fleet: counts who is asked, and lets hosts fail."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.asked: list[str] = []
        self.down: set[str] = set()

    def executor(self, name: str) -> str:
        if name in self.down:
            raise HostError(name, HostFault.UNREACHABLE, "no answer")
        return name

    def bootc(self, name: str) -> BootcHost:
        return cast("BootcHost", _Facts(self, name))

    def take(self) -> list[str]:
        asked, self.asked = sorted(self.asked), []
        return asked


class _Facts:
    def __init__(self, fleet: Asked, name: str) -> None:
        self._fleet, self._name = fleet, name

    def facts(self) -> HostFacts:
        self._fleet.asked.append(self._name)
        return HostFacts("1.16.9", f"boot of {self._name}", None, cast("Any", None))


class Told(HostWatch):
    """A watch whose news a test writes."""

    def __init__(self, blind: Sequence[str] = ()) -> None:
        super().__init__()
        self.blind = set(blind)
        self.coming: list[dict[str, News]] = []
        self.following: list[str] = []

    def follow(self, host: str, executor: object, paths: Sequence[str] = ()) -> bool:
        assert not paths
        assert executor == host
        self.following.append(host)
        return host not in self.blind

    def news(self, timeout: float) -> dict[str, News]:
        assert timeout >= 0
        return self.coming.pop(0) if self.coming else {}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def watch_of(fleet: Asked, told: Told, clock: Clock) -> FleetWatch:
    return FleetWatch(cast("Fleet", fleet), every=10, watch=told, monotonic=clock)


def test_only_who_has_news_is_asked() -> None:
    fleet, told, clock = Asked("a", "b", "c"), Told(), Clock()
    watch = watch_of(fleet, told, clock)
    assert list(watch.facts()) == ["a", "b", "c"]
    assert fleet.take() == ["a", "b", "c"]
    assert not watch.wait(10)
    assert list(watch.facts()) == ["a", "b", "c"]
    assert fleet.take() == []
    told.coming = [{"b": News.CHANGED}, {"c": News.CHANGED}]
    assert watch.wait(10)
    watch.facts()
    assert fleet.take() == ["b", "c"], "what follows at once is taken together"
    assert sorted(told.following) == ["a", "b", "c"], "nobody is followed twice"


def test_who_cannot_speak_is_asked_as_often_as_is_wished() -> None:
    fleet, told, clock = Asked("a", "b"), Told(blind=["b"]), Clock()
    watch = watch_of(fleet, told, clock)
    watch.facts()
    fleet.take()
    clock.now += 9
    assert not watch.wait(1)
    clock.now += 1
    assert watch.wait(1)
    watch.facts()
    assert fleet.take() == ["b"]
    assert told.following.count("b") == 1, "it is not tried again"
    # In the end everybody is asked: what a host looks at may miss something.
    clock.now += 300
    assert watch.wait(1)
    watch.facts()
    assert fleet.take() == ["a", "b"]


def test_a_lost_host_is_followed_again() -> None:
    fleet, told, clock = Asked("a", "b"), Told(), Clock()
    watch = watch_of(fleet, told, clock)
    watch.facts()
    fleet.take()
    fleet.down = {"a"}
    told.coming = [{"a": News.LOST}]
    assert watch.wait(10)
    facts = watch.facts()
    assert isinstance(facts["a"], HostError)
    assert isinstance(facts["b"], HostFacts)
    fleet.down = set()
    assert not watch.wait(1), "not before its time"
    clock.now += 10
    assert watch.wait(1)
    assert isinstance(watch.facts()["a"], HostFacts)
    assert told.following == ["a", "b", "a"]
