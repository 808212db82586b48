"""``disks:`` in ``bootcfleet.yaml``: which disks and installers are made of which image."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from bootcfleet.domain.diskconfig import DiskConfig, Size
from bootcfleet.domain.disktype import Backend, DiskType
from bootcfleet.domain.document import Document, did_you_mean
from bootcfleet.domain.reference import ImageRef, Platform, valid_name

#: What makes disks, unless the project says otherwise.
DEFAULT_BUILDER = "quay.io/centos-bootc/bootc-image-builder:latest"

#: The container of the other backend; its maintainers publish no other place.
DEFAULT_IMAGE_BUILDER = "ghcr.io/osbuild/image-builder:latest"


def _disk_name(value: str) -> str:
    if not valid_name(value):
        raise ValueError(
            f"{value!r} cannot be the name of a disk: lower-case letters, digits, '.', '-' and "
            "'_', beginning and ending with a letter or digit, at most 64"
        )
    return value


DiskName = Annotated[str, AfterValidator(_disk_name)]

RootFs = Literal["ext4", "xfs", "btrfs"]


class AmiSpec(BaseModel):
    """Where an AMI is uploaded to; credentials are never in this file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="The AMI's name.", min_length=1)
    bucket: str = Field(description="The S3 bucket that it goes through.", min_length=1)
    region: str = Field(description="The region, as eu-central-1.", min_length=1)


class DiskSpec(BaseModel):
    """One disk: an image, the types that are made of it, and what is put in."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    description: str = Field(default="", description="One line for lists.")
    image: str = Field(description="The image of this project that is on it.")
    channel: str | None = Field(
        default=None, description="The channel whose image it is; the last build without it."
    )
    types: tuple[DiskType, ...] = Field(
        default=(DiskType.QCOW2,),
        description="What is made, as qcow2, ami or anaconda-iso.",
        json_schema_extra={"minItems": 1},
    )
    backend: Backend = Field(default=Backend.BOOTC_IMAGE_BUILDER, description="What makes it.")
    builder: str | None = Field(
        default=None, description=f"The builder's image; {DEFAULT_BUILDER} without it."
    )
    rootfs: RootFs | None = Field(
        default=None, description="The root file system; what the image says without it."
    )
    size: Size | None = Field(
        default=None,
        description="The disk's size (image-builder, bootc-install); for bootc-image-builder it "
        "is disk.minsize of the configuration.",
    )
    platform: str | None = Field(
        default=None, description="The platform, as linux/arm64; this machine's without it."
    )
    installer: str | None = Field(
        default=None,
        description="For bootc-installer: the bootc image with Anaconda that the ISO boots.",
    )
    config: DiskConfig | None = Field(
        default=None, description="Users, partitions, files and so on, written here; or"
    )
    config_file: str | None = Field(
        default=None, description="a config.toml or config.json of one's own."
    )
    ami: AmiSpec | None = Field(
        default=None, description="Where an AMI is uploaded to by the builder."
    )

    @field_validator("types")
    @classmethod
    def _each_once(cls, value: tuple[DiskType, ...]) -> tuple[DiskType, ...]:
        if not value:
            raise ValueError("name at least one type, as qcow2")
        return tuple(dict.fromkeys(value))

    @field_validator("builder")
    @classmethod
    def _a_reference(cls, value: str | None) -> str | None:
        return str(ImageRef.parse(value)) if value is not None else None

    @field_validator("platform")
    @classmethod
    def _a_platform(cls, value: str | None) -> str | None:
        return str(Platform.parse(value)) if value is not None else None

    @field_validator("config_file")
    @classmethod
    def _a_known_kind(cls, value: str | None) -> str | None:
        if value is not None and not value.endswith((".toml", ".json")):
            raise ValueError("the builders tell the format by the name: .toml or .json")
        return value

    @model_validator(mode="after")
    def _one_configuration(self) -> Self:
        if self.config is not None and self.config_file is not None:
            raise ValueError("a disk has config or config_file, not both")
        if self.ami is not None and DiskType.AMI not in self.types:
            raise ValueError("ami says where an AMI goes, but ami is not among the types")
        return self

    @property
    def builder_image(self) -> str:
        """The builder's image, the backend's own where none is named."""
        if self.builder is not None:
            return self.builder
        if self.backend is Backend.IMAGE_BUILDER:
            return DEFAULT_IMAGE_BUILDER
        return DEFAULT_BUILDER


def check_disks(
    document: Document,
    disks: Mapping[str, DiskSpec],
    *,
    images: Collection[str],
    channels: Collection[str],
) -> None:
    """What one disk alone cannot know: its image and its channel are there.

    Raises `ConfigError` with the line.
    """
    for name, spec in disks.items():
        if spec.image not in images:
            raise document.error(
                ("disks", name, "image"),
                f"there is no image {spec.image!r}",
                hint=did_you_mean(spec.image, images),
            )
        if spec.channel is not None and spec.channel not in channels:
            raise document.error(
                ("disks", name, "channel"),
                f"there is no channel {spec.channel!r}",
                hint=did_you_mean(spec.channel, channels),
            )
