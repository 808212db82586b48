"""The kinds of checks: what an entry of ``checks.yaml`` may say, by its first key."""

from __future__ import annotations

import re
import shlex
from enum import StrEnum
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from bootcfleet.domain.checkfields import (
    Names,
    Octal,
    Paths,
    Patterns,
    Plain,
    Ports,
    Texts,
    listed,
)
from bootcfleet.domain.rpmversion import parse_constraint


class Needs(StrEnum):
    """Where a check makes sense: a booted system, only a host, or only an image."""

    BOOT = "boot"
    HOST = "host"
    IMAGE = "image"


class CheckSpec(BaseModel):
    """What every kind of check can say besides its own keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    #: The key that names the kind, and what is checked.
    KEY: ClassVar[str] = ""
    #: Whether it asks a running system whatever its other keys say.
    RUNNING: ClassVar[bool] = False

    name: Plain | None = Field(default=None, description="What it is called; else made up.")
    needs: Needs | None = Field(
        default=None,
        description="boot: only where systemd runs. host: only on a host. image: only in an image.",
    )
    optional: bool = Field(
        default=False, description="Failing or being skipped does not make the image red."
    )
    within: float | None = Field(
        default=None, description="Seconds that a check of a booted system is tried.", ge=0
    )
    inherit: bool = Field(
        default=True, description="Runs again in the images that are built on this one."
    )
    when: str | bool | None = Field(
        default=None, description="Only where this expression over the variables is true."
    )
    each: str | None = Field(
        default=None, description="Once for each of this list's values, as `item`."
    )

    @classmethod
    def kind(cls) -> str:
        """The key that names the kind."""
        return cls.KEY

    def targets(self) -> tuple[str, ...]:
        """The things to check, each on its own."""
        return tuple(str(one) for one in getattr(self, self.KEY))

    def asks_running(self) -> bool:
        """Whether it asks a running system."""
        return self.RUNNING

    def title(self, target: str) -> str:
        """What it is called where nobody gave it a name."""
        return f"{self.KEY.replace('_', ' ')} {target}"


class FileType(StrEnum):
    """What stat(1) calls it, in one word."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"


