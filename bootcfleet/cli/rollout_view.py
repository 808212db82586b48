"""A rollout as JSON and as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from bootcfleet.cli.output import Output
from bootcfleet.domain.hostevidence import HostEvidence
from bootcfleet.domain.plaintext import one_line
from bootcfleet.domain.rollout import HostPhase, HostState, Rollout
from bootcfleet.domain.rollout_journal import (
    EntryKind,
    JournalEntry,
    RolloutRecord,
    RolloutSummary,
    WavePhase,
    wave_with,
)
from bootcfleet.domain.rollout_standing import (
    Controller,
    Standing,
    controller_of,
    standing_of,
)
from bootcfleet.domain.waves import Wave
from bootcfleet.ops.rollouts import Look

#: Hosts of which the table of a rollout says nothing unless it is asked for them.
_QUIET = frozenset({HostPhase.PENDING, HostPhase.UPDATED, HostPhase.UNCHANGED, HostPhase.SKIPPED})
#: Lines of evidence of a host in a table of many.
_FEW = 10


def list_json(record: RolloutRecord, summary: RolloutSummary, *, held: bool) -> dict[str, Any]:
    """A rollout of a list."""
    newest = summary.newest
    wave, ended = newest.get(EntryKind.WAVE), newest.get(EntryKind.FINISHED)
    halted = newest.get(EntryKind.HALTED) or newest.get(EntryKind.ABORTED)
    if halted is not None and halted.number < summary.number(EntryKind.RETRY):
        halted = None
    return {
        "rollout": record.id,
        "operation": record.operation,
        "image": record.about.get("image"),
        "policy": record.about.get("policy"),
        "hosts": record.about.get("hosts"),
        "waves": record.about.get("waves"),
        "wave": wave.body.get("wave") if wave else None,
        "wave_phase": _wave_phase(wave, newest) if wave else None,
        "state": str(standing_of(summary, held=held)),
        "began": _stamp(record.at),
        "actor": record.actor,
        "controller": _controller(controller_of(summary), held=held),
        "finished": _stamp(ended.at) if ended and not summary.unfinished else None,
        "halted": halted.body.get("reason") if halted else None,
    }


def list_table(output: Output, rows: Sequence[dict[str, Any]]) -> None:
    """The list as a table."""
    output.table(
        ["ROLLOUT", "BEGAN", "OPERATION", "HOSTS", "WAVE", "STATE", "WHO", "CONTROLLER"],
        [
            [
                row["rollout"],
                row["began"].replace("T", " "),
                " ".join(one_line(str(word)) for word in (row["operation"], row["image"]) if word),
                str(row["hosts"] or ""),
                _wave_cell(row),
                row["state"],
                one_line(row["actor"]),
                one_line(row["controller"]["name"]) if row["controller"] else "",
            ]
            for row in rows
        ],
    )


def _wave_phase(wave: JournalEntry, newest: Mapping[EntryKind, JournalEntry]) -> str:
    """Where the newest wave stands, with what came to the whole rollout since."""
    phase = WavePhase(wave.body["phase"])
    later = [newest[kind] for kind in (EntryKind.FINISHED, EntryKind.RETRY) if kind in newest]
    for entry in sorted(later, key=lambda entry: entry.number):
        if entry.number > wave.number:
            phase = wave_with(entry.kind, phase)
    return str(phase)


def _wave_cell(row: dict[str, Any]) -> str:
    if row["wave"] is None:
        return ""
    return f"{row['wave']} of {row['waves'] or '?'} {row['wave_phase']}"


def rollout_json(
    found: Look, waits: Sequence[str], hosts: Collection[str], *, journal: bool
) -> dict[str, Any]:
    """A rollout as one JSON object; its hosts are `hosts`."""
    rollout = found.rollout
    waves = waves_of(rollout)
    body = {
        "rollout": rollout.id,
        "operation": found.record.operation,
        "reference": rollout.reference,
        "resolved": {text: str(one.digest) for text, one in rollout.resolved.items()},
        "policy": rollout.policy.name,
        "state": str(found.standing),
        "began": _stamp(found.record.at),
        "actor": rollout.actor,
        "controller": _controller(found.controller, held=found.held),
        "paused": rollout.paused,
        "halted": rollout.halted,
        "unwind": rollout.unwind,
        "outcome": rollout.outcome,
        "waits": list(waits),
        "counts": counts_of(rollout, rollout.names),
        "waves": [
            {
                "number": wave.number,
                "title": wave.title,
                "hosts": list(wave.hosts),
                "phase": str(rollout.wave_state(wave.number).phase),
                "since": _stamp(rollout.wave_state(wave.number).since),
                "message": rollout.wave_state(wave.number).message,
                "approve": wave.approve,
                "approved": wave.number in rollout.approved,
                "counts": counts_of(rollout, wave.hosts),
            }
            for wave in rollout.waves
        ],
        "hosts": {name: {"wave": waves.get(name), **host_json(rollout, name)} for name in hosts},
    }
    if journal:
        body["journal"] = [entry_json(entry) for entry in found.entries]
    return body


def host_json(rollout: Rollout, name: str) -> dict[str, Any]:
    """A host: what was intended, what it came to, and what was found out."""
    state, target = rollout.state(name), rollout.targets.get(name)
    return {
        "phase": str(state.phase),
        "message": state.message,
        "fault": str(state.fault) if state.fault else None,
        "evidence": list(state.evidence),
        "found": dict(rollout.evidence.get(name, {})) or None,
        "tries": state.tries,
        "not_before": _stamp(state.not_before),
        "before": target.before if target else None,
        "planned": sorted(target.accepted) if target else [],
        "reason": target.reason if target else "",
    }


def entry_json(entry: JournalEntry) -> dict[str, Any]:
    """An entry of the journal."""
    return {
        "number": entry.number,
        "at": _stamp(entry.at),
        "kind": str(entry.kind),
        "host": entry.host or None,
        "actor": entry.actor,
        "body": dict(entry.body),
    }


def counts_of(rollout: Rollout, hosts: Collection[str]) -> dict[str, int]:
    """How many of `hosts` are in each phase, in the order of the phases."""
    counts = Counter(rollout.state(name).phase for name in hosts)
    return {str(phase): counts[phase] for phase in HostPhase if counts[phase]}


def waves_of(rollout: Rollout) -> dict[str, int]:
    """The number of each host's wave; a host that stays out has none."""
    return {name: wave.number for wave in rollout.waves for name in wave.hosts}


