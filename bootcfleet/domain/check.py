"""A check: one fact that an image, and the host that runs it, must have.

Kinds of checks are pydantic models, one for each first key of an entry in
``checks.yaml``; `domain/checkfile.py` reads such files, `domain/checkjudge.py`
compares with what was found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bootcfleet.domain.checkkinds import KINDS, CheckSpec, Needs, UnitCheck
from bootcfleet.domain.evidence import EvidenceOutcome
from bootcfleet.errors import FleetError

#: Seconds that a check of a booted system is tried for: services need time to start.
WITHIN = 30.0
#: The longest text of one finding that is kept.
MAX_TEXT = 300


class Mode(StrEnum):
    """Where checks run: in a container without or with systemd, or on a host."""

    PLAIN = "plain"
    BOOTED = "booted"
    HOST = "host"


class Outcome(StrEnum):
    """How one check ended; `NOT_HERE` is meant for the other place (image or host)."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    NOT_HERE = "not-here"


@dataclass(frozen=True)
class Check:
    """One check of one thing.

    `image` is whose checks it belongs to (a parent's run again in every child),
    `file` and `line` where it is written. `within` is in seconds: how long a
    check of a booted system is tried.
    """

    name: str
    target: str
    spec: CheckSpec
    needs: Needs | None = None
    optional: bool = False
    within: float = WITHIN
    image: str = ""
    file: str = ""
    line: int | None = None

    @property
    def kind(self) -> str:
        """The first key of its entry: file, package, unit, …"""
        return self.spec.kind()

    @property
    def where(self) -> str:
        """FILE:LINE for people."""
        return f"{self.file}:{self.line}" if self.line is not None else self.file

    @property
    def running(self) -> bool:
        """Whether it asks a running system, which may need a moment."""
        return self.needs in (Needs.BOOT, Needs.HOST) or self.spec.asks_running()

    def decided(self, mode: Mode) -> Outcome | None:
        """The outcome that stands before anything is asked; None when it is to be run."""
        if (self.needs is Needs.HOST and mode is not Mode.HOST) or (
            self.needs is Needs.IMAGE and mode is Mode.HOST
        ):
            return Outcome.NOT_HERE
        if mode is Mode.PLAIN and self.running:
            return Outcome.SKIPPED
        return None

    def meaning(self) -> dict[str, Any]:
        """What is checked, as JSON-ready data, without where it is written."""
        return {
            "name": self.name,
            "kind": self.kind,
            "target": self.target,
            "needs": self.needs.value if self.needs else None,
            "optional": self.optional,
            "within": self.within,
            "spec": self.spec.model_dump(mode="json", exclude_unset=True),
        }

    def to_json(self) -> dict[str, Any]:
        """Everything, so that `from_json` makes the same check of it."""
        return {**self.meaning(), "image": self.image, "file": self.file, "line": self.line}

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Check:
        """Read what `to_json` wrote.  Raises `FleetError` for what another version wrote."""
        try:
            spec = KINDS[body["kind"]].model_validate(body["spec"])
            return cls(
                name=str(body["name"]),
                target=str(body["target"]),
                spec=spec,
                needs=Needs(body["needs"]) if body["needs"] else None,
                optional=bool(body["optional"]),
                within=float(body["within"]),
                image=str(body.get("image", "")),
                file=str(body.get("file", "")),
                line=body.get("line"),
            )
        except (LookupError, ValueError, TypeError) as error:
            raise FleetError(f"a check in the ledger cannot be read: {error}") from error


@dataclass(frozen=True)
class CheckResult:
    """How a check ended; `expected` and `found` say why it failed, `found` why it was skipped."""

    check: Check
    outcome: Outcome
    expected: str = ""
    found: str = ""

    @property
    def counts(self) -> bool:
        """Whether it keeps the whole from being green."""
        bad = self.outcome in (Outcome.FAILED, Outcome.SKIPPED)
        return bad and not self.check.optional

    @property
    def message(self) -> str:
        """One sentence; empty for a check that passed."""
        match self.outcome:
            case Outcome.FAILED:
                return f"expected {self.expected}, found {self.found}"
            case Outcome.SKIPPED | Outcome.NOT_HERE:
                return self.found
            case _:
                return ""

    def to_json(self) -> dict[str, Any]:
        """The result as JSON-ready data."""
        return {
            "name": self.check.name,
            "kind": self.check.kind,
            "image": self.check.image,
            "where": self.check.where,
            "outcome": self.outcome.value,
            "optional": self.check.optional,
            "expected": self.expected,
            "found": self.found,
        }


