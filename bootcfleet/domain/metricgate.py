"""How the answer of Prometheus to a gate's query is judged.

The answer is that of its HTTP API for instant queries (Prometheus documentation, "HTTP API"): a
vector of samples, a scalar, or what no threshold can be held against.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bootcfleet.domain.gate import GateResult
from bootcfleet.domain.rollout_policy import MetricGate

#: The comparisons that a gate may use.
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}

#: Labels and warnings that are shown are cut off after so many characters.
_SHOWN = 300


@dataclass(frozen=True)
class MetricResult(GateResult):
    """A metric gate's answer; `answered` is whether Prometheus gave one.

    Without one the gate does not hold, but nothing is known to be wrong either.
    """

    answered: bool = True


class AnswerError(ValueError):
    """An answer in which there is nothing to compare; says what there is."""


def judge(gate: MetricGate, data: object, warnings: Sequence[str] = ()) -> MetricResult:
    """Whether every sample of the answer's ``data`` satisfies the gate.

    NaN satisfies nothing: it is what a rate of nothing by nothing gives.
    """
    try:
        samples = read_samples(data)
    except AnswerError as error:
        return _result(gate, False, str(error), warnings)
    wanted = f"{gate.compare} {gate.threshold:g}"
    if not samples:
        message = "the query has no sample"
        hint = "a metric that may be missing needs `empty_ok: true`"
        return _result(gate, gate.empty_ok, message, warnings, None if gate.empty_ok else hint)
    holds = COMPARISONS[gate.compare]
    broken = [
        (labels, value)
        for labels, value in samples
        if math.isnan(value) or not holds(value, gate.threshold)
    ]
    if not broken:
        values = [f"{value:g}" for _, value in samples]
        if len(samples) == 1:
            return _result(gate, True, f"{values[0]} {wanted}", warnings)
        return _result(gate, True, f"all {len(samples)} samples {wanted}", warnings)
    labels, value = broken[0]
    where = f" for {_labels(labels)}" if labels else ""
    more = f", and {len(broken) - 1} more of {len(samples)}" if len(broken) > 1 else ""
    return _result(gate, False, f"{value:g} is not {wanted}{where}{more}", warnings)


def read_samples(data: object) -> list[tuple[Mapping[str, str], float]]:
    """The samples of an instant query's ``data``, labels and value.  Raises `AnswerError`."""
    kind = data.get("resultType") if isinstance(data, dict) else None
    result = data.get("result") if isinstance(data, dict) else None
    if kind == "scalar":
        return [({}, _value(result))]
    if kind == "vector" and isinstance(result, list):
        return [_sample(one) for one in result]
    if kind in {"matrix", "string"}:
        raise AnswerError(f"the query gives a {kind}, and a gate needs a vector or a scalar")
    raise AnswerError("the answer is not that of a query of Prometheus")


def _sample(one: object) -> tuple[Mapping[str, str], float]:
    if not isinstance(one, dict) or not isinstance(one.get("metric"), dict):
        raise AnswerError("the answer has a sample that is none")
    labels = {str(key): str(value) for key, value in one["metric"].items()}
    if "histogram" in one and "value" not in one:
        raise AnswerError(
            f"{_labels(labels)} is a histogram: compare a histogram_quantile() of it, or its rate"
        )
    return labels, _value(one.get("value"))


def _value(pair: Any) -> float:
    """The value of ``[time, "value"]``; Prometheus writes it as text, also NaN, +Inf and -Inf."""
    try:
        _, text = pair
        if not isinstance(text, str):
            raise ValueError("values are text")
        return float(text)
    except (TypeError, ValueError):
        raise AnswerError("the answer has a sample without a value") from None


def _labels(labels: Mapping[str, str]) -> str:
    rest = [f'{key}="{value}"' for key, value in sorted(labels.items()) if key != "__name__"]
    return plain(f"{labels.get('__name__', '')}{{{','.join(rest)}}}")


def plain(text: str) -> str:
    """Text of somebody else's as it may be shown: no control characters, not too long."""
    shown = "".join(one if one.isprintable() else " " for one in text)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"


def _result(
    gate: MetricGate, ok: bool, message: str, warnings: Sequence[str], hint: str | None = None
) -> MetricResult:
    if warnings:
        message = f"{message} (Prometheus warns: {plain('; '.join(warnings))})"
    return MetricResult(gate.name, ok, message, hint)
