"""What the channel commands do once their options are read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Any

from bootcfleet.cli.output import Output
from bootcfleet.domain.channel import ChannelEntry, since
from bootcfleet.domain.event import Event
from bootcfleet.domain.promotion import PromotionPlan
from bootcfleet.ops.channel import Channels, open_channels
from bootcfleet.ops.channelback import plan_rollback
from bootcfleet.ops.channelmirror import read_mirror
from bootcfleet.ops.project import load_project
from bootcfleet.ops.promote import plan_promotion, promote
from bootcfleet.ops.train import recover, running


def run_promote(
    images: Sequence[str],
    source: str,
    channel: str,
    *,
    everything: bool,
    skip: Sequence[str],
    why: str,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Plan a promotion, show it, ask, and carry it out."""
    output = Output(as_json=as_json)
    with open_channels(load_project(), emit=output.event) as channels:
        if not dry_run:
            recover(channels)
        plan = plan_promotion(
            channels, images, source, channel, everything=everything, why=why, skip=skip
        )
        _act(output, channels, plan, dry_run=dry_run, yes=yes)


def run_rollback(
    image: str,
    channel: str,
    to: str | None,
    *,
    skip: Sequence[str],
    why: str,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Plan a rollback, show it, ask, and carry it out."""
    output = Output(as_json=as_json)
    with open_channels(load_project(), emit=output.event) as channels:
        if not dry_run:
            recover(channels)
        plan = plan_rollback(channels, image, channel, to, why=why, skip=skip)
        _act(output, channels, plan, dry_run=dry_run, yes=yes)


def _act(
    output: Output, channels: Channels, plan: PromotionPlan, *, dry_run: bool, yes: bool
) -> None:
    if dry_run and output.as_json:
        output.json(plan.to_json())
        plan.require_green()
        return
    if output.as_json:
        output.event(Event("channel.planned", data=plan.to_json()))
    else:
        show_plan(output, plan)
    plan.require_green()
    if dry_run or not plan.moves:
        return
    count = len(plan.moves)
    output.confirm(f"move {count} {'tag' if count == 1 else 'tags'}?", yes=yes, changes="channels")
    promote(channels, plan)


def show_plan(output: Output, plan: PromotionPlan) -> None:
    """What would be moved, every gate of it, and what stays."""
    for image, digest in plan.unchanged.items():
        output.line(f"{image}: {plan.channel} is at {digest} already")
    for image, reason in plan.left_out.items():
        output.line(f"{image}: left out: {reason}")
    for move in plan.moves:
        version = f" (version {move.version})" if move.version else ""
        output.line(f"{move.image}: {plan.channel} {_short(move.before)} → {move.digest}{version}")
        for gate in move.gates:
            sign = "ok" if gate.ok else "skipped" if gate.name in plan.skipped else "RED"
            output.line(f"  {gate.name}: {sign}: {gate.message}")


def show_channels(image: str | None, channel: str | None, *, as_json: bool) -> None:
    """The channels as their histories have them; the registry is not asked."""
    output = Output(as_json=as_json)
    with open_channels(load_project()) as channels:
        check_names(channels, image, channel)
        rows: list[dict[str, Any]] = []
        for one, name in channels.pairs(image, channel):
            entries = channels.store.history(one, name)
            rows.append({"image": one, "channel": name, **_state(entries)})
        _tell_open(output, channels)
    if as_json:
        output.json(rows)
        return
    output.table(
        ["IMAGE", "CHANNEL", "VERSION", "DIGEST", "SINCE", "WHO", "HOW"],
        [
            [
                row["image"],
                row["channel"],
                row["version"] or "",
                _short(row["digest"]),
                row["since"] or "",
                row["actor"] or "",
                row["action"] or "",
            ]
            for row in rows
        ],
    )


def _state(entries: Sequence[ChannelEntry]) -> dict[str, Any]:
    last = entries[-1] if entries else None
    entered = since(entries)
    return {
        "digest": last.digest if last else None,
        "version": last.version if last else None,
        "reference": str(last.reference) if last else None,
        "since": f"{entered.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if entered else None,
        "actor": last.actor if last else None,
        "action": last.action.value if last else None,
        "number": last.number if last else 0,
    }


def show_history(image: str, channel: str, *, from_registry: bool, as_json: bool) -> None:
    """A history, newest last."""
    output = Output(as_json=as_json)
    with open_channels(load_project()) as channels:
        check_names(channels, image, channel)
        if from_registry:
            entries = read_mirror(channels, channels.repository(image, channel), channel)
        else:
            entries = channels.store.history(image, channel)
        _tell_open(output, channels)
    if as_json:
        output.json([entry.to_json() for entry in entries])
        return
    if not entries:
        output.line(f"{image} was never in {channel}")
        return
    output.table(
        ["N", "WHEN", "WHO", "ACTION", "FROM", "VERSION", "DIGEST", "WHY"],
        [
            [
                str(entry.number),
                f"{entry.at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}",
                entry.actor,
                entry.action.value,
                entry.source,
                entry.version or "",
                _short(entry.digest),
                _why(entry),
            ]
            for entry in entries
        ],
    )


def _why(entry: ChannelEntry) -> str:
    skipped = ", ".join(gate["gate"] for gate in entry.gates if not gate["ok"])
    return f"{entry.why} (skipped: {skipped})" if skipped else entry.why


def check_names(channels: Channels, image: str | None, channel: str | None) -> None:
    """A history may be of an image or channel that the project no longer has."""
    known = channels.store.all()
    if image is not None and all(pair[0] != image for pair in known):
        channels.require_image(image)
    if channel is not None and all(pair[1] != channel for pair in known):
        channels.spec(channel)


def _tell_open(output: Output, channels: Channels) -> None:
    for intent, alive in running(channels):
        names = ", ".join(f"{image} {channel}" for image, channel in intent.pairs)
        what = "is moving" if alive else "was killed while it moved"
        hint = "" if alive else "; `bootcfleet channel verify --repair` settles it"
        output.line(f"note: {intent.actor} {what} {names}{hint}")


def _short(digest: str | None) -> str:
    return digest.removeprefix("sha256:")[:12] if digest else "—"
