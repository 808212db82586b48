"""A rollout as Prometheus metrics, in the text format 0.0.4.

Source: prometheus.io, "Exposition formats" and "Metric and label naming".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bootcfleet.domain.plaintext import one_line
from bootcfleet.domain.rollout import FAILURES, HostPhase
from bootcfleet.domain.rollout_journal import WavePhase
from bootcfleet.domain.rollout_tally import Tally

#: What an HTTP answer with it is called.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STATES = ("running", "waiting", "paused", "done", "failed", "halted", "aborted")
#: Characters of a label's value.
_WORDS = 200


@dataclass(frozen=True)
class Family:
    """A metric with its samples: labels and a value each."""

    name: str
    kind: str
    help: str
    samples: tuple[tuple[Mapping[str, str], float], ...]


def families(tally: Tally, now: float) -> list[Family]:
    """The metrics of a rollout.  `now` is in seconds since 1970."""
    rollout = {"rollout": tally.rollout}

    def one(name: str, help_: str, value: float, kind: str = "gauge") -> Family:
        return Family(f"bootcfleet_rollout_{name}", kind, help_, ((rollout, value),))

    def many(name: str, help_: str, label: str, values: Iterable[tuple[str, float]]) -> Family:
        samples = tuple(({**rollout, label: word}, value) for word, value in values)
        return Family(f"bootcfleet_rollout_{name}", "gauge", help_, samples)

    wave = tally.wave
    done = sum(one.phase is WavePhase.DONE for one in tally.waves.values())
    info = ({**rollout, "operation": tally.operation}, 1.0)
    waits = tuple(
        ({**rollout, "what": what or "rollout", "reason": why}, 1.0)
        for what, why in tally.waits.items()
    )
    return [
        Family("bootcfleet_rollout_info", "gauge", "What the rollout does.", (info,)),
        many("hosts", "Hosts in each phase.", "phase",
             ((str(phase), tally.counts[phase]) for phase in HostPhase)),
        many("state", "1 for the state that the rollout is in.", "state",
             ((state, float(state == tally.state)) for state in STATES)),
        one("wave", "Number of the wave that is under way; 0 when all are done.",
            wave.number if wave else 0),
        one("waves", "Waves of the rollout.", len(tally.waves)),
        one("waves_done", "Waves that are done.", done),
        one("failures", "Hosts that failed or were rolled back.",
            sum(tally.counts[phase] for phase in FAILURES)),
        one("halted", "1 when the rollout was halted or aborted.", float(bool(tally.halted))),
        one("finished", "1 when the rollout has ended.", float(bool(tally.outcome))),
        Family("bootcfleet_rollout_waiting_info", "gauge", "What waits, and for what.", waits),
        one("start_timestamp_seconds", "When the rollout was begun.", tally.started or 0.0),
        one("update_timestamp_seconds", "When its controller last wrote these metrics.", now),
        one("downloaded_bytes_total", "Bytes that hosts reported as downloaded.",
            tally.downloaded, "counter"),
        one("retries_total", "Transient failures that were tried again.",
            tally.retries, "counter"),
    ]  # fmt: skip


def exposition(tally: Tally, now: float) -> str:
    """The text that Prometheus reads."""
    lines: list[str] = []
    for family in families(tally, now):
        lines.append(f"# HELP {family.name} {family.help}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for labels, value in family.samples:
            said = ",".join(f'{name}="{_value(text)}"' for name, text in labels.items())
            lines.append(f"{family.name}{{{said}}} {_number(value)}")
    return "\n".join(lines) + "\n"


def _value(text: str) -> str:
    plain = one_line(text, _WORDS)
    return plain.replace("\\", "\\\\").replace('"', '\\"')


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.3f}"
