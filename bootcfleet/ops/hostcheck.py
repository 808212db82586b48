"""Which checks of images the hosts of a rollout get after their reboot.

The checks that a digest was checked with are in its evidence: they hold for
that digest, whatever the project says today. A digest without evidence gets the
project's checks of now.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

from bootcfleet.domain.check import Check, Mode, Outcome
from bootcfleet.domain.evidence import EvidenceKind
from bootcfleet.domain.rollout import Operation, Rollout, Target
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.ops.audit import open_ledger
from bootcfleet.ops.check import project_checks
from bootcfleet.ops.checkstatus import repository_image
from bootcfleet.ops.evidence import latest_evidence
from bootcfleet.ops.fleet import Fleet
from bootcfleet.ops.project import LoadedProject
from bootcfleet.ops.render import ProjectImages


@dataclass(frozen=True)
class HostChecks:
    """The checks of one host's image, and where they come from."""

    image: str
    checks: tuple[Check, ...]
    why: str


def host_checks(
    loaded: LoadedProject | None, rollout: Rollout, fleet: Fleet
) -> dict[str, HostChecks]:
    """The image's checks of every host that the rollout moves; hosts without any are left out.

    Outside of a project there are none. Raises `ConfigError` for checks of the
    project that are wrong, so that a rollout does not begin with them.
    """
    if loaded is None or not rollout.targets:
        return {}
    finder = _Finder(loaded, rollout.operation)
    found: dict[str, HostChecks] = {}
    with closing(open_ledger(loaded)) as ledger:
        for name, target in rollout.targets.items():
            if fleet.hosts[name].image_checks:
                checks = finder.find(target, ledger)
                if checks is not None and checks.checks:
                    found[name] = checks
    return found


def by_origin(found: Mapping[str, HostChecks]) -> list[str]:
    """Sentences for people: how many checks, of which image, for whom."""
    groups: dict[tuple[str, int, str], list[str]] = {}
    for host, own in found.items():
        groups.setdefault((own.image, len(own.checks), own.why), []).append(host)
    return [
        f"after the reboot: {count} checks of {image} ({why}): {', '.join(hosts)}"
        for (image, count, why), hosts in groups.items()
    ]


class _Finder:
    """Finds the checks of a target; each kind of target once."""

    def __init__(self, loaded: LoadedProject, operation: Operation) -> None:
        self._loaded = loaded
        self._operation = operation
        self._images: ProjectImages | None = None
        self._known: dict[tuple[str | None, frozenset[str]], HostChecks | None] = {}

    def find(self, target: Target, ledger: Ledger) -> HostChecks | None:
        key = (target.reference, target.accepted)
        if key not in self._known:
            self._known[key] = self._proven(target, ledger) or self._current(target)
        return self._known[key]

    def _proven(self, target: Target, ledger: Ledger) -> HostChecks | None:
        """The checks that this very digest was checked with."""
        every = [latest_evidence(ledger, EvidenceKind.CHECK, one) for one in target.accepted]
        there = [one for one in every if one is not None and "checks" in one.details]
        if not there:
            return None
        newest = max(there, key=lambda evidence: evidence.at)
        checks = tuple(Check.from_json(body) for body in newest.details["checks"])
        return HostChecks(newest.image, _here(checks), "as this digest was checked")

    def _current(self, target: Target) -> HostChecks | None:
        """The project's checks of now; an older image, gone back to, need not fulfil them."""
        if target.reference is None or self._operation not in (
            Operation.UPGRADE,
            Operation.SWITCH,
        ):
            return None
        images = self._images or ProjectImages.open(self._loaded, LocalExecutor())
        self._images = images
        name = repository_image(images, target.reference)
        if name is None:
            return None
        why = "as the project has them now; this digest was never checked"
        return HostChecks(name, _here(project_checks(images, name)), why)


def _here(checks: tuple[Check, ...]) -> tuple[Check, ...]:
    return tuple(check for check in checks if check.decided(Mode.HOST) is not Outcome.NOT_HERE)
