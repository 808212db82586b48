"""Selectors: which hosts they choose, and what is said of those that are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.inventory import Host, Inventory
from bootcfleet.domain.selector import Selector
from bootcfleet.errors import UsageError

INVENTORY = Inventory(
    (
        Host("web1", frozenset({"web"}), {"role": "web", "site": "ams"}),
        Host("web2", frozenset({"web"}), {"role": "web", "site": "fra", "gpu": ""}),
        Host("db1", frozenset({"db", "prod"}), {"role": "db", "site": "ams"}),
        Host("bare"),
    ),
    ("web", "db", "prod"),
)


def chosen(
    labels: list[str], groups: list[str] | None = None, names: list[str] | None = None
) -> str:
    selector = Selector.parse(labels, groups or [], names or [])
    return " ".join(host.name for host in INVENTORY.select(selector))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([], "web1 web2 db1 bare"),
        (["role=web"], "web1 web2"),
        (["role==web"], "web1 web2"),
        (["role=web,site!=ams"], "web2"),
        (["role=web", "site=ams"], "web1"),
        (["role != web"], "db1 bare"),
        (["role in (web,db)"], "web1 web2 db1"),
        (["role notin (web, db)"], "bare"),
        (["gpu"], "web2"),
        (["!gpu"], "web1 db1 bare"),
        (["role,!gpu,site=ams"], "web1 db1"),
    ],
)
def test_labels(labels: list[str], expected: str) -> None:
    assert chosen(labels) == expected


def test_groups_and_names_narrow_it() -> None:
    assert chosen([], ["db", "prod"]) == "db1"
    assert chosen([], ["all"], ["web*"]) == "web1 web2"
    assert chosen(["site=ams"], ["web"], ["*1"]) == "web1"
    assert chosen([], [], ["web1", "db?"]) == "web1 db1"


@pytest.mark.parametrize(
    "text", ["", "=", "a=b=c", "a;b", "a in b", "a in (b", "$(id)", "a=`id`", "!", "a,", "a=b,,c"]
)
def test_what_is_no_condition(text: str) -> None:
    with pytest.raises(UsageError, match="is not a condition") as caught:
        Selector.parse([text])
    assert "role=web" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("labels", "groups", "names", "message", "hint"),
    [
        (["role=wbe"], [], [], "matches none of 4 hosts", "role: did you mean 'web'?"),
        (["role=mail"], [], [], "matches none of 4 hosts", "label role: known: db, web"),
        (["rool=web"], [], [], "matches none of 4 hosts", "'rool'; did you mean 'role'?"),
        (["role=db", "site=fra"], [], [], "matches none of 4 hosts", "for no host all"),
        ([], ["db"], ["web*"], "matches none of 4 hosts", "for no host all"),
        ([], ["wbe"], [], "there is no group 'wbe'", "did you mean 'web'?"),
        ([], ["$(id)"], [], r"there is no group '\$\(id\)'", "known: db, prod, web"),
        ([], [], ["../*"], r"no host matches '\.\./\*'", "known: bare"),
        ([], [], ["wbe1"], "no host matches 'wbe1'", "did you mean 'web1'?"),
    ],
)
def test_a_selection_of_nothing_is_an_error(
    labels: list[str], groups: list[str], names: list[str], message: str, hint: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        chosen(labels, groups, names)
    assert hint in (caught.value.hint or "")


words = st.from_regex(r"[a-z][a-z0-9.]{0,8}", fullmatch=True)


@given(words, st.lists(words, min_size=1, max_size=4), st.sampled_from(["in", "notin"]))
def test_what_is_printed_is_read_again(key: str, values: list[str], operator: str) -> None:
    selector = Selector.parse([f"{key} {operator} ({','.join(values)})"])
    assert Selector.parse([str(selector)]) == selector


@given(words, words)
def test_a_condition_and_its_opposite_divide_the_hosts(key: str, value: str) -> None:
    has, has_not = Selector.parse([f"{key}={value}"]), Selector.parse([f"{key}!={value}"])
    for host in INVENTORY.hosts:
        assert has.matches(host) is not has_not.matches(host)


@given(st.text(max_size=30))
def test_any_text_is_a_selector_or_a_clear_error(text: str) -> None:
    hint: str | None = "none is needed"
    try:
        Selector.parse([text])
    except UsageError as error:
        hint = error.hint
    assert hint
