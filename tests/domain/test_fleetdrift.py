"""Drift: one row for each way in which a host may differ, and for what is no drift."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from bootcfleet.domain.audit import AuditEntry
from bootcfleet.domain.bootc import BootcStatus, parse_status
from bootcfleet.domain.fleetdrift import (
    DESCRIPTIONS,
    DriftCase,
    DriftFinding,
    DriftKind,
    drift_of,
    drift_sentences,
    following,
    newest_moves,
)
from bootcfleet.domain.hosttruth import UPDATE_TIMER, HostTruth, StagedBy, UnitState
from bootcfleet.domain.image import Resolved
from bootcfleet.domain.imagestanding import ImageStanding, Standings
from bootcfleet.domain.lifecycle import Life
from bootcfleet.domain.reference import Digest, ImageRef
from bootcfleet.domain.revocation import Revoked
from tests.machines import NEW, OLD, OTHER, REFERENCE, Machine

REF = ImageRef.parse(REFERENCE)
NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)
KINDS = DriftKind


def status(**slots: Any) -> BootcStatus:
    return parse_status(Machine("h", **slots).status())


def moved(after: str, before: str = OTHER) -> AuditEntry:
    return AuditEntry(
        7,
        NOW,
        "alice@desk",
        "fleet.upgrade.host",
        "h",
        "updated",
        digests={"before": before, "after": after},
        details={"rollout": "r7"},
    )


REVOKED = Revoked(OLD, "web", "CVE-2026-1", NOW, "bob@desk")
ENDED = Life("web", date(2026, 10, 1), "web", -51, 30)


def known(digest: str = OLD, **more: Any) -> Standings:
    return Standings({digest: ImageStanding(**({"known": True} | more))})


#: A host that runs what it should.
GOOD = DriftCase(
    HostTruth("h", status(), usr="locked"),
    None,
    REF,
    Resolved(REF, Digest(OLD)),
    known(),
    moved(OLD),
)
PINNED_AT = f"r.example/acme/web@{OLD}"
BEHIND = Resolved(REF, Digest(NEW))
TIMER = {UPDATE_TIMER: UnitState("loaded", "active", "enabled")}


def host(**changes: Any) -> HostTruth:
    return replace(GOOD.truth, **changes)


CASES: dict[str, tuple[dict[str, Any], list[tuple[DriftKind, str]]]] = {
    "in sync": ({}, []),
    "nothing is known": ({"resolved": None, "wanted": None, "last": None}, []),
    "behind": ({"resolved": BEHIND}, [(KINDS.BEHIND, f"should run {REFERENCE} (bbbbbbbbbbbb)")]),
    "staged": (
        {"resolved": BEHIND, "truth": host(status=status(staged=NEW))},
        [(KINDS.STAGED, "is staged")],
    ),
    "another image": (
        {
            "said": ImageRef.parse("r.example/acme/db:prod"),
            "wanted": ImageRef.parse("r.example/acme/db:prod"),
            "resolved": Resolved(ImageRef.parse("r.example/acme/db:prod"), Digest(NEW)),
        },
        [(KINDS.OTHER_IMAGE, "and should run r.example/acme/db:prod"),
         (KINDS.FOLLOWS_OTHER, "the inventory says r.example/acme/db:prod")],
    ),
    "the right digest by another tag": (
        {"said": REF.with_tag("test"), "wanted": REF.with_tag("test")},
        [(KINDS.FOLLOWS_OTHER, "follows r.example/acme/web:prod")],
    ),
    "pinned against the inventory": (
        {"said": REF, "truth": host(status=status(reference=PINNED_AT))},
        [(KINDS.PINNED, "no upgrade moves it")],
    ),
    "pinned among peers that follow": (
        {
            "wanted": ImageRef.parse(PINNED_AT),
            "truth": host(status=status(reference=PINNED_AT)),
            "peers_follow": True,
        },
        [(KINDS.PINNED, "other hosts follow a tag")],
    ),
    "pinned as all its peers": (
        {"wanted": ImageRef.parse(PINNED_AT), "truth": host(status=status(reference=PINNED_AT))},
        [],
    ),
    "pinned as the inventory says": (
        {
            "said": ImageRef.parse(PINNED_AT),
            "wanted": ImageRef.parse(PINNED_AT),
            "truth": host(status=status(reference=PINNED_AT)),
        },
        [],
    ),
    "follows what is to be pinned": (
        {"said": ImageRef.parse(PINNED_AT), "wanted": ImageRef.parse(PINNED_AT)},
        [(KINDS.UNPINNED, "its next upgrade moves it")],
    ),
    "its timer moved it": (
        {"last": moved(NEW), "truth": host(units=TIMER)},
        [(KINDS.MOVED_OUTSIDE, "rollout r7 left it on bbbbbbbbbbbb at 2026-11-21 10:00 UTC: its "
                               "bootc-fetch-apply-updates.timer is active")],
    ),
    "somebody moved it": (
        {"last": moved(NEW)},
        [(KINDS.MOVED_OUTSIDE, "no rollout of this ledger")],
    ),
    "it went back by itself": (
        {"last": moved(NEW, before=OLD)},
        [(KINDS.MOVED_OUTSIDE, "greenboot")],
    ),
    "in pull mode it moves by itself": (
        {"last": moved(NEW), "truth": host(units=TIMER, pull=True)},
        [],
    ),
    "in pull mode and elsewhere": (
        {"last": moved(NEW), "truth": host(units=TIMER, pull=True), "resolved": BEHIND},
        [(KINDS.BEHIND, ""), (KINDS.MOVED_OUTSIDE, "")],
    ),
    "a rollback is queued": (
        {"truth": host(status=status(rollback=OTHER, queued=True))},
        [(KINDS.WAITING_OTHER, "a rollback to 9.9 dddddddddddd queued")],
    ),
    "something else is staged": (
        {"truth": host(status=status(staged=OTHER), staged_by=StagedBy(NOW, "bob"))},
        [(KINDS.WAITING_OTHER, "staged, staged at 2026-11-21 10:00 UTC by bob")],
    ),
    "layered": (
        {
            "truth": host(
                status=replace(status(), booted=replace(status().booted, incompatible=True))  # type: ignore[type-var]
            )
        },
        [(KINDS.CHANGED_LOCALLY, "layered")],
    ),
    "usr unlocked": ({"truth": host(usr="unlocked")}, [(KINDS.CHANGED_LOCALLY, "/usr")]),
    "revoked": (
        {"standings": known(revoked=REVOKED)},
        [(KINDS.REVOKED, "runs 1.0 aaaaaaaaaaaa: web aaaaaaaaaaaa was revoked")],
    ),
    "revoked in the rollback slot": (
        {
            "standings": known(OTHER, revoked=REVOKED),
            "truth": host(status=status(rollback=OTHER)),
        },
        [],
    ),
    "past its end": ({"standings": known(life=ENDED)}, [(KINDS.END_OF_LIFE, "2026-10-01")]),
    "near its end": ({"standings": known(life=replace(ENDED, days=3))}, []),
    "unknown": (
        {"standings": known(known=False)},
        [(KINDS.UNKNOWN_IMAGE, "the ledger has no entry")],
    ),
    "unknown and nobody could know": ({"standings": known(known=None)}, []),
    "not booted by bootc": (
        {"said": REF, "truth": host(status=replace(status(), booted=None, type=None))},
        [(KINDS.OTHER_IMAGE, "is not booted by bootc and should run")],
    ),
    "not booted by bootc, and nothing is said": (
        {"truth": host(status=replace(status(), booted=None, type=None))},
        [],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(CASES))
def test_a_difference(name: str) -> None:
    different, expected = CASES[name]
    found = drift_of(replace(GOOD, **different))
    assert [one.kind for one in found] == [kind for kind, _ in expected]
    for one, (_, words) in zip(found, expected, strict=True):
        assert words in one.message


def test_what_differs_alike_is_said_once() -> None:
    def behind(*names: str) -> list[tuple[str, DriftFinding]]:
        return [
            (name, one)
            for name in names
            for one in drift_of(replace(GOOD, truth=host(host=name), resolved=BEHIND))
        ]

    (unlocked,) = drift_of(replace(GOOD, truth=host(usr="unlocked")))
    few = drift_sentences([*behind("a"), ("b", unlocked), *behind("c", "b")])
    assert [(one.finding.kind, one.hosts) for one in few] == [
        (KINDS.BEHIND, ("a", "c", "b")),
        (KINDS.CHANGED_LOCALLY, ("b",)),
    ]
    assert few[0].text.startswith("behind: a, c, b: runs 1.0 aaaaaaaaaaaa and should run ")
    assert few[0].hint == "bootcfleet fleet upgrade a c b"
    # A command with only some of its hosts would leave the others behind.
    (many,) = drift_sentences(behind(*"abcdefg"))
    assert many.text.startswith("behind: a, b, c, d, e and 2 more: ")
    assert many.hint == "bootcfleet fleet upgrade HOST…"


def test_a_command_for_one_host_names_one() -> None:
    (found,) = drift_of(replace(GOOD, last=moved(NEW)))
    assert found.hint(["a", "b"]) == "look at it: bootcfleet why a"
    assert found.to_json("b")["hint"] == "look at it: bootcfleet why b"


def test_every_kind_has_a_row() -> None:
    assert {kind for _, rows in CASES.values() for kind, _ in rows} == set(DriftKind)
    assert set(DESCRIPTIONS) == set(DriftKind)


def test_the_newest_move_of_each_host() -> None:
    other = replace(moved(OLD), number=8, digests={"before": OLD})
    exec_ = AuditEntry(9, NOW, "a", "fleet.exec", "h", "done", digests={"after": NEW})
    assert newest_moves([moved(OTHER), moved(OLD), other, exec_]) == {"h": moved(OLD)}


def test_repositories_that_somebody_follows() -> None:
    assert following({"a": status(), "b": None}) == {"r.example/acme/web"}
    assert following({"a": status(reference=PINNED_AT)}) == set()
