"""What is pruned: never what anything needs, and everything that nothing does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootcfleet.domain.prune import PrunePlan, Stored, plan_prune

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
OLD = NOW - timedelta(days=30)
YOUNG = NOW - timedelta(minutes=5)
HOUR = timedelta(hours=1)
WEB = "r.example/acme/web"


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def plan(
    stored: list[Stored],
    needed: dict[str, list[str]] | None = None,
    bases: dict[str, str] | None = None,
    chosen: set[str] | None = None,
) -> PrunePlan:
    def below(one: str) -> list[str]:
        return [bases[one]] if bases and one in bases else []

    return plan_prune(
        stored,
        needed or {},
        bases=below,
        now=NOW,
        younger_than=HOUR,
        chosen=lambda repository: chosen is None or repository in chosen,
    )


def gone(found: PrunePlan) -> list[str]:
    return [one.stored.digest for one in found.delete]


def reasons(found: PrunePlan, number: int) -> tuple[str, ...]:
    return next(one.reasons for one in found.keep if one.stored.digest == digest(number))


def build(number: int, *tags: str, at: datetime | None = OLD, **more: object) -> Stored:
    own = tags or (f"bf-{number:032x}",)
    return Stored(WEB, digest(number), own, at=at, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tag", "prunable"),
    [
        ("bf-" + "a" * 32, True),
        ("20261121", True),
        ("abcdef012345", True),
        ("abcdef012345-dirty", True),
        ("prod-20261121T0301Z-0123456789ab", True),
        ("pre-prod.eu-20261121T0301Z-0123456789ab", True),
        ("0.1", False),
        ("latest", False),
        ("prod", False),
        ("channel-prod.history", False),
        ("bf-short", False),
        ("2026112", False),
        ("42-20261121T0301Z-0123456789ab", True),
        ("-20261121T0301Z-0123456789ab", False),
        ("prod-20261121T0301Z-0123456789ab-x", False),
    ],
)
def test_only_tags_that_we_wrote_and_nobody_follows(tag: str, prunable: bool) -> None:
    found = plan([build(1, tag)])
    assert gone(found) == ([digest(1)] if prunable else [])
    if not prunable:
        follow = f"somebody may follow the tag {tag}"
        history = "it is the history of a channel"
        assert reasons(found, 1) == (history if tag.endswith(".history") else follow,)


def test_needed_young_and_of_unknown_age() -> None:
    found = plan(
        [build(1), build(2), build(3, at=YOUNG), build(4, at=None)],
        {digest(1): ["prod of web points at it"]},
    )
    assert gone(found) == [digest(2)]
    assert found.delete[0].reason == "nothing needs it"
    assert reasons(found, 1) == ("prod of web points at it",)
    assert reasons(found, 3) == ("it is younger than what may be deleted",)
    assert reasons(found, 4) == ("it is not known how old it is",)


def test_the_bases_of_what_is_kept() -> None:
    soe = Stored("r.example/acme/soe", digest(9), ("bf-" + "9" * 32,), at=OLD)
    bases = {digest(1): digest(9), digest(9): digest(8)}
    found = plan([build(1), soe, build(8)], {digest(1): ["a host"]}, bases)
    assert gone(found) == []
    assert reasons(found, 9) == ("000000000000 is built on it",)
    assert set(gone(plan([build(1), soe, build(8)], {}, bases))) == {
        digest(1),
        digest(8),
        digest(9),
    }


def test_an_index_and_what_is_in_it() -> None:
    index = build(1, children=(digest(11), digest(12)))
    parts = [Stored(WEB, digest(11)), Stored(WEB, digest(12))]
    assert gone(plan([index, *parts], {digest(1): ["prod"]})) == []
    # A host says the digest of its platform: the index is what keeps that in the registry.
    assert gone(plan([index, *parts], {digest(12): ["h1 booted it"]})) == []
    assert gone(plan([index, *parts])) == [digest(1), digest(11), digest(12)]


def test_two_indexes_that_share_a_platform() -> None:
    first = build(1, children=(digest(11), digest(12)))
    second = build(2, children=(digest(12), digest(13)))
    parts = [Stored(WEB, digest(number)) for number in (11, 12, 13)]
    found = plan([first, second, *parts], {digest(2): ["prod"]})
    assert gone(found) == [digest(1), digest(11)]


@pytest.mark.parametrize("order", [(2, 3), (3, 2)])
def test_a_platform_that_is_a_base_and_in_another_index(order: tuple[int, int]) -> None:
    """Its own index stays, whether the other index or the child is looked at first."""
    first = build(1, children=(digest(11), digest(12)))
    second = build(2, children=(digest(12),))
    parts = [Stored(WEB, digest(number)) for number in (11, 12)]
    needed = {digest(number): ["prod"] for number in order}
    found = plan([first, second, *parts, build(3)], needed, {digest(3): digest(12)})
    assert gone(found) == []


def test_what_belongs_to_an_image_stays_and_goes_with_it() -> None:
    signature = Stored(WEB, digest(21), (f"sha256-{1:064x}.sig",))
    listed = Stored(WEB, digest(22), (f"sha256-{1:064x}",), children=(digest(23),))
    sbom = Stored(WEB, digest(23), subject=digest(1))
    everything = [build(1), signature, listed, sbom]
    assert gone(plan(everything, {digest(1): ["prod"]})) == []
    found = plan(everything)
    assert gone(found)[0] == digest(1), "the image first: nothing that is left names what is gone"
    assert set(gone(found)) == {digest(1), digest(21), digest(22), digest(23)}
    assert gone(found).index(digest(22)) < gone(found).index(digest(23))


def test_a_belonging_without_its_image() -> None:
    tag = (f"sha256-{1:064x}.sig",)
    there = Stored(WEB, digest(21), tag, at=OLD, owner_there=True)
    assert gone(plan([there])) == []
    orphan = Stored(WEB, digest(21), tag, at=OLD, owner_there=False)
    assert gone(plan([orphan])) == [digest(21)]
    # It may have been pushed before its image.
    assert gone(plan([Stored(WEB, digest(21), tag, at=None, owner_there=False)])) == []


def test_one_digest_in_two_repositories() -> None:
    copy = Stored("r.example/prod/web", digest(1), ("prod-20261121T0301Z-0123456789ab",), at=OLD)
    assert gone(plan([build(1), copy], {digest(1): ["prod"]})) == []
    assert len(plan([build(1), copy]).delete) == 2


def test_a_repository_that_was_not_asked_for() -> None:
    soe = Stored("r.example/acme/soe", digest(9), ("bf-" + "9" * 32,), at=OLD)
    found = plan([build(1), soe], {}, {digest(9): digest(1)}, {WEB})
    assert gone(found) == []
    assert reasons(found, 1) == ("000000000000 is built on it",)


# Any registry


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Stored], dict[str, list[str]], dict[str, str]]:
    """Images that stand on each other, indexes, belongings, tags of all kinds, and needs."""
    images = draw(st.integers(1, 7))
    stored: list[Stored] = []
    bases: dict[str, str] = {}
    for number in range(images):
        children: tuple[str, ...] = ()
        if draw(st.booleans()):
            parts = draw(st.lists(st.integers(100, 106), min_size=1, max_size=3, unique=True))
            children = tuple(map(digest, parts))
        own = draw(
            st.lists(
                st.sampled_from(["20261121", f"bf-{number:032x}", f"{number:012x}"]),
                min_size=1, max_size=2, unique=True,
            )
        )  # fmt: skip
        if draw(st.integers(0, 5)) == 0:
            own.append(f"v{number}")
        at = draw(st.sampled_from([OLD, OLD, OLD, YOUNG, None]))
        repository = draw(st.sampled_from([WEB, "r.example/acme/soe"]))
        stored.append(Stored(repository, digest(number), tuple(own), children, at=at))
        if number and draw(st.booleans()):
            bases[digest(number)] = digest(draw(st.integers(0, number - 1)))
    for child in sorted({child for one in stored for child in one.children}):
        stored.append(Stored(WEB, child))
    for number in range(draw(st.integers(0, 4))):
        owner = draw(st.sampled_from([one.digest for one in stored]))
        hex_ = owner.removeprefix("sha256:")
        stored.append(
            draw(
                st.sampled_from(
                    [
                        Stored(WEB, digest(200 + number), (f"sha256-{hex_}.sig{number}",), at=OLD),
                        Stored(WEB, digest(200 + number), subject=owner),
                        Stored(WEB, digest(200 + number), ("sbom",), subject=owner, at=OLD),
                    ]
                )
            )
        )
    every = [one.digest for one in stored]
    needed = draw(st.lists(st.sampled_from(every), max_size=3, unique=True))
    return stored, {one: ["needed"] for one in needed}, bases


def needs(stored: list[Stored], needed: dict[str, list[str]], bases: dict[str, str]) -> set[str]:
    """By the rules, said once more: what a registry must still have after a prune."""
    must = set(needed)
    for one in stored:
        followed = any(tag.startswith("v") or tag == "sbom" for tag in one.tags)
        image = one.tags and one.owner is None
        if followed or (image and (one.at is None or NOW - one.at < HOUR)):
            must.add(one.digest)
    while True:
        more = set(must)
        for one in stored:
            if one.digest in must:
                more |= set(one.children)
                if one.digest in bases:
                    more.add(bases[one.digest])
            if one.owner in must:
                more.add(one.digest)
        if more == must:
            return must
        must = more


@given(worlds())
@settings(max_examples=300)
def test_nothing_that_anything_needs_is_ever_deleted(
    world: tuple[list[Stored], dict[str, list[str]], dict[str, str]],
) -> None:
    stored, needed, bases = world
    found = plan(stored, needed, bases)
    deleted = set(gone(found))
    must = needs(stored, needed, bases)
    assert not deleted & must
    assert deleted | {one.stored.digest for one in found.keep} == {one.digest for one in stored}
    left = [one for one in stored if one.digest not in deleted]
    there = {one.digest for one in left}
    for one in left:
        # What is left is whole: every index has its platforms, every image its base.
        assert set(one.children) <= there
        base = bases.get(one.digest)
        assert base is None or base in there
        assert one.owner is None or one.owner in there or one.foreign or one.digest in needed
    # Whatever is needed itself can be pulled through every index that has it.
    direct = set(needed) | {bases[one.digest] for one in left if one.digest in bases}
    for one in stored:
        if one.owner is None and set(one.children) & direct:
            assert one.digest in there
    # What is kept beyond the needs is an index that holds a needed platform, and what that needs.
    for one in found.keep:
        assert one.reasons
    # Broken off after any deletion, no manifest names one that is gone.
    for count in range(len(found.delete)):
        done = set(gone(found)[:count])
        rest = [one for one in stored if one.digest not in done]
        for one in rest:
            assert one.owner is not None or not set(one.children) & done
    # A second prune finds nothing more to do.
    assert gone(plan(left, needed, bases)) == []


@given(worlds())
def test_without_indexes_what_nothing_needs_goes(
    world: tuple[list[Stored], dict[str, list[str]], dict[str, str]],
) -> None:
    stored, needed, bases = world
    if any(one.children for one in stored):
        return
    assert set(gone(plan(stored, needed, bases))) == {one.digest for one in stored} - needs(
        stored, needed, bases
    )
