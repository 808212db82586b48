"""What `image revoke`, `image restore` and `who-uses` do once their options are read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bootcfleet.cli.output import Output, ask_secret
from bootcfleet.domain.channel import ChannelEntry
from bootcfleet.domain.impact import HostSurvey, Impact
from bootcfleet.domain.reference import Digest, ImageRef
from bootcfleet.errors import FleetError
from bootcfleet.ops.channel import Channels, open_channels
from bootcfleet.ops.lineage import Lineage, Located, learn, locate, same_registry
from bootcfleet.ops.project import load_project
from bootcfleet.ops.revocation import Revocations, load_revocations, with_registry
from bootcfleet.ops.revoke import (
    RevocationPlan,
    plan_revocation,
    require_revoked,
    restore,
    revoke,
    survey_impact,
)
from bootcfleet.ops.survey import find_hosts, survey_hosts


@dataclass(frozen=True)
class _Desk:
    channels: Channels
    lineage: Lineage
    revocations: Revocations
    located: Located
    notes: tuple[str, ...]


@contextmanager
def _open(word: str, output: Output) -> Iterator[_Desk]:
    """The project's channels and lineage, and the image that a word means."""
    with open_channels(load_project(), emit=output.event) as channels:
        lineage = Lineage.of(channels.ledger)
        located = locate(word, channels.loaded, lineage, channels.registry)
        revocations = load_revocations(channels.ledger)
        notes: tuple[str, ...] = ()
        reference = located.reference
        if reference is not None and same_registry(reference, channels.loaded):
            notes = learn(lineage, channels.registry, reference)
            try:
                revocations = with_registry(revocations, channels.artifacts, [reference])
            except FleetError as error:
                notes = (
                    *notes,
                    f"the registry does not say whether it is revoked: {error.message}",
                )
        yield _Desk(channels, lineage, revocations, located, notes)


def _survey(desk: _Desk, inventory: Path | None, *, hosts: bool) -> HostSurvey:
    if not hosts:
        return HostSurvey(False, "--no-hosts")
    return survey_hosts(find_hosts(inventory, desk.channels.loaded), ask_secret)


