"""`fleet upgrade`, `switch`, `rollback`, `reboot`: plan, show, ask, carry out, report."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bootcfleet.cli.fleet_options import Asking, Failing, Pace, Running, Selection
from bootcfleet.cli.fleet_selection import selected
from bootcfleet.cli.fleet_view import plan_json, rollout_json, show_plan, show_rollout
from bootcfleet.cli.output import Output, ask_secret
from bootcfleet.cli.rollout_desk import desk
from bootcfleet.domain.preflight_case import Severity
from bootcfleet.domain.reference import ImageRef
from bootcfleet.domain.rollout import FAILURES, HostPhase, Operation, Rollout
from bootcfleet.domain.rollout_override import with_overrides
from bootcfleet.domain.rollout_policy import RolloutPolicy
from bootcfleet.domain.rollout_replay import record_of
from bootcfleet.domain.waves import unmet_rules
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.errors import ExitCode, UsageError
from bootcfleet.ops import connect
from bootcfleet.ops.audit import current_actor, open_ledger
from bootcfleet.ops.fleet import Fleet
from bootcfleet.ops.imagestanding import image_judge
from bootcfleet.ops.rollout_past import past_of
from bootcfleet.ops.rollout_plan import Plan, plan_rollout
from bootcfleet.ops.rollout_policy import choose_policy
from bootcfleet.ops.rollout_run import begin_rollout, raise_if_halted
from bootcfleet.ops.rollouts import open_rollouts, overlaps

if TYPE_CHECKING:
    from bootcfleet.ops.hostcheck import HostChecks
    from bootcfleet.ops.project import LoadedProject


#: What is accepted by somebody who moves hosts of a rollout that is still open.
OPEN_ROLLOUT = "open-rollout"


@dataclass(frozen=True)
class Move:
    """What is to be done to the selected hosts."""

    operation: Operation
    image: str | None = None
    apply_staged: bool = False


def policy_of(
    loaded: LoadedProject | None, pace: Pace, failing: Failing | None = None
) -> RolloutPolicy:
    """The policy that is named, or the default, with the options laid over it.

    Raises `UsageError`.
    """
    failing = failing or Failing()
    return with_overrides(
        choose_policy(loaded, pace.policy),
        canary=pace.canary,
        batch=pace.batch,
        success=pace.success,
        bake=pace.bake,
        max_failures=pace.max_failures,
        max_unavailable=pace.max_unavailable,
        offline=pace.offline,
        retries=pace.retries,
        boot_timeout=pace.boot_timeout,
        on_failure="leave" if failing.no_revert else failing.on_failure,
        on_halt=failing.on_halt,
        soft_reboot=pace.soft_reboot,
        windows=not pace.ignore_windows,
    )


def move(
    what: Move,
    selection: Selection,
    pace: Pace,
    running: Running,
    asking: Asking,
    failing: Failing | None = None,
) -> int:
    """Plan, show, confirm, carry out, report; the exit code."""
    output = Output(as_json=asking.as_json)
    target = ImageRef.parse(what.image) if what.image else None
    loaded, hosts = selected(selection)
    policy = policy_of(loaded, pace, failing)
    with closing(connect.over_ssh(hosts, ask_secret)) as fleet, RegistryClient() as client:
        now = datetime.now(UTC)
        plan = plan_rollout(
            fleet,
            what.operation,
            policy,
            rollout_id=f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
            resolve=client.resolve,
            registry=client,
            judge_images=image_judge(loaded, client, today=now.date()),
            ask_past=past_of(loaded),
            signed=loaded is not None and loaded.project.signing is not None,
            image=target,
            apply_staged=what.apply_staged,
            parallel=running.parallel,
            began=now,
            actor=current_actor(),
        )
        checks = _checks(loaded, plan, fleet)
        _show(output, plan, checks, dry_run=asking.dry_run)
        bad = plan.rollout.count(HostPhase.REFUSED, HostPhase.DEFERRED) > 0
        if asking.dry_run or not plan.moving:
            return ExitCode.FAILED if bad else ExitCode.DONE
        _acknowledge(output, plan, asking)
        _let_others_end(loaded, plan, asking)
        noun = "host" if len(plan.moving) == 1 else "hosts"
        output.confirm(f"{what.operation} {len(plan.moving)} {noun}?", yes=asking.yes)
        end = _carry_out(output, loaded, plan, fleet, checks, running)
    return report(output, end)


def report(output: Output, end: Rollout) -> int:
    """Say how a rollout ended; the exit code.  Raises `RolloutHaltedError`."""
    if output.as_json:
        output.json_line({"kind": "rollout.finished", **rollout_json(end)})
    else:
        show_rollout(output, end)
    raise_if_halted(end)
    bad = end.count(*FAILURES, HostPhase.REFUSED)
    return ExitCode.FAILED if bad else ExitCode.DONE


def _carry_out(
    output: Output,
    loaded: LoadedProject | None,
    plan: Plan,
    fleet: Fleet,
    checks: Mapping[str, HostChecks],
    running: Running,
) -> Rollout:
    record = record_of(plan.rollout)
    with (
        closing(open_ledger(loaded)) as ledger,
        desk(output, loaded, ledger, record, fleet, running) as own,
    ):
        return begin_rollout(
            plan,
            own.workers,
            own.office,
            checks={host: found.checks for host, found in checks.items()},
        )


def _acknowledge(output: Output, plan: Plan, asking: Asking) -> None:
    """What is not to be done by mistake is asked for by name, even with --yes."""
    moving = set(plan.moving)
    for one in plan.preflight.confirmations:
        if one.rule in (asking.accept or ()) or not moving.intersection(one.hosts):
            continue
        if asking.yes or output.as_json or not sys.stdin.isatty():
            raise UsageError(
                f"{one.text}",
                hint=f"if that is meant, add --accept {one.rule}",
            )
        output.confirm(f"{one.text}: is that meant?", yes=False)


def _let_others_end(loaded: LoadedProject | None, plan: Plan, asking: Asking) -> None:
    """Hosts that another rollout waits with are not taken from under it by mistake.

    Raises `UsageError`.
    """
    if OPEN_ROLLOUT in (asking.accept or ()):
        return
    with open_rollouts(loaded) as rollouts:
        others = overlaps(rollouts, plan.moving)
    if others:
        first = others[0]
        raise UsageError(
            first.text,
            hint=f"let it end (`bootcfleet rollout show {first.record.id}`), abort it, choose "
            f"other hosts, or take them from it with --accept {OPEN_ROLLOUT}",
            details=[other.text for other in others[1:]],
        )


def _checks(loaded: LoadedProject | None, plan: Plan, fleet: Fleet) -> Mapping[str, HostChecks]:
    # Brings the templates' language with it, which no other fleet command needs.
    from bootcfleet.ops.hostcheck import host_checks

    return host_checks(loaded, plan.rollout, fleet)


def _show(output: Output, plan: Plan, checks: Mapping[str, HostChecks], *, dry_run: bool) -> None:
    from bootcfleet.ops.hostcheck import by_origin

    if output.as_json:
        counts = {host: len(own.checks) for host, own in checks.items()}
        notes = [one.to_json() for one in plan.preflight.sentences()]
        body: dict[str, Any] = {"kind": "rollout.planned", **plan_json(plan), "preflight": notes}
        (output.json if dry_run else output.json_line)({**body, "image_checks": counts})
        return
    show_plan(output, plan)
    rollout = plan.rollout
    unmet = unmet_rules(rollout.waves, list(rollout.hosts.values()), rollout.policy)
    if unmet:
        noun = "wave" if len(unmet) == 1 else "waves"
        output.line(
            f"note: no host is in the {noun} {', '.join(unmet)} of the policy {rollout.policy.name}"
        )
    moving = set(plan.moving)
    for one in plan.preflight.sentences(Severity.WARN, Severity.CONFIRM):
        if moving.intersection(one.hosts):
            word = "warning" if one.severity is Severity.WARN else "to confirm"
            output.line(f"{word}: {one.text}")
    for line in by_origin(dict(checks)):
        output.line(line)
