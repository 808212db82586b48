"""Hosts are made to follow their channel by bootc's own timer: `fleet enroll --pull`.

Every host is looked at first, and what is to be done there is decided from that: hosts that
are enrolled already need nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bootcfleet.domain.bootc import BootEntry
from bootcfleet.domain.event import Emit, Event
from bootcfleet.domain.pulltimer import (
    PATH,
    TIMER,
    TimerAct,
    TimerSettings,
    TimerState,
    enroll_acts,
    undo_acts,
)
from bootcfleet.domain.reference import ImageRef
from bootcfleet.drivers.bootc import HostFacts
from bootcfleet.drivers.bootc_faults import printable
from bootcfleet.drivers.command import CommandResult
from bootcfleet.errors import FleetError, HostError, HostFault
from bootcfleet.ops.audit import Record
from bootcfleet.ops.fanout import each, gather
from bootcfleet.ops.fleet import Fleet

_MARK = "--8<-- bootcfleet drop-in"
#: No pipes and no redirections: the file may be missing, and that is an answer.
_LOOK = (
    "systemctl show --property=LoadState,UnitFileState,ActiveState,SubState,DropInPaths "
    f"{TIMER}; "
    f"echo '{_MARK}'; cat {PATH}"
)
#: bootc's own OnBootSec=1h has passed by then.
_AT_ONCE = (
    "bootc's own timer looks as soon as it is started on a host that is up for longer than an "
    "hour, and reboots it for an update"
)


@dataclass(frozen=True)
class Wish:
    """What is asked for: the timer's settings, or (None) to take the enrolment back.

    `reference` says what a host should follow, from what it follows; None leaves that to the
    host.  `switch` stages it where it is another one.
    """

    settings: TimerSettings | None
    reference: Callable[[ImageRef], ImageRef] | None = None
    switch: bool = False


@dataclass(frozen=True)
class HostPlan:
    """What is to be done on one host: `switch` (stage this reference) first, then `acts`.

    `enforce`: what the switch keeps (`ImageStatus.enforced`).
    """

    host: str
    acts: tuple[TimerAct, ...] = ()
    switch: str | None = None
    notes: tuple[str, ...] = ()
    follows: str | None = None
    refused: str | None = None
    fault: HostFault | None = None
    enforce: bool = False

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return self.refused is None and bool(self.acts or self.switch)

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON-ready data."""
        return {
            "host": self.host,
            "follows": self.follows,
            "switch": self.switch,
            "acts": [
                {"why": act.why, "run": list(act.argv), "write": act.text and PATH}
                for act in self.acts
            ],
            "notes": list(self.notes),
            "refused": self.refused,
            "fault": str(self.fault) if self.fault else None,
        }


@dataclass(frozen=True)
class Enrolled:
    """How it went: the hosts that failed, each with its error."""

    done: tuple[str, ...]
    failed: Mapping[str, FleetError] = field(default_factory=dict)


def plan_enrolment(fleet: Fleet, wish: Wish, *, parallel: int = 50) -> list[HostPlan]:
    """Look at every host and decide what is to be done there; nothing is changed."""
    answers = gather(fleet.names, lambda name: _plan(fleet, name, wish), parallel=parallel)
    plans = []
    for name, answer in answers.items():
        if isinstance(answer, HostPlan):
            plans.append(answer)
        else:
            fault = answer.fault if isinstance(answer, HostError) else HostFault.COMMAND_FAILED
            plans.append(HostPlan(name, refused=answer.message, fault=fault))
    return plans


def carry_out_enrolment(
    fleet: Fleet,
    plans: list[HostPlan],
    wish: Wish,
    *,
    record: Record,
    emit: Emit,
    parallel: int = 50,
) -> Enrolled:
    """Do what the plans say, on all hosts at once, and record it; one host hides no other."""
    due = {plan.host: plan for plan in plans if plan.changes}
    action = "fleet.enroll"
    subject = "pull" if wish.settings else "undo"
    record(
        action,
        subject,
        "started",
        digests={},
        details={
            "hosts": list(due),
            "drop_in": wish.settings.body() if wish.settings else None,
            "switch": {name: plan.switch for name, plan in due.items() if plan.switch},
        },
    )
    done: list[str] = []
    failed: dict[str, FleetError] = {}
    try:
        for name, result in each(
            tuple(due), lambda name: _carry_out(fleet, due[name], wish), parallel=parallel
        ):
            if isinstance(result, FleetError):
                failed[name] = result
                emit(Event("host.enroll-failed", name, result.message, {"hint": result.hint}))
            else:
                done.append(name)
                said = "enrolled" if wish.settings else "no longer enrolled"
                emit(Event("host.enrolled", name, said, {"pull": wish.settings is not None}))
    finally:
        outcome = "failed" if failed else "done"
        record(
            action,
            subject,
            outcome if len(done) + len(failed) == len(due) else "interrupted",
            digests={},
            details={
                "hosts": {
                    **dict.fromkeys(done, "done"),
                    **{name: error.message for name, error in failed.items()},
                }
            },
        )
    return Enrolled(tuple(done), failed)