class FileCheck(CheckSpec):
    """A file, directory or link: there or not, its owner, mode and content."""

    KEY = "file"

    file: Paths = Field(description="Path or paths.")
    absent: bool = Field(default=False, description="Must not be there.")
    type: FileType | None = Field(default=None, description="file, directory or symlink.")
    owner: str | int | None = Field(default=None, description="User, by name or number.")
    group: str | int | None = Field(default=None, description="Group, by name or number.")
    mode: Octal | None = Field(default=None, description='Permissions in quotes, as "0644".')
    contains: Texts = Field(default=(), description="Texts that are in it.")
    lacks: Texts = Field(default=(), description="Texts that are not in it.")
    matches: Patterns = Field(
        default=(), description="Regular expressions (Python's, ^ and $ at each line) found in it."
    )
    sha256: str | None = Field(default=None, description="Hash of the whole file.")
    target: str | None = Field(default=None, description="Where the symbolic link points.")

    @field_validator("sha256")
    @classmethod
    def _hash(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch("[0-9a-f]{64}", value):
            raise ValueError("is not a SHA-256: 64 hexadecimal digits")
        return value

    @model_validator(mode="after")
    def _absent_alone(self) -> Self:
        others = self.model_fields_set & {
            "type", "owner", "group", "mode", "contains", "lacks", "matches", "sha256", "target",
        }  # fmt: skip
        if self.absent and others:
            raise ValueError(f"absent and {min(others)} cannot both hold")
        return self

    def title(self, target: str) -> str:
        """See `CheckSpec.title`."""
        return f"file {target}{' absent' if self.absent else ''}"


class PackageCheck(CheckSpec):
    """An RPM package: there (in a version) or not."""

    KEY = "package"

    package: Names = Field(description="Name or names, as `rpm -q` takes them, or what they bring.")
    absent: bool = Field(default=False, description="Must not be there.")
    version: str | None = Field(
        default=None, description='Condition on epoch:version-release, as ">= 1.26, < 2".'
    )

    @field_validator("version")
    @classmethod
    def _constraint(cls, value: str | None) -> str | None:
        if value is not None:
            parse_constraint(value)
        return value

    def title(self, target: str) -> str:
        """See `CheckSpec.title`."""
        return f"package {target}{' absent' if self.absent else ''}"


class UnitCheck(CheckSpec):
    """A systemd unit: there, enabled, masked, active, failed or not."""

    KEY = "unit"

    unit: Names = Field(description="Unit or units, with their endings.")
    enabled: bool | None = Field(
        default=None, description="Enabled or not (static, generated and masked are not)."
    )
    masked: bool | None = Field(default=None, description="Masked or not.")
    active: bool | None = Field(default=None, description="Running or not; needs a boot.")
    failed: bool | None = Field(default=None, description="Failed or not; needs a boot.")

    def asks_running(self) -> bool:
        """See `CheckSpec.asks_running`."""
        return self.active is not None or self.failed is not None

    def title(self, target: str) -> str:
        """See `CheckSpec.title`."""
        words = [
            word if value else f"not {word}"
            for word in ("enabled", "masked", "active", "failed")
            if (value := getattr(self, word)) is not None
        ]
        return " ".join(["unit", target, *words])


class UserCheck(CheckSpec):
    """A user: there with its numbers, or not."""

    KEY = "user"

    user: Names = Field(description="Name or names.")
    absent: bool = Field(default=False, description="Must not be there.")
    uid: int | None = Field(default=None, description="User number.", ge=0)
    gid: int | None = Field(default=None, description="Number of the main group.", ge=0)
    groups: Names = Field(default=(), description="Further groups that it is in.")
    home: str | None = Field(default=None, description="Home directory.")
    shell: str | None = Field(default=None, description="Login shell.")
    sysusers: bool | None = Field(
        default=None, description="Declared in sysusers.d, so that every host has it."
    )


class GroupCheck(CheckSpec):
    """A group: there with its number, or not."""

    KEY = "group"

    group: Names = Field(description="Name or names.")
    absent: bool = Field(default=False, description="Must not be there.")
    gid: int | None = Field(default=None, description="Group number.", ge=0)
    sysusers: bool | None = Field(default=None, description="Declared in sysusers.d.")


class PortCheck(CheckSpec):
    """A port that something listens on, or nothing."""

    KEY, RUNNING = "port", True

    port: Ports = Field(description="Number or numbers.")
    protocol: Literal["tcp", "udp"] = Field(default="tcp", description="tcp or udp.")
    address: Plain | None = Field(
        default=None, description="Address that is listened on; 0.0.0.0 and :: are all."
    )
    absent: bool = Field(default=False, description="Nothing must listen.")

    def title(self, target: str) -> str:
        """See `CheckSpec.title`."""
        return f"port {target}/{self.protocol}{' closed' if self.absent else ''}"


class KernelArgumentCheck(CheckSpec):
    """A kernel argument: of kargs.d in an image, of the running kernel on a host."""

    KEY = "kernel_argument"

    kernel_argument: Names = Field(description="Argument or arguments, as NAME or NAME=VALUE.")
    absent: bool = Field(default=False, description="Must not be there.")


class KernelsCheck(CheckSpec):
    """How many kernels are in /usr/lib/modules; bootc wants exactly one."""

    KEY = "kernels"

    kernels: Annotated[tuple[int, ...], BeforeValidator(listed)] = Field(
        description="Number of kernels, 1 for bootc."
    )

    def title(self, target: str) -> str:
        """See `CheckSpec.title`."""
        return "exactly one kernel" if target == "1" else f"{target} kernels"


class RepositoryCheck(CheckSpec):
    """Package repositories: enabled or not."""

    KEY = "repository"

    repository: Names = Field(description='Ids, with * and ? for many: "*".')
    enabled: bool = Field(default=False, description="Must be enabled, or must not.")
    exclude: Names = Field(default=(), description="Ids that may be otherwise.")

    def title(self, target: str) -> str:
        """See `CheckSpec.title`."""
        return f"repository {target} {'enabled' if self.enabled else 'disabled'}"


class CommandCheck(CheckSpec):
    """A command as root: its exit code, and what it writes to standard output."""

    KEY = "command"

    command: str | list[str] = Field(
        description="A list of words, or a line that is split as a shell splits it."
    )
    exit_code: int = Field(default=0, description="The exit code.", ge=0, le=255)
    equals: str | None = Field(
        default=None, description="All of its output, without space at the ends."
    )
    contains: Texts = Field(default=(), description="Texts in its output.")
    lacks: Texts = Field(default=(), description="Texts that are not in its output.")
    matches: Patterns = Field(default=(), description="Regular expressions found in its output.")
    timeout: float = Field(default=30.0, description="Seconds.", gt=0)

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

    @property
    def argv(self) -> tuple[str, ...]:
        """The words of the command."""
        words = shlex.split(self.command) if isinstance(self.command, str) else self.command
        return tuple(words)

    def targets(self) -> tuple[str, ...]:
        """See `CheckSpec.targets`."""
        return (shlex.join(self.argv),)


class HttpCheck(CheckSpec):
    """An answer over HTTP, asked for from inside (curl, or python3 where there is none)."""

    KEY, RUNNING = "http", True

    http: Names = Field(description="URL or URLs.")
    status: int = Field(default=200, description="Status of the answer.", ge=100, le=599)
    contains: Texts = Field(default=(), description="Texts in the answer's body.")
    matches: Patterns = Field(default=(), description="Regular expressions found in its body.")
    insecure: bool = Field(default=False, description="Take any certificate.")
    timeout: int = Field(default=10, description="Seconds.", ge=1, le=600)

    @field_validator("http")
    @classmethod
    def _url(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if not re.fullmatch(r"https?://[^\s/@]+(/\S*)?", one):
                raise ValueError(f"{one!r} is not a URL of http or https (nor may it carry a user)")
        return value


class SystemCheck(CheckSpec):
    """The whole system: started, and no unit failed."""

    KEY, RUNNING = "system", True

    system: Literal["running"] = Field(description="running: started, without failed units.")
    allow_failed: Names = Field(
        default=(), description="Units that may have failed, with * and ? for many."
    )

    def targets(self) -> tuple[str, ...]:
        """See `CheckSpec.targets`."""
        return (self.system,)


#: Every kind by its key. A file check may have a `group`, too, so that kind is looked for last.
KINDS: dict[str, type[CheckSpec]] = {
    kind.KEY: kind
    for kind in (
        FileCheck, PackageCheck, UnitCheck, UserCheck, PortCheck, KernelArgumentCheck,
        KernelsCheck, RepositoryCheck, CommandCheck, HttpCheck, SystemCheck, GroupCheck,
    )
}  # fmt: skip

AnyCheck = (
    FileCheck | PackageCheck | UnitCheck | UserCheck | GroupCheck | PortCheck
    | KernelArgumentCheck | KernelsCheck | RepositoryCheck | CommandCheck | HttpCheck | SystemCheck
)  # fmt: skip


class Without(BaseModel):
    """An inherited check that this image does not run, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    check: Plain = Field(description="The name of the check.")
    why: Plain = Field(description="Why it does not hold here.")
    when: str | bool | None = Field(
        default=None, description="Only where this expression over the variables is true."
    )


class CheckFile(BaseModel):
    """A ``checks.yaml``: the checks of one template."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = Field(description="The version of this file's format: 1.")
    checks: list[AnyCheck] = Field(default_factory=list, description="The checks.")
    without: list[Without] = Field(
        default_factory=list, description="Checks of the parents that do not hold here."
    )
