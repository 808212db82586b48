"""Entries of the ledger: one hash for one content, and a chain that tells where it breaks."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bootcfleet.domain.audit import GENESIS, AuditEntry, ChainReport, check_chain, verify_chain

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


def test_how_far_a_chain_holds() -> None:
    entries = chain(4)
    assert check_chain([]) == ChainReport()
    assert check_chain(entries) == ChainReport(4, entries[3].hash)
    report = check_chain([*entries[:2], entries[3]])
    assert (report.entries, report.last) == (2, entries[1].hash)


def test_a_noted_hash_shows_what_the_chain_alone_cannot() -> None:
    entries = chain(5)
    noted = entries[3].hash
    assert check_chain(entries, noted=noted).broken is None
    assert verify_chain(entries[:3]) is None  # the end was cut off, and nothing shows
    cut = check_chain(entries[:3], noted=noted)
    assert (cut.broken or "").startswith(f"no entry has the hash {noted}: entries after entry 3")
    anew = [replace(ENTRY, actor="somebody").sealed()]
    assert verify_chain(anew) is None
    assert check_chain(anew, noted=ENTRY.hash).broken is not None
    assert check_chain([], noted=ENTRY.hash).broken is not None


facts = {name: st.text(max_size=4) for name in ("actor", "action", "subject", "outcome")} | {
    "at": st.datetimes(timezones=st.just(UTC)),
    "git_commit": st.none() | st.text(max_size=4),
    "digests": st.dictionaries(st.text(max_size=2), st.text(max_size=2), max_size=2),
    "details": st.dictionaries(
        st.text(max_size=2), st.none() | st.booleans() | st.integers() | st.text(), max_size=2
    ),
}


@given(st.data())
def test_any_change_of_any_field_is_found(data: st.DataObject) -> None:
    entries: list[AuditEntry] = []
    for number in range(1, data.draw(st.integers(2, 5)) + 1):
        previous = entries[-1].hash if entries else GENESIS
        one = data.draw(st.fixed_dictionaries(facts))
        entries.append(AuditEntry(number=number, previous=previous, **one).sealed())
    at = data.draw(st.integers(0, len(entries) - 1))
    name = data.draw(st.sampled_from(sorted(facts)))
    changed = replace(entries[at], **{name: data.draw(facts[name])})
    # As JSON: for Python, 1 and True are equal.
    assume(json.dumps(changed.to_json()) != json.dumps(entries[at].to_json()))
    assume(getattr(changed, name) != getattr(entries[at], name) or name == "details")
    report = check_chain([*entries[:at], changed, *entries[at + 1 :]])
    assert report.broken == f"entry {at + 1} was changed after it was written"
    assert report.entries == at
    if at < len(entries) - 1:
        forged = [*entries[:at], changed.sealed(), *entries[at + 1 :]]
        assert verify_chain(forged) == f"entry {at + 2} does not follow the entry before it"
