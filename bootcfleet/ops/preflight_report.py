"""What a preflight found out: a report for each host, and what is common to all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bootcfleet.domain.download import Download
from bootcfleet.domain.hosttruth import OSTREE_TIMER, HostTruth
from bootcfleet.domain.image import Resolved
from bootcfleet.domain.preflight import Sentence, sentences
from bootcfleet.domain.preflight_case import Finding, Severity
from bootcfleet.domain.reference import ImageRef
from bootcfleet.drivers.bootc import HostFacts
from bootcfleet.errors import FleetError


@dataclass(frozen=True)
class PreflightReport:
    """What was found out about one host.

    `facts` are as `BootcHost.facts` has them, None where bootc did not answer; `truth` is None for
    a host that could not be spoken to.  `reference` is what the host is to become, `download` what
    it needs for that, `exact` unless some of its own images are not known any more.
    """

    host: str
    truth: HostTruth | None = None
    facts: HostFacts | None = None
    reference: ImageRef | None = None
    download: Download | None = None
    exact: bool = True
    current: bool = False
    findings: tuple[Finding, ...] = ()
    unreachable: FleetError | None = None

    @property
    def error(self) -> FleetError | None:
        """Why there are no `facts`: it cannot be spoken to, or its bootc does not answer."""
        return self.unreachable or (self.truth.problem if self.truth else None)

    @property
    def refusals(self) -> tuple[Finding, ...]:
        """Why the host stays out; each has a fault."""
        return self._of(Severity.REFUSE)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What is said and changes nothing."""
        return self._of(Severity.WARN)

    @property
    def confirmations(self) -> tuple[Finding, ...]:
        """What must be acknowledged first."""
        return self._of(Severity.CONFIRM)

    @property
    def system_state(self) -> str:
        """What ``systemctl is-system-running`` said."""
        return self.truth.system_state if self.truth else "unknown"

    @property
    def failed_units(self) -> tuple[str, ...]:
        """The units that had failed before."""
        return self.truth.failed_units if self.truth else ()

    @property
    def zone(self) -> str | None:
        """The host's own time zone."""
        return self.truth.zone if self.truth else None

    @property
    def timer(self) -> bool:
        """Whether a timer of bootc or rpm-ostree updates the host, and is to be inhibited."""
        return self.truth.timer or self.truth.runs(OSTREE_TIMER) if self.truth else False

    @property
    def result(self) -> str:
        """One word: ``refused``, ``confirm``, ``warned``, ``unchanged`` or ``ready``."""
        if self.refusals:
            return "refused"
        if self.current:
            return "unchanged"
        if self.confirmations:
            return "confirm"
        return "warned" if self.findings else "ready"

    def to_json(self) -> dict[str, Any]:
        """As JSON-ready data; sizes in bytes."""
        return {
            "host": self.host,
            "result": self.result,
            "reference": str(self.reference) if self.reference else None,
            "download": self.download.size if self.download else None,
            "download_exact": self.exact,
            "findings": [one.to_json() for one in self.findings],
            "facts": self.truth.to_json() if self.truth else None,
        }

    def _of(self, severity: Severity) -> tuple[Finding, ...]:
        return tuple(one for one in self.findings if one.severity is severity)


@dataclass(frozen=True)
class Preflight:
    """All reports, what each reference is, and the errors of registries asked from here.

    `notes` are what could not be found out of images.
    """

    reports: Mapping[str, PreflightReport]
    resolved: Mapping[str, Resolved] = field(default_factory=dict)
    problems: tuple[FleetError, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def confirmations(self) -> tuple[Sentence, ...]:
        """What must be acknowledged; of hosts that stay out nothing needs to be."""
        return self.sentences(Severity.CONFIRM)

    def sentences(self, *severities: Severity) -> tuple[Sentence, ...]:
        """The findings of `severities` (all without any), the same of several hosts said once.

        Of hosts that stay out only the refusals.
        """
        return sentences(
            (
                (host, finding)
                for host, report in self.reports.items()
                for finding in report.refusals or report.findings
            ),
            *severities,
        )

    @property
    def refused(self) -> tuple[str, ...]:
        """The hosts that stay out."""
        return tuple(host for host, report in self.reports.items() if report.refusals)
