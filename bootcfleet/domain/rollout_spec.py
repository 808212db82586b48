"""``rollouts:`` in ``bootcfleet.yaml``: named policies, by which hosts are moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from bootcfleet.domain.budget_spec import BudgetSpec
from bootcfleet.domain.channel_spec import ChannelSpec
from bootcfleet.domain.document import Document
from bootcfleet.domain.health_spec import GateSpec, HealthSpec
from bootcfleet.domain.hook_spec import HostHook, NotifySpec
from bootcfleet.domain.limit import Limit
from bootcfleet.domain.pull_policy import PullPolicy
from bootcfleet.domain.pull_spec import PullSpec, check_pull
from bootcfleet.domain.reference import valid_name
from bootcfleet.domain.rollout_fields import (
    AnyHosts,
    Days,
    Hosts,
    Percent,
    Seconds,
    SomeSeconds,
    Strict,
    each_once,
)
from bootcfleet.domain.rollout_policy import (
    Download,
    OnFailure,
    OnHalt,
    Retries,
    RolloutPolicy,
    SoftReboot,
    Timeouts,
)
from bootcfleet.domain.wave_spec import BlueGreenSpec, WaveSpec
from bootcfleet.domain.window import Windows
from bootcfleet.domain.window_spec import TimeZone, WindowSpec

#: The policy that holds where none is named.
DEFAULT = "default"


def _policy_name(value: str) -> str:
    if not valid_name(value):
        raise ValueError(
            f"{value!r} cannot be the name of a policy: lower-case letters, digits, '.', '-' and "
            "'_', beginning and ending with a letter or digit, at most 64"
        )
    return value


PolicyName = Annotated[str, AfterValidator(_policy_name)]


class TimeoutSpec(Strict):
    """Time limits of a host's phases."""

    stage: SomeSeconds = Field(
        default_factory=lambda: 1800.0, description="Download and staging; 30m."
    )
    boot: SomeSeconds = Field(
        default_factory=lambda: 900.0,
        description="From the reboot until SSH answers from a new boot; 15m.",
    )
    settle: SomeSeconds = Field(
        default_factory=lambda: 300.0, description="Until a system that answers has started; 5m."
    )
    hook: SomeSeconds = Field(
        default_factory=lambda: 300.0, description="A hook without its own; 5m."
    )


class RetrySpec(Strict):
    """How transient failures (SSH, the registry, a lock that is held) are tried again."""

    attempts: int = Field(default=3, description="How often, in each phase.", ge=0, le=100)
    first: SomeSeconds = Field(
        default_factory=lambda: 5.0, description="The time before the first; 5s."
    )
    most: SomeSeconds = Field(
        default_factory=lambda: 300.0,
        description="The longest time between two: it doubles each time; 5m.",
    )