def run_revoke(
    word: str,
    reason: str,
    *,
    rollback: bool,
    inventory: Path | None,
    hosts: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Plan, show, confirm, revoke, report."""
    output = Output(as_json=as_json)
    with _open(word, output) as desk:
        survey = _survey(desk, inventory, hosts=hosts)
        plan = plan_revocation(
            desk.channels,
            desk.lineage,
            desk.revocations,
            desk.located,
            reason,
            survey,
            rollback=rollback,
        )
        if as_json:
            show = output.json if dry_run else output.json_line
            show({"kind": "image.revoke.planned", **plan.to_json()})
        else:
            _show_plan(output, plan, desk.notes)
        if dry_run:
            return
        if plan.before is None or plan.moves:
            changes = "channels" if plan.moves else "the ledger and the registry"
            output.confirm(_question(plan), yes=yes, changes=changes)
            entries, problem = revoke(desk.channels, plan)
            _report(output, plan, entries, problem)
    if plan.stuck:
        names = ", ".join(f"{image} {channel}" for image, channel, _ in plan.stuck)
        raise FleetError(
            f"{len(plan.stuck)} of {len(plan.stuck) + len(plan.moves)} channels could not be moved "
            f"back: {names}",
            details=[f"{image} {channel}: {why}" for image, channel, why in plan.stuck],
            hint="promote a good digest to them: bootcfleet channel promote IMAGE DIGEST CHANNEL",
        )


def _question(plan: RevocationPlan) -> str:
    does = [] if plan.before else [f"revoke {plan.name} {plan.located.digest[:19]}"]
    if plan.moves:
        noun = "channel" if len(plan.moves) == 1 else "channels"
        does.append(f"move {len(plan.moves)} {noun} back")
    return " and ".join(does).capitalize() + "?"


def _show_plan(output: Output, plan: RevocationPlan, notes: tuple[str, ...]) -> None:
    output.line(f"{plan.name} {plan.located.digest}")
    if plan.before is not None:
        output.line(f"  {'already':<11} {plan.before.message}")
    back = {(move.image, move.channel): move for move in plan.moves}
    stuck = {(image, channel): why for image, channel, why in plan.stuck}
    ways = {}
    for use in plan.impact.channels:
        pair = (use.image, use.channel)
        if pair in back:
            ways[pair] = f" → {back[pair].digest} ({back[pair].source})"
        elif pair in stuck:
            ways[pair] = f", and stays: {stuck[pair]}"
    _show_impact(output, plan.impact, ways)
    for note in dict.fromkeys((*notes, *plan.notes)):
        output.line(f"note: {note}")


def _show_impact(
    output: Output, reached: Impact, ways: dict[tuple[str, str], str] | None = None
) -> None:
    def item(label: str, text: str) -> None:
        output.line(f"  {label:<11} {text}")

    for one in reached.descendants:
        item("descendant", f"{reached.names.get(one) or '?'} {one}")
    for use in reached.channels:
        way = (ways or {}).get((use.image, use.channel), "")
        item("channel", f"{use.image} {use.channel} #{use.number} {use.digest}{way}")
    for host in reached.hosts:
        item("host", f"{host.host} {host.slot} {host.digest}")
    for name, why in reached.survey.silent.items():
        item("host", f"{name} unknown: {why}")
    if not reached.survey.asked:
        item("hosts", f"not asked: {reached.survey.why}")
    elif not reached.hosts and not reached.survey.silent:
        item("hosts", "none has it")


def _report(
    output: Output, plan: RevocationPlan, entries: tuple[ChannelEntry, ...], problem: str | None
) -> None:
    if output.as_json:
        output.json_line(
            {
                "kind": "image.revoked",
                "digest": plan.located.digest,
                "rolled_back": [entry.to_json() for entry in entries],
                "attached": problem is None,
                "problem": problem,
            }
        )
        return
    if plan.before is None:
        output.line(f"revoked {plan.name} {plan.located.digest}")
    if problem is not None:
        output.line(f"note: the registry was not told: {problem}")
    booted = sorted({one.host for one in plan.impact.hosts if one.slot == "booted"})
    if booted:
        noun = "host runs" if len(booted) == 1 else "hosts run"
        output.line(
            f"{len(booted)} {noun} it still; move them: bootcfleet fleet upgrade {' '.join(booted)}"
        )


def run_restore(word: str, reason: str, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Undo a revocation."""
    output = Output(as_json=as_json)
    with _open(word, output) as desk:
        revoked = require_revoked(desk.lineage, desk.revocations, desk.located, reason)
        if dry_run:
            if as_json:
                output.json(
                    {
                        "kind": "image.restore.planned",
                        "revoked": revoked.to_json(),
                        "reason": reason,
                    }
                )
            else:
                output.line(f"would restore {revoked.name} {revoked.digest}: {revoked.message}")
            return
        output.confirm(
            f"Restore {revoked.name} {revoked.digest[:19]}?",
            yes=yes,
            changes="the ledger and the registry",
        )
        problem = restore(
            desk.channels, desk.lineage, desk.revocations, desk.located, revoked, reason
        )
        if as_json:
            output.json(
                {
                    "restored": revoked.to_json(),
                    "reason": reason,
                    "attached": problem is None,
                    "problem": problem,
                }
            )
            return
        output.line(f"restored {revoked.name} {revoked.digest}")
        if problem is not None:
            output.line(f"note: the registry was not told: {problem}")


def show_uses(word: str, *, inventory: Path | None, hosts: bool, as_json: bool) -> None:
    """Print what stands on an image, and where any of it is.

    The name of a base from outside (without a digest) stands for all its digests that
    images were built on: where its tag points now says nothing of them.
    """
    output = Output(as_json=as_json)
    with open_channels(load_project(), emit=output.event) as channels:
        lineage = Lineage.of(channels.ledger)
        located = _bases(word, lineage) or [
            locate(word, channels.loaded, lineage, channels.registry)
        ]
        survey = HostSurvey(False, "--no-hosts")
        if hosts:
            survey = survey_hosts(find_hosts(inventory, channels.loaded), ask_secret)
        found = []
        notes: list[str] = []
        for one in located:
            if one.reference is not None and same_registry(one.reference, channels.loaded):
                notes += learn(lineage, channels.registry, one.reference)
            reached, more = survey_impact(channels, lineage, one, survey)
            found.append(reached)
            notes += more
    if as_json:
        bodies = [{**reached.to_json(), "notes": notes} for reached in found]
        output.json(bodies if len(bodies) > 1 else bodies[0])
        return
    for reached in found:
        output.line(f"{reached.name or 'an image'} {reached.digest}")
        _show_impact(output, reached)
    for note in dict.fromkeys(notes):
        output.line(f"note: {note}")


def _bases(word: str, lineage: Lineage) -> list[Located]:
    """The digests of a base that was named by its repository, by the ledger alone."""
    if "/" not in word or "@" in word:
        return []
    name = ImageRef.parse(word).name
    return [
        Located(digest, ImageRef.parse(name).with_digest(Digest(digest)))
        for digest in lineage.bases_in(name)
        if lineage.made(digest) is None
    ]
