"""What is told of a rollout afterwards: as JSON, as Markdown, and as facts for the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bootcfleet.domain.hostevidence import GreenbootVerdict
from bootcfleet.domain.measure import span
from bootcfleet.domain.plaintext import printable
from bootcfleet.domain.rollout import HostPhase, Operation, Rollout
from bootcfleet.domain.rollout_journal import EntryKind, WavePhase
from bootcfleet.domain.rollout_policy import OnFailure, OnHalt, RolloutPolicy
from bootcfleet.domain.rollout_tally import BAD
from bootcfleet.domain.rollout_timeline import HostLine, Segment, Timeline, WaveLine


@dataclass(frozen=True)
class Fact:
    """A word and what it is for this rollout."""

    name: str
    value: str


#: Whether a controller carries it out, as far as the journal says.
_HELD = frozenset({EntryKind.STARTED, EntryKind.STOPPED})


def result_of(line: Timeline) -> str:
    """How it ended or where it stands, in one word."""
    rollout = line.rollout
    if rollout.outcome is not None:
        return rollout.outcome
    if line.standing:
        return line.standing
    if rollout.halted:
        return "halted"
    if rollout.paused:
        return "paused"
    held = [one.kind for one in line.moments if one.kind in _HELD]
    return "stopped" if held and held[-1] is EntryKind.STOPPED else "running"


def counts_of(line: Timeline) -> Counter[HostPhase]:
    """How many hosts are in each phase."""
    return Counter(host.state.phase for host in (*line.hosts, *line.outside))


def bad_of(line: Timeline) -> list[HostLine]:
    """The hosts that somebody should look at, in the order in which they ended."""
    bad = [host for host in (*line.hosts, *line.outside) if host.state.phase in BAD]
    return sorted(bad, key=lambda host: (host.ended or line.end, host.host))


def summary_of(line: Timeline) -> list[Fact]:
    """What, who, when, and to what."""
    rollout = line.rollout
    facts = [
        Fact("Operation", str(rollout.operation)),
        Fact("Begun by", rollout.actor),
        Fact("Begun", stamp(line.start)),
        Fact("Ended" if line.finished else "As of", stamp(line.end)),
        Fact("Took" if line.finished else "So far", span((line.end - line.start).total_seconds())),
        Fact("Hosts", f"{len(line.hosts) + len(line.outside)} in {_waves(len(line.waves))}"),
    ]
    if rollout.reference:
        facts.insert(1, Fact("To", rollout.reference))
    if rollout.halted:
        facts.append(Fact("Halted", rollout.halted))
    if rollout.paused:
        facts.append(Fact("Paused", rollout.paused))
    return facts


def _waves(number: int) -> str:
    return "1 wave" if number == 1 else f"{number} waves"


def policy_of(policy: RolloutPolicy) -> list[Fact]:
    """The policy in words; what is not limited is not said."""
    budgets = policy.budgets
    facts = [
        Fact("Policy", policy.name),
        Fact("Failures allowed", str(budgets.max_failures)),
        Fact("After failed checks", _ON_FAILURE[policy.on_failure]),
        Fact("When it halts", _ON_HALT[policy.on_halt]),
    ]
    if not policy.waves:
        canary = f"canary {policy.canary}, then " if policy.canary else ""
        facts.append(Fact("Waves", f"{canary}{policy.batch} at a time"))
    for name, value in (
        ("Success of a wave", f"{policy.success} %" if policy.success is not None else ""),
        ("Bake time", span(policy.bake) if policy.bake else ""),
        ("Unavailable at once", str(budgets.max_unavailable or "")),
        ("Unavailable in a group", _grouped(budgets.per_group, budgets.group_by)),
        ("Downloads at once", str(budgets.downloads or "")),
        ("Reboots at once", str(budgets.reboots or "")),
        ("Windows", ", ".join(w.start for w in policy.windows.windows)),
        ("Downloads", "ahead of the waves" if policy.download == "ahead" else ""),
        ("Soft reboot", "where the host can" if policy.soft_reboot == "auto" else ""),
        ("Health rules", ", ".join(rule.name or str(rule.kind) for rule in policy.health)),
        ("Metric gates", ", ".join(gate.name for gate in policy.gates)),
    ):
        if value:
            facts.append(Fact(name, value))
    return facts


def rules_of(rollout: Rollout) -> list[Fact]:
    """What a rollout goes by, in words: its policy's, or those of its channels in pull mode."""
    if rollout.operation is not Operation.PULL:
        return policy_of(rollout.policy)
    channels = []
    for wave in rollout.waves:
        rules = ["approved by hand"] if wave.approve else []
        rules += [f"bakes for {span(wave.bake)}"] if wave.bake else []
        channels.append(f"{wave.rule} ({', '.join(rules)})" if rules else wave.rule)
    return [
        Fact("Policy", rollout.policy.name),
        Fact("Channels", ", ".join(channels)),
        Fact("When it halts", "its channels go back to what they were at"),
    ]