def standing_line(found: Look, *, resumes: bool = False) -> str:
    """Where it stands, and who carries it out or did; unless one `resumes`, how to."""
    who, standing, rollout = found.controller, found.standing, found.rollout
    name = ""
    if who is not None:
        name = who.name + (f" (process {who.pid})" if who.pid else "")
    again = "" if resumes else f": bootcfleet rollout resume {rollout.id}"
    halted = f": {rollout.halted}" if rollout.halted is not None else ""
    match standing:
        case Standing.NOT_BEGUN:
            return f"not begun{again}"
        case Standing.STOPPED:
            return f"stopped{_why(found)}, carried out by nobody (last by {name}){again}"
        case Standing.LEFT_BEHIND:
            return f"left behind by its controller {name}, which is gone{again}"
        case Standing.RUNNING | Standing.PAUSED | Standing.HALTING:
            since = f" since {_people(who.since)}" if who else ""
            return f"{standing}, carried out by {name or 'a controller'}{since}{halted}"
    return f"{standing}{halted}"


def _why(found: Look) -> str:
    """Why its last controller let go of it, in brackets, where it said so."""
    newest = found.summary.newest
    stopped, started = newest.get(EntryKind.STOPPED), newest.get(EntryKind.STARTED)
    if stopped is None or (started is not None and started.number > stopped.number):
        return ""
    reason = stopped.body.get("reason")
    return f" ({reason})" if reason else ""


def show_rollout(output: Output, found: Look, waits: Sequence[str]) -> None:
    """A rollout for people: what it is, where it stands, its waves, and hosts to be looked at."""
    rollout = found.rollout
    noun = "host" if len(rollout.names) == 1 else "hosts"
    to = f" to {rollout.reference}" if rollout.reference else ""
    output.line(
        f"{rollout.id}: {found.record.operation} of {len(rollout.names)} {noun}{to}, "
        f"policy {rollout.policy.name}"
    )
    output.line(f"begun {_people(found.record.at)} by {one_line(rollout.actor)}")
    output.line(one_line(standing_line(found)))
    for why in waits:
        output.line(one_line(f"waits: {why}"))
    output.table(
        ["WAVE", "HOSTS", "PHASE", "SINCE", "SO FAR", "NOTE"],
        [
            [
                wave.title,
                str(len(wave.hosts)),
                str(state.phase),
                _people(state.since) if state.since else "",
                _so_far(rollout, wave.hosts),
                one_line(state.message) or _approval(rollout, wave),
            ]
            for wave in rollout.waves
            for state in [rollout.wave_state(wave.number)]
        ],
    )
    waves = waves_of(rollout)
    odd = [name for name in rollout.names if _odd(rollout.state(name))]
    if odd:
        output.table(
            ["HOST", "WAVE", "PHASE", "MESSAGE"],
            [
                [
                    name,
                    str(waves.get(name, "")),
                    str(rollout.state(name).phase),
                    one_line(rollout.state(name).message),
                ]
                for name in odd
            ],
        )
    for name in odd:
        for line in told_lines(rollout, name)[:_FEW]:
            output.line(f"  {name}: {line}")