def _plan(fleet: Fleet, name: str, wish: Wish) -> HostPlan:
    facts = fleet.bootc(name).facts()
    status = facts.status
    layered = status.booted is not None and status.booted.incompatible
    if status.booted is None or not (layered or status.booted_by_bootc):
        return _refuse(name, HostFault.NOT_BOOTC_BOOTED, "is not booted by bootc")
    state = timer_state(fleet, name)
    if state.file == "masked-runtime":
        return _refuse(
            name,
            HostFault.LOCKED,
            "a rollout keeps its timer still: wait for its end (bootcfleet rollout list)",
        )
    if wish.settings is None:
        undo = undo_acts(state)
        starts = any(act.argv[1:2] == ("restart",) for act in undo)
        said = (_AT_ONCE,) if starts else ()
        return HostPlan(name, undo, notes=said, follows=_follows(facts))
    if refused := _refusal(name, status.booted, state):
        return refused
    follows = (status.staged or status.booted).ref
    if follows is None:
        return _refuse(
            name,
            HostFault.REGISTRY,
            f"follows {status.booted.transport or 'no image'}:{status.booted.reference or ''}, "
            "which is not in a registry: no channel can move it",
        )
    wanted = wish.reference(follows) if wish.reference else follows
    notes = [f"{path} is read after the drop-in, and may have other times" for path in state.later]
    switch = None
    if str(wanted) != str(follows):
        if wish.switch:
            switch = str(wanted)
            notes.append("the timer's next turn boots it")
        else:
            notes.append(f"follows {follows}, and not {wanted}: add --switch to stage that")
    if follows.pinned and switch is None:
        return _refuse(
            name,
            HostFault.WRONG_DIGEST,
            f"is pinned by digest ({follows}): its timer never finds anything; name its channel "
            "with --channel and add --switch",
        )
    acts = enroll_acts(state, wish.settings)
    enforce = status.followed is not None and status.followed.enforced
    return HostPlan(name, acts, switch, tuple(notes), str(follows), enforce=enforce)


def _refusal(name: str, booted: BootEntry, state: TimerState) -> HostPlan | None:
    """Why a host cannot follow a channel by its timer, or None."""
    if booted.store == "composefs":
        return _refuse(
            name,
            HostFault.INCOMPATIBLE,
            f"has bootc's composefs backend, and {TIMER} never fires there (it asks for "
            "/run/ostree-booted): move it with `bootcfleet fleet upgrade`",
        )
    if booted.incompatible:
        return _refuse(
            name,
            HostFault.INCOMPATIBLE,
            "has local rpm-ostree changes (layered packages), which bootc refuses to carry on; "
            "see `rpm-ostree status`, remove them with `rpm-ostree reset`",
        )
    if state.load == "not-found":
        return _refuse(name, HostFault.NO_BOOTC, f"its image has no {TIMER}")
    return None


def timer_state(fleet: Fleet, name: str) -> TimerState:
    """What systemd says of a host's timer, and our drop-in.  Raises `HostError`.

    As root: where its umask is 027 or 077, nobody else could see the drop-in in its folder, and
    how the timer was before would be lost.
    """
    result = fleet.executor(name).run(["sh", "-c", _LOOK], timeout=60.0, as_root=True)
    shown, mark, text = result.stdout.partition(f"{_MARK}\n")
    if not mark:
        raise _failed(name, "systemctl show", result)
    return TimerState.parse(shown, text or None)


def _carry_out(fleet: Fleet, plan: HostPlan, wish: Wish) -> None:
    """Raises `HostError`."""
    name, executor = plan.host, fleet.executor(plan.host)
    if plan.switch:
        fleet.bootc(name).stage_switch(plan.switch, enforce=plan.enforce)
    for act in plan.acts:
        if act.text is not None:
            executor.put(act.text.encode(), PATH, as_root=True)
            continue
        result = executor.run(act.argv, timeout=120.0, as_root=True)
        if not result.ok:
            raise _failed(name, " ".join(act.argv[:2]), result)
    state = timer_state(fleet, name)
    if wish.settings is not None and enroll_acts(state, wish.settings):
        now = "elapsed" if state.elapsed else state.active
        raise HostError(
            name,
            HostFault.COMMAND_FAILED,
            f"{TIMER} is {state.load}, {state.file} and {now} after all was done",
            hint=f"look on the host: systemctl status {TIMER}",
        )


def _failed(name: str, what: str, result: CommandResult) -> HostError:
    lines = (result.stderr.strip() or result.stdout.strip()).splitlines()[-1:]
    said = [printable(line) for line in lines]
    return HostError(
        name,
        HostFault.COMMAND_FAILED,
        f"{what} ended with {result.exit_code}: {said[0] if said else 'no output'}",
    )


def _follows(facts: HostFacts) -> str | None:
    entry = facts.status.staged or facts.status.booted
    return entry.reference if entry else None


def _refuse(name: str, fault: HostFault, message: str) -> HostPlan:
    return HostPlan(name, refused=message, fault=fault)