_ON_FAILURE = {
    OnFailure.ROLLBACK: "rolled back",
    OnFailure.QUEUE: "rollback queued for the next reboot",
    OnFailure.LEAVE: "left as it is",
}
_ON_HALT = {OnHalt.LEAVE: "updated hosts stay", OnHalt.ROLLBACK: "updated hosts go back"}


def _grouped(limit: object, labels: Sequence[str]) -> str:
    return f"{limit} of each {', '.join(labels)}" if limit is not None and labels else ""


def images_of(line: Timeline) -> list[dict[str, str]]:
    """What each reference was when the plan was made."""
    return [
        {"reference": text, "digest": str(one.digest), "version": one.version or ""}
        for text, one in line.rollout.resolved.items()
    ]


def digests_of(line: Timeline, host: str) -> dict[str, Any]:
    """What a host ran before, what it was to run, and why."""
    target = line.rollout.targets.get(host)
    if target is None:
        return {"before": None, "planned": [], "reference": None, "reason": ""}
    return {
        "before": target.before,
        "planned": sorted(target.accepted),
        "reference": target.reference,
        "reason": target.reason,
    }


#: What tells most comes first; the rest follows as it is.
_FIRST = ("failed_units", "greenboot", "system_state", "boot_id", "slots", "notes", "journal")


