"""What the rollout commands do once their options are read."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence

from bootcfleet.cli.output import Output
from bootcfleet.cli.rollout_view import (
    entry_json,
    list_json,
    list_table,
    rollout_json,
    show_host,
    show_journal,
    show_rollout,
)
from bootcfleet.domain import rollout_request
from bootcfleet.domain.document import did_you_mean
from bootcfleet.domain.rollout import Rollout
from bootcfleet.domain.rollout_journal import EntryKind, JournalEntry, NewEntry
from bootcfleet.domain.rollout_replay import RETRIED, taken_up
from bootcfleet.domain.rollout_waits import waits_of
from bootcfleet.errors import UsageError
from bootcfleet.ops.project import find_project
from bootcfleet.ops.rollouts import Look, Rollouts, choose, look, open_rollouts, request


def show_list(limit: int, *, open_only: bool, as_json: bool) -> None:
    """The rollouts in the ledger."""
    output = Output(as_json=as_json)
    with open_rollouts(find_project()) as rollouts:
        store = rollouts.store
        rows = [
            list_json(record, summary, held=summary.unfinished and store.held(record.id))
            for record, summary in store.all(limit, open_only=open_only)
        ]
    if as_json:
        output.json(rows)
    elif rows:
        list_table(output, rows)
    else:
        output.line("no rollout is open" if open_only else "there is no rollout yet")


def show_one(text: str, hosts: Sequence[str], *, journal: bool, as_json: bool) -> None:
    """One rollout, or some hosts of it."""
    output = Output(as_json=as_json)
    with open_rollouts(find_project()) as rollouts:
        found = look(rollouts, text)
        waits = waits_of(found.rollout, rollouts.clock())
    names = found.rollout.names
    chosen: dict[str, None] = {}
    for pattern in hosts:
        some = fnmatch.filter(names, pattern)
        if not some:
            raise UsageError(
                f"{pattern} is not in the rollout {found.record.id}",
                hint=did_you_mean(pattern, names),
            )
        chosen |= dict.fromkeys(some)
    if as_json:
        output.json(rollout_json(found, waits, tuple(chosen) or names, journal=journal))
        return
    if hosts:
        for host in chosen:
            show_host(output, found, host)
    else:
        show_rollout(output, found, waits)
    if journal and not hosts:
        show_journal(output, found.entries)


def run_pause(text: str | None, reason: str, *, as_json: bool) -> None:
    """Ask the controller to begin nothing more."""
    output = Output(as_json=as_json)
    with open_rollouts(find_project()) as rollouts:
        ask(
            output,
            rollouts,
            look(rollouts, choose(rollouts, text)),
            lambda rollout: rollout_request.pause(rollout, reason),
            lambda *_: "paused: nothing more is begun, and what is under way comes to its end",
        )


def run_approve(text: str | None, wave: int | None, reason: str, *, as_json: bool) -> None:
    """Let a wave start."""
    output = Output(as_json=as_json)
    with open_rollouts(find_project()) as rollouts:
        ask(
            output,
            rollouts,
            look(rollouts, choose(rollouts, text)),
            lambda rollout: rollout_request.approve(rollout, wave, reason),
            _approved,
        )


def _approved(rollout: Rollout, entry: JournalEntry) -> str:
    titles = {wave.number: wave.title for wave in rollout.waves}
    return f"{titles[entry.body['wave']]} is approved"


def run_abort(text: str | None, reason: str, *, unwind: bool, yes: bool, as_json: bool) -> None:
    """End it early, and take updated hosts back where that is wished."""
    output = Output(as_json=as_json)
    with open_rollouts(find_project()) as rollouts:
        found = look(rollouts, choose(rollouts, text))
        rollout_request.abort(found.rollout, reason, unwind=unwind)
        if unwind:
            output.confirm(
                f"take the updated hosts of {found.record.id} back?",
                yes=yes,
                look=f"look at it with `bootcfleet rollout show {found.record.id}`",
            )
        back = ", and its updated hosts go back" if unwind else ""
        ask(
            output,
            rollouts,
            found,
            lambda rollout: rollout_request.abort(rollout, reason, unwind=unwind),
            lambda *_: f"aborted: nothing more is begun{back}",
        )


def run_retry(text: str | None, host: str | None, reason: str, *, yes: bool, as_json: bool) -> None:
    """Take up hosts again that did not end well."""
    output = Output(as_json=as_json)
    with open_rollouts(find_project()) as rollouts:
        found = look(rollouts, choose(rollouts, text))
        rollout_request.retry(found.rollout, host, reason)
        again = [name for name in found.rollout.names if found.rollout.state(name).phase in RETRIED]
        what = host or f"{len(again)} {'host' if len(again) == 1 else 'hosts'}"
        others = _others(found.rollout, host) if host else 0
        also = f", and {others} {'other' if others == 1 else 'others'} that the halt stopped"
        also = also if others else ""
        verb = "is" if host or len(again) == 1 else "are"
        output.confirm(
            f"try {what} again{also}?",
            yes=yes,
            look=f"look at it with `bootcfleet rollout show {found.record.id}`",
        )
        ask(
            output,
            rollouts,
            found,
            lambda rollout: rollout_request.retry(rollout, host, reason),
            lambda *_: f"{what} {verb} to be tried again{also}",
        )


def _others(rollout: Rollout, host: str) -> int:
    """How many hosts besides `host` its retry takes up: those that were stopped or went back."""
    states = ((name, rollout.state(name)) for name in rollout.names if name != host)
    return sum(taken_up(state.phase, state.fault, asked=False) for _, state in states)


def ask(
    output: Output,
    rollouts: Rollouts,
    found: Look,
    make: Callable[[Rollout], NewEntry],
    said: Callable[[Rollout, JournalEntry], str],
) -> None:
    """Write a request down, and say what becomes of it."""
    entry, rollout = request(rollouts, found, make)
    held = rollouts.store.held(rollout.id)
    if output.as_json:
        output.json(
            {"rollout": rollout.id, "message": said(rollout, entry), "taken_in": held}
            | {"entry": entry_json(entry)}
        )
        return
    output.line(f"{rollout.id}: {said(rollout, entry)}")
    if not held and entry.kind is EntryKind.PAUSED:
        output.line("nobody carries it out just now")
    elif not held:
        output.line(f"nobody carries it out: bootcfleet rollout resume {rollout.id}")
    elif found.controller is not None:
        output.line(f"its controller {found.controller.name} takes it in within seconds")
