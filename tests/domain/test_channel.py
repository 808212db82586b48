"""What is decided about begun moves, from what tags point at and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.channel import (
    ChannelAction,
    ChannelEntry,
    Intent,
    Move,
    Standing,
    canonical,
    check_history,
    keep_tag,
    settle,
    since,
    standing,
)
from bootcfleet.domain.gate import GateResult

NOW = datetime(2026, 11, 21, 3, 1, tzinfo=UTC)
DIGESTS = ["sha256:" + letter * 64 for letter in "abc"]


def move(number: int, before: str | None, digest: str) -> Move:
    return Move(
        image=f"i{number}",
        channel="dev",
        repository=f"r.example/i{number}",
        digest=digest,
        media_type="application/vnd.oci.image.manifest.v1+json",
        size=2,
        before=before,
        number=1,
        keep="dev-x",
        keep_before=None,
        action=ChannelAction.PROMOTE,
        why="",
        source="build",
        gates=(GateResult("checks", False, "m", "h"),),
    )


places = st.one_of(st.none(), st.sampled_from(DIGESTS))
trains = st.lists(st.tuples(places, st.sampled_from(DIGESTS), places), min_size=1, max_size=4)


@given(trains)
def test_whole_or_not_at_all(words: list[tuple[str | None, str, str | None]]) -> None:
    moves = [move(number, before, digest) for number, (before, digest, _) in enumerate(words)]
    found = {one.pair: place for one, (_, _, place) in zip(moves, words, strict=True)}
    verdict = settle(moves, found)
    if verdict.finish:
        assert all(found[one.pair] == one.digest for one in moves)
        assert verdict.put_back == verdict.foreign == ()
        return
    # After it, every tag is where it was, or where somebody else put it.
    for one in verdict.put_back:
        assert found[one.pair] == one.digest
        found[one.pair] = one.before
    for one in moves:
        if one in verdict.foreign:
            assert standing(one, found[one.pair]) is Standing.ELSEWHERE
        else:
            assert found[one.pair] == one.before
    # Whether a new tag can be deleted is known before anything else is changed.
    news = [one.before is None for one in verdict.put_back]
    assert news == sorted(news, reverse=True)


@given(trains)
def test_moves_and_entries_are_read_as_written(
    words: list[tuple[str | None, str, str | None]],
) -> None:
    for number, (before, digest, _) in enumerate(words):
        one = move(number, before, digest)
        assert Move.from_json(json.loads(json.dumps(one.to_json()))) == one
        entry = one.entry(Intent("t", NOW, "ann@here", (one,)), "0" * 64)
        assert ChannelEntry.from_json(json.loads(canonical(entry.to_json()))) == entry
        assert check_history((entry,)) is None
        assert check_history((replace(entry, why=entry.why + "x"),)) is not None


@pytest.mark.parametrize(
    "change",
    [{"digest": "sha256:1"}, {"more": 1}, {"action": "steal"}, {"at": "soon"}],
)
def test_what_is_no_entry(change: dict[str, object]) -> None:
    one = move(1, None, DIGESTS[0])
    body = one.entry(Intent("t", NOW, "ann", (one,)), "0" * 64).to_json()
    with pytest.raises((TypeError, ValueError)):
        ChannelEntry.from_json({**body, **change})


def test_since_when() -> None:
    entries = []
    for number, letter in enumerate("abbab", 1):
        one = move(1, None, "sha256:" + letter * 64)
        intent = Intent("t", NOW + timedelta(hours=number), "ann", (one,))
        entries.append(one.entry(intent, "0" * 64))
    assert since(entries) == NOW + timedelta(hours=5)
    assert since(entries[:3]) == NOW + timedelta(hours=2)
    assert since(entries[:1]) == NOW + timedelta(hours=1)
    assert since([]) is None


def test_the_tag_that_keeps_is_in_utc() -> None:
    here = NOW.astimezone(timezone(timedelta(hours=9)))
    assert keep_tag("prod", DIGESTS[0], here) == "prod-20261121T0301Z-" + "a" * 12