class RolloutSpec(Strict):
    """One policy."""

    description: str = Field(default="", description="One line for lists.")
    canary: AnyHosts = Field(
        default_factory=lambda: Limit(1),
        description="How many hosts go first, as 1 or 1%, for a policy without waves; 0 for none.",
    )
    batch: Hosts = Field(
        default_factory=lambda: Limit(25, percent=True),
        description="How many go at a time after that, as 10 or 25%: of those that no wave names.",
    )
    waves: tuple[WaveSpec, ...] = Field(
        default=(), description="Who goes when; who is in none of them goes last."
    )
    blue_green: BlueGreenSpec | None = Field(
        default=None, description="In place of waves: two sets, each switched as a whole."
    )
    success: Percent | None = Field(
        default=None,
        description="The percentage of each wave that must end well; max_failures alone "
        "without it.",
    )
    bake: Seconds = Field(
        default_factory=lambda: 0.0,
        description="How long each wave is watched before the next one, as 30m.",
    )
    budgets: BudgetSpec = Field(
        default_factory=BudgetSpec, description="How many may fail, be away or be at work at once."
    )
    windows: tuple[WindowSpec, ...] = Field(
        default=(), description="When hosts may be rebooted; always without it."
    )
    time_zone: TimeZone = Field(
        default="UTC",
        description="The time zone of windows and blackout, as Europe/Amsterdam; host for each "
        "host's own.",
    )
    blackout: tuple[Days, ...] = Field(
        default=(),
        description="Days on which no host is rebooted, as 2026-12-24 or 2026-12-20..2027-01-03.",
    )
    download: Download = Field(
        default=Download.WAVE,
        description="wave: a host downloads when its wave starts. ahead: all of them when the "
        "rollout starts, and windows are for reboots alone.",
    )
    offline: Seconds = Field(
        default_factory=lambda: 0.0,
        description="How long the rollout stays open for hosts that cannot be reached, as 24h.",
    )
    timeouts: TimeoutSpec = Field(
        default_factory=TimeoutSpec, description="Time limits of a host's phases."
    )
    retries: RetrySpec = Field(
        default_factory=RetrySpec, description="How transient failures are tried again."
    )
    health: tuple[HealthSpec, ...] = Field(
        default=(),
        description="What must hold on a host after its reboot, besides the checks of its image.",
    )
    gates: tuple[GateSpec, ...] = Field(
        default=(), description="Metrics that must hold before a wave starts and while it bakes."
    )
    on_failure: OnFailure = Field(
        default=OnFailure.ROLLBACK,
        description="What becomes of a host whose health failed: rollback, queue-rollback (the "
        "next reboot is the admin's) or leave.",
    )
    on_halt: OnHalt = Field(
        default=OnHalt.LEAVE,
        description="What becomes of the hosts that were updated when the rollout halts: leave, "
        "or rollback, newest wave first.",
    )
    soft_reboot: SoftReboot = Field(
        default=SoftReboot.NEVER,
        description="auto: a reboot of userspace alone, where host and image allow it.",
    )
    drain: tuple[HostHook, ...] = Field(
        default=(), description="Hooks before a host is rebooted, in order."
    )
    undrain: tuple[HostHook, ...] = Field(
        default=(), description="Hooks after it is well again, in order."
    )
    notify: tuple[NotifySpec, ...] = Field(
        default=(), description="Webhooks that are told how it goes."
    )
    pull: PullSpec | None = Field(
        default=None,
        description="The channels of `rollout pull`, for hosts that move by bootc's own timer.",
    )

    @field_validator("waves")
    @classmethod
    def _each_wave_once(cls, value: tuple[WaveSpec, ...]) -> tuple[WaveSpec, ...]:
        each_once(tuple(wave.name for wave in value if wave.name), "waves")
        return value

    @field_validator("gates")
    @classmethod
    def _each_gate_once(cls, value: tuple[GateSpec, ...]) -> tuple[GateSpec, ...]:
        each_once(tuple(gate.name for gate in value), "gates")
        return value

    def policy(self, name: str = DEFAULT) -> RolloutPolicy:
        """The policy that it stands for."""
        of = self.timeouts
        timeouts = Timeouts(of.stage, of.boot, of.settle, of.hook, self.offline)
        waves = tuple(wave.rule(timeouts) for wave in self.waves)
        if self.blue_green is not None:
            waves = self.blue_green.rules(timeouts)
        return RolloutPolicy(
            name=name,
            canary=self.canary if self.canary.number else None,
            batch=self.batch,
            waves=waves,
            success=self.success,
            bake=self.bake,
            budgets=self.budgets.budgets(),
            windows=Windows(
                tuple(one.window() for one in self.windows), self.time_zone, self.blackout
            ),
            download=self.download,
            timeouts=timeouts,
            retries=Retries(self.retries.attempts, self.retries.first, self.retries.most),
            health=tuple(one.rule() for one in self.health),
            gates=tuple(one.gate() for one in self.gates),
            on_failure=self.on_failure,
            on_halt=self.on_halt,
            soft_reboot=self.soft_reboot,
            drain=tuple(one.hook(timeouts) for one in self.drain),
            undrain=tuple(one.hook(timeouts) for one in self.undrain),
            notify=tuple(one.target() for one in self.notify),
            exclusive=self.blue_green is not None,
        )

    def pull_policy(self, name: str) -> PullPolicy | None:
        """How a rollout in pull mode goes by it; None for a policy that says nothing of one."""
        if self.pull is None:
            return None
        gates = tuple(one.gate() for one in self.gates)
        policy = self.pull.policy(name, success=self.success, bake=self.bake, gates=gates)
        return replace(policy, notify=tuple(one.target() for one in self.notify))


def check_rollouts(
    document: Document, rollouts: Mapping[str, RolloutSpec], channels: Mapping[str, ChannelSpec]
) -> None:
    """What one value alone cannot know.  Raises `ConfigError` with the line.

    Each policy says in one way only who goes when, and nothing in it is without effect.
    """
    for name, spec in rollouts.items():
        at = ("rollouts", name)
        given = spec.model_fields_set
        if spec.blue_green is not None:
            for key in ("waves", "canary", "batch"):
                if key in given:
                    raise document.error(
                        (*at, key), "has no effect beside blue_green", hint="keep one of the two"
                    )
        if spec.waves and "canary" in given:
            raise document.error(
                (*at, "canary"),
                "has no effect beside waves",
                hint="make it the first of the waves: {name: canary, limit: 1%, success: 100%}",
            )
        if "time_zone" in given and not spec.windows and not spec.blackout:
            raise document.error((*at, "time_zone"), "has no effect without windows and blackout")
        if spec.undrain and not spec.drain:
            raise document.error((*at, "undrain"), "has no effect without drain")
        if spec.pull is not None:
            check_pull(document, (*at, "pull"), spec.pull, channels)
        if spec.retries.most < spec.retries.first:
            raise document.error((*at, "retries", "most"), "is less than first")
        _check_waves(document, at, spec)


def _check_waves(document: Document, at: tuple[str, ...], spec: RolloutSpec) -> None:
    """A wave of all hosts, as a whole, leaves nobody for those after it."""
    for place, wave in enumerate(spec.waves[:-1]):
        if wave.limit is None and not (wave.selector.strip() or wave.groups or wave.hosts):
            raise document.error(
                (*at, "waves", place),
                "takes every host, so that nobody is left for the waves after it",
                hint="give it a selector or a limit",
            )
