"""What a fleet says of itself, kept current by letting the hosts speak."""

from __future__ import annotations

import time
from collections.abc import Callable

from bootcfleet.drivers.bootc import HostFacts
from bootcfleet.drivers.hostwatch import HostWatch, News
from bootcfleet.errors import FleetError, HostError, HostFault
from bootcfleet.ops.fanout import gather
from bootcfleet.ops.fleet import Fleet

#: Seconds after which a host is asked although it said nothing: what it looks at may miss
#: something.
_OLDEST = 300.0
#: Seconds in which several hosts' news become one.
_TOGETHER = 0.3


class FleetWatch:
    """The facts of all hosts; only those are asked again that may have changed.

    `every` is how often (seconds) a host is asked that cannot speak by itself, or
    that could not be reached.
    """

    def __init__(
        self,
        fleet: Fleet,
        *,
        every: float,
        parallel: int = 50,
        watch: HostWatch | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fleet = fleet
        self._parallel = parallel
        self._watch = watch or HostWatch(pause=max(1, min(5, int(every))))
        self._every = every
        self._monotonic = monotonic
        self._facts: dict[str, HostFacts | FleetError] = {}
        self._asked: dict[str, float] = {}
        self._listened: set[str] = set()
        self._blind: set[str] = set()
        self._due: set[str] = set(fleet.names)

    def facts(self) -> dict[str, HostFacts | FleetError]:
        """The facts of every host as far as they are known; asks those that are due."""
        due = [name for name in self._fleet.names if name in self._due]
        self._due.clear()
        self._facts |= gather(due, self._ask, parallel=self._parallel)
        now = self._monotonic()
        for name in due:
            self._asked[name] = now
            if isinstance(self._facts[name], FleetError):
                self._listened.discard(name)
        return {name: self._facts[name] for name in self._fleet.names}

    def wait(self, seconds: float) -> bool:
        """Wait until a host has news, at most so long; whether any host is to be asked."""
        deadline = self._monotonic() + seconds
        self._take(self._watch.news(seconds))
        if self._due:
            # What happens to many hosts happens to them together.
            left = deadline - self._monotonic()
            self._take(self._watch.news(max(0.0, min(_TOGETHER, left))))
        now = self._monotonic()
        for name in self._fleet.names:
            limit = _OLDEST if name in self._listened else self._every
            if now - self._asked.get(name, 0.0) >= limit:
                self._due.add(name)
        return bool(self._due)

    def close(self) -> None:
        """End the loops on the hosts."""
        self._watch.close()

    def _take(self, news: dict[str, News]) -> None:
        for name, what in news.items():
            self._due.add(name)
            if what is News.LOST:
                self._listened.discard(name)

    def _ask(self, name: str) -> HostFacts:
        """Let the host speak before it is asked, so that nothing falls in between."""
        bootc = self._fleet.bootc(name)
        if name in self._listened or name in self._blind:
            return bootc.facts()
        executor = self._fleet.executor(name)
        if not self._watch.follow(name, executor):
            self._blind.add(name)
            return bootc.facts()
        self._listened.add(name)
        try:
            return bootc.facts()
        except HostError as error:
            if error.fault is not HostFault.CONNECTION_LOST:
                raise
        # Who speaks may hold the only session that the server allows (MaxSessions 1), and on
        # that connection for as long as its loop has not noticed the end.
        self._watch.forget(name)
        executor.close()
        facts = bootc.facts()
        self._listened.discard(name)
        self._blind.add(name)
        return facts
