"""What a controller in pull mode works with, and its one look: channels, sampled hosts, gates."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bootcfleet.domain.gate import GateResult
from bootcfleet.domain.inventory import Host
from bootcfleet.domain.pull import ChannelState, PullState, Seen, Stand, channel_stand
from bootcfleet.domain.pull_policy import PullPlan
from bootcfleet.domain.pull_sample import Look
from bootcfleet.domain.rollout_journal import WavePhase
from bootcfleet.domain.rollout_policy import MetricGate
from bootcfleet.drivers.rolloutstore import RolloutStore
from bootcfleet.errors import FleetError
from bootcfleet.ops.channel import Channels
from bootcfleet.ops.pull_plan import promotion
from bootcfleet.ops.pull_sample import Connect, look_at


@dataclass(frozen=True)
class PullTools:
    """What a rollout in pull mode works with.

    `hosts` are those of the inventory; `connect` reaches the few that are asked; `ask` asks a
    metric gate.
    """

    channels: Channels
    store: RolloutStore
    hosts: Sequence[Host]
    connect: Connect
    ask: Callable[[MetricGate], GateResult]
    sleep: Callable[[float], None] = time.sleep
    parallel: int = 50


def look(tools: PullTools, state: PullState, before: Mapping[str, Look]) -> Seen:
    """Where the channels stand, what the sampled hosts say, what the gates say.

    `before` is what the last look at the sampled hosts brought.  Raises `FleetError` when the
    registry does not answer; a host that does not is a part of the answer, and so is a channel
    once they are to go back.
    """
    plan = state.plan
    stands: dict[int, Stand] = {}
    trouble: dict[int, str] = {}
    for index, channel in enumerate(state.channels):
        if channel.began is None:
            continue
        try:
            stands[index] = _stand(tools, plan, index, channel)
        except FleetError as error:
            if state.halted is None:
                raise
            trouble[index] = error.message
    current = state.current
    if current is None or state.halted or state.aborted:
        return Seen(stands, trouble=trouble)
    index = current
    channel, rule = state.channels[index], plan.channels[index]
    gates: list[GateResult] = []
    if stands.get(index) is Stand.OURS:
        looks = look_at(
            list(channel.sample),
            {host.name: host for host in tools.hosts},
            tools.connect,
            before,
            tools.channels.clock(),
            parallel=tools.parallel,
        )
        if state.asks_gates:
            gates = [tools.ask(gate) for gate in rule.gates]
        return Seen(stands, looks, tuple(gates))
    if state.asks_gates or channel.phase is WavePhase.RUNNING:
        planned = promotion(tools.channels, plan, index)
        gates = [gate for move in planned.moves for gate in move.gates]
        gates += [tools.ask(gate) for gate in rule.gates]
    return Seen(stands, gates=tuple(gates))


def _stand(tools: PullTools, plan: PullPlan, index: int, channel: ChannelState) -> Stand:
    name = plan.channels[index].name
    last = tools.channels.store.current(plan.image, name)
    return channel_stand(
        channel,
        plan.digest,
        found=tools.channels.found(tools.channels.tag(plan.image, name)),
        number=last.number if last else 0,
        last=last.digest if last else None,
    )
