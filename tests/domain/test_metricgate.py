"""Answers of Prometheus against a gate's threshold."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.metricgate import COMPARISONS, judge
from bootcfleet.domain.rollout_policy import MetricGate


def gate(compare: str = "<", threshold: float = 0.05, *, empty_ok: bool = False) -> MetricGate:
    return MetricGate("errors", "http://p", "q", compare, threshold, empty_ok)


def vector(*samples: tuple[dict[str, str], str]) -> dict[str, Any]:
    result = [{"metric": labels, "value": [1763722000.1, text]} for labels, text in samples]
    return {"resultType": "vector", "result": result}


def scalar(text: str) -> dict[str, Any]:
    return {"resultType": "scalar", "result": [1763722000.1, text]}


WEB = {"__name__": "errors", "job": "web", "instance": "h1"}


@pytest.mark.parametrize(
    ("data", "ok", "message"),
    [
        (scalar("0.01"), True, "0.01 < 0.05"),
        (scalar("0.05"), False, "0.05 is not < 0.05"),
        (vector((WEB, "0.01")), True, "0.01 < 0.05"),
        (vector((WEB, "0"), ({}, "0.04")), True, "all 2 samples < 0.05"),
        (
            vector(({"job": "db"}, "0.01"), (WEB, "0.2")),
            False,
            '0.2 is not < 0.05 for errors{instance="h1",job="web"}',
        ),
        (
            vector((WEB, "1"), (WEB, "0"), ({}, "2"), ({}, "3")),
            False,
            '1 is not < 0.05 for errors{instance="h1",job="web"}, and 2 more of 4',
        ),
        (vector(({}, "NaN")), False, "nan is not < 0.05"),
        (scalar("NaN"), False, "nan is not < 0.05"),
        (scalar("+Inf"), False, "inf is not < 0.05"),
        (scalar("-Inf"), True, "-inf < 0.05"),
        (vector(), False, "the query has no sample"),
        (scalar("many"), False, "the answer has a sample without a value"),
        ({"resultType": "scalar", "result": [1, 2.0]}, False, "a sample without a value"),
        ({"resultType": "scalar", "result": None}, False, "a sample without a value"),
        ({"resultType": "vector", "result": None}, False, "not that of a query"),
        ({"resultType": "vector", "result": [1]}, False, "a sample that is none"),
        ({"resultType": "vector", "result": [{"metric": {}}]}, False, "without a value"),
        (
            {"resultType": "vector", "result": [{"metric": WEB, "histogram": [1, {}]}]},
            False,
            'errors{instance="h1",job="web"} is a histogram: ',
        ),
        ({"resultType": "matrix", "result": []}, False, "the query gives a matrix"),
        ({"resultType": "string", "result": [1, "x"]}, False, "the query gives a string"),
        (None, False, "not that of a query"),
        ([], False, "not that of a query"),
    ],
)
def test_answers(data: object, ok: bool, message: str) -> None:
    found = judge(gate(), data)
    assert found.name == "errors"
    assert found.ok is ok
    assert message in found.message


@pytest.mark.parametrize(
    ("compare", "below", "same", "above"),
    [
        ("<", True, False, False),
        ("<=", True, True, False),
        (">", False, False, True),
        (">=", False, True, True),
        ("==", False, True, False),
        ("!=", True, False, True),
    ],
)
def test_comparisons(compare: str, below: bool, same: bool, above: bool) -> None:
    said = [judge(gate(compare, 2), scalar(text)).ok for text in ("1", "2", "3")]
    assert said == [below, same, above]
    assert not judge(gate(compare, 2), scalar("NaN")).ok
    assert set(COMPARISONS) == {"<", "<=", ">", ">=", "==", "!="}


@given(st.lists(st.floats()), st.floats(allow_nan=False), st.sampled_from(sorted(COMPARISONS)))
def test_every_sample_counts(values: list[float], threshold: float, compare: str) -> None:
    data = vector(*(({"n": str(n)}, repr(value)) for n, value in enumerate(values)))
    good = all(not math.isnan(v) and COMPARISONS[compare](v, threshold) for v in values)
    assert judge(gate(compare, threshold), data).ok is (good and bool(values))
    assert judge(gate(compare, threshold, empty_ok=True), data).ok is good


def test_messages_to_the_letter() -> None:
    one = judge(gate(), vector((WEB, "1"), ({}, "0")))
    assert one.message == '1 is not < 0.05 for errors{instance="h1",job="web"}'
    assert judge(gate(), vector(({"job": "x" * 292}, "1"))).message.endswith('x"}')
    assert judge(gate(), vector(({"job": "x" * 293}, "1"))).message.endswith('x"…')


def test_no_sample_may_be_well() -> None:
    refused = judge(gate(), vector())
    assert refused.hint == "a metric that may be missing needs `empty_ok: true`"
    assert judge(gate(empty_ok=True), vector()).ok
    assert not judge(gate(empty_ok=True), vector(({}, "NaN"))).ok


def test_warnings_are_shown() -> None:
    found = judge(gate(), scalar("0"), ["partial response", "x\n\x1b[31m"])
    assert found.message == "0 < 0.05 (Prometheus warns: partial response; x  [31m)"


def test_labels_are_not_obeyed_and_end() -> None:
    found = judge(gate(), vector(({"a": "\x1b]0;x\x07" + "y" * 5000}, "1")))
    assert found.message.isprintable()
    assert len(found.message) < 400
