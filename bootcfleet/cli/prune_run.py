"""What `channel prune` does once its options are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bootcfleet.cli.output import Output, ask_secret
from bootcfleet.domain.channel_spec import duration
from bootcfleet.domain.impact import HostSurvey
from bootcfleet.domain.prune import PrunePlan
from bootcfleet.errors import FleetError, UsageError
from bootcfleet.ops import prune as ops
from bootcfleet.ops.channel import open_channels
from bootcfleet.ops.project import LoadedProject, load_project
from bootcfleet.ops.survey import find_hosts, survey_hosts
from bootcfleet.ops.train import recover


def run_prune(
    images: Sequence[str],
    *,
    keep: int,
    younger_than: str,
    inventory: Path | None,
    ignore_hosts: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Ask the hosts, plan, show, confirm, delete."""
    output = Output(as_json=as_json)
    try:
        age = duration(younger_than)
    except ValueError as error:
        raise UsageError(f"--younger-than: {error}") from error
    loaded = load_project()
    survey = HostSurvey(False, "--ignore-hosts")
    if not ignore_hosts:
        survey = _survey(loaded, inventory)
    with open_channels(loaded, emit=output.event) as channels:
        if not dry_run:
            recover(channels)
        found = ops.plan(channels, survey, images=images, keep=keep, younger_than=age)
        if as_json:
            show = output.json if dry_run else output.json_line
            hosts = {"asked": survey.asked, "unknown": dict(survey.silent)}
            show({"kind": "channel.prune.planned", "hosts": hosts, **found.to_json()})
        else:
            _show(output, found)
        if dry_run:
            try:
                if not ignore_hosts:
                    ops.require_hosts(survey)
            except FleetError as error:
                output.line(f"note: without --dry-run this is refused: {error.message}")
            return
        if not ignore_hosts:
            ops.require_hosts(survey)
        if not found.delete:
            return
        noun = "manifest" if len(found.delete) == 1 else "manifests"
        output.confirm(
            f"Delete {len(found.delete)} {noun} with all their tags?",
            yes=yes,
            changes="the registry",
        )
        count = ops.prune(channels, found)
        if not as_json:
            output.line(
                f"deleted {count} {noun}; the registry frees the space when it collects garbage"
            )


def _survey(loaded: LoadedProject, inventory: Path | None) -> HostSurvey:
    """What the hosts have; an inventory that is there and has no hosts needs nothing."""
    hosts = find_hosts(inventory, loaded)
    if hosts:
        return survey_hosts(hosts, ask_secret)
    path = loaded.root / loaded.project.inventory
    if inventory is None and not path.exists():
        return HostSurvey(False, f"there is no inventory {path}")
    return HostSurvey(True)


def _show(output: Output, found: PrunePlan) -> None:
    rows = []
    for going in found.delete:
        one = going.stored
        rows.append(["delete", one.repository, one.digest, ", ".join(one.tags), going.reason])
    for staying in found.keep:
        one = staying.stored
        why = "; ".join(staying.reasons)
        rows.append(["keep", one.repository, one.digest, ", ".join(one.tags), why])
    if rows:
        output.table(["", "REPOSITORY", "DIGEST", "TAGS", "WHY"], rows)
    for note in found.notes:
        output.line(f"note: {note}")
    output.line(f"{len(found.delete)} to delete, {len(found.keep)} to keep")
