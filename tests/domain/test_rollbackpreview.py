"""What a rollback says beforehand."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from bootcfleet.domain.bootc import BootcStatus, parse_status
from bootcfleet.domain.imagestanding import ImageStanding, Standings
from bootcfleet.domain.lifecycle import Life
from bootcfleet.domain.preflight_case import Severity
from bootcfleet.domain.revocation import Revoked
from bootcfleet.domain.rollbackpreview import RollbackPreview, preview_rollback
from bootcfleet.errors import HostFault
from tests.machines import NEW, OLD, OTHER, Machine

REVOKED = Revoked(OLD, "web", "CVE-2026-1", datetime(2026, 11, 21, tzinfo=UTC), "bob@desk")
ENDED = Life("web", date(2026, 10, 1), "web", -51, 30)


def preview(standing: ImageStanding | None = None, **slots: Any) -> RollbackPreview:
    status = parse_status(Machine("h", **({"booted": NEW, "rollback": OLD} | slots)).status())
    standings = Standings({OLD: standing}) if standing else None
    found = preview_rollback("h", status, standings)
    json.dumps(found.to_json())
    return found


def rules(found: RollbackPreview) -> list[tuple[str, Severity]]:
    return [(one.rule, one.severity) for one in found.findings]


def test_what_a_host_returns_to() -> None:
    found = preview()
    assert found.refusal is None
    assert found.line == "returns to 1.0 aaaaaaaaaaaa from 1.1 bbbbbbbbbbbb"
    assert rules(found) == [("etc", Severity.WARN)]
    assert "gets back the /etc of 1.0 aaaaaaaaaaaa" in found.notes[0].message


@pytest.mark.parametrize(
    ("status", "fault", "words"),
    [
        (
            parse_status(Machine("h").status()),
            HostFault.NO_ROLLBACK,
            "has no rollback deployment",
        ),
        (
            replace(
                parse_status(Machine("h", rollback=OLD).status()),
                rollback=replace(parse_status(Machine("h").status()).booted, image=None),  # type: ignore[type-var]
            ),
            HostFault.NO_ROLLBACK,
            "without an image",
        ),
        (
            replace(parse_status(Machine("h").status()), booted=None, type=None),
            HostFault.NOT_BOOTC_BOOTED,
            "is not booted by bootc",
        ),
    ],
)
def test_who_cannot_go_back(status: BootcStatus, fault: HostFault, words: str) -> None:
    found = preview_rollback("h", status)
    assert found.refusal is not None
    assert found.refusal.fault is fault
    assert words in found.refusal.message
    assert found.line == "stays as it is"


def test_what_is_to_be_known_first() -> None:
    etc = ("etc", Severity.WARN)
    assert rules(preview(staged=OTHER)) == [("staged", Severity.CONFIRM), etc]
    assert rules(preview(queued=True)) == [etc, ("queued", Severity.WARN)]
    assert rules(preview(rollback=NEW)) == [etc, ("same-image", Severity.WARN)]
    assert rules(preview(ImageStanding(revoked=REVOKED))) == [
        ("rollback-revoked", Severity.CONFIRM),
        etc,
    ]
    assert rules(preview(ImageStanding(life=ENDED))) == [
        ("rollback-end-of-life", Severity.WARN),
        etc,
    ]
    assert rules(preview(ImageStanding(life=replace(ENDED, days=2)))) == [etc]
    status = parse_status(Machine("h", booted=NEW, rollback=OLD).status())
    assert rules(preview_rollback("h", status, timer=True)) == [
        etc,
        ("update-timer", Severity.WARN),
    ]


def test_it_follows_another_reference_again() -> None:
    status = parse_status(Machine("h", booted=NEW, rollback=OLD).status())
    assert status.rollback is not None
    assert status.rollback.image is not None
    image = replace(status.rollback.image, reference="r.example/acme/web:dev")
    status = replace(status, rollback=replace(status.rollback, image=image))
    found = preview_rollback("h", status)
    assert ("follows", Severity.WARN) in rules(found)
    assert found.line.startswith("returns to 1.0 aaaaaaaaaaaa of r.example/acme/web:dev from")
