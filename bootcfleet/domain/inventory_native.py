"""``inventory.yaml``: bootcfleet's own inventory, with file and line in every complaint."""

from __future__ import annotations

import shlex
from datetime import date
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
)

from bootcfleet.domain.document import Document, Path, did_you_mean, validate
from bootcfleet.domain.install_host import HostInstall, InstallSettings
from bootcfleet.domain.inventory import (
    Connection,
    Host,
    Inventory,
    address_problem,
    group_name_problem,
    host_name_problem,
    label_problem,
)
from bootcfleet.domain.policy import HealthCheck
from bootcfleet.domain.reference import ImageRef
from bootcfleet.errors import ConfigError


def _as_text(value: Any) -> Any:
    """A label like ``rack: 12``, ``gpu: true`` or ``since: 2026-01-31`` is a text too.

    A number with a point is none: of 1.10, YAML keeps only 1.1, and no selector would find it.
    """
    if isinstance(value, float):
        raise ValueError(
            f"is read as the number {value:g}, whatever zeros were written; put it in quotes"
        )
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | date) else value


_Label = Annotated[
    str,
    BeforeValidator(_as_text),
    WithJsonSchema({"type": ["string", "integer", "boolean"]}),
]


def _nothing_is_empty(value: Any) -> Any:
    """A section whose lines are all commented out is there, and holds nothing."""
    return {} if value is None else value


_Section = BeforeValidator(_nothing_is_empty)


class _Strict(BaseModel):
    # A limit of .inf is none; sockets and processes do not take it.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ConnectionModel(_Strict):
    """How hosts are reached; what is not said here, ``~/.ssh/config`` says."""

    address: str | None = Field(default=None, description="Name or IP address; else the host's.")
    port: int | None = Field(default=None, description="TCP port.", ge=1, le=65535)
    user: str | None = Field(default=None, description="User to log in as.")
    identity_file: str | None = Field(default=None, description="Private key file.")
    proxy_jump: str | None = Field(
        default=None, description="Hosts to go through, as ssh -J takes them."
    )
    become: bool | None = Field(
        default=None, description="Use sudo where the user is not root. Default: true."
    )
    become_password: bool | None = Field(
        default=None, description="Ask once for sudo's password. Default: false."
    )
    connect_timeout: float | None = Field(default=None, description="Seconds to connect.", gt=0)
    command_timeout: float | None = Field(
        default=None, description="Seconds for a command that has no limit of its own.", gt=0
    )
    known_hosts: str | None = Field(default=None, description="A known_hosts file of its own.")
    ssh_config: str | None = Field(
        default=None, description="An ssh configuration instead of ~/.ssh/config."
    )

    @field_validator("address", "user", "proxy_jump")
    @classmethod
    def _no_shell(cls, value: str | None) -> str | None:
        if value == "":
            raise ValueError("is empty; leave the key out for the default")
        if value is not None and (problem := address_problem(value)):
            raise ValueError(problem)
        return value


class CheckModel(_Strict):
    """A health check: a command that must end with exit code 0 after a reboot."""

    name: str | None = Field(default=None, description="What it is called in messages.")
    command: str | list[str] = Field(
        description="The command: a list of words, or a line that is split as a shell splits it."
    )
    timeout: float = Field(default=30.0, description="Seconds for one try.", gt=0)
    retries: int = Field(default=10, description="Tries after the first failure.", ge=0, le=1000)
    interval: float = Field(default=3.0, description="Seconds between tries.", ge=0)

    @field_validator("command")
    @classmethod
    def _words(cls, value: str | list[str]) -> str | list[str]:
        try:
            words = shlex.split(value) if isinstance(value, str) else value
        except ValueError as error:
            raise ValueError(f"cannot be split into words: {error}") from error
        if not words or not words[0]:
            raise ValueError("is empty")
        if any("\0" in word for word in words):
            raise ValueError("has a NUL character, which no command can be given")
        return value

    def check(self) -> HealthCheck:
        """The check itself."""
        argv = shlex.split(self.command) if isinstance(self.command, str) else self.command
        name = self.name or " ".join(argv)
        return HealthCheck(name, tuple(argv), self.timeout, self.retries, self.interval)


