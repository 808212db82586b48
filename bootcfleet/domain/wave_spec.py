"""``waves:`` and ``blue_green:`` of a rollout policy: who goes first, and what each wave needs."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from bootcfleet.domain.hook_spec import WaveHook
from bootcfleet.domain.inventory import group_name_problem
from bootcfleet.domain.rollout_fields import (
    Hosts,
    InvalidValueError,
    Percent,
    Seconds,
    SelectorText,
    Strict,
)
from bootcfleet.domain.rollout_policy import Timeouts, WaveRule


class Approve(StrEnum):
    """Who lets a wave start."""

    AUTO = "auto"
    #: The rollout waits for ``rollout approve``.
    MANUAL = "manual"


def _group(value: str) -> str:
    problem = group_name_problem(value) if value != "all" else None
    if problem is not None:
        raise InvalidValueError(problem)
    return value


GroupName = Annotated[str, AfterValidator(_group)]
_APPROVE = "manual: it starts only after `rollout approve`."


class WaveSpec(Strict):
    """One wave: who is in it, and what its beginning and end need."""

    name: str = Field(default="", description="What it is called.", max_length=64)
    selector: SelectorText = Field(
        default="",
        description="Who is in it, by labels, as role=web,site!=ams; all hosts without it.",
    )
    groups: tuple[GroupName, ...] = Field(
        default=(), description="Only hosts that are in all of these groups."
    )
    hosts: tuple[str, ...] = Field(
        default=(), description="Only hosts with one of these names; globs are allowed."
    )
    limit: Hosts | None = Field(
        default=None,
        description="How many of those that it chooses, as 5 or 10%; all that are left without it.",
    )
    success: Percent | None = Field(
        default=None, description="The percentage of its hosts that must end well, as 95%."
    )
    bake: Seconds | None = Field(
        default=None, description="How long it is watched before the next wave, as 30m."
    )
    approve: Approve = Field(default=Approve.AUTO, description=_APPROVE)
    before: WaveHook | None = Field(
        default=None, description="A hook on the controller before it starts."
    )
    after: WaveHook | None = Field(
        default=None, description="A hook on the controller when it has baked."
    )

    def rule(self, timeouts: Timeouts) -> WaveRule:
        """The rule as the rollout plans by it."""
        return WaveRule(
            name=self.name,
            selector=self.selector,
            groups=self.groups,
            hosts=self.hosts,
            limit=self.limit,
            success=self.success,
            bake=self.bake,
            approve=self.approve is Approve.MANUAL,
            before=self.before.hook(timeouts) if self.before else None,
            after=self.after.hook(timeouts) if self.after else None,
        )


class BlueGreenSpec(Strict):
    """Two sets of hosts that are updated one after the other, each as a whole.

    `green` is the set that does not serve: it goes first. Then the work is cut over to it, and
    `blue` follows.
    """

    green: SelectorText = Field(description="The set that is updated first, as slot=green.")
    blue: SelectorText = Field(description="The set that is updated when green serves.")
    success: Percent = Field(
        default=100, description="The percentage of green that must end well; 100% without it."
    )
    bake: Seconds | None = Field(
        default=None, description="How long green is watched before the cutover, as 30m."
    )
    approve: Approve = Field(
        default=Approve.AUTO, description="manual: the cutover waits for `rollout approve`."
    )
    cutover: WaveHook | None = Field(
        default=None, description="A hook on the controller that hands the work over to green."
    )

    @model_validator(mode="after")
    def _two_sets(self) -> Self:
        if self.green.strip() == self.blue.strip():
            raise InvalidValueError("green and blue are the same set")
        return self

    def rules(self, timeouts: Timeouts) -> tuple[WaveRule, WaveRule]:
        """The two waves that it stands for."""
        return (
            WaveRule("green", self.green, success=self.success, bake=self.bake),
            WaveRule(
                "blue",
                self.blue,
                approve=self.approve is Approve.MANUAL,
                before=self.cutover.hook(timeouts) if self.cutover else None,
            ),
        )
