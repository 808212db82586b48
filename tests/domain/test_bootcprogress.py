"""bootc's progress lines: what is read of them, and what is passed over."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.bootcprogress import DownloadProgress, Pace, parse_progress
from bootcfleet.domain.reference import Digest
from bootcfleet.drivers.simhost import Pulled
from bootcfleet.drivers.simprogress import tell_progress

#: The fields that bootc's schema (progress-v0) requires.
STEPS = set("type task description id stepsCached steps stepsTotal subtasks".split())
FIELDS = {
    "Start": {"type", "version"},
    "ProgressSteps": STEPS,
    "ProgressBytes": STEPS | {"bytesCached", "bytes", "bytesTotal"},
}


def line(**changes: Any) -> str:
    event: dict[str, Any] = {
        "type": "ProgressBytes",
        "task": "pulling",
        "description": "Pulling",
        "id": "r.example/soe",
        "bytes": 10,
        "bytesCached": 0,
        "bytesTotal": 40,
        "steps": 1,
        "stepsCached": 0,
        "stepsTotal": 4,
        "subtasks": [],
    }
    return json.dumps(event | changes)


def test_bytes_and_steps() -> None:
    assert parse_progress(line()) == DownloadProgress("pulling", 10, 40, 1, 4)
    steps = line(type="ProgressSteps", task="staging", bytes=None)
    assert parse_progress(steps) == DownloadProgress("staging", 0, 40, 1, 4)
    assert parse_progress(f"  {line()}\r\n") is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "layers already present: 0; layers needed: 1",
        '{"type":"Start","version":"0.1.0"}',
        '{"type":"SomethingNew"}',
        "[]",
        "{",
        "{" * 100_000,
        '{"type":["ProgressBytes"]}',
        line(task=None),
        line(task=""),
        line(task="\x1b[31mpulling"),
        line(task="x" * 41),
    ],
)
def test_what_is_no_progress(text: str) -> None:
    assert parse_progress(text) is None


@pytest.mark.parametrize("value", [-1, 1.5, "12", None, True, 2**64, [1]])
def test_a_number_that_is_none_is_not_known(value: Any) -> None:
    assert parse_progress(line(bytes=value)) == DownloadProgress("pulling", 0, 40, 1, 4)


@given(st.text(max_size=200))
def test_garbage_is_never_an_error(text: str) -> None:
    parse_progress(text)
    parse_progress("{" + text)


@pytest.mark.parametrize(
    ("progress", "finished"),
    [
        (DownloadProgress("pulling", 39, 40, 4, 4), False),
        (DownloadProgress("pulling", 40, 40, 3, 4), True),
        (DownloadProgress("staging", 0, 0, 2, 3), False),
        (DownloadProgress("staging", 0, 0, 3, 3), True),
        (DownloadProgress("staging"), False),
    ],
)
def test_the_end_of_a_task(progress: DownloadProgress, finished: bool) -> None:
    assert progress.finished is finished


def test_the_pace() -> None:
    pace = Pace()
    told = [
        moment
        for moment in range(1280)
        if pace.lets(DownloadProgress("pulling", moment, 5000), moment / 128)
    ]
    assert 45 <= len(told) <= 50, "ten seconds at most five a second"
    assert told[0] == 0
    # A task's first and last reports are told in any case, and nothing is told twice.
    assert pace.lets(DownloadProgress("staging", 0, 0, 1, 3), 10.0)
    assert not pace.lets(DownloadProgress("staging", 0, 0, 2, 3), 10.1)
    assert pace.lets(DownloadProgress("staging", 0, 0, 3, 3), 10.1)
    assert not pace.lets(DownloadProgress("staging", 0, 0, 3, 3), 99.0)


def test_what_a_simulated_host_says_is_what_the_schema_says() -> None:
    layers = tuple((Digest("sha256:" + c * 64), 1000) for c in "abc")
    image = Pulled(Digest("sha256:" + "d" * 64), "1", None, "amd64", True, layers)
    lines: list[str] = []
    tell_progress(0.5, "r.example/soe", image, lines.append)
    for text in lines:
        assert text.endswith("\n")
        event = json.loads(text)
        assert set(event) == FIELDS[event["type"]]
    found = [report for report in map(parse_progress, lines) if report]
    assert [each.task for each in found][-3:] == ["pulling", "importing", "staging"]
    assert [each.bytes for each in found[:-2]] == sorted(each.bytes for each in found[:-2])
    assert found[-3] == DownloadProgress("pulling", 3000, 3000, 3, 3)
    assert found[-1].finished
