"""``installs:`` in the project: which kickstart template installs which image where."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from bootcfleet.domain.document import Document, did_you_mean
from bootcfleet.domain.install_host import InstallSettings
from bootcfleet.domain.reference import ImageRef, valid_name
from bootcfleet.domain.release import Release, Verb
from bootcfleet.domain.selector import Selector
from bootcfleet.errors import UsageError

_SECRET = re.compile(r"[a-z][a-z0-9_]{0,39}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PATH = re.compile(r"/[A-Za-z0-9._/-]+")
_LOCATION = re.compile(r"[A-Za-z0-9*][A-Za-z0-9.*:/_-]*")

#: The secret that registries are asked with: a containers-auth.json(5).
PULL_SECRET = "pull_secret"  # noqa: S105


class Payload(StrEnum):
    """Where the installer takes the image from."""

    REGISTRY = "registry"
    ISO = "iso"


def _install_name(value: str) -> str:
    if not valid_name(value):
        raise ValueError(
            f"{value!r} cannot be the name of an install: lower-case letters, digits, '.', '-' "
            "and '_', at most 64"
        )
    return value


def _release(value: Any) -> Release:
    if isinstance(value, Release):
        return value
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a release; write rhel9 or fedora43")
    return Release.parse(value)


InstallName = Annotated[str, AfterValidator(_install_name)]
ReleaseField = Annotated[
    Release,
    PlainValidator(_release),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "examples": ["rhel9", "rhel10", "fedora43"]}),
]


class InstallSecret(BaseModel):
    """Where a secret is when the kickstart is rendered; never its value."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str | None = Field(
        default=None, description="A file that holds the secret; {host} is the host's name."
    )
    env: str | None = Field(
        default=None, description="An environment variable that holds the secret."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.file is None) == (self.env is None):
            raise ValueError("a secret comes from exactly one of file and env")
        if self.env is not None and not _VARIABLE.fullmatch(self.env):
            raise ValueError(f"{self.env!r} cannot be an environment variable's name")
        return self


class InstallSpec(InstallSettings):
    """One way to install machines: a template for a release, an image, and whom it is for.

    Disks, network and vars are what its hosts have in common; the inventory's go over them.
    """

    description: str = Field(default="", description="One line for lists.")
    template: str = Field(
        default="baremetal", description="The kickstart template: NAME.ks.j2 of kickstarts."
    )
    release: ReleaseField = Field(
        description="The release of the installation medium: rhel9, rhel10, centos-stream9, "
        "centos-stream10 or fedora43."
    )
    image: str = Field(
        description="An image of the project, or a reference with its registry, to install and "
        "to follow afterwards."
    )
    channel: str | None = Field(
        default=None, description="The channel that hosts follow; the version's tag without it."
    )
    verb: Verb | None = Field(
        default=None,
        description="ostreecontainer or bootc; without it, what every medium of the release knows.",
    )
    payload: Payload = Field(
        default=Payload.REGISTRY,
        description="registry, or iso: the image lies on the medium, and nothing is downloaded.",
    )
    payload_path: str = Field(
        default="/run/install/repo/container",
        description="Where the image lies on the medium (an OCI directory).",
    )
    verify_signature: bool = Field(
        default=False,
        description="Whether Anaconda must find a valid signature by the medium's policy.json.",
    )
    selector: str | None = Field(
        default=None, description="The hosts that it is for, by labels: role=web,site!=ams."
    )
    secrets: dict[str, InstallSecret] = Field(
        default_factory=dict,
        description="Secrets of the installation: pull_secret, luks_passphrase, or a template's.",
    )
    ca_certificates: tuple[str, ...] = Field(
        default=(), description="Files with certificates that the installer trusts registries by."
    )
    insecure_registries: tuple[str, ...] = Field(
        default=(), description="Registries that the installer speaks to without TLS."
    )

    @field_validator("template")
    @classmethod
    def _template_is_a_name(cls, value: str) -> str:
        if not valid_name(value):
            raise ValueError(f"{value!r} cannot be the name of a template")
        return value

    @field_validator("selector")
    @classmethod
    def _selects(cls, value: str | None) -> str | None:
        try:
            Selector.parse([value] if value is not None else [], [], [])
        except UsageError as error:
            raise ValueError(error.message) from error
        return value

    @field_validator("secrets")
    @classmethod
    def _secrets_have_names(cls, value: dict[str, InstallSecret]) -> dict[str, InstallSecret]:
        for name in value:
            if not _SECRET.fullmatch(name):
                raise ValueError(f"{name!r} cannot be a secret's name: letters, digits and '_'")
        return value

    @field_validator("payload_path")
    @classmethod
    def _path_is_absolute(cls, value: str) -> str:
        if not _PATH.fullmatch(value) or ".." in value:
            raise ValueError(f"{value!r} is not an absolute path of plain characters")
        return value

    @field_validator("insecure_registries")
    @classmethod
    def _locations(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if not _LOCATION.fullmatch(one):
                raise ValueError(f"{one!r} is not a registry; write registry.example.com:5000")
        return value

    @model_validator(mode="after")
    def _verb_fits(self) -> Self:
        if self.verb is not None and (problem := verb_problem(self, self.release, self.verb)):
            raise ValueError(problem)
        return self

    def matches_all(self) -> bool:
        """Whether it is for every host that no other install is for."""
        return self.selector is None


def verb_problem(spec: InstallSpec, release: Release, verb: Verb) -> str | None:
    """Why an install cannot use a verb on a release, or None."""
    if problem := release.verb_problem(verb):
        return problem
    if verb is Verb.BOOTC and spec.verify_signature:
        return "the command bootc cannot verify signatures; use verb: ostreecontainer"
    if verb is Verb.BOOTC and PULL_SECRET in spec.secrets:
        return (
            "the command bootc cannot install from a registry that asks for a login (Anaconda's "
            "release note); use verb: ostreecontainer"
        )
    return None


def choose_verb(spec: InstallSpec, release: Release, supported: tuple[Verb, ...]) -> Verb:
    """The verb of a kickstart: what is asked for, else the release's, as far as all allow it."""
    wanted = spec.verb or release.default_verb
    if spec.verb is None and (wanted not in supported or verb_problem(spec, release, wanted)):
        return Verb.OSTREECONTAINER
    return wanted


def check_installs(
    document: Document,
    installs: Mapping[str, InstallSpec],
    *,
    images: Mapping[str, Any],
    channels: Mapping[str, Any],
) -> None:
    """What an install says of images and channels.  Raises `ConfigError` with its line."""
    for name, spec in installs.items():
        if spec.image not in images:
            try:
                ImageRef.parse(spec.image)
            except ValueError:
                raise document.error(
                    ("installs", name, "image"),
                    f"{spec.image!r} is no image of this project and no reference",
                    hint=did_you_mean(spec.image, images) or "write it in full, with its registry",
                ) from None
            if spec.channel is not None:
                raise document.error(
                    ("installs", name, "channel"),
                    "a reference from outside is in no channel of this project",
                )
        elif spec.channel is not None and spec.channel not in channels:
            raise document.error(
                ("installs", name, "channel"),
                f"there is no channel {spec.channel!r}",
                hint=did_you_mean(spec.channel, channels),
            )
