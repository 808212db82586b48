"""A rollout as Prometheus metrics; judged by the real promtool."""

from __future__ import annotations

import re
import subprocess

import pytest

from bootcfleet.domain.event import Event
from bootcfleet.domain.rollout_events import JournalEvents
from bootcfleet.domain.rollout_metrics import exposition, families
from bootcfleet.domain.rollout_tally import Tally
from tests.rolloutjournal import played
from tests.tools import need

HOSTILE = 'a "quoted" \\ back\\nslash\n# HELP x\x1b[31m\u202e ünï' + "x" * 500


def promtool(text: str) -> str:
    """What the real promtool finds wrong; nothing when it is right."""
    done = subprocess.run(
        [need("promtool"), "check", "metrics"], input=text.encode(), capture_output=True
    )
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0 or said
    return said if done.returncode else ""


def samples(text: str) -> dict[str, float]:
    """``name{labels}`` to value, as a reader of the format sees it."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def tally(cut: int | None = None) -> Tally:
    record, entries = played(30, bad=0.3)
    made = Tally()
    for at, event in JournalEvents(record).all(entries[:cut]):
        made.take(event, at.timestamp())
    return made


@pytest.mark.parametrize("cut", [0, 5, 60, None])
def test_promtool_has_nothing_to_say_at_any_time(cut: int | None) -> None:
    assert promtool(exposition(tally(cut), 1_795_230_000.5)) == ""


def test_promtool_would_say_something() -> None:
    assert promtool("bootcfleet_Hosts 1\n")
    assert promtool('a{b="\n')


def test_what_they_say() -> None:
    made = tally()
    made.take(Event("host.download", "web0001.example.com", "", {"bytes": 5000}), 1)
    said = samples(exposition(made, 1_795_230_000.5))
    of = 'rollout="20261121-020000-ab12"'
    assert said[f'bootcfleet_rollout_info{{{of},operation="upgrade"}}'] == 1
    for phase, count in made.counts.items():
        assert said[f'bootcfleet_rollout_hosts{{{of},phase="{phase}"}}'] == count
    assert said[f'bootcfleet_rollout_hosts{{{of},phase="skipped"}}'] == 0
    assert said[f'bootcfleet_rollout_state{{{of},state="failed"}}'] == 1
    assert said[f'bootcfleet_rollout_state{{{of},state="running"}}'] == 0
    assert said[f"bootcfleet_rollout_waves{{{of}}}"] == 4
    assert said[f"bootcfleet_rollout_waves_done{{{of}}}"] == 4
    assert said[f"bootcfleet_rollout_wave{{{of}}}"] == 0
    assert said[f"bootcfleet_rollout_failures{{{of}}}"] == len(made.failed) - 1  # one is refused
    assert said[f"bootcfleet_rollout_halted{{{of}}}"] == 0
    assert said[f"bootcfleet_rollout_finished{{{of}}}"] == 1
    assert said[f"bootcfleet_rollout_update_timestamp_seconds{{{of}}}"] == 1_795_230_000.5
    assert said[f"bootcfleet_rollout_downloaded_bytes_total{{{of}}}"] == 5000
    start = said[f"bootcfleet_rollout_start_timestamp_seconds{{{of}}}"]
    assert start == made.started


def test_what_is_waited_for_has_its_reason_and_cannot_break_the_format() -> None:
    made = tally(8)
    made.take(Event("rollout.waiting", "", HOSTILE, {"what": HOSTILE, "why": HOSTILE}), 1)
    made.take(Event("rollout.halted", "", HOSTILE), 2)
    text = exposition(made, 1)
    assert promtool(text) == ""
    found = re.findall(r'waiting_info\{.*what="(.*?)",reason="(.*)"\} 1\n', text)
    said = [pair for pair in found if "quoted" in pair[0]]
    assert len(said) == 1
    assert said[0][1].startswith('a \\"quoted\\" \\\\ back\\\\nslash # HELP x� ünïx')
    assert len(said[0][1]) <= 210


def test_every_metric_says_what_it_is_and_has_its_rollout() -> None:
    for family in families(tally(), 1):
        assert family.help.endswith(".")
        assert all(labels["rollout"] for labels, _ in family.samples)
        assert family.kind == ("counter" if family.name.endswith("_total") else "gauge")
