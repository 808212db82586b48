"""``pull:`` of a rollout policy: the channels that a rollout in pull mode goes through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, field_validator

from bootcfleet.domain.channel_spec import ChannelName, ChannelSpec
from bootcfleet.domain.document import Document, did_you_mean
from bootcfleet.domain.health_spec import GateSpec
from bootcfleet.domain.limit import Limit
from bootcfleet.domain.pull_policy import DEADLINE, PullChannel, PullPolicy
from bootcfleet.domain.rollout_fields import (
    AnyHosts,
    Percent,
    Seconds,
    SelectorText,
    SomeSeconds,
    Strict,
    each_once,
)
from bootcfleet.domain.rollout_policy import MetricGate
from bootcfleet.domain.wave_spec import Approve

#: Least percentage of the sample that must be good, where neither channel nor policy says.
SUCCESS = 90


class PullChannelSpec(Strict):
    """One channel of a rollout in pull mode, or its name alone."""

    channel: ChannelName = Field(description="A channel of the project.")
    sample: AnyHosts = Field(
        default_factory=lambda: Limit(20),
        description="How many of the hosts that follow it are asked, as 20 or 5%; 0 for none: "
        "then time alone decides.",
    )
    success: Percent | None = Field(
        default=None,
        description="The percentage of the sample that must run the new digest and be healthy; "
        "90% where the policy says nothing.",
    )
    bake: Seconds | None = Field(
        default=None, description="How long they must be so before the next channel, as 24h."
    )
    deadline: SomeSeconds = Field(
        default_factory=lambda: DEADLINE,
        description="The time in which the sample must have moved by itself: the timer's period, "
        "its delay, a download and a reboot; 12h.",
    )
    hosts: SelectorText = Field(
        default="",
        description="Who follows it, by labels; those whose image: is the channel's tag without "
        "it.",
    )
    gates: tuple[GateSpec, ...] = Field(
        default=(), description="Metrics for this channel alone, besides those of the policy."
    )
    approve: Approve = Field(
        default=Approve.AUTO, description="manual: it is promoted only after `rollout approve`."
    )


def _channel(value: Any) -> Any:
    return {"channel": value} if isinstance(value, str) else value


_Channel = Annotated[PullChannelSpec, BeforeValidator(_channel)]


class PullSpec(Strict):
    """How a rollout goes whose hosts follow channels by themselves."""

    channels: tuple[_Channel, ...] = Field(
        description="The channels in their order, each with its conditions or its name alone.",
        min_length=1,
    )
    poll: SomeSeconds = Field(
        default_factory=lambda: 300.0, description="The time between two looks at the sample; 5m."
    )
    silence: Seconds = Field(
        default_factory=lambda: 900.0,
        description="How long a host that was good may be silent after the deadline; 15m.",
    )

    @field_validator("channels")
    @classmethod
    def _each_once(cls, value: tuple[PullChannelSpec, ...]) -> tuple[PullChannelSpec, ...]:
        each_once(tuple(one.channel for one in value), "channels")
        return value

    def policy(
        self, name: str, *, success: int | None, bake: float, gates: tuple[MetricGate, ...]
    ) -> PullPolicy:
        """The policy; `success`, `bake` and `gates` are those of the whole policy around it."""
        usual = SUCCESS if success is None else success
        return PullPolicy(
            tuple(
                PullChannel(
                    name=one.channel,
                    sample=one.sample,
                    success=usual if one.success is None else one.success,
                    bake=bake if one.bake is None else one.bake,
                    deadline=one.deadline,
                    hosts=one.hosts,
                    gates=(*gates, *(gate.gate() for gate in one.gates)),
                    approve=one.approve is Approve.MANUAL,
                )
                for one in self.channels
            ),
            poll=self.poll,
            silence=self.silence,
            name=name,
        )


def check_pull(
    document: Document, at: tuple[str, ...], spec: PullSpec, channels: Mapping[str, ChannelSpec]
) -> None:
    """Raise `ConfigError` for a channel that there is not, or that does not follow on the last."""
    before: str | None = None
    for place, one in enumerate(spec.channels):
        here: tuple[str | int, ...] = (*at, "channels", place)
        if one.channel not in channels:
            raise document.error(
                here,
                f"there is no channel {one.channel!r}",
                hint=did_you_mean(one.channel, channels)
                or "declare it: channels: {prod-canary: {from: test}}",
            )
        comes_from = channels[one.channel].from_
        if before is not None and comes_from != before:
            raise document.error(
                here,
                f"{one.channel} is promoted from {comes_from or 'nowhere'}, and stands after "
                f"{before}",
                hint=f"channels: {{{one.channel}: {{from: {before}}}}}",
            )
        before = one.channel
