"""Whether one more host may download or be rebooted, without going over a budget.

The counters are kept up as hosts come and go, so that a question costs the same for ten
hosts and for a hundred thousand.  Only hosts of the rollout count, and percentages are of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from bootcfleet.domain.inventory import Host
from bootcfleet.domain.limit import Limit
from bootcfleet.domain.rollout_policy import Budgets

#: So many names stand in a sentence.
_NAMED = 3


class Budget:
    """The disruption budgets of a rollout, and who uses them up at the moment.

    Three sets are kept, and the methods that change them may be called again for a host without
    harm: hosts that are *away* (from before their drain until they are well again, and
    those that are down), hosts that *reboot*, and hosts that *download*.

    Every method raises `KeyError` for a host that is not of the rollout.
    """

    def __init__(self, budgets: Budgets, hosts: Sequence[Host]) -> None:
        labels = {host.name: host.labels for host in hosts}
        self._away = _Set("away", labels)
        self._away.limit("max_unavailable", budgets.max_unavailable)
        for label in budgets.group_by:
            self._away.limit_each("max_unavailable_per_group", label, budgets.per_group)
        self._reboots = _Set("rebooting", labels)
        self._reboots.limit("reboots", _count(budgets.reboots))
        if budgets.reboots_label is not None:
            each = _count(budgets.reboots_per)
            self._reboots.limit_each("reboots_per", budgets.reboots_label, each)
        self._downloads = _Set("downloading", labels)
        self._downloads.limit("downloads", _count(budgets.downloads))
        if budgets.downloads_label is not None:
            each = _count(budgets.downloads_per)
            self._downloads.limit_each("downloads_per", budgets.downloads_label, each)

    def away(self, host: str) -> None:
        """The host is not available to its users from now on."""
        self._away.enter(host)

    def back(self, host: str) -> None:
        """The host is available again; its reboot is over too."""
        self._away.leave(host)
        self._reboots.leave(host)

    def rebooting(self, host: str) -> None:
        """The host reboots from now on, and is away by that."""
        self._reboots.enter(host)
        self._away.enter(host)

    def rebooted(self, host: str) -> None:
        """The reboot is over; the host stays away until `back`."""
        self._reboots.leave(host)

    def downloading(self, host: str) -> None:
        """The host downloads from now on."""
        self._downloads.enter(host)

    def downloaded(self, host: str) -> None:
        """The download is over, well or not."""
        self._downloads.leave(host)

    def reboot_blocked(self, host: str) -> str | None:
        """Why the host may not be taken away and rebooted now: which budget, who uses it up.

        A host that is away already (it was drained, or is down) takes nothing more of
        `max_unavailable`.  None when it may.
        """
        return self._away.blocked(host) or self._reboots.blocked(host)

    def download_blocked(self, host: str) -> str | None:
        """Why the host may not download now, or None."""
        return self._downloads.blocked(host)


@dataclass
class _Group:
    """Hosts that share a maximum; `within` are those that use it up now, in their order."""

    what: str
    most: int
    within: dict[str, None] = field(default_factory=dict)


class _Set:
    """Hosts that do something at the moment, and the maxima that this is under."""

    def __init__(self, doing: str, labels: Mapping[str, Mapping[str, str]]) -> None:
        self._doing = doing
        self._labels = labels
        self._all: _Group | None = None
        self._each: list[tuple[str, dict[str, _Group]]] = []

    def limit(self, what: str, most: Limit | None) -> None:
        if most is not None:
            self._all = _Group(what, most.at_most(len(self._labels)))

    def limit_each(self, what: str, label: str, most: Limit | None) -> None:
        """A maximum for each value of `label`; hosts without the label are under none."""
        if most is not None:
            sizes = Counter(of[label] for of in self._labels.values() if label in of)
            groups = {
                value: _Group(f"{what}: {label}={value}", most.at_most(size))
                for value, size in sizes.items()
            }
            self._each.append((label, groups))

    def enter(self, host: str) -> None:
        for group in self._groups(host):
            group.within[host] = None

    def leave(self, host: str) -> None:
        for group in self._groups(host):
            group.within.pop(host, None)

    def blocked(self, host: str) -> str | None:
        for group in self._groups(host):
            if host not in group.within and len(group.within) >= group.most:
                return self._sentence(group)
        return None

    def _groups(self, host: str) -> Iterator[_Group]:
        labels = self._labels[host]
        if self._all is not None:
            yield self._all
        for label, groups in self._each:
            if label in labels:
                yield groups[labels[label]]

    def _sentence(self, group: _Group) -> str:
        used = len(group.within)
        names = ", ".join(islice(group.within, _NAMED))
        more = f" and {used - _NAMED} more" if used > _NAMED else ""
        verb = "is" if used == 1 else "are"
        return f"{group.what}: {used} of at most {group.most} {verb} {self._doing} ({names}{more})"


def _count(number: int | None) -> Limit | None:
    return None if number is None else Limit(number)
