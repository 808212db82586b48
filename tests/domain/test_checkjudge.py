"""Judging checks, by the table in tests/data/checks/judge.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.check import Check, CheckReport, CheckResult, Mode, Outcome
from bootcfleet.domain.checkfacts import Answer, Facts, Question, Said, Verb
from bootcfleet.domain.checkfile import CheckSource, checks_of
from bootcfleet.domain.checkjudge import commands, judge, questions
from bootcfleet.domain.checkkinds import KINDS
from bootcfleet.domain.document import Document
from bootcfleet.domain.evidence import EvidenceOutcome

CASES = yaml.safe_load((Path(__file__).parent.parent / "data/checks/judge.yaml").read_text())


def made(entry: dict[str, Any]) -> tuple[Check, ...]:
    document = Document("checks.yaml", {"version": 1, "checks": [entry]}, {("checks", 0): 3})
    return checks_of([[CheckSource("web", document, {})]])


def one(entry: dict[str, Any]) -> Check:
    (check,) = made(entry)
    return check


def facts(table: dict[str, dict[str, Any]]) -> Facts:
    answers = {}
    for question, keys in table.items():
        verb, *words = question.split(" ")
        parts = [
            (key, text.encode())
            for key, texts in keys.items()
            for text in (texts if isinstance(texts, list) else [texts])
        ]
        answers[Question(Verb(verb), tuple(words))] = Answer(tuple(parts))
    return Facts(answers)


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["title"]))
def test_the_table(case: dict[str, Any]) -> None:
    check, mode = one(case["check"]), Mode(case.get("mode", "booted"))
    found = facts(case["facts"])
    # What it looks at is what it asks for: a missing question would be a check that never works.
    for question in questions(check, mode):
        assert question in found.answers or not found.get(question.verb, *question.words).parts
    assert set(found.answers) <= set(questions(check, mode))
    result = judge(check, found, mode)
    assert (result.expected, result.found) == (case.get("expected", ""), case.get("found", ""))
    assert (result.outcome is Outcome.PASSED) == ("expected" not in case)


def test_every_kind_is_in_the_table() -> None:
    assert {next(k for k in KINDS if k in c["check"]) for c in CASES} == KINDS.keys() - {"command"}


@pytest.mark.parametrize(
    ("entry", "said", "expected", "found"),
    [
        ({}, Said(0, "any\n"), "", ""),
        ({}, Said(1, "", "a\nwrong\n"), "exit code 0", "exit code 1: wrong"),
        ({"exit_code": 3}, Said(3), "", ""),
        ({"equals": " 16.8"}, Said(0, "16.8\n"), "", ""),
        ({"equals": "16.8"}, Said(0, "17\n"), "output '16.8'", "'17'"),
        ({"contains": ["a", "b"]}, Said(0, "a"), "'b' in the output", "the output with 'a'"),
        ({"matches": "^b$", "lacks": "x"}, Said(0, "a\nb\n"), "", ""),
        ({"lacks": "x"}, Said(0, "xy"), "no 'x' in the output", "it is there"),
        ({}, Said(error="no end within 5 s"), "its end", "no end within 5 s"),
        ({}, None, "its end", "it was not run"),
    ],
)
def test_commands(entry: dict[str, Any], said: Said | None, expected: str, found: str) -> None:
    check = one({"command": "pg_config --version", **entry})
    assert commands(check) == ((("pg_config", "--version"), 30.0),)
    known = {} if said is None else {("pg_config", "--version"): said}
    result = judge(check, Facts({}, known), Mode.PLAIN)
    assert (result.expected, result.found) == (expected, found)


def test_a_system_that_cannot_be_asked_fails_what_it_did_not_answer() -> None:
    broken = Facts({Question(Verb.KERNELS): Answer((("kernel", b"6.12"),))}, {}, "connection lost")
    assert judge(one({"kernels": 1}), broken, Mode.HOST).outcome is Outcome.PASSED
    result = judge(one({"file": "/x", "absent": True}), broken, Mode.HOST)
    assert result.outcome is Outcome.FAILED
    assert result.message == "expected an answer, found connection lost"


@pytest.mark.parametrize(
    ("entry", "plain", "booted", "host"),
    [
        ({"package": "a"}, None, None, None),
        ({"unit": "a.service", "active": True}, "skipped", None, None),
        ({"port": 80}, "skipped", None, None),
        ({"http": "http://localhost/"}, "skipped", None, None),
        ({"system": "running"}, "skipped", None, None),
        ({"command": "true", "needs": "boot"}, "skipped", None, None),
        ({"package": "a", "needs": "image"}, None, None, "not-here"),
        ({"unit": "a.service", "active": True, "needs": "host"}, "not-here", "not-here", None),
        ({"port": 80, "needs": "image"}, "skipped", None, "not-here"),
    ],
)
def test_where_a_check_runs(
    entry: dict[str, Any], plain: str | None, booted: str | None, host: str | None
) -> None:
    check = one(entry)
    assert [check.decided(mode) for mode in Mode] == [plain, booted, host]


def test_a_unit_is_two_checks_as_its_state_on_disk_needs_no_boot() -> None:
    still, live = made({"unit": "a.service", "enabled": True, "active": True, "name": "the server"})
    assert (still.name, live.name) == (
        "the server: unit a.service enabled",
        "the server: unit a.service active",
    )
    assert (still.running, live.running) == (False, True)


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case["title"]))
def test_a_check_survives_the_ledger(case: dict[str, Any]) -> None:
    check = one(case["check"])
    assert Check.from_json(check.to_json()) == check


def report(*outcomes: tuple[Outcome, bool]) -> CheckReport:
    results = []
    for outcome, optional in outcomes:
        results.append(CheckResult(one({"package": "a", "optional": optional}), outcome))
    return CheckReport("web", "r/web@sha256:1", "sha256:1", Mode.PLAIN, tuple(results), "h")


@pytest.mark.parametrize(
    ("outcomes", "whole"),
    [
        ([], "skipped"),
        ([(Outcome.PASSED, False)], "passed"),
        ([(Outcome.NOT_HERE, False)], "skipped"),
        ([(Outcome.PASSED, False), (Outcome.NOT_HERE, False)], "passed"),
        ([(Outcome.PASSED, False), (Outcome.SKIPPED, False)], "skipped"),
        ([(Outcome.PASSED, False), (Outcome.SKIPPED, True)], "passed"),
        ([(Outcome.PASSED, False), (Outcome.FAILED, True)], "passed"),
        ([(Outcome.SKIPPED, False), (Outcome.FAILED, False)], "failed"),
    ],
)
def test_only_what_ran_and_passed_is_green(
    outcomes: list[tuple[Outcome, bool]], whole: str
) -> None:
    found = report(*outcomes)
    assert found.outcome is EvidenceOutcome(whole)
    assert found.ok == (whole == "passed")


ENTRIES: list[dict[str, Any]] = [case["check"] for case in CASES]


@given(st.sampled_from(ENTRIES), st.data())
def test_no_answer_of_a_system_is_a_crash(entry: dict[str, Any], data: st.DataObject) -> None:
    check = one(entry)
    texts = st.sampled_from(ODD) | st.binary()
    for mode in Mode:
        answers = {}
        for question in questions(check, mode):
            keys = st.sampled_from(KEYS[question.verb].split())
            answers[question] = Answer(tuple(data.draw(st.lists(st.tuples(keys, texts)))))
        result = judge(check, Facts(answers), mode)
        assert (result.outcome is Outcome.FAILED) == bool(result.expected)
        assert len(result.expected) <= 300
        assert (result.expected + result.found).isprintable()


#: Almost what is expected.
ODD = [
    b"regular file|644|0|root|0|root", b"regular file|x|0|root|0|root", b"a|b|c|d|e|f",
    b"0: 0100007F:0016 00000000:0000 0A", b"0: 01:zz 0:0 0A", b"kargs = 3", b"kargs = [1]",
    b"kargs = ['a']\nmatch-architectures = 3", b"[a]\nenabled", b"[a]\n[a]\n  b\nenabled=%(x)s",
    b"u \"unfinished", b"m a", b"x:y:z", b"ActiveState=\n=\n", b"a b\nc",
]  # fmt: skip

#: What the probe says for each question.
KEYS = {
    Verb.FILE: "itself through link", Verb.CONTENT: "content", Verb.SHA256: "sha256",
    Verb.PACKAGE: "found error", Verb.UNIT: "enabled error", Verb.UNIT_STATE: "state log",
    Verb.USER: "passwd groups", Verb.GROUP: "group", Verb.SYSUSERS: "conf",
    Verb.LISTEN: "tcp tcp6 udp udp6", Verb.KARGS: "machine toml", Verb.CMDLINE: "cmdline",
    Verb.KERNELS: "kernel", Verb.REPOSITORIES: "repo", Verb.HTTP: "status body error",
    Verb.SYSTEM: "state failed",
}  # fmt: skip
