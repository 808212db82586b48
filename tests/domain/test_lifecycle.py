"""Ends of life: inherited, warned of, closed."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.document import Document
from bootcfleet.domain.graph import ImageGraph
from bootcfleet.domain.lifecycle import (
    Life,
    end_of_life,
    end_of_life_labels,
    life_from_labels,
)
from bootcfleet.domain.project import Project, parse_project
from bootcfleet.errors import ConfigError

END = date(2027, 6, 30)


def project(images: dict[str, Any], **more: Any) -> Project:
    body = {"version": 1, "name": "acme", "registry": "r.example/acme", "images": images, **more}
    return parse_project(Document("bootcfleet.yaml", body))


@pytest.fixture
def acme() -> Project:
    return project(
        {
            "soe": {"base": "quay.io/f/b:1", "end_of_life": "2027-06-30"},
            "web": {"from": "soe", "end_of_life": "2028-01-01"},
            "shop": {"from": "web", "end_of_life": date(2027, 1, 31)},
            "free": {"base": "quay.io/f/b:1"},
        }
    )


def life(acme: Project, name: str, today: date) -> Life:
    return end_of_life(acme, ImageGraph.of(acme), name, today)


@pytest.mark.parametrize(
    ("today", "ok", "warning"),
    [
        (date(2027, 3, 31), True, None),
        (date(2027, 4, 1), True, "soe reaches its end of life in 90 days, on 2027-06-30"),
        (date(2027, 6, 29), True, "soe reaches its end of life tomorrow, on 2027-06-30"),
        (date(2027, 6, 30), True, "soe reaches its end of life today, on 2027-06-30"),
        (date(2027, 7, 1), False, None),
    ],
)
def test_warned_of_and_then_closed(
    acme: Project, today: date, ok: bool, warning: str | None
) -> None:
    found = life(acme, "soe", today)
    assert (found.ok, found.warning) == (ok, warning)
    assert found.gate().ok == ok
    if not ok:
        assert found.gate().message == "soe reached its end of life on 2027-06-30"
        assert found.gate().hint == (
            "move soe to a base that lives longer, or set another end_of_life of soe in "
            "bootcfleet.yaml"
        )


def test_the_earliest_of_the_ancestors_counts(acme: Project) -> None:
    today = date(2027, 7, 1)
    assert life(acme, "web", today).message == (
        "web with soe, its ancestor, reached its end of life on 2027-06-30"
    )
    assert life(acme, "shop", today).ends == date(2027, 1, 31)
    free = life(acme, "free", today)
    assert (free.ok, free.ends, free.gate().message) == (True, None, "free has no end of life")


def test_the_warning_is_configured() -> None:
    body = {"soe": {"base": "quay.io/f/b:1", "end_of_life": "2027-06-30"}}
    acme = project(body, end_of_life_warning=0)
    assert life(acme, "soe", date(2027, 6, 29)).warning is None
    assert life(acme, "soe", END).warning is not None


def test_labels(acme: Project) -> None:
    graph = ImageGraph.of(acme)
    assert end_of_life_labels(acme, graph, "web") == {"io.bootcfleet.end-of-life": "2027-06-30"}
    assert end_of_life_labels(acme, graph, "free") == {}
    labels = end_of_life_labels(acme, graph, "web")
    assert not life_from_labels("web", labels, date(2027, 7, 1), 90).ok
    assert life_from_labels("web", labels, END, 90).ok
    assert life_from_labels("web", {"io.bootcfleet.end-of-life": "soon"}, END, 90).ok


@pytest.mark.parametrize("value", ["soon", "2027-02-30", True, "2027-06-30T12:00:00"])
def test_what_is_no_date(value: object) -> None:
    with pytest.raises(ConfigError, match="end_of_life"):
        project({"soe": {"base": "quay.io/f/b:1", "end_of_life": value}})


@given(
    st.lists(st.none() | st.dates(date(2020, 1, 1), date(2040, 1, 1)), min_size=1, max_size=6),
    st.dates(date(2019, 1, 1), date(2041, 1, 1)),
)
def test_a_child_never_outlives_its_parent(ends: list[date | None], today: date) -> None:
    images: dict[str, Any] = {}
    for number, end in enumerate(ends):
        parent = {"from": f"i{number - 1}"} if number else {"base": "quay.io/f/b:1"}
        images[f"i{number}"] = {**parent, **({"end_of_life": end} if end else {})}
    chain = project(images)
    lives = [life(chain, name, today) for name in images]
    for parent, child in pairwise(lives):
        assert parent.ok or not child.ok
        if parent.ends:
            assert child.ends is not None
            assert child.ends <= parent.ends
    for one in lives:
        assert one.ok == (one.ends is None or today <= one.ends)
        if one.warning:
            assert one.ends is not None
            assert one.ends - today <= timedelta(days=90)
