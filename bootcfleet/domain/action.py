"""What the controller of a rollout can do, and what it knows when it asks what to do next."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from bootcfleet.domain.rollout import HostState, Observation
from bootcfleet.domain.rollout_journal import NewEntry


class ActionKind(StrEnum):
    """One thing to do, with a host or (the last two) for a wave."""

    OBSERVE = "observe"
    #: Look at a host that could not be asked before, and find what it should become.
    PLAN = "plan"
    STAGE = "stage"
    QUEUE_ROLLBACK = "queue-rollback"
    DRAIN = "drain"
    REBOOT = "reboot"
    CHECK = "check"
    UNDRAIN = "undrain"
    #: Find out what went wrong on a host.
    EVIDENCE = "evidence"
    #: Look once more at a host at the end of its wave's bake time.
    BAKE = "bake"
    #: Put the update timer back and give the host's lock up.
    RELEASE = "release"
    #: Take back what is staged or queued, on a host that is not to be rebooted after all.
    DISCARD = "discard"
    #: Nothing: only the state changes.
    CONCLUDE = "conclude"
    GATE = "gate"
    HOOK = "hook"


@dataclass(frozen=True)
class Action:
    """Do `kind` with `host`, for `reason`; `state` is the intent to write down before.

    An action of a wave has no host and no state, but `wave`; a hook's `when` is before or after
    it, and a gate's is its name.
    """

    kind: ActionKind
    host: str
    reason: str
    state: HostState = field(default_factory=HostState)
    wave: int = 0
    when: str = ""

    @property
    def key(self) -> str:
        """What it works on: no two actions with the same key run at once."""
        return self.host or f"{self.kind} {self.wave} {self.when}"


@dataclass(frozen=True)
class GateAnswer:
    """What a metric gate said at a moment; `answered` is False when it could not be asked."""

    ok: bool
    message: str
    at: datetime
    answered: bool = True


@dataclass(frozen=True)
class World:
    """What is known besides the journal; all of it may be lost in a crash.

    `busy` are the keys of actions that run, `room` how many more may be begun.  `looked` is when
    a host that had not come back was looked for last; `baked` and `released` are hosts that
    need no more of it.
    """

    seen: Mapping[str, Observation] = field(default_factory=dict)
    busy: Collection[str] = frozenset()
    room: int = 1_000_000
    gates: Mapping[str, GateAnswer] = field(default_factory=dict)
    looked: Mapping[str, datetime] = field(default_factory=dict)
    baked: Collection[str] = frozenset()
    released: Collection[str] = frozenset()


@dataclass(frozen=True)
class Waiting:
    """Why nothing happens with a wave or some hosts, for people."""

    what: str
    why: str


@dataclass(frozen=True)
class Step:
    """What to do now.

    `entries` are judgements to be written down at once, after which to ask again; only when
    there are none are `actions` to be begun.  Without either, ask again at `wake` or when
    something has happened.
    """

    entries: tuple[NewEntry, ...] = ()
    actions: tuple[Action, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    wake: datetime | None = None
