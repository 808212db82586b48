"""Channels: a tag with a history.  Its entries, the chain that holds them, and a move's plan."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Self

from bootcfleet.domain.audit import GENESIS
from bootcfleet.domain.gate import GateResult
from bootcfleet.domain.reference import Digest, ImageRef

#: An image of the project, and a channel: what has a history.
Pair = tuple[str, str]

HISTORY_TYPE = "application/vnd.bootcfleet.channel-history.v1+jsonl"


class ChannelAction(StrEnum):
    """Why a channel's tag was moved."""

    PROMOTE = "promote"
    ROLLBACK = "rollback"
    IMPORT = "import"
    REPAIR = "repair"
    REVOKE = "revoke"


@dataclass(frozen=True)
class ChannelEntry:
    """One move of a channel's tag, in the history of its image and channel.

    `number` counts from 1; `previous_digest` is what the tag pointed at before, `keep` the
    tag that never moves and keeps `digest` in the registry, `source` where it came from
    (a channel, ``build``, a tag or digest), `gates` what the gates said, `train` the id
    of the moves that belong together.  `hash` covers every other field and the hash of
    the entry before.
    """

    image: str
    channel: str
    number: int
    repository: str
    digest: str
    media_type: str
    size: int
    previous_digest: str | None
    version: str | None
    keep: str
    at: datetime
    actor: str
    action: ChannelAction
    why: str
    source: str
    gates: tuple[Mapping[str, Any], ...]
    train: str
    previous: str = GENESIS
    hash: str = ""

    @property
    def pair(self) -> Pair:
        """Which history it is in."""
        return self.image, self.channel

    @property
    def reference(self) -> ImageRef:
        """The image by its digest, in the channel's repository."""
        return ImageRef.parse(self.repository).with_digest(Digest(self.digest))

    def sealed(self) -> ChannelEntry:
        """The entry with its hash."""
        return replace(self, hash=self.seal())

    def seal(self) -> str:
        """SHA-256 over the entry's canonical JSON (sorted keys, no spaces, UTC)."""
        body = self.to_json()
        del body["hash"]
        return hashlib.sha256(canonical(body)).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The entry as a JSON object; the keys are stable."""
        return {
            **asdict(self),
            "at": self.at.astimezone(UTC).isoformat(timespec="microseconds"),
            "action": self.action.value,
            "gates": [dict(gate) for gate in self.gates],
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        """Read an entry.  Raises `TypeError`, `ValueError`, `KeyError` for what is none."""
        entry = cls(
            **{
                **body,
                "at": datetime.fromisoformat(body["at"]),
                "action": ChannelAction(body["action"]),
                "gates": tuple(dict(gate) for gate in body["gates"]),
            }
        )
        Digest(entry.digest)
        ImageRef.parse(entry.repository)
        if entry.to_json() != dict(body):
            raise ValueError("it is not in the form that it is written in")
        return entry


def canonical(body: Mapping[str, Any]) -> bytes:
    """The one way to write a JSON object: sorted keys, no spaces, UTF-8."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")


def check_history(entries: Sequence[ChannelEntry]) -> str | None:
    """Why a history, given from its first entry on, does not hold; None when it does."""
    previous: ChannelEntry | None = None
    for number, entry in enumerate(entries, 1):
        if entry.number != number:
            return f"entry {number} is missing: entry {entry.number} stands in its place"
        if previous is not None and entry.pair != previous.pair:
            return f"entry {number} is of another history"
        if entry.previous != (previous.hash if previous else GENESIS):
            return f"entry {number} does not follow the entry before it"
        if entry.seal() != entry.hash:
            return f"entry {number} was changed after it was written"
        previous = entry
    return None


def since(entries: Sequence[ChannelEntry]) -> datetime | None:
    """Since when the channel is on its digest without a break; None for an empty history."""
    found = None
    for entry in reversed(entries):
        if entry.digest != entries[-1].digest:
            break
        found = entry.at
    return found