class SettingsModel(_Strict):
    """What defaults, groups and hosts can all say; a host's word goes over its groups'."""

    labels: dict[str, _Label] = Field(default_factory=dict, description="Labels for selectors.")
    connection: ConnectionModel = Field(
        default_factory=ConnectionModel, description="How to reach them."
    )
    image: str | None = Field(default=None, description="The image that they should run.")
    checks: list[CheckModel] | None = Field(
        default=None, description="Health checks after a reboot."
    )
    image_checks: bool | None = Field(
        default=None, description="Run the checks of the host's image, too. Default: true."
    )
    vars: dict[str, Any] = Field(default_factory=dict, description="Values for kickstarts.")
    install: InstallSettings = Field(
        default_factory=InstallSettings, description="What a kickstart says of these machines."
    )

    @field_validator("labels")
    @classmethod
    def _plain_labels(cls, value: dict[str, str]) -> dict[str, str]:
        for key, text in value.items():
            if problem := label_problem(key, text):
                raise ValueError(problem)
        return value

    @field_validator("image")
    @classmethod
    def _reference(cls, value: str | None) -> str | None:
        return str(ImageRef.parse(value)) if value is not None else None


class HostModel(SettingsModel):
    """One host."""

    install: HostInstall = Field(
        default_factory=HostInstall, description="What a kickstart says of this machine."
    )
    groups: list[str] = Field(
        default_factory=list, description="Groups; where two differ, the later one's word counts."
    )


class InventoryModel(_Strict):
    """The whole file."""

    version: int = Field(description="The version of this file's format: 1.", ge=1, le=1)
    defaults: Annotated[SettingsModel, _Section] = Field(
        default_factory=SettingsModel, description="What holds for every host."
    )
    groups: Annotated[dict[str, SettingsModel | None], _Section] = Field(
        default_factory=dict, description="Groups, by name."
    )
    hosts: dict[str, HostModel | None] | None = Field(
        default_factory=dict, description="Hosts, by name."
    )


INVENTORY_MODEL = InventoryModel


def parse_inventory(document: Document) -> Inventory:
    """Read an inventory.  Raises `ConfigError` with file, line and field."""
    model = validate(document, InventoryModel)
    for group in model.groups:
        if problem := group_name_problem(group):
            raise document.error(("groups", group), problem)
    seen: dict[str, str] = {}
    hosts = []
    for name, given in (model.hosts or {}).items():
        path: Path = ("hosts", name)
        if problem := host_name_problem(name):
            raise document.error(path, problem)
        if (other := seen.setdefault(name.lower(), name)) != name:
            raise document.error(path, f"is the same host as {other!r}: names have no case")
        hosts.append(_host(document, model, name, given or HostModel()))
    _check_installs(document, hosts)
    return Inventory(tuple(hosts), tuple(model.groups))


def _host(document: Document, model: InventoryModel, name: str, own: HostModel) -> Host:
    layers: list[SettingsModel] = [model.defaults]
    for position, group in enumerate(own.groups):
        if group not in model.groups:
            raise _unknown_group(document, model, name, position, group)
        layers.append(model.groups[group] or SettingsModel())
    layers.append(own)
    connection = Connection()
    labels: dict[str, str] = {}
    variables: dict[str, Any] = {}
    image: str | None = None
    checks: list[CheckModel] = []
    image_checks = True
    install = HostInstall()
    for layer in layers:
        install = HostInstall.model_validate(layer.install.model_dump(exclude_unset=True)).over(
            install
        )
        connection = connection.over(layer.connection.model_dump())
        labels |= layer.labels
        variables |= layer.vars
        image = layer.image or image
        image_checks = image_checks if layer.image_checks is None else layer.image_checks
        # Checks of all layers run: a host does not lose its group's by having one of its own.
        checks += layer.checks or []
    return Host(
        name=name,
        groups=frozenset(own.groups),
        labels=labels,
        connection=connection,
        image=ImageRef.parse(image) if image else None,
        checks=tuple(check.check() for check in checks),
        image_checks=image_checks,
        vars=variables,
        install=install,
    )


def _check_installs(document: Document, hosts: list[Host]) -> None:
    """Refuse networks that do not fit together, and two hosts that are the same machine."""
    seen: dict[tuple[str, str], str] = {}
    for host in hosts:
        path: Path = ("hosts", host.name, "install")
        if problem := host.install.network.problem():
            raise document.error((*path, "network"), problem)
        for key in ("mac", "serial"):
            value = getattr(host.install, key)
            if value and (other := seen.setdefault((key, value), host.name)) != host.name:
                raise document.error((*path, key), f"{value} is {other}'s, too")


def _unknown_group(
    document: Document, model: InventoryModel, host: str, position: int, group: str
) -> ConfigError:
    return document.error(
        ("hosts", host, "groups", position),
        f"there is no group {group!r} under groups:",
        hint=did_you_mean(group, model.groups),
    )
