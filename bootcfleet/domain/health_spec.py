"""``health:`` and ``gates:`` of a rollout policy: what must hold on a host, and in the metrics."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from bootcfleet.domain.hook import PROBE_NAMES, check_words
from bootcfleet.domain.rollout_fields import (
    Address,
    InvalidValueError,
    Seconds,
    SomeSeconds,
    Strict,
    Words,
    one_key,
    one_of,
)
from bootcfleet.domain.rollout_policy import HealthKind, HealthRule, MetricGate

_THRESHOLD = re.compile(r"(<=|>=|==|!=|<|>)\s*([-+]?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)")


class HealthSpec(Strict):
    """A thing that must hold on a host after its reboot: exactly one of the kinds."""

    model_config = one_key("system", "greenboot", "http", "tcp", "command")

    system: bool = Field(
        default=False, description="systemctl is-system-running says running; see allow."
    )
    greenboot: bool = Field(
        default=False, description="greenboot's verdict is good, where it is installed."
    )
    http: str | None = Field(
        default=None,
        description="An address that the controller asks, with {host} or {address} in it.",
    )
    tcp: int | None = Field(
        default=None, description="A port that the controller connects to.", ge=1, le=65535
    )
    command: Words | None = Field(
        default=None, description="A command on the host that ends with 0, as a list of words."
    )
    name: str = Field(default="", description="What it is called in messages.")
    allow: tuple[str, ...] = Field(
        default=(), description="For system: failed units that do not count; globs are allowed."
    )
    status: tuple[Annotated[int, Field(ge=100, le=599)], ...] | None = Field(
        default=None, description="For http: the answers that are good; [200] without it."
    )
    timeout: SomeSeconds = Field(
        default_factory=lambda: 10.0, description="The time limit of each try; 10s."
    )
    retries: int = Field(
        default=10, description="How often it is tried again after the first time.", ge=0, le=1000
    )
    interval: Seconds = Field(
        default_factory=lambda: 3.0, description="The time between two tries; 3s."
    )

    @field_validator("http")
    @classmethod
    def _an_address(cls, value: str | None) -> str | None:
        if value is not None:
            if not re.match(r"https?://[^/@]+(?:/|\?|$)", value):
                raise InvalidValueError(
                    "is not an address without user and password",
                    hint="write http://{address}:8080/healthz",
                )
            check_words([value], PROBE_NAMES)
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kind = self._kind()
        if self.allow and kind is not HealthKind.SYSTEM:
            raise InvalidValueError("allow goes with system")
        if self.status is not None and kind is not HealthKind.HTTP:
            raise InvalidValueError("status goes with http")
        return self

    def _kind(self) -> HealthKind:
        given = {kind.value: getattr(self, kind.value) not in (None, False) for kind in HealthKind}
        return HealthKind(one_of(given, "what a health rule asks"))

    def rule(self) -> HealthRule:
        """The rule as the rollout asks it."""
        return HealthRule(
            self._kind(),
            name=self.name,
            allow=self.allow,
            url=self.http or "",
            status=self.status or (200,),
            port=self.tcp or 0,
            argv=self.command or (),
            timeout=self.timeout,
            retries=self.retries,
            interval=self.interval,
        )


class GateSpec(Strict):
    """A Prometheus query with a threshold, asked before each wave and while it bakes."""

    name: str = Field(description="What it is called in messages.", min_length=1)
    server: Address = Field(description="Prometheus, as http://prometheus.example:9090.")
    query: str = Field(description="A query in PromQL.", min_length=1)
    threshold: str = Field(
        description='What every sample must be, as "< 0.01".',
        pattern=rf"^\s*{_THRESHOLD.pattern}\s*$",
    )
    empty_ok: bool = Field(
        default=False, description="Whether it holds when the query finds no sample at all."
    )
    interval: SomeSeconds = Field(
        default_factory=lambda: 30.0,
        description="The time between two questions while a wave bakes; 30s.",
    )
    timeout: SomeSeconds = Field(
        default_factory=lambda: 10.0, description="The time limit of a question; 10s."
    )

    @field_validator("threshold", mode="before")
    @classmethod
    def _a_comparison(cls, value: object) -> object:
        if not isinstance(value, str) or not _THRESHOLD.fullmatch(value.strip()):
            raise InvalidValueError(
                f"{value!r} is not a threshold",
                hint='write a comparison with a number: "< 0.01", ">= 99.9"',
            )
        return value

    def gate(self) -> MetricGate:
        """The gate as the rollout asks it."""
        match = _THRESHOLD.fullmatch(self.threshold.strip())
        compare, number = (match[1], float(match[2])) if match else ("==", 0.0)
        return MetricGate(
            self.name,
            self.server.rstrip("/"),
            self.query,
            compare,
            number,
            self.empty_ok,
            self.interval,
            self.timeout,
        )