@dataclass(frozen=True)
class Move:
    """One tag that is to be moved, everything decided.

    `number` is the entry that this will be, `before` what the tag points at now (None:
    there is no such tag), `keep` and `keep_before` the tags that keep both in the
    registry; `origin` is the repository that the manifest is in, where it is another
    than the channel's.
    """

    image: str
    channel: str
    repository: str
    digest: str
    media_type: str
    size: int
    before: str | None
    number: int
    keep: str
    keep_before: str | None
    action: ChannelAction
    why: str
    source: str
    version: str | None = None
    origin: str | None = None
    gates: tuple[GateResult, ...] = ()

    @property
    def pair(self) -> Pair:
        """Which history it will be in."""
        return self.image, self.channel

    @property
    def reference(self) -> ImageRef:
        """The image by its digest, in the channel's repository."""
        return ImageRef.parse(self.repository).with_digest(Digest(self.digest))

    @property
    def tag(self) -> ImageRef:
        """The channel's tag."""
        return ImageRef.parse(self.repository).with_tag(self.channel)

    def entry(self, intent: Intent, previous: str) -> ChannelEntry:
        """The entry that it becomes in its history, once it is done."""
        return ChannelEntry(
            image=self.image,
            channel=self.channel,
            number=self.number,
            repository=self.repository,
            digest=self.digest,
            media_type=self.media_type,
            size=self.size,
            previous_digest=self.before,
            version=self.version,
            keep=self.keep,
            at=intent.at,
            actor=intent.actor,
            action=self.action,
            why=self.why,
            source=self.source,
            gates=tuple(gate.to_json() for gate in self.gates),
            train=intent.train,
            previous=previous,
        ).sealed()

    def to_json(self) -> dict[str, Any]:
        """The move as JSON-ready data."""
        return {
            **asdict(self),
            "action": self.action.value,
            "gates": [gate.to_json() for gate in self.gates],
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        """Read a move that `to_json` wrote."""
        gates = tuple(
            GateResult(gate["gate"], gate["ok"], gate["message"], gate["hint"])
            for gate in body["gates"]
        )
        return cls(**{**body, "action": ChannelAction(body["action"]), "gates": gates})


@dataclass(frozen=True)
class Intent:
    """Moves that are done whole or not at all, by whom and since when."""

    train: str
    at: datetime
    actor: str
    moves: tuple[Move, ...]

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The histories that it will be in."""
        return tuple(move.pair for move in self.moves)


class Standing(StrEnum):
    """Where a tag stands, seen from a move."""

    BEFORE = "before"
    DONE = "done"
    ELSEWHERE = "elsewhere"


def standing(move: Move, found: str | None) -> Standing:
    """Where the move's tag stands when it points at `found` (None: it is not there)."""
    if found == move.digest:
        return Standing.DONE
    return Standing.BEFORE if found == move.before else Standing.ELSEWHERE


@dataclass(frozen=True)
class Settlement:
    """What is to become of moves that were begun.

    `finish`: all are done, and their entries are due.  Otherwise the tags of
    `put_back` go back to where they were; those of `foreign` were moved by somebody
    else, and stay.
    """

    finish: bool
    put_back: tuple[Move, ...] = field(default=())
    foreign: tuple[Move, ...] = field(default=())


def settle(moves: Iterable[Move], found: Mapping[Pair, str | None]) -> Settlement:
    """What to do about begun moves, from what their tags point at now and nothing else."""
    stands = [(move, standing(move, found[move.pair])) for move in moves]
    if all(stand is Standing.DONE for _, stand in stands):
        return Settlement(True)
    return Settlement(
        False,
        # A tag that did not exist goes first: whether it can be deleted decides about the rest.
        put_back=tuple(
            sorted(
                (m for m, stand in stands if stand is Standing.DONE and m.before != m.digest),
                key=lambda move: move.before is not None,
            )
        ),
        foreign=tuple(move for move, stand in stands if stand is Standing.ELSEWHERE),
    )


def keep_tag(channel: str, digest: str, at: datetime) -> str:
    """The tag that keeps a digest of a history: ``prod-20261121T0301Z-9f8e7d6c5b4a``."""
    return f"{channel}-{at.astimezone(UTC):%Y%m%dT%H%MZ}-{digest.removeprefix('sha256:')[:12]}"


def history_tag(channel: str) -> str:
    """The tag of a channel's history in the image's repository."""
    return f"channel-{channel}.history"