@dataclass(frozen=True)
class CheckReport:
    """All results of one image.

    `reference` is what ran, `digest` what the evidence is about: the registry's
    digest, or the image id where it was not pushed (`local`). `mode_reason` says
    why it was not booted, or what systemd complained of. `checks_hash` changes with the checks.
    """

    image: str
    reference: str
    digest: str
    mode: Mode
    results: tuple[CheckResult, ...]
    checks_hash: str
    mode_reason: str = ""
    seconds: float = 0.0
    container: str | None = None

    @property
    def local(self) -> bool:
        """Whether the image has only an id, because it was not pushed."""
        return "@" not in self.reference

    def of(self, *outcomes: Outcome) -> tuple[CheckResult, ...]:
        """The results that ended so."""
        return tuple(result for result in self.results if result.outcome in outcomes)

    @property
    def outcome(self) -> EvidenceOutcome:
        """Failed, skipped (also where nothing was checked), or passed."""
        counting = {result.outcome for result in self.results if result.counts}
        if Outcome.FAILED in counting:
            return EvidenceOutcome.FAILED
        if Outcome.SKIPPED in counting or not self.of(Outcome.PASSED):
            return EvidenceOutcome.SKIPPED
        return EvidenceOutcome.PASSED

    @property
    def ok(self) -> bool:
        """Whether the image is green."""
        return self.outcome is EvidenceOutcome.PASSED

    @property
    def counts(self) -> dict[str, int]:
        """How many ended how."""
        return {outcome.value: len(self.of(outcome)) for outcome in Outcome}

    @property
    def summary(self) -> str:
        """One line: ``12 passed, 1 failed (booted)``."""
        return f"{counted(self.counts) or 'no checks'} ({self.mode})"

    def to_json(self) -> dict[str, Any]:
        """The report as JSON-ready data; the keys are stable."""
        return {
            "image": self.image,
            "reference": self.reference,
            "digest": self.digest,
            "local": self.local,
            "outcome": self.outcome.value,
            "ok": self.ok,
            "mode": self.mode.value,
            "mode_reason": self.mode_reason,
            "checks_hash": self.checks_hash,
            "counts": self.counts,
            "seconds": round(self.seconds, 3),
            "container": self.container,
            "checks": [result.to_json() for result in self.results],
        }


def counted(counts: Mapping[str, int]) -> str:
    """How many checks of an image ended how: ``12 passed, 1 failed, 2 only for hosts``."""
    words = {Outcome.NOT_HERE: "only for hosts"}
    return ", ".join(f"{counts[o]} {words.get(o, o.value)}" for o in Outcome if counts.get(o))


def split_units(spec: CheckSpec) -> tuple[CheckSpec, ...]:
    """A unit's state on disk and its running state are two checks: the first needs no boot."""
    if not isinstance(spec, UnitCheck):
        return (spec,)
    rest = spec.model_dump(exclude_unset=True)
    still = {key: value for key, value in rest.items() if key not in ("active", "failed")}
    live = {key: value for key, value in rest.items() if key not in ("enabled", "masked")}
    found = []
    if not spec.asks_running() or still.keys() & {"enabled", "masked"}:
        found.append(UnitCheck.model_validate(still))
    if spec.asks_running():
        found.append(UnitCheck.model_validate(live))
    return tuple(found)


def bounded(text: str, limit: int = MAX_TEXT) -> str:
    """A text on one line, printable, and not longer than `limit` characters."""
    plain = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return plain if len(plain) <= limit else f"{plain[: limit - 1]}…"
