"""checks.yaml: variables, loops, inheritance, and every complaint with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.check import Check
from bootcfleet.domain.checkfile import CheckSource, checks_hash, checks_of
from bootcfleet.drivers import yamlfile
from bootcfleet.errors import ConfigError


def source(text: str, image: str = "web", **context: Any) -> CheckSource:
    return CheckSource(image, yamlfile.parse(text, f"{image}.yaml"), context)


def checks(text: str, **context: Any) -> tuple[Check, ...]:
    return checks_of([[source("version: 1\nchecks:\n" + text, **context)]])


def names(found: tuple[Check, ...]) -> list[str]:
    return [check.name for check in found]


def test_values_keep_their_types_and_places() -> None:
    found = checks(
        '- package: "{{ packages }}"\n'
        '- port: "{{ port }}"\n'
        "- user: ops\n"
        '  uid: "{{ uid + 1 }}"\n'
        "  home: /home/{{ name }}\n",
        packages=["a", "b: [c]"],
        port=8080,
        uid=1500,
        name="x\n- package: evil",
    )
    assert names(found) == ["package a", "package b: [c]", "port 8080/tcp", "user ops"]
    assert found[3].spec.model_dump()["home"] == "/home/x\n- package: evil"
    assert found[3].spec.model_dump()["uid"] == 1501
    assert [check.line for check in found] == [3, 3, 4, 5]


def test_when_and_each() -> None:
    found = checks(
        "- package: nginx\n  when: server == 'nginx'\n"
        "- package: httpd\n  when: \"{{ server == 'httpd' }}\"\n"
        "- package: never\n  when: false\n"
        '- user: "{{ item.name }}"\n  uid: "{{ item.uid }}"\n  each: users\n'
        "  when: item.name != 'root'\n"
        '- command: [sysctl, -n, "{{ item.key }}"]\n  equals: "{{ item.value | string }}"\n'
        "  each: sysctl\n"
        "- package: \"{{ agents | map(attribute='package') }}\"\n",
        server="nginx",
        users=[{"name": "ops", "uid": 7}, {"name": "root"}, {"name": "db", "uid": 8}],
        sysctl={"net.x": 1},
        agents=[{"package": "agent"}],
    )
    assert names(found) == [
        "package nginx", "user ops", "user db", "command sysctl -n net.x", "package agent",
    ]  # fmt: skip


PARENT = (
    "version: 1\nchecks:\n- package: chrony\n- unit: a.timer\n  masked: true\n  name: no timer\n"
)
COMPLAINTS = yaml.safe_load(
    (Path(__file__).parent.parent / "data/checks/complaints.yaml").read_text()
)


def test_a_parents_checks_come_first_and_once() -> None:
    child = "version: 1\nchecks:\n- package: nginx\n- package: chrony\n"
    found = checks_of([[source(PARENT, "soe")], [source(child)]])
    assert [(check.image, check.name) for check in found] == [
        ("soe", "package chrony"), ("soe", "no timer"), ("web", "package nginx"),
    ]  # fmt: skip


def test_a_child_says_which_check_does_not_hold_and_why() -> None:
    child = (
        "version: 1\nwithout:\n- check: no timer\n  why: edge hosts update themselves\n"
        "  when: self_update\n"
    )
    for on, left in ((True, ["package chrony"]), (False, ["package chrony", "no timer"])):
        found = checks_of([[source(PARENT, "soe")], [source(child, "edge", self_update=on)]])
        assert names(found) == left


def test_a_later_file_takes_a_check_out_of_an_earlier_one() -> None:
    more = "version: 1\nwithout: [{check: no timer, why: ours}]\nchecks: [{package: site}]\n"
    found = checks_of([[source(PARENT), source(more)]])
    assert names(found) == ["package chrony", "package site"]


def test_lists_whose_lines_are_all_commented_out() -> None:
    assert checks("#  - package: a\n") == ()
    assert checks_of([[source("version: 1\nwithout:\nchecks:\n")]]) == ()


def test_the_hash_is_of_what_is_checked() -> None:
    first = checks_hash(checks("- package: a\n"))
    assert first == checks_hash(checks("# moved\n\n- package: '{{ p }}'\n", p="a"))
    assert first != checks_hash(checks("- package: b\n"))
    assert first != checks_hash(checks("- {package: a, optional: true}\n"))


@pytest.mark.parametrize("case", COMPLAINTS, ids=lambda case: str(case["message"]))
def test_complaints(case: dict[str, str]) -> None:
    document = yamlfile.parse(case["text"], "f.yaml")
    with pytest.raises(ConfigError) as caught:
        checks_of([[CheckSource("web", document, {"packages": ["chrony"]})]])
    said, message = caught.value.message, case["message"]
    assert said == message or (message.endswith("…") and said.startswith(message[:-1]))
    assert "hint" not in case or caught.value.hint == case["hint"]


@given(st.text())
def test_no_value_of_a_variable_becomes_code_or_a_line(value: str) -> None:
    text = "version: 1\nchecks:\n- command: [echo, '{{ value }}', 'a{{ value }}']\n"
    try:
        (check,) = checks_of([[source(text, value=value)]])
    except ConfigError:
        assert "\0" in value
        return
    assert check.spec.model_dump()["command"] == ["echo", value, f"a{value}"]
