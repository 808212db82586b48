"""Who was built from whom, by every digest that an image has."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.audit import AuditEntry
from bootcfleet.domain.lineage import Lineage, Made, Proof, base_digest, made_from_labels

AT = datetime(2026, 11, 1, tzinfo=UTC)
REPO = "r.example/acme"


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def built(
    number: int,
    name: str,
    image: int | None,
    base: str | None,
    *,
    image_id: int | None = None,
    outcome: str = "built",
    details: Mapping[str, Any] | None = None,
) -> AuditEntry:
    digests = {}
    if image is not None:
        digests["image"] = digest(image)
    if image_id is not None:
        digests["image-id"] = digest(image_id)
    if base is not None:
        digests["base"] = base
    return AuditEntry(
        number, AT + timedelta(hours=number), "me@here", "image.build", name, outcome,
        "c" * 40, digests, details or {"log": "l.log", "tags": ["0.1"]},
    )  # fmt: skip


class Book:
    """Entries as a ledger gives them."""

    def __init__(self, *entries: AuditEntry) -> None:
        self._entries = entries

    def entries(self, *, action: str | None = None) -> list[AuditEntry]:
        return [entry for entry in self._entries if action in (None, entry.action)]


def test_a_chain_up_to_the_outside_and_down_again() -> None:
    lineage = Lineage.of(
        Book(
            built(1, "soe", 1, f"quay.io/fedora/fedora-bootc@{digest(9)}"),
            built(2, "web", 2, f"{REPO}/soe@{digest(1)}"),
            built(3, "shop", 3, f"{REPO}/web@{digest(2)}"),
            built(4, "db", 4, f"{REPO}/soe@{digest(1)}"),
        )
    )
    assert lineage.parent(digest(3)) == digest(2)
    assert lineage.ancestors(digest(3)) == (digest(2), digest(1), digest(9))
    assert lineage.descendants(digest(9)) == (digest(1), digest(2), digest(4), digest(3))
    assert lineage.children(digest(1)) == (digest(2), digest(4))
    assert lineage.name(digest(3)) == "shop"
    assert lineage.name(digest(9)) == "quay.io/fedora/fedora-bootc"
    assert lineage.repository(digest(2)) == f"{REPO}/web"
    assert lineage.commit(digest(2)) == "c" * 40
    assert lineage.base(digest(2)) == f"{REPO}/soe@{digest(1)}"
    made = lineage.made(digest(2))
    assert made is not None
    assert (made.number, made.actor, made.log, made.tags) == (2, "me@here", "l.log", ("0.1",))
    assert lineage.made(digest(9)) is None
    assert digest(9) in lineage
    assert digest(8) not in lineage
    assert lineage.parent(digest(8)) is None
    assert lineage.descendants(digest(8)) == ()
    assert [one.digest for one in lineage.named("web")] == [digest(2)]


def test_images_that_were_not_pushed_are_known_by_their_ids() -> None:
    lineage = Lineage.of(
        Book(
            built(1, "soe", None, digest(90), image_id=11),
            built(2, "web", None, digest(11), image_id=12),
        )
    )
    assert lineage.ancestors(digest(12)) == (digest(11), digest(90))
    assert lineage.descendants(digest(11)) == (digest(12),)


def test_one_image_with_several_digests() -> None:
    """Pushed twice with another compression; and a child that was built on its id before."""
    lineage = Lineage.of(
        Book(
            built(1, "soe", None, None, image_id=11),
            built(2, "web", None, digest(11), image_id=12),
            built(3, "soe", 1, None, image_id=11),
            built(4, "soe", 2, None, image_id=11),
            built(5, "db", 5, f"{REPO}/soe@{digest(2)}", image_id=15),
        )
    )
    assert set(lineage.same(digest(1))) == {digest(11), digest(1), digest(2)}
    assert set(lineage.descendants(digest(1))) == {digest(12), digest(5)}


def test_two_images_that_turn_out_to_be_one() -> None:
    lineage = Lineage.of(
        Book(
            built(1, "web", 2, f"{REPO}/soe@{digest(1)}"),
            built(2, "soe", None, digest(90), image_id=11),
            built(3, "soe", 1, digest(90), image_id=11),
        )
    )
    # The digest of the registry is the one to show.
    assert lineage.ancestors(digest(2)) == (digest(1), digest(90))
    assert lineage.descendants(digest(90)) == (digest(1), digest(2))
    assert lineage.descendants(digest(11)) == (digest(2),)


def test_the_platforms_of_an_index_are_the_image() -> None:
    platforms = {"linux/amd64": digest(101), "linux/arm64": digest(102)}
    lineage = Lineage.of(Book(built(1, "web", 1, None, details={"platforms": platforms})))
    assert lineage.name(digest(102)) == "web"
    assert lineage.same(digest(102)) == (digest(1), digest(101), digest(102))


def test_builds_that_made_nothing() -> None:
    book = Book(
        built(1, "web", 1, None, outcome="failed"),
        built(2, "web", None, f"{REPO}/soe:1"),
        built(3, "db", 3, "quay.io/a/b:1"),
    )
    lineage = Lineage.of(book)
    assert digest(1) not in lineage
    assert lineage.parent(digest(3)) is None
    assert lineage.base(digest(3)) == "quay.io/a/b:1"


def test_a_push_alone_tells_the_name() -> None:
    pushed = AuditEntry(
        1, AT, "me", "image.push", "web", "pushed", None, {"image": digest(1)}, {"tags": ["1"]}
    )
    assert Lineage.of(Book(pushed)).name(digest(1)) == "web"


def test_find_by_the_start_of_a_digest() -> None:
    lineage = Lineage()
    lineage.learn(Made("a", ("sha256:aa" + "0" * 62,)))
    lineage.learn(Made("b", ("sha256:ab" + "0" * 62,)))
    assert lineage.find("sha256:aa") == ("sha256:aa" + "0" * 62,)
    assert len(lineage.find("a")) == 2
    assert lineage.find("b") == ()


def test_labels() -> None:
    labels = {
        "io.bootcfleet.image": "web",
        "io.bootcfleet.build-id": "b" * 64,
        "org.opencontainers.image.revision": "abc",
        "org.opencontainers.image.base.name": f"{REPO}/soe:0.1",
        "org.opencontainers.image.base.digest": digest(1),
    }
    made = made_from_labels((digest(2),), labels, layers=True)
    assert made == Made(
        "web",
        (digest(2),),
        f"{REPO}/soe@{digest(1)}",
        Proof.LAYERS,
        commit="abc",
        build_id="b" * 64,
        pushed=(digest(2),),
    )
    unproven = made_from_labels((digest(2),), labels)
    assert unproven is not None
    assert unproven.proof is Proof.LABEL
    # The layers say that the label is an inherited one: it tells nothing.
    refuted = made_from_labels((digest(2),), labels, layers=False)
    assert refuted is not None
    assert refuted.base is None
    assert made_from_labels((digest(2),), {**labels, "io.bootcfleet.image": ""}) is None
    port = {**labels, "org.opencontainers.image.base.name": "localhost:5000/soe"}
    made = made_from_labels((digest(2),), port)
    assert made is not None
    assert made.base == f"localhost:5000/soe@{digest(1)}"


def test_the_ledger_goes_before_labels() -> None:
    lineage = Lineage.of(Book(built(1, "web", 1, f"{REPO}/soe@{digest(2)}")))
    lineage.learn(Made("web", (digest(1),), f"{REPO}/other@{digest(3)}", Proof.LABEL))
    assert lineage.parent(digest(1)) == digest(2)
    made = lineage.made(digest(1))
    assert made is not None
    assert made.proof is Proof.LEDGER


def test_a_circle_ends() -> None:
    lineage = Lineage()
    lineage.learn(Made("a", (digest(1),), f"{REPO}/b@{digest(2)}"))
    lineage.learn(Made("b", (digest(2),), f"{REPO}/a@{digest(1)}"))
    assert set(lineage.ancestors(digest(1))) == {digest(1), digest(2)}
    assert lineage.descendants(digest(1)) == (digest(2),)


def test_base_digest() -> None:
    assert base_digest(f"{REPO}/soe@{digest(1)}") == digest(1)
    assert base_digest(f"{REPO}/soe:1@{digest(1)}") == digest(1)
    assert base_digest(digest(1)) == digest(1)
    assert base_digest(f"{REPO}/soe:1") is None


@given(st.data())
def test_up_and_down_agree(data: st.DataObject) -> None:
    """In any forest, learned in any order: x stands on y exactly when y carries x."""
    size = data.draw(st.integers(1, 12))
    parents = [data.draw(st.integers(-1, n - 1), label=f"parent of {n}") for n in range(size)]
    order = data.draw(st.permutations(range(size)))
    lineage = Lineage()
    for n in order:
        base = f"{REPO}/i{parents[n]}@{digest(parents[n])}" if parents[n] >= 0 else None
        lineage.learn(Made(f"i{n}", (digest(n), digest(1000 + n)), base))
    for n in range(size):
        expected, current = [], parents[n]
        while current >= 0:
            expected.append(digest(current))
            current = parents[current]
        assert lineage.ancestors(digest(1000 + n)) == tuple(expected)
        for other in range(size):
            above = digest(other) in expected
            assert (digest(n) in lineage.descendants(digest(1000 + other))) == above
