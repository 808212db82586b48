"""Every kind of event is in docs/rollout-report.md, with an example that the code really makes."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from bootcfleet.domain.action import Action, ActionKind, GateAnswer, Waiting
from bootcfleet.domain.bootcprogress import DownloadProgress
from bootcfleet.domain.event import Event
from bootcfleet.domain.hostevidence import GreenbootVerdict, HostEvidence
from bootcfleet.domain.judgement import Problem
from bootcfleet.domain.rollout import HostPhase
from bootcfleet.domain.rollout_events import JournalEvents
from bootcfleet.domain.rollout_journal import EntryKind, WavePhase
from bootcfleet.domain.rollout_policy import NotifyTarget
from bootcfleet.domain.rollout_replay import begin, wave_entry
from bootcfleet.errors import HostFault
from bootcfleet.ops.hosttask import HostTask, Surroundings
from bootcfleet.ops.rollout_events import RolloutVoice
from bootcfleet.ops.rollout_listen import listening
from tests.rolloutjournal import BEGAN, NEW, OLD, Story, plan

DOC = Path(__file__).parents[2] / "docs" / "rollout-report.md"
#: What is told beside the journal and its phases; of these `rollout watch` says the first.
BESIDE = {
    "rollout.standing", "rollout.waiting", "wave.gate", "host.download", "host.problem",
    "host.observe", "host.check.optional", "notify.failed",
}  # fmt: skip
FOUND = HostEvidence(
    host="web2",
    boot_id="0f0b4c0e",
    failed_units=("nginx.service",),
    greenboot=GreenbootVerdict.RED,
    slots={"booted": NEW, "rollback": OLD},
    journal={"failed-units": ("nginx[812]: bind() to 0.0.0.0:80 failed",)},
)
#: What a host says of each phase, as far as it says something.
SAID = {
    HostPhase.PENDING: "to be planned anew",
    HostPhase.STAGING: "asked for",
    HostPhase.STAGED: "bbbbbbbbbbbb is staged",
    HostPhase.DRAINING: "before its reboot",
    HostPhase.REBOOTING: "asked for",
    HostPhase.CHECKING: "runs bbbbbbbbbbbb in a new boot",
    HostPhase.UNDRAINING: "runs bbbbbbbbbbbb, healthy",
    HostPhase.UPDATED: "runs bbbbbbbbbbbb, healthy",
    HostPhase.UNCHANGED: "runs bbbbbbbbbbbb already",
    HostPhase.REVERTING: "check 'http' failed",
    HostPhase.ROLLED_BACK: "check 'http' failed",
    HostPhase.FAILED: "did not answer within 600 s",
    HostPhase.REFUSED: "its /usr is unlocked",
    HostPhase.SKIPPED: "the rollout was halted",
    HostPhase.DEFERRED: "cannot be reached: timed out",
}
FAULTS = {
    HostPhase.REVERTING: HostFault.HEALTH_FAILED,
    HostPhase.ROLLED_BACK: HostFault.HEALTH_FAILED,
    HostPhase.FAILED: HostFault.DID_NOT_RETURN,
    HostPhase.REFUSED: HostFault.INCOMPATIBLE,
    HostPhase.DEFERRED: HostFault.UNREACHABLE,
}


@dataclass
class Stream:
    """The lines of ``--json`` of one rollout, a second apart."""

    lines: list[dict[str, Any]] = field(default_factory=list)

    def say(self, event: Event) -> None:
        at = BEGAN + timedelta(seconds=len(self.lines))
        self.lines.append({"at": at.isoformat(timespec="milliseconds"), **event.to_json()})


def of_the_journal(stream: Stream) -> None:
    story = Story(plan([["web1"], ["web2"]]))
    story.say(EntryKind.STARTED, controller="ctl1", pid=4711, version="0.1.0")
    story.say(EntryKind.STOPPED, reason="interrupted")
    story.say(EntryKind.PAUSED, reason="lunch")
    story.say(EntryKind.UNPAUSED, reason="")
    story.say(EntryKind.APPROVED, wave=2, reason="looks good")
    story.write(wave_entry(2, WavePhase.WAITING, "waits for approval"))
    story.write(wave_entry(2, WavePhase.RUNNING))
    for phase in HostPhase:
        failed = phase in (HostPhase.FAILED, HostPhase.ROLLED_BACK)
        story.host(
            "web2",
            phase,
            SAID[phase],
            fault=FAULTS.get(phase),
            evidence=("curl: (7) refused",) if failed else (),
            tries=2 if phase is HostPhase.DEFERRED else 0,
        )
    story.say(EntryKind.EVIDENCE, 0, "web2", **FOUND.to_json())
    story.write(wave_entry(1, WavePhase.BAKING))
    story.write(wave_entry(1, WavePhase.DONE))
    story.say(EntryKind.HALTED, reason="1 host failed, 0 may")
    story.say(EntryKind.RETRY, 0, "web2", reason="its disk is replaced")
    story.say(
        EntryKind.NOTE, 0, "web2", kind="host.note", message="its lock may be left: timed out"
    )
    story.say(EntryKind.FINISHED, outcome="halted")
    for _, event in JournalEvents(story.record).all(story.entries):
        stream.say(event)


def of_the_controller(stream: Stream) -> None:
    voice = RolloutVoice(stream.say, begin(plan([["web1"], ["web2"]])))
    voice.waiting([Waiting("reboots", "no window is open until 01:00")])
    voice.action(Action(ActionKind.OBSERVE, "web2", "its state is not known"))
    voice.problem(
        Action(ActionKind.STAGE, "web2", ""),
        Problem(HostFault.REGISTRY, "HTTP 503 of the registry"),
    )
    voice.gate(
        Action(ActionKind.GATE, "", "", wave=2, when="errors"),
        GateAnswer(False, "0.2 is not < 0.01", BEGAN),
    )


def of_a_worker(stream: Stream) -> None:
    action = Action(ActionKind.STAGE, "web2", "")
    host = begin(plan([["web2"]])).hosts["web2"]
    task = HostTask(
        action, host, None, cast("Any", None), cast("Any", None), "20261121-020000-ab12", "",
        wave_number=2,
    )  # fmt: skip
    around = Surroundings(emit=stream.say)
    progress = DownloadProgress("pulling", 52428800, 209715200, 12, 65)
    around.say(task, "host.download", "", **vars(progress))
    around.say(task, "host.check.optional", "optional check 'motd' failed: is empty")


def of_listeners(stream: Stream) -> None:
    def failed(event: Event) -> None:
        if event.kind == "notify.failed":
            stream.say(event)

    history = JournalEvents(plan([["web1"]])).all([])
    with listening(failed, history, targets=(NotifyTarget(url_env="CHAT_WEBHOOK"),), environ={}):
        pass


def standing(stream: Stream) -> None:
    data = {
        "rollout": "20261121-020000-ab12",
        "state": "running",
        "counts": {"staging": 1, "updated": 1},
        "waits": [],
    }
    said = "running, carried out by ctl1 (process 4711) since 2026-11-21 02:00:00Z"
    stream.say(Event("rollout.standing", "", said, data))


def made() -> list[dict[str, Any]]:
    stream = Stream()
    for part in (of_the_journal, of_the_controller, of_a_worker, of_listeners, standing):
        part(stream)
    return stream.lines


def documented() -> tuple[set[str], list[str]]:
    """The kinds of the table, and the lines of examples."""
    text = DOC.read_text()
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    kinds = {kind for row in rows for kind in re.findall(r"`([a-z]+\.[a-zA-Z.-]+)`", row)}
    (examples,) = re.findall(r"```jsonl\n(.*?)```", text, re.DOTALL)
    return kinds, examples.splitlines()


def test_every_example_is_what_the_code_makes() -> None:
    assert documented()[1] == [json.dumps(line, ensure_ascii=False) for line in made()]


def test_every_kind_has_an_example_and_a_row() -> None:
    kinds = {line["kind"] for line in made()}
    phases = {f"host.{phase}" for phase in HostPhase}
    assert kinds >= phases | BESIDE
    table, _ = documented()
    assert "host.PHASE" in table
    assert kinds - phases == table - {"host.PHASE"}
    words = DOC.read_text()
    assert all(f"`{phase}`" in words for phase in HostPhase)


def test_every_line_has_what_is_promised_of_it() -> None:
    for line in made():
        assert list(line) == ["at", "kind", "subject", "message", "data"]
        assert line["data"]["rollout"] == "20261121-020000-ab12"
        if line["subject"] in ("web1", "web2") and line["kind"].startswith("host."):
            assert line["data"]["wave"] in (1, 2)
