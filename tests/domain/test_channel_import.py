"""``imports:`` of a project: what may stand there, and when a source is looked at."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bootcfleet.domain.channel_import import Condition, ImportMode, ImportSpec, ImportState, due
from bootcfleet.domain.document import Document
from bootcfleet.domain.project import Project, parse_project
from bootcfleet.domain.watch import Backoff
from bootcfleet.errors import ConfigError

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def project(imports: dict[str, Any]) -> Project:
    body = {
        "version": 1,
        "name": "acme",
        "registry": "r.example/acme",
        "images": {"web": {"base": "quay.io/f/b:1"}},
        "imports": imports,
    }
    return parse_project(Document("bootcfleet.yaml", body))


def test_the_defaults() -> None:
    found = project({"fedora-bootc": {"source": "quay.io/fedora/fedora-bootc:42"}}).imports
    spec = found["fedora-bootc"]
    assert (spec.tag, spec.mode, spec.every) == ("42", ImportMode.FOLLOW, timedelta(minutes=15))


def test_everything_set() -> None:
    spec = project(
        {"base": {"source": f"q.io/a/b@sha256:{'1' * 64}", "channel": "stable", "mode": "pin",
                  "every": "6h"}}
    ).imports["base"]  # fmt: skip
    assert (spec.tag, spec.mode, spec.every) == ("stable", ImportMode.PIN, timedelta(hours=6))


@pytest.mark.parametrize(
    ("name", "spec", "message"),
    [
        ("web", {"source": "q.io/a/b:1"}, "'web' is an image of the project"),
        ("x", {"source": "b:1"}, "does not name its registry"),
        ("x", {"source": "q.io/a/b:1", "channel": "no tag"}, "has an invalid tag"),
        ("x", {"source": "q.io/a/b:1", "channel": "bf-1"}, "begins as a tag of something else"),
        ("x", {"source": "r.example/acme/x:1"}, "an import comes from elsewhere"),
        ("x", {"source": "q.io/a/b:1", "every": "soon"}, "is not a length of time"),
        ("x", {"source": "q.io/a/b:1", "mode": "both"}, "mode"),
        ("x", {}, "source"),
        ("X", {"source": "q.io/a/b:1"}, "cannot be the name of an image"),
    ],
)
def test_what_cannot_be(name: str, spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        project({name: spec})


def state(condition: Condition, hours: int) -> ImportState:
    at = NOW + hours * HOUR
    return ImportState("x", condition, at, at)


def test_since_when_it_is_good_or_not() -> None:
    good = state(Condition.IMPORTED, 0)
    assert state(Condition.UNCHANGED, 1).after(good).since == NOW
    bad = state(Condition.FAILED, 2).after(good)
    assert bad.since == NOW + 2 * HOUR
    assert state(Condition.REFUSED, 3).after(bad).since == NOW + 2 * HOUR
    assert state(Condition.IMPORTED, 4).after(bad).since == NOW + 4 * HOUR
    assert ImportState.from_json(bad.to_json()) == bad


def test_when_it_is_due() -> None:
    spec = ImportSpec(source="q.io/a/b:1", every="2h")  # type: ignore[arg-type]
    assert due(spec, None, NOW) == NOW
    assert due(spec, state(Condition.FAILED, -1), NOW) == NOW + HOUR
    assert due(spec, state(Condition.IMPORTED, -5), NOW) < NOW
    assert due(spec, state(Condition.IMPORTED, 5), NOW) == NOW, "the clock was set back"


def test_backing_off() -> None:
    waits = []
    backoff: Backoff | None = None
    for _ in range(6):
        backoff = Backoff.after(backoff, 100.0, first=60.0, most=600.0)
        waits.append(backoff.due - 100.0)
    assert waits == [60.0, 120.0, 240.0, 480.0, 600.0, 600.0]