def evidence_rows(body: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """What was found out about a host: a name and lines each; what is empty is left out.

    `body` is that of an EVIDENCE entry (`domain/hostevidence.py`), of this version or another.
    """
    first = {key: body[key] for key in _FIRST if key in body}
    rest = {key: value for key, value in body.items() if key not in {*_FIRST, "host"}}
    if first.get("greenboot") == GreenbootVerdict.ABSENT:
        del first["greenboot"]
    rows: list[tuple[str, list[str]]] = []
    _flatten(first | rest, "", rows)
    return rows


def _flatten(value: Any, name: str, rows: list[tuple[str, list[str]]]) -> None:
    if isinstance(value, Mapping):
        simple = all(isinstance(one, str | int | float | None) for one in value.values())
        if name and simple:
            lines = [f"{key}: {one}" for key, one in value.items() if one not in (None, "")]
            if lines:
                rows.append((name, lines))
            return
        for key, one in value.items():
            label = str(key).replace("_", " ") if not name else f"{name}: {key}"
            _flatten(one, label, rows)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        lines = [line for one in value for line in _lines(one)]
        if lines:
            rows.append((name, lines))
    elif value is not None and value is not False and value != "":
        rows.append((name, _lines(value)))


def _lines(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [", ".join(f"{key}: {one}" for key, one in value.items())]
    return [printable(one) for one in str(value).splitlines()]


def stamp(moment: datetime) -> str:
    """A moment in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def to_json(line: Timeline) -> dict[str, Any]:
    """The report as JSON-ready data; times are ISO 8601 in UTC, lengths in seconds."""
    rollout = line.rollout
    return {
        "rollout": rollout.id,
        "operation": str(rollout.operation),
        "reference": rollout.reference,
        "actor": rollout.actor,
        "result": result_of(line),
        "halted": rollout.halted,
        "began": _iso(line.start),
        "ended": _iso(line.end) if line.finished else None,
        "as_of": _iso(line.end),
        "policy": {fact.name: fact.value for fact in rules_of(rollout)},
        "images": images_of(line),
        "counts": {str(phase): count for phase, count in counts_of(line).items()},
        "waves": [
            {
                "number": wave.number,
                "title": wave.title,
                "phase": str(wave.phase) if wave.phase else None,
                "message": wave.message,
                "hosts": list(wave.hosts),
                "counts": {str(phase): count for phase, count in wave.counts.items()},
                "segments": [_segment(one) for one in wave.segments],
            }
            for wave in line.waves
        ],
        "hosts": {host.host: _host(line, host) for host in (*line.hosts, *line.outside)},
        "moments": [
            {
                "at": _iso(one.at),
                "kind": str(one.kind),
                "actor": one.actor,
                "host": one.host or None,
                "message": one.message,
            }
            for one in line.moments
        ],
    }


def _host(line: Timeline, host: HostLine) -> dict[str, Any]:
    state = host.state
    return {
        "wave": host.wave,
        "phase": str(state.phase),
        "message": state.message,
        "fault": str(state.fault) if state.fault else None,
        "ended": _iso(host.ended) if host.ended else None,
        "seconds_at_work": round(host.working, 3),
        "segments": [_segment(one) for one in host.segments],
        "details": list(state.evidence),
        "evidence": dict(host.evidence),
        **digests_of(line, host.host),
    }


def _segment(one: Segment) -> dict[str, Any]:
    return {
        "phase": one.phase,
        "start": _iso(one.start),
        "seconds": round(one.seconds, 3),
        "message": one.message,
    }


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


def markdown(line: Timeline) -> str:
    """The report for a ticket: summary, waves, failures with their evidence, who did what."""
    rollout = line.rollout
    lines = [f"# Rollout {_cell(rollout.id)}: {_cell(result_of(line))}", ""]
    lines += [f"- {fact.name}: {_cell(fact.value)}" for fact in summary_of(line) if fact.value]
    counts = ", ".join(f"{count} {phase}" for phase, count in counts_of(line).most_common())
    lines += [f"- Result: {counts}", "", "## Waves", ""]
    lines += ["| wave | hosts | result | waited | ran | baked |", "|---|---|---|---|---|---|"]
    lines += [_wave_row(wave) for wave in line.waves]
    if bad := bad_of(line):
        lines += ["", "## What went wrong", ""]
        for host in bad:
            lines += _failure(host)
    if line.moments:
        lines += ["", "## Who did what", ""]
        for one in line.moments:
            said = _cell(f"{one.kind} {one.message}".strip())
            lines.append(f"- {stamp(one.at)} {_cell(one.actor)}: {said}")
    lines += ["", "## Policy and images", ""]
    lines += [f"- {fact.name}: {_cell(fact.value)}" for fact in rules_of(rollout)]
    for image in images_of(line):
        lines.append(
            f"- {_cell(image['reference'])} {_cell(image['version'])}: `{_cell(image['digest'])}`"
        )
    return "\n".join(lines) + "\n"


def _wave_row(wave: WaveLine) -> str:
    counts = ", ".join(f"{count} {phase}" for phase, count in wave.counts.items())
    times = [
        span(wave.seconds(phase))
        for phase in (WavePhase.WAITING, WavePhase.RUNNING, WavePhase.BAKING)
    ]
    return f"| {_cell(wave.title)} | {len(wave.hosts)} | {counts} | {' | '.join(times)} |"


def _failure(host: HostLine) -> list[str]:
    state = host.state
    fault = f" ({state.fault})" if state.fault else ""
    lines = [f"### {_cell(host.host)}", "", f"{state.phase}{fault}: {_cell(state.message)}", ""]
    for name, said in [("details", list(state.evidence)), *evidence_rows(host.evidence)]:
        if said:
            # An indented block has no end that a host could write.
            lines += [f"{_cell(name)}:", "", *(f"    {printable(one)}" for one in said), ""]
    return lines


def _cell(text: str) -> str:
    """Text that is no markup: it comes from files, people and hosts."""
    flat = " ".join(printable(text).split())
    return "".join(f"\\{one}" if one in "\\`*_[]<>|#~" else one for one in flat)
