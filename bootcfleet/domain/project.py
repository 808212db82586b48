"""``bootcfleet.yaml``: a project and its images."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from bootcfleet.domain.bootclint import BootcLintPolicy
from bootcfleet.domain.channel_import import ImportSpec, check_imports
from bootcfleet.domain.channel_spec import ChannelName, ChannelSpec, check_channels
from bootcfleet.domain.disk_spec import DiskName, DiskSpec, check_disks
from bootcfleet.domain.document import Document, validate
from bootcfleet.domain.install_spec import InstallName, InstallSpec, check_installs
from bootcfleet.domain.reference import ImageRef, Platform, valid_name
from bootcfleet.domain.rollout_spec import PolicyName, RolloutSpec, check_rollouts
from bootcfleet.domain.signing import SigningSpec


def _as_text(value: Any) -> Any:
    """A whole number is the text that was written; of 3.10, YAML keeps only 3.1."""
    if isinstance(value, float):
        raise ValueError(
            f"is read as the number {value:g}, whatever zeros were written; put it in quotes"
        )
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Text = Annotated[str, BeforeValidator(_as_text)]


def _not_a_name(name: str, what: str) -> str:
    return (
        f"{name!r} cannot be the name of {what}: lower-case letters, digits, '.', '-' and '_', "
        "beginning and ending with a letter or digit, at most 64"
    )


def _image_name(value: str) -> str:
    if not valid_name(value):
        raise ValueError(_not_a_name(value, "an image"))
    return value


ImageName = Annotated[str, AfterValidator(_image_name)]


def _platforms(value: tuple[str, ...]) -> tuple[str, ...]:
    """Each platform once, in order, as the tools write it."""
    return tuple(sorted({str(Platform.parse(one)) for one in value}))


Platforms = Annotated[tuple[str, ...], AfterValidator(_platforms)]

_BUILD_ARGUMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VERSION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class SecretSpec(_Strict):
    """A secret that a build may mount; never its value."""

    id: str = Field(description="The name under which the Containerfile mounts it.")
    file: str | None = Field(default=None, description="A file that holds the secret.")
    env: str | None = Field(
        default=None, description="An environment variable that holds the secret."
    )
    version: Text = Field(
        default="",
        description="Any word that is changed with the secret: a new one builds the image anew.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if not _SECRET_ID.fullmatch(self.id):
            raise ValueError(f"{self.id!r} cannot be a secret's id: letters, digits, '.', '-', '_'")
        if (self.file is None) == (self.env is None):
            raise ValueError("a secret comes from exactly one of file and env")
        if self.env is not None and not _BUILD_ARGUMENT.fullmatch(self.env):
            raise ValueError(f"{self.env!r} cannot be an environment variable's name")
        if self.file is not None and "," in self.file:
            raise ValueError("a comma in the file's name would end podman's --secret argument")
        return self


class ImageSpec(_Strict):
    """One image: which template it is rendered from, and what it is built on."""

    # For editors; `_one_parent` says it in words.
    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["base"]}, {"required": ["from"]}]}
    )

    description: str = Field(default="", description="One line for lists and labels.")
    template: str | None = Field(
        default=None, description="The folder under templates; the image's own name without it."
    )
    base: str | None = Field(
        default=None, description="An image from outside that this one is built on."
    )
    from_: str | None = Field(
        default=None,
        alias="from",
        description="An image of this project that this one is built on.",
    )
    vars: dict[str, Any] = Field(
        default_factory=dict, description="Values for the template's variables."
    )
    secrets: tuple[SecretSpec, ...] = Field(
        default=(), description="Secrets that the build may mount, each under an id of its own."
    )
    build_args: dict[str, Text] = Field(
        default_factory=dict, description="Build arguments for podman (never secrets)."
    )
    end_of_life: date | None = Field(
        default=None,
        description="The last day (UTC) on which this image and its children are built and "
        "promoted.",
    )
    checks: tuple[dict[str, Any], ...] = Field(
        default=(), description="Checks of this image, besides those of its template and parents."
    )
    bootc_lint: BootcLintPolicy = Field(
        default=BootcLintPolicy.NEW,
        description="Which warnings of `bootc container lint` fail it: new (its parent does not "
        "have them), all or errors (none).",
    )
    platforms: Platforms = Field(
        default=(),
        description="Platforms that it is built for, as linux/amd64; the project's without it.",
    )
    rebuild: Text = Field(
        default="",
        description="Any word; changing it builds the image anew, as for newer packages.",
    )

    @field_validator("base")
    @classmethod
    def _base_is_a_reference(cls, value: str | None) -> str | None:
        return str(ImageRef.parse(value)) if value is not None else None

    @field_validator("template")
    @classmethod
    def _template_is_a_name(cls, value: str | None) -> str | None:
        if value is not None and not valid_name(value):
            raise ValueError(_not_a_name(value, "a template"))
        return value

    @field_validator("secrets")
    @classmethod
    def _each_id_once(cls, value: tuple[SecretSpec, ...]) -> tuple[SecretSpec, ...]:
        ids = [secret.id for secret in value]
        for one in ids:
            if ids.count(one) > 1:
                raise ValueError(f"two secrets have the id {one!r}")
        return value

    @field_validator("build_args")
    @classmethod
    def _arguments_have_names(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not _BUILD_ARGUMENT.fullmatch(name):
                raise ValueError(f"{name!r} cannot be a build argument's name")
        return value

    @model_validator(mode="after")
    def _one_parent(self) -> Self:
        if (self.base is None) == (self.from_ is None):
            raise ValueError(
                "an image is built on exactly one of base (an image from outside) and from (an "
                "image of this project)"
            )
        return self


class Project(_Strict):
    """A project: where its images go, and the images."""

    version: int = Field(description="The version of this file's format: 1.", ge=1, le=1)
    name: str = Field(description="The project's name.")
    registry: str = Field(
        description="Registry and path that images are pushed under, as REGISTRY/PATH/NAME."
    )
    image_version: Text = Field(
        default="0.1", description="The version of the images: a label, and the first tag."
    )
    templates: str = Field(
        default="containerfiles", description="The folder of templates, over the shipped ones."
    )
    kickstarts: str = Field(default="kickstarts", description="The folder of kickstart templates.")
    inventory: str = Field(default="inventory.yaml", description="The inventory of the fleet.")
    ledger: str = Field(
        default="sqlite:///.bootcfleet/ledger.db",
        description="The ledger's database: an SQLAlchemy URL, without a password.",
    )
    end_of_life_warning: int = Field(
        default=90, description="Days before an end of life from which it is warned of.", ge=0
    )
    platforms: Platforms = Field(
        default=(),
        description="Platforms that images are built for, as linux/amd64; this machine's without.",
    )
    rebuild: Text = Field(default="", description="Any word; changing it builds every image anew.")
    signing: SigningSpec | None = Field(
        default=None, description="The key pair that signs the images, and what signs."
    )
    images: dict[ImageName, ImageSpec] = Field(
        default_factory=dict, description="The images, by name."
    )

    channels: dict[ChannelName, ChannelSpec] = Field(
        default_factory=dict, description="The channels that images go through, by name."
    )

    imports: dict[ImageName, ImportSpec] = Field(
        default_factory=dict,
        description="Images from outside that are followed into the own registry, by name.",
    )

    disks: dict[DiskName, DiskSpec] = Field(
        default_factory=dict, description="The disks and installers that are made, by name."
    )

    installs: dict[InstallName, InstallSpec] = Field(
        default_factory=dict, description="How machines are installed by kickstart, by name."
    )

    rollouts: dict[PolicyName, RolloutSpec] = Field(
        default_factory=dict,
        description="The policies by which hosts are moved, by name; `default` holds where none "
        "is named.",
    )

    @field_validator("name")
    @classmethod
    def _name_is_plain(cls, value: str) -> str:
        if not valid_name(value):
            raise ValueError(_not_a_name(value, "a project"))
        return value

    @field_validator("registry")
    @classmethod
    def _registry_is_a_prefix(cls, value: str) -> str:
        # What is joined to it must be a reference; a name stands in for the images'.
        ref = ImageRef.parse(f"{value.rstrip('/')}/image")
        return ref.name.removesuffix("/image")

    @field_validator("image_version")
    @classmethod
    def _version_is_a_tag(cls, value: str) -> str:
        if not _VERSION.fullmatch(value):
            raise ValueError(f"{value!r} cannot be a version, because it cannot be a tag")
        return value

    @field_validator("ledger")
    @classmethod
    def _no_password(cls, value: str) -> str:
        scheme, separator, rest = value.partition("://")
        if not separator or not scheme:
            raise ValueError("is not a database URL; for example sqlite:///.bootcfleet/ledger.db")
        # As SQLAlchemy splits it: a password may have a slash in it, and end at the last @.
        before, _, query = rest.partition("?")
        user, at, _ = before.rpartition("@")
        keys = {pair.partition("=")[0].lower() for pair in query.split("&")}
        if (at and ":" in user) or any("pass" in key for key in keys):
            raise ValueError(
                "a password does not belong into this file; set BOOTCFLEET_LEDGER_PASSWORD"
            )
        return value


def parse_project(document: Document) -> Project:
    """Read a project.  Raises `ConfigError` with file, line and field."""
    project = validate(document, Project)
    check_channels(document, project.channels, images=project.images, version=project.image_version)
    check_imports(document, project.imports, images=project.images, registry=project.registry)
    check_installs(document, project.installs, images=project.images, channels=project.channels)
    images = {*project.images, *project.imports}
    check_disks(document, project.disks, images=images, channels=project.channels)
    check_rollouts(document, project.rollouts, project.channels)
    return project
