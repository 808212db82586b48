"""What `fleet enroll --pull` does once its options are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bootcfleet.cli.fleet_options import Selection
from bootcfleet.cli.fleet_selection import hosts_of
from bootcfleet.cli.output import Output, ask_secret
from bootcfleet.domain.document import did_you_mean
from bootcfleet.domain.pulltimer import TIMER, TimerSettings, parse_window, timer_settings
from bootcfleet.domain.reference import ImageRef
from bootcfleet.domain.rollout_fields import some_seconds
from bootcfleet.domain.window import HOST_ZONE, Windows, zone_known
from bootcfleet.errors import ExitCode, UsageError
from bootcfleet.ops import connect
from bootcfleet.ops.audit import recorder
from bootcfleet.ops.enroll_pull import HostPlan, Wish, carry_out_enrolment, plan_enrolment
from bootcfleet.ops.project import LoadedProject, find_project
from bootcfleet.ops.rollout_policy import choose_policy


@dataclass(frozen=True)
class Asked:
    """The options, as they were given."""

    pull: bool
    channel: str | None
    switch: bool
    windows: list[str]
    zone: str | None
    policy: str | None
    every: str | None
    delay: str | None
    undo: bool


def run_enroll(
    selection: Selection,
    asked: Asked,
    *,
    parallel: int,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Plan, show, confirm, carry out; the exit code."""
    output = Output(as_json=as_json)
    loaded = find_project()
    wish = _wish(asked, loaded)
    hosts = hosts_of(selection, loaded)
    fleet = connect.over_ssh(hosts, ask_secret)
    try:
        plans = plan_enrolment(fleet, wish, parallel=parallel)
        _show(output, plans, wish, dry_run=dry_run)
        due = [plan for plan in plans if plan.changes]
        refused = any(plan.refused for plan in plans)
        if dry_run or not due:
            return ExitCode.FAILED if refused else ExitCode.DONE
        verb = "take the timers' settings back on" if asked.undo else "set the update timers of"
        output.confirm(f"{verb} {len(due)} {'host' if len(due) == 1 else 'hosts'}?", yes=yes)
        with recorder(loaded) as record:
            end = carry_out_enrolment(
                fleet, plans, wish, record=record, emit=output.event, parallel=parallel
            )
    finally:
        fleet.close()
    if not as_json:
        failed = f", {len(end.failed)} failed" if end.failed else ""
        output.line(f"{len(end.done)} done{failed}")
    return ExitCode.FAILED if end.failed or refused else ExitCode.DONE


def _wish(asked: Asked, loaded: LoadedProject | None) -> Wish:
    """Raises `UsageError` for options that do not fit together."""
    if not asked.pull:
        raise UsageError(
            "enroll hosts for what?",
            hint="`fleet enroll --pull` lets them follow their channel by bootc's own timer; "
            "machines that are being installed are enrolled by `kickstart serve --enroll`",
        )
    if asked.undo:
        for given, name in (
            (asked.channel, "--channel"),
            (asked.switch, "--switch"),
            (asked.windows, "--window"),
            (asked.policy, "--policy"),
            (asked.every, "--every"),
            (asked.delay, "--delay"),
        ):
            if given:
                raise UsageError(f"--undo only takes the timer's settings back: no {name}")
        return Wish(None)
    if asked.switch and not asked.channel:
        raise UsageError("--switch to which channel?", hint="name it: --channel prod")
    return Wish(_settings(asked, loaded), _reference(asked.channel, loaded), asked.switch)


def _settings(asked: Asked, loaded: LoadedProject | None) -> TimerSettings:
    if asked.windows and asked.policy:
        raise UsageError("the windows are the policy's, or those of --window: not both")
    if asked.zone and not asked.windows:
        raise UsageError("--zone is the time zone of --window, which is missing")
    if asked.zone and asked.zone != HOST_ZONE and not zone_known(asked.zone):
        raise UsageError(f"there is no time zone {asked.zone!r}", hint="write Europe/Amsterdam")
    windows = Windows(tuple(parse_window(text) for text in asked.windows), asked.zone or HOST_ZONE)
    if asked.policy:
        windows = choose_policy(loaded, asked.policy).windows
        if not windows.windows:
            raise UsageError(
                f"the policy {asked.policy} has no windows", hint="say --every 8h in its place"
            )
    settings = timer_settings(
        windows,
        every=some_seconds(asked.every) if asked.every else None,
        delay=some_seconds(asked.delay) if asked.delay else None,
    )
    settings.body()
    return settings


def _reference(
    channel: str | None, loaded: LoadedProject | None
) -> Callable[[ImageRef], ImageRef] | None:
    """What a host should follow, from what it follows now: the same image in the channel."""
    if channel is None:
        return None
    if loaded is None:
        return lambda follows: follows.with_tag(channel)
    project = loaded.project
    if channel not in project.channels:
        raise UsageError(
            f"the project has no channel {channel!r}", hint=did_you_mean(channel, project.channels)
        )
    prefix = project.channels[channel].repository or project.registry
    places = {spec.repository or project.registry for spec in project.channels.values()}
    known = {
        f"{place}/{image}": image
        for place in {*places, project.registry}
        for image in project.images
    }

    def reference(follows: ImageRef) -> ImageRef:
        image = known.get(follows.name)
        if image is None:
            return follows.with_tag(channel)
        return ImageRef.parse(f"{prefix}/{image}").with_tag(channel)

    return reference


def _show(output: Output, plans: list[HostPlan], wish: Wish, *, dry_run: bool) -> None:
    if output.as_json:
        show = output.json if dry_run else output.json_line
        show(
            {
                "kind": "enroll.planned",
                "drop_in": wish.settings.body() if wish.settings else None,
                "hosts": [plan.to_json() for plan in plans],
            }
        )
        return
    if wish.settings:
        output.line(f"{TIMER}:")
        for line in wish.settings.body().splitlines():
            output.line(f"  {line}")
        for note in wish.settings.notes:
            output.line(f"note: {note}")
    rows = []
    for plan in plans:
        todo = [f"{act.what} ({act.why})" for act in plan.acts if act.what]
        if plan.switch:
            todo.insert(0, f"bootc switch {plan.switch}")
        what = f"refused: {plan.refused}" if plan.refused else "; ".join(todo) or "nothing to do"
        rows.append([plan.host, plan.follows or "", what])
    output.table(["HOST", "FOLLOWS", "WHAT, AND WHY"], rows)
    for plan in plans:
        for note in plan.notes:
            output.line(f"note: {plan.host}: {note}")
