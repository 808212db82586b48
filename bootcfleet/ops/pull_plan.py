"""Plans a rollout in pull mode: what is promoted through which channels, and who follows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bootcfleet.domain.channel import Move
from bootcfleet.domain.channel_spec import BUILD
from bootcfleet.domain.gate import GateResult
from bootcfleet.domain.inventory import Host
from bootcfleet.domain.promotion import PromotionPlan
from bootcfleet.domain.pull_policy import PullChannel, PullPlan, PullPolicy
from bootcfleet.domain.selector import Selector
from bootcfleet.errors import UsageError
from bootcfleet.ops.channel import Channels
from bootcfleet.ops.promote import plan_promotion, resolve


def plan_pull(
    channels: Channels,
    hosts: Sequence[Host],
    image: str,
    policy: PullPolicy,
    *,
    rollout_id: str,
    source: str | None = None,
    inventory: str = "",
) -> PullPlan:
    """What the rollout is to do; nothing is changed, and no host is asked.

    `source` is a channel, ``build``, a tag or a digest; without it, the channel that the
    first one comes from.  It is resolved here, once.

    Raises `UsageError` for channels that do not fit, and as `plan_promotion` does.
    """
    channels.require_image(image)
    check_channels(channels, image, policy)
    first = channels.spec(policy.channels[0].name)
    source = source or first.from_ or BUILD
    at = resolve(channels, image, source)
    resolved = channels.registry.resolve(at)
    digest = str(resolved.digest)
    tags = {rule.name: str(channels.tag(image, rule.name)) for rule in policy.channels}
    plan = PullPlan(
        id=rollout_id,
        image=image,
        digest=digest,
        accepted=frozenset({digest, *(str(own) for own in resolved.platforms.values())}),
        source=source,
        policy=policy,
        references=tags,
        followers={
            rule.name: len(followers(hosts, rule, tags[rule.name])) for rule in policy.channels
        },
        version=resolved.version,
        inventory=inventory,
    )
    for rule in policy.channels:
        if plan.wanted(rule) == 0 and rule.sample.number:
            raise UsageError(
                f"no host of the inventory follows {rule.name}, so that nobody can be asked how "
                "it goes",
                hint=f"give the hosts `image: {tags[rule.name]}` in the inventory, or choose them "
                f"in the policy ({rule.name}: hosts: SELECTOR), or say sample: 0",
            )
    return plan


def check_channels(channels: Channels, image: str, policy: PullPolicy) -> None:
    """Raise `UsageError` for channels that cannot carry the rollout of an image."""
    before: PullChannel | None = None
    for rule in policy.channels:
        spec = channels.spec(rule.name)
        if not spec.takes(image):
            raise UsageError(
                f"the channel {rule.name} does not take {image}",
                hint=f"see channels.{rule.name}.images in bootcfleet.yaml",
            )
        if before is not None and spec.from_ != before.name:
            raise UsageError(
                f"{rule.name} is promoted from {spec.from_ or 'nowhere'}, and stands after "
                f"{before.name} in the rollout",
                hint=f"channels: {{{rule.name}: {{from: {before.name}}}}} in bootcfleet.yaml",
            )
        before = rule


def followers(hosts: Sequence[Host], rule: PullChannel, reference: str) -> list[str]:
    """The hosts that follow a channel, by the inventory: by the policy's selector or `image:`."""
    if rule.hosts:
        selector = Selector.parse([rule.hosts])
        return [host.name for host in hosts if selector.matches(host)]
    return [host.name for host in hosts if host.image and str(host.image) == reference]


def promotion(channels: Channels, plan: PullPlan, index: int) -> PromotionPlan:
    """The promotion to the channel of `index`, planned now, with what its gates say.

    Always the planned digest.  Where the channel that it comes from has moved on, which may be
    because the digest was no good, the gate `from` says so.  Raises as `plan_promotion` does.
    """
    rule = plan.channels[index]
    source = plan.digest
    before = plan.channels[index - 1].name if index else plan.source
    known = channels.loaded.project.channels
    if before in known and known[before].repository:
        # The digest is in that channel's repository, and maybe in no other.
        source = before
    planned = plan_promotion(channels, [plan.image], source, rule.name, why=f"rollout {plan.id}")
    moves = tuple(_still_there(channels, plan, move, before) for move in planned.moves)
    return replace(planned, moves=moves)


def _still_there(channels: Channels, plan: PullPlan, move: Move, before: str) -> Move:
    """The move, its gate `from` red where the channel before is no longer at the digest."""
    there = channels.store.current(plan.image, before)
    now = move.digest if there is None else there.digest
    asked = any(gate.name == "from" and not gate.ok for gate in move.gates)
    if move.digest == plan.digest and (now == plan.digest or not asked):
        return move
    moved_on = GateResult(
        "from",
        False,
        f"{before} has moved on to {now} since the rollout began",
        f"bootcfleet channel history {plan.image} {before}",
    )
    return replace(move, gates=(moved_on, *(one for one in move.gates if one.name != "from")))
