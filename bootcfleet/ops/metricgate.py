"""Asks the metric gates of a rollout: before a wave starts, and while it bakes."""

from __future__ import annotations

import time
from collections.abc import Callable

from bootcfleet.domain.metricgate import MetricResult, judge
from bootcfleet.domain.rollout_policy import MetricGate
from bootcfleet.drivers.prometheus import Prometheus, QueryError

#: Seconds before the second try, and before each further one.
_PAUSES = (1.0, 4.0)


def ask_gate(gate: MetricGate, *, sleep: Callable[[float], None] = time.sleep) -> MetricResult:
    """Whether the gate holds now.

    A Prometheus that does not answer is asked three times; that it still does not answer is no
    pass.  Raises `UsageError` for an address that is none.
    """
    server = Prometheus(gate.server, timeout=gate.timeout)
    for pause in (*_PAUSES, None):
        try:
            answer = server.query(gate.query)
        except QueryError as error:
            if error.transient and pause is not None:
                sleep(pause)
                continue
            return MetricResult(gate.name, False, error.message, error.hint, answered=False)
        break
    return judge(gate, answer.data, answer.warnings)
