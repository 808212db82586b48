"""Secrets are asked for once, and a wrong one does not fail a fleet."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from bootcfleet.drivers.sshauth import Secrets


def test_many_threads_one_question() -> None:
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        return "answer"

    secrets = Secrets(ask)
    with ThreadPoolExecutor(20) as pool:
        answers = set(pool.map(lambda _: secrets.get("q"), range(100)))
    assert (answers, asked) == ({"answer"}, ["q"])
    assert secrets.get("other") == "answer"


def test_a_wrong_answer_is_asked_again_three_times_in_all() -> None:
    numbers = count()
    secrets = Secrets(lambda _question: f"guess {next(numbers)}")
    assert secrets.refused("q", secrets.get("q"))
    assert secrets.refused("q", secrets.get("q"))
    assert not secrets.refused("q", secrets.get("q"))
    assert next(numbers) == 3


def test_hosts_that_tried_the_same_wrong_answer_ask_once() -> None:
    numbers = count()
    secrets = Secrets(lambda _question: f"guess {next(numbers)}")
    first = secrets.get("q")
    assert secrets.refused("q", first), "another host has had it refused, too"
    second = secrets.get("q")
    # A slower host had the first one refused as well: the second is there for it to try.
    assert secrets.refused("q", first)
    assert secrets.get("q") == second


def test_an_answer_that_worked_stays() -> None:
    secrets = Secrets(lambda _question: "right")
    secrets.get("q")
    secrets.worked("q")
    assert not secrets.refused("q", "right")
    assert secrets.get("q") == "right"


def test_a_person_who_breaks_off_is_heard() -> None:
    def ask(_question: str) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Secrets(ask).get("q")
