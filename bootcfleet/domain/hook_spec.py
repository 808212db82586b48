"""Hooks of a rollout policy, and who is notified: commands and webhooks."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from bootcfleet.domain.hook import WAVE_NAMES, check_hook
from bootcfleet.domain.rollout_fields import (
    Address,
    InvalidValueError,
    SomeSeconds,
    Strict,
    Variable,
    Words,
    one_key,
    one_of,
)
from bootcfleet.domain.rollout_policy import (
    Hook,
    HookKind,
    NotifyEvent,
    NotifyForm,
    NotifyTarget,
    Timeouts,
)


class HookSpec(Strict):
    """Something that is done: exactly one of `local`, `remote` and `webhook`."""

    model_config = one_key("local", "remote", "webhook")

    local: Words | None = Field(
        default=None, description="A command on the controller, as a list of words."
    )
    remote: Words | None = Field(default=None, description="A command on the host, as root.")
    webhook: Address | None = Field(default=None, description="An address that JSON is posted to.")
    timeout: SomeSeconds | None = Field(
        default=None, description="Its time limit; timeouts.hook without it."
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = {kind.value: getattr(self, kind.value) is not None for kind in HookKind}
        one_of(given, "a hook")
        return self

    def hook(self, timeouts: Timeouts) -> Hook:
        """The hook as the rollout runs it."""
        limit = timeouts.hook if self.timeout is None else self.timeout
        if self.webhook is not None:
            return Hook(HookKind.WEBHOOK, url=self.webhook, timeout=limit)
        if self.remote is not None:
            return Hook(HookKind.REMOTE, argv=self.remote, timeout=limit)
        return Hook(HookKind.LOCAL, argv=self.local or (), timeout=limit)


def _for_a_host(spec: HookSpec) -> HookSpec:
    check_hook(spec.hook(Timeouts()))
    return spec


def _between_waves(spec: HookSpec) -> HookSpec:
    check_hook(spec.hook(Timeouts()), WAVE_NAMES)
    return spec


HostHook = Annotated[HookSpec, AfterValidator(_for_a_host)]
WaveHook = Annotated[HookSpec, AfterValidator(_between_waves)]


class NotifySpec(Strict):
    """A webhook that is told how the rollout goes."""

    model_config = one_key("url", "url_env")

    url: Address | None = Field(
        default=None, description="Its address, where that is no secret; or"
    )
    url_env: Variable | None = Field(
        default=None, description="the environment variable that holds its address."
    )
    token_env: Variable | None = Field(
        default=None, description="The environment variable that holds its bearer token."
    )
    form: NotifyForm = Field(
        default=NotifyForm.JSON, description="What is posted: json, slack or mattermost."
    )
    events: tuple[NotifyEvent, ...] = Field(
        default=(), description="What it is told of; everything without it."
    )

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        given = {"url": self.url is not None, "url_env": self.url_env is not None}
        one_of(given, "where it is posted to")
        if self.url is not None and self.form is not NotifyForm.JSON:
            raise InvalidValueError(
                f"the address of a webhook of {self.form} is a secret and does not belong into "
                "this file",
                hint="put it into an environment variable, and name that: url_env: CHAT_WEBHOOK",
            )
        return self

    def target(self) -> NotifyTarget:
        """The target as it is told."""
        return NotifyTarget(
            self.form, self.url or "", self.url_env or "", self.token_env or "", self.events
        )
