"""Whether a host is well with what it booted: health rules, its own checks, its image's."""

from __future__ import annotations

from bootcfleet.domain.bootc import BootEntry
from bootcfleet.domain.check import Mode, Outcome
from bootcfleet.domain.judgement import HostReply
from bootcfleet.domain.reference import ImageRef
from bootcfleet.domain.rollout import HostPhase, Target
from bootcfleet.domain.rollout_policy import HealthRule
from bootcfleet.drivers import updatetimer
from bootcfleet.drivers.bootc import BootcHost
from bootcfleet.drivers.command import Executor
from bootcfleet.ops.health import check_health
from bootcfleet.ops.hosttask import HostTask, Surroundings, observation
from bootcfleet.ops.systemcheck import check_system


def check_after_reboot(
    task: HostTask, target: Target, executor: Executor, around: Surroundings
) -> HostReply:
    """The host in its new boot; one that went back is asked no more than whether it started."""
    # A mask of the boot before alone is gone, and the new image may bring a timer of its own.
    updatetimer.inhibit(executor, task.host.name)
    reverting = task.action.state.phase is HostPhase.REVERTING
    failures = _ask(task, target, executor, around, () if reverting else task.policy.health)
    bootc = BootcHost(executor, task.host.name)
    if not reverting:
        own = _own_checks(task, bootc, around)
        failures = (*failures, *own, *_image_checks(task, executor, around))
    facts = bootc.facts()
    if not reverting:
        failures = (*_old_name(target, facts.status.booted), *failures)
    return HostReply(seen=observation(facts), failures=failures)


def _old_name(target: Target, booted: BootEntry | None) -> tuple[str, ...]:
    """Whether a host that keeps its image came back on the deployment of its old reference."""
    if not target.renames or not target.reference or booted is None or booted.ref is None:
        return ()
    own, wanted = booted.ref, ImageRef.parse(target.reference)
    if (own.name, own.manifest) == (wanted.name, wanted.manifest):
        return ()
    return (f"it came back on its old deployment, and follows {own} and not {wanted}",)


def check_after_bake(
    task: HostTask, target: Target, executor: Executor, around: Surroundings
) -> HostReply:
    """The host once more, after its wave has baked."""
    seen = observation(BootcHost(executor, task.host.name).facts())
    failures = _ask(task, target, executor, around, task.policy.health)
    if seen.booted not in target.accepted:
        failures = ("after the bake time it no longer runs what it was updated to", *failures)
    return HostReply(seen=seen, failures=failures)


def _ask(
    task: HostTask,
    target: Target,
    executor: Executor,
    around: Surroundings,
    rules: tuple[HealthRule, ...],
) -> tuple[str, ...]:
    return check_health(
        rules,
        task.host,
        executor,
        settle=task.policy.timeouts.settle,
        before_state=target.system_state,
        before_units=target.failed_units,
        sleep=around.sleep,
        monotonic=around.monotonic,
    )


def _own_checks(task: HostTask, bootc: BootcHost, around: Surroundings) -> list[str]:
    failures = []
    for check in task.host.checks:
        result = bootc.run_check(check, sleep=around.sleep)
        if not result.ok:
            failures.append(f"check {check.name!r} failed: {result.message}")
    return failures


def _image_checks(task: HostTask, executor: Executor, around: Surroundings) -> list[str]:
    if not task.checks:
        return []
    results = check_system(
        task.checks, executor, Mode.HOST, sleep=around.sleep, monotonic=around.monotonic
    )
    failures = []
    for result in results:
        message = f"check {result.check.name!r} failed: {result.message}"
        if result.counts:
            failures.append(message)
        elif result.outcome is Outcome.FAILED:
            around.say(task, "host.check.optional", f"optional {message}")
    return failures
