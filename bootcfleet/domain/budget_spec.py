"""``budgets:`` of a rollout policy: how many hosts may fail, be away, or download at once."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from bootcfleet.domain.limit import Limit
from bootcfleet.domain.rollout_fields import AnyHosts, Hosts, InvalidValueError, LabelKey, Strict
from bootcfleet.domain.rollout_policy import Budgets


class PerLabelSpec(Strict):
    """A limit for each value of a label."""

    label: LabelKey = Field(description="The label, as site.")
    limit: int = Field(description="How many hosts of one value at once.", ge=1)


class BudgetSpec(Strict):
    """What a rollout may use up at the most."""

    max_failures: AnyHosts = Field(
        default_factory=lambda: Limit(0),
        description="How many hosts may fail before the rollout halts, as 2 or 5%; 0 without it.",
    )
    max_unavailable: Hosts | None = Field(
        default=None,
        description="How many hosts may be away at once, as 5 or 10% (rounded down); no limit "
        "without it.",
    )
    group_by: tuple[LabelKey, ...] = Field(
        default=(), description="Labels within whose values max_unavailable_per_group holds."
    )
    max_unavailable_per_group: Hosts | None = Field(
        default=None,
        description="How many hosts with one value may be away at once; 1 without it.",
    )
    downloads: int | None = Field(
        default=None, description="How many hosts may download at once.", ge=1
    )
    reboots: int | None = Field(
        default=None, description="How many hosts may reboot at once.", ge=1
    )
    downloads_per: PerLabelSpec | None = Field(
        default=None, description="How many may download within each value of a label."
    )
    reboots_per: PerLabelSpec | None = Field(
        default=None, description="How many may reboot within each value of a label."
    )

    @model_validator(mode="after")
    def _groups(self) -> Self:
        if self.max_unavailable_per_group is not None and not self.group_by:
            raise InvalidValueError(
                "max_unavailable_per_group needs group_by: the labels whose values are the groups"
            )
        return self

    def budgets(self) -> Budgets:
        """The budgets as the rollout keeps them."""
        per_group = self.max_unavailable_per_group or Limit(1)
        downloads, reboots = self.downloads_per, self.reboots_per
        return Budgets(
            max_failures=self.max_failures,
            max_unavailable=self.max_unavailable,
            group_by=tuple(dict.fromkeys(self.group_by)),
            per_group=per_group if self.group_by else None,
            downloads=self.downloads,
            reboots=self.reboots,
            downloads_label=downloads.label if downloads else None,
            downloads_per=downloads.limit if downloads else None,
            reboots_label=reboots.label if reboots else None,
            reboots_per=reboots.limit if reboots else None,
        )