def _odd(state: HostState) -> bool:
    """Whether people should look: it is under way, did not end well, or could not go back."""
    left = state.phase is HostPhase.UPDATED and state.fault is not None
    return state.phase not in _QUIET or left


def show_host(output: Output, found: Look, name: str) -> None:
    """All that is known of one host."""
    rollout = found.rollout
    state, target = rollout.state(name), rollout.targets.get(name)
    number = waves_of(rollout).get(name)
    wave = f" (wave {number})" if number else ""
    said = f": {one_line(state.message)}" if state.message else ""
    output.line(f"{name}{wave}: {state.phase}{said}")
    if target is not None:
        output.line(f"  plan: {one_line(target.reason)}")
        output.line(f"  before: {target.before or 'unknown'}")
        output.line(f"  planned: {', '.join(sorted(target.accepted))}")
    if state.fault is not None:
        output.line(f"  fault: {state.fault}")
    if state.tries:
        later = f", not again before {_people(state.not_before)}" if state.not_before else ""
        output.line(f"  tried {state.tries} times{later}")
    for line in all_lines(rollout, name):
        output.line(f"  {line}")
    show_journal(output, [entry for entry in found.entries if entry.host == name])


def told_lines(rollout: Rollout, name: str) -> list[str]:
    """The most telling of what was found out about a host, without repeating itself."""
    lines = [one_line(line) for line in rollout.state(name).evidence]
    if body := rollout.evidence.get(name):
        try:
            lines += HostEvidence.from_json(body).summary()
        except (KeyError, TypeError, ValueError):
            lines += _flat("", dict(body))
    return list(dict.fromkeys(lines))


def all_lines(rollout: Rollout, name: str) -> list[str]:
    """All that was found out about a host."""
    found = {key: value for key, value in rollout.evidence.get(name, {}).items() if key != "host"}
    return [*(one_line(line) for line in rollout.state(name).evidence), *_flat("", found)]


def _flat(title: str, value: Any) -> list[str]:
    if isinstance(value, dict):
        return [
            line
            for key, inner in value.items()
            for line in _flat(f"{title} {key}".strip().replace("_", " "), inner)
        ]
    if isinstance(value, list | tuple):
        return [line for inner in value for line in _flat(title, inner)]
    if value is None or value in ("", False):
        return []
    return [one_line(f"{title}: {value}" if title else str(value))]


def show_journal(output: Output, entries: Sequence[JournalEntry]) -> None:
    """Entries as a table, oldest first."""
    output.table(
        ["N", "WHEN", "KIND", "HOST", "WHO", "WHAT"],
        [
            [
                str(entry.number),
                _people(entry.at),
                str(entry.kind),
                entry.host,
                one_line(entry.actor),
                _what(entry),
            ]
            for entry in entries
        ],
    )


def _what(entry: JournalEntry) -> str:
    body = entry.body
    wave = f"wave {body['wave']}" if "wave" in body else ""
    phase = str(body.get("phase", ""))
    said = str(
        body.get("message") or body.get("reason") or body.get("outcome") or body.get("controller")
        or ""
    )  # fmt: skip
    return one_line(": ".join(word for word in (f"{wave} {phase}".strip(), said) if word), 200)


def _approval(rollout: Rollout, wave: Wave) -> str:
    if not wave.approve or rollout.wave_state(wave.number).phase is not WavePhase.WAITING:
        return ""
    return "approved" if wave.number in rollout.approved else "to be approved"


def _so_far(rollout: Rollout, hosts: Collection[str]) -> str:
    counts = counts_of(rollout, hosts)
    counts.pop(str(HostPhase.PENDING), None)
    return ", ".join(f"{count} {phase}" for phase, count in counts.items())


def _controller(who: Controller | None, *, held: bool) -> dict[str, Any] | None:
    if who is None:
        return None
    return {
        "name": who.name,
        "pid": who.pid or None,
        "version": who.version or None,
        "since": _stamp(who.since),
        "alive": held,
    }


def _stamp(at: datetime | None) -> str | None:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if at else None


def _people(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
