"""Entries of the ledger: one hash for one content, and a chain that tells where it breaks."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.audit import GENESIS, AuditEntry, verify_chain

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
ENTRY = AuditEntry(
    number=1,
    at=NOW,
    actor="me@here",
    action="fleet.upgrade",
    subject="h1",
    outcome="done",
    git_commit="c" * 40,
    digests={"before": "sha256:a", "after": "sha256:b"},
    details={"waves": [["h1"]]},
).sealed()


def chain(length: int) -> list[AuditEntry]:
    entries: list[AuditEntry] = []
    for number in range(1, length + 1):
        previous = entries[-1].hash if entries else GENESIS
        entries.append(replace(ENTRY, number=number, previous=previous).sealed())
    return entries


OTHER: dict[str, Any] = {
    "number": 2,
    "at": NOW + timedelta(microseconds=1),
    "actor": "you@here",
    "action": "fleet.rollback",
    "subject": "h2",
    "outcome": "failed",
    "git_commit": None,
    "digests": {"before": "sha256:a"},
    "details": {"waves": [["h2"]]},
    "previous": "f" * 64,
}


def test_every_field_is_tried() -> None:
    assert {*OTHER, "hash"} == {one.name for one in fields(AuditEntry)}


@pytest.mark.parametrize("name", OTHER)
def test_the_hash_covers_every_field(name: str) -> None:
    assert replace(ENTRY, **{name: OTHER[name]}).digest() != ENTRY.hash


def test_the_hash_is_of_the_content_and_not_of_how_it_is_held() -> None:
    east = NOW.astimezone(timezone(timedelta(hours=9)))
    assert replace(ENTRY, at=east).digest() == ENTRY.hash
    turned = {"after": "sha256:b", "before": "sha256:a"}
    assert replace(ENTRY, digests=turned).digest() == ENTRY.hash
    assert ENTRY.sealed() == ENTRY


def test_the_hash_stays_what_it_was_when_ledgers_were_written() -> None:
    """Ledgers out there hold hashes: another one here means that they all look tampered with."""
    first = AuditEntry(1, NOW, "me@here", "image.build", "soe", "done").sealed()
    assert first.hash == "49d7204420e548019770a44f469c554ad00f30f8af463febcfc63e2b0458396c"


def test_an_entry_as_json_reads_as_the_same_entry() -> None:
    body = json.loads(json.dumps(ENTRY.to_json()))
    assert AuditEntry(**{**body, "at": datetime.fromisoformat(body["at"])}) == ENTRY


def test_a_chain_that_holds() -> None:
    assert verify_chain([]) is None
    assert verify_chain(chain(5)) is None


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (chain(4)[1:], "entry 1 is missing: entry 2 stands in its place"),
        (chain(4)[:1] + chain(4)[2:], "entry 2 is missing: entry 3 stands in its place"),
        (chain(2) + chain(2), "entry 3 is missing: entry 1 stands in its place"),
        ([replace(ENTRY, outcome="failed")], "entry 1 was changed"),
        ([replace(ENTRY, hash="")], "entry 1 was changed"),
        ([replace(ENTRY, previous="f" * 64).sealed()], "entry 1 does not follow"),
        (
            [replace(chain(2)[0], outcome="failed").sealed(), chain(2)[1]],
            "entry 2 does not follow",
        ),
    ],
)
def test_where_a_chain_breaks(broken: list[AuditEntry], words: str) -> None:
    assert (verify_chain(broken) or "").startswith(words)


@given(st.permutations(range(4)))
def test_no_other_order_holds(order: list[int]) -> None:
    entries = chain(4)
    shuffled = [entries[position] for position in order]
    assert (verify_chain(shuffled) is None) == (order == sorted(order))


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none()), st.text())
def test_any_text_has_a_hash(details: dict[str, Any], subject: str) -> None:
    entry = replace(ENTRY, subject=subject, details=details).sealed()
    assert verify_chain([entry]) is None
