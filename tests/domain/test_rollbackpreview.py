"""What a rollback says beforehand."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date

from bootcfleet.domain.bootc import parse_status
from bootcfleet.domain.hosttruth import HostTruth
from bootcfleet.domain.imagestanding import ImageStanding
from bootcfleet.domain.lifecycle import Life
from bootcfleet.domain.preflight_case import Severity
from bootcfleet.domain.rollbackpreview import preview_rollback
from bootcfleet.errors import HostFault
from tests.machines import NEW, OLD, Machine


def truth(**slots: str) -> HostTruth:
    status = parse_status(Machine("h", **({"booted": NEW, "rollback": OLD} | slots)).status())  # type: ignore[arg-type]
    return HostTruth("h", status)


def test_what_a_host_returns_to() -> None:
    found = preview_rollback(truth())
    assert found.refusal is None
    assert found.line == "returns to 1.0 aaaaaaaaaaaa from 1.1 bbbbbbbbbbbb"
    assert [(one.rule, one.severity) for one in found.findings] == [("etc", Severity.WARN)]
    body = json.loads(json.dumps(found.to_json()))
    assert body["returns_to"]["digest"] == OLD


def test_who_cannot_go_back() -> None:
    found = preview_rollback(HostTruth("h", parse_status(Machine("h").status())))
    assert found.refusal is not None
    assert found.refusal.fault is HostFault.NO_ROLLBACK
    assert "fleet switch IMAGE@DIGEST" in (found.refusal.hint or "")
    assert found.line == "stays as it is"
    assert found.to_json()["returns_to"] is None


def test_the_standing_of_the_image() -> None:
    ended = ImageStanding(life=Life("web", date(2026, 10, 1), "web", -51, 30))
    assert [one.rule for one in preview_rollback(truth(), ended).findings] == [
        "end-of-life",
        "etc",
    ]


def test_it_follows_another_reference_again() -> None:
    host = truth()
    assert host.status is not None
    assert host.status.rollback is not None
    assert host.status.rollback.image is not None
    image = replace(host.status.rollback.image, reference="r.example/acme/web:dev")
    back = replace(host.status.rollback, image=image)
    found = preview_rollback(replace(host, status=replace(host.status, rollback=back)))
    assert [one.rule for one in found.findings] == ["etc", "rollback-slot"]
    assert found.line.startswith("returns to 1.0 aaaaaaaaaaaa of r.example/acme/web:dev from")
