"""What is revoked, for whom, and until when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from bootcfleet.domain.audit import AuditEntry
from bootcfleet.domain.lineage import Lineage, Made
from bootcfleet.domain.revocation import Notice, Revocations

AT = datetime(2026, 11, 1, 12, tzinfo=UTC)


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def entry(number: int, verb: str, image: int, *platforms: int) -> AuditEntry:
    return AuditEntry(
        number, AT + timedelta(hours=number), "me@here", f"image.{verb}", "soe",
        {"revoke": "revoked", "restore": "restored"}[verb], None, {"image": digest(image)},
        {"reason": f"because {number}", "platforms": [digest(one) for one in platforms]},
    )  # fmt: skip


@pytest.fixture
def lineage() -> Lineage:
    lineage = Lineage()
    lineage.learn(Made("soe", (digest(1), digest(11)), f"quay.io/f/b@{digest(9)}"))
    lineage.learn(Made("web", (digest(2),), f"r.example/soe@{digest(1)}"))
    lineage.learn(Made("db", (digest(3),), f"r.example/other@{digest(8)}"))
    return lineage


def test_the_image_and_what_stands_on_it(lineage: Lineage) -> None:
    revocations = Revocations.of([entry(1, "revoke", 1)])
    own = revocations.reason(digest(1), lineage)
    assert own is not None
    assert not own.inherited
    assert own.message == (
        "soe 000000000000 was revoked at 2026-11-01T13:00:00Z by me@here: because 1"
    )
    below = revocations.reason(digest(2), lineage)
    assert below is not None
    assert below.inherited
    assert below.message == (
        "it stands on soe 000000000000, which was revoked at 2026-11-01T13:00:00Z by me@here: "
        "because 1"
    )
    assert digest(1) in below.hint
    assert revocations.reason(digest(3), lineage) is None
    assert revocations.reason(digest(9), lineage) is None, "a base is not revoked by its child"


def test_another_digest_of_the_same_image(lineage: Lineage) -> None:
    revocations = Revocations.of([entry(1, "revoke", 11)])
    for one in (1, 11):
        found = revocations.reason(digest(one), lineage)
        assert found is not None
        assert not found.inherited
    assert revocations.reason(digest(2), lineage) is not None


def test_an_outside_base(lineage: Lineage) -> None:
    revocations = Revocations.of([entry(1, "revoke", 9)])
    assert revocations.reason(digest(2), lineage) is not None
    assert revocations.reason(digest(3), lineage) is None


def test_a_digest_that_nothing_is_known_of() -> None:
    revocations = Revocations.of([entry(1, "revoke", 5, 51)])
    assert revocations.reason(digest(5), Lineage()) is not None
    assert revocations.reason(digest(51), Lineage()) is not None
    assert revocations.reason(digest(6), Lineage()) is None


def test_restored_and_revoked_again(lineage: Lineage) -> None:
    first = [entry(1, "revoke", 1, 11), entry(2, "restore", 1, 11)]
    assert Revocations.of(reversed(first)).reason(digest(11), lineage) is None
    assert Revocations.of([*first, entry(3, "revoke", 1)]).reason(digest(2), lineage) is not None


def notice(verb: str, hours: int, image: int = 1) -> Notice:
    return Notice(
        verb == "revoke", digest(image), "soe", "seen there", AT + timedelta(hours=hours), "o@far"
    )


@pytest.mark.parametrize(
    ("ledger", "notices", "source"),
    [
        ([], [], None),
        ([], [notice("revoke", 1)], "registry"),
        ([], [notice("restore", 2), notice("revoke", 1)], None),
        ([], [notice("revoke", 1), notice("restore", 2), notice("revoke", 3)], "registry"),
        ([], [notice("revoke", 1, image=7)], None),
        # Who can write to a registry must not be able to lift what the ledger says.
        ([entry(1, "revoke", 1)], [notice("restore", 5)], "ledger"),
        ([entry(1, "revoke", 1), entry(3, "restore", 1)], [notice("revoke", 2)], None),
        ([entry(1, "revoke", 1), entry(3, "restore", 1)], [notice("revoke", 4)], "registry"),
    ],
)
def test_notices_of_registries(
    lineage: Lineage, ledger: list[AuditEntry], notices: list[Notice], source: str | None
) -> None:
    found = Revocations.of(ledger).noticed(notices).reason(digest(2), lineage)
    assert (found.source if found else None) == source


def test_a_notice_is_read_as_it_was_written() -> None:
    written = Notice(True, digest(1), "soe", "bad «glibc»", AT, "me@here")
    assert Notice.parse(written.to_bytes()) == written


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b'{"state": "revoked"}',
        notice("revoke", 1).to_bytes().replace(b"revoked", b"maybe"),
        notice("revoke", 1).to_bytes().replace(b"+00:00", b""),
        notice("revoke", 1).to_bytes().replace(b'"soe"', b"7"),
        b"[" * 100_000,
    ],
)
def test_what_is_no_notice(raw: bytes) -> None:
    assert Notice.parse(raw) is None
