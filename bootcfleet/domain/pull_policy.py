"""A rollout in pull mode as data: its channels and their conditions, its plan, who is sampled."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from bootcfleet.domain.gate import span
from bootcfleet.domain.limit import Limit
from bootcfleet.domain.rollout_policy import MetricGate, NotifyTarget
from bootcfleet.domain.window import Windows

#: bootc's own timer looks 8 hours after the last time and waits up to 2 hours more (field note
#: *bootc on a host*); download and reboot take the rest.
DEADLINE = 12 * 3600.0
#: So many openings tell how far apart they are: those of each day of a week, twice.
_OPENINGS = 15


@dataclass(frozen=True)
class PullChannel:
    """One channel of a rollout in pull mode: the hosts that follow it are a wave.

    `hosts` is a selector as on the command line; without it, the hosts follow the channel whose
    ``image:`` in the inventory is the channel's tag.  `sample` of them are asked, and `success`
    is the least percentage of these that must run the new digest and be healthy within
    `deadline`, for as long as `bake` (both in seconds).  `gates` must hold before the promotion
    and while it bakes; `approve`: it waits for ``rollout approve``.
    """

    name: str
    sample: Limit = field(default_factory=lambda: Limit(20))
    success: int = 90
    bake: float = 0.0
    deadline: float = DEADLINE
    hosts: str = ""
    gates: tuple[MetricGate, ...] = ()
    approve: bool = False


@dataclass(frozen=True)
class PullPolicy:
    """The channels in their order; `poll` is in seconds, between two looks at the sample.

    A sampled host that was good and then is silent counts as lost after `silence` seconds:
    hosts reboot for other reasons, too.  `notify` are the webhooks that are told.
    """

    channels: tuple[PullChannel, ...]
    poll: float = 300.0
    silence: float = 900.0
    name: str = "default"
    notify: tuple[NotifyTarget, ...] = ()


@dataclass(frozen=True)
class PullPlan:
    """What a rollout in pull mode is to do, decided once.

    `digest` is what is promoted, `accepted` the digests that a host may say that it runs then (an
    index, and the manifests of its platforms); `source` is where it came from.  `references` are
    the tags that the hosts follow and `followers` how many these are, by channel.
    """

    id: str
    image: str
    digest: str
    accepted: frozenset[str]
    source: str
    policy: PullPolicy
    references: Mapping[str, str]
    followers: Mapping[str, int]
    version: str | None = None
    inventory: str = ""

    @property
    def channels(self) -> tuple[PullChannel, ...]:
        """The channels, in the order in which they are promoted."""
        return self.policy.channels

    def wanted(self, channel: PullChannel) -> int:
        """How many hosts of a channel are sampled: not more than follow it."""
        followers = self.followers.get(channel.name, 0)
        return min(followers, channel.sample.of(followers)) if followers else 0


def needed(channel: PullChannel, wanted: int) -> int:
    """How many of `wanted` sampled hosts must be good: percentages rounded up."""
    return -(-wanted * channel.success // 100)


def too_short(policy: PullPolicy, windows: Windows, now: datetime) -> tuple[str, ...]:
    """What to say of channels whose deadline ends before their hosts have all looked.

    `windows` are those of the whole policy, to whose beginnings the timers of its hosts are set.
    """
    wait = timedelta(seconds=_between(windows, now))
    return tuple(
        f"{rule.name}: by the windows of {policy.name}, a host may look {span(wait)} after the "
        f"promotion, and who has not moved within {span(timedelta(seconds=rule.deadline))} counts "
        "as failed: set its deadline"
        for rule in policy.channels
        if rule.sample.number and rule.deadline < wait.total_seconds()
    )


def _between(windows: Windows, now: datetime) -> float:
    """The longest time between two openings, of the next few, in seconds."""
    # A timer knows no blackout.
    windows = replace(windows, blackout=())
    longest, last, closed = 0.0, None, now
    for _ in range(_OPENINGS if windows.windows else 0):
        opening = windows.next_opening(closed)
        closes = windows.closing(opening) if opening else None
        if opening is None or closes is None:
            break
        if last is not None:
            longest = max(longest, (opening - last).total_seconds())
        # The first one may be open by now: it began before.
        last, closed = opening if opening > now else None, closes
    return longest


def candidates(hosts: Iterable[str], *, rollout: str, channel: str, count: int) -> list[str]:
    """The first `count` hosts in an order that is random, and the same for the same rollout.

    Chosen by hash: nobody's favourites, no generator whose state a crash would lose, and who is
    sampled in one channel says nothing about who is in the next.
    """

    def rank(host: str) -> tuple[bytes, str]:
        return hashlib.sha256(f"{rollout}\0{channel}\0{host}".encode()).digest(), host

    return heapq.nsmallest(count, hosts, key=rank)
