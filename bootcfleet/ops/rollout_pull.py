"""A rollout in pull mode: promotes from channel to channel while the sampled hosts are well.

The registry and the hosts' own timers do the work; what this costs does not depend on how
many hosts there are.  Begun here, or taken up again; `ops/pull_run.py` carries it on.
"""

from __future__ import annotations

from bootcfleet.domain.pull import PullState, replay
from bootcfleet.domain.pull_policy import PullPlan
from bootcfleet.domain.pull_rollout import plan_body, read_plan
from bootcfleet.domain.rollout_journal import PULL, RolloutRecord
from bootcfleet.drivers.rolloutstore import RolloutStore, RolloutTakenError
from bootcfleet.errors import ChecksFailedError, UsageError
from bootcfleet.ops.pull_look import PullTools
from bootcfleet.ops.pull_plan import promotion
from bootcfleet.ops.pull_run import PullRun
from bootcfleet.ops.train import recover


def start_pull(tools: PullTools, plan: PullPlan) -> PullState:
    """Begin a rollout and carry it on to its end.

    Raises `UsageError` while another one of the image is open, `ChecksFailedError` when the
    gates of the first channel are red: nothing was begun.  Otherwise as `resume_pull`.
    """
    channels, store = tools.channels, tools.store
    require_none_open(store, plan.image)
    recover(channels)
    require_first(tools, plan)
    record = RolloutRecord(
        plan.id,
        PULL,
        channels.clock(),
        channels.actor,
        body=plan_body(plan),
        about={
            "hosts": sum(plan.wanted(rule) for rule in plan.channels),
            "waves": len(plan.channels),
            "image": f"{plan.image} {plan.version or ''} {plan.digest[7:19]}".replace("  ", " "),
            "policy": plan.policy.name,
            "pull": plan.image,
        },
    )
    with store.db.write():
        # Once more, now that nobody else can begin one.
        require_none_open(store, plan.image)
        store.create(record)
        channels.record(
            "fleet.pull",
            plan.id,
            "started",
            digests={"image": plan.digest},
            details={
                "image": plan.image,
                "source": plan.source,
                "channels": [rule.name for rule in plan.channels],
                "followers": dict(plan.followers),
            },
        )
    return resume_pull(tools, record)


def require_none_open(store: RolloutStore, image: str) -> None:
    """Raise `UsageError` while another rollout of an image is open."""
    for other, _ in store.all(open_only=True):
        if other.operation == PULL and other.about.get("pull") == image:
            raise UsageError(
                f"the rollout {other.id} of {image} is not finished",
                hint=f"bootcfleet rollout resume {other.id}, or abort it",
            )


def require_first(tools: PullTools, plan: PullPlan) -> None:
    """Raise `ChecksFailedError` when the first channel would not take the digest now."""
    promotion(tools.channels, plan, 0).require_green()
    for gate in plan.channels[0].gates:
        result = tools.ask(gate)
        if not result.ok:
            raise ChecksFailedError(
                f"{result.name}: {result.message}; nothing was moved", hint=result.hint
            )


def read_state(store: RolloutStore, record: RolloutRecord) -> PullState:
    """How far a rollout has come, by its journal alone.  Raises `FleetError`."""
    return replay(read_plan(record), store.entries(record.id))


def resume_pull(tools: PullTools, record: RolloutRecord) -> PullState:
    """Carry a rollout on to its end, from wherever it is; its state then.

    Looks at the registry and at the channels' histories first, so that what a killed controller
    had done is not done again.

    Raises `FleetError` while another controller has it, or when the registry fails for long:
    then it stays open.
    """
    with tools.store.hold(record.id) as held:
        if held is None:
            raise RolloutTakenError(
                f"another controller is at the rollout {record.id}",
                hint=f"follow it: bootcfleet rollout watch {record.id}",
            )
        state = read_state(tools.store, record)
        if state.outcome is not None:
            return state
        return PullRun(tools, record.id, state.plan, held).run()
