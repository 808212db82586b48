"""`bootcfleet rollout watch`: the journal as it grows, as a live view, lines or JSON lines."""

from __future__ import annotations

from datetime import datetime

from bootcfleet.cli.output import Output
from bootcfleet.cli.rollout_progress import RolloutProgress
from bootcfleet.cli.rollout_view import counts_of, show_rollout, standing_line
from bootcfleet.domain.event import Event
from bootcfleet.domain.plaintext import one_line
from bootcfleet.domain.rollout import Operation, Rollout
from bootcfleet.domain.rollout_events import JournalEvents
from bootcfleet.domain.rollout_journal import JournalEntry
from bootcfleet.domain.rollout_tally import Tally
from bootcfleet.domain.rollout_waits import waits_of
from bootcfleet.errors import ExitCode, RolloutHaltedError
from bootcfleet.ops.project import find_project
from bootcfleet.ops.rollout_follow import follow
from bootcfleet.ops.rollouts import Look, choose, look, open_rollouts


def run_watch(
    text: str | None, *, from_start: bool, interval: float, patience: float, as_json: bool
) -> int:
    """Follow a rollout to its end; the exit code of how it ended."""
    output = Output(as_json=as_json)
    with open_rollouts(find_project()) as rollouts:
        found = look(rollouts, choose(rollouts, text))
        of_pull = JournalEvents.of_rollout(found.rollout)
        events = of_pull if found.pull else JournalEvents(found.record)
        with RolloutProgress(output, Tally()) as progress:
            for at, event in events.all(found.entries):
                if from_start:
                    progress.happened(event, at.timestamp())
                else:
                    progress.tally.take(event, at.timestamp())
            if not from_start:
                _say_standing(output, progress, found, rollouts.clock())
            for news in follow(rollouts.store, found, interval=interval, patience=patience):
                _tell(progress, events, news.entries[len(found.entries) :])
                found = news
    if output.terminal:
        # The live view is gone: what is left to be looked at stays.
        show_rollout(output, found, ())
    return end_code(found.rollout)


def _say_standing(output: Output, progress: RolloutProgress, found: Look, now: datetime) -> None:
    """Where it stands when the watching begins."""
    waits = waits_of(found.rollout, now)
    lines = [standing_line(found), *(f"waits: {why}" for why in waits)]
    if output.as_json:
        data = {
            "rollout": found.record.id,
            "state": str(found.standing),
            "counts": counts_of(found.rollout, found.rollout.names),
            "waits": list(waits),
        }
        progress.happened(Event("rollout.standing", "", lines[0], data), now.timestamp())
        return
    for line in lines:
        said = one_line(f"{found.record.id}: {line}")
        if progress.live:
            progress.above(said)
        else:
            output.line(said)


def _tell(
    progress: RolloutProgress, events: JournalEvents, entries: tuple[JournalEntry, ...]
) -> None:
    for entry in entries:
        event = events.of(entry)
        if event is not None:
            progress.happened(event, entry.at.timestamp())


def end_code(rollout: Rollout) -> int:
    """The exit code of a rollout that has ended.

    Raises `RolloutHaltedError` (4) for one that was halted or aborted.
    """
    if rollout.outcome in {"halted", "aborted"}:
        again = f"; when the cause is gone: bootcfleet rollout retry --rollout {rollout.id}"
        if rollout.operation is Operation.PULL:
            again = ""  # its channels went back: the next one is another rollout
        raise RolloutHaltedError(
            f"the rollout {rollout.id} was {rollout.outcome}: {rollout.halted}",
            hint=f"see why: bootcfleet rollout show {rollout.id}{again}",
        )
    return ExitCode.DONE if rollout.outcome == "done" else ExitCode.FAILED
