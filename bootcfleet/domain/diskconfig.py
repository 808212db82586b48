"""What a disk or installer gets beyond its image: one model of osbuild's customizations.

Field names are those of blueprints (osbuild/blueprint @a79d26e8), because this is
what users know, and what is handed to bootc-image-builder and image-builder.  The
model says what is well formed; what a type or backend makes of it is `lint_config`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    model_validator,
)

from bootcfleet.domain.disksize import parse_size
from bootcfleet.domain.tomltext import toml_text


def _is_a_size(value: int | str) -> int | str:
    parse_size(value)
    return value


def _number_or_text(value: Any) -> Any:
    # Said here: pydantic would say it once for each branch of the union.
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("is neither a number of bytes nor a text such as '10 GiB'")
    return value


def _name_or_id(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("is neither a name nor a number")
    return value


#: Kept as it was written; `parse_size` gives bytes.
Size = Annotated[int | str, BeforeValidator(_number_or_text), AfterValidator(_is_a_size)]
Owner = Annotated[int | str, BeforeValidator(_name_or_id)]


class Customization(BaseModel):
    """A part of the configuration; keys are spelled as in a blueprint."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class UserConfig(Customization):
    """An account that is made, or root's password and key."""

    name: str = Field(description="The account's name.")
    description: str | None = Field(default=None, description="Its full name (GECOS).")
    password: str | None = Field(
        default=None, description="The password, hashed (openssl passwd -6); never in plain."
    )
    key: str | None = Field(default=None, description="An SSH public key.")
    home: str | None = Field(default=None, description="The home directory.")
    shell: str | None = Field(default=None, description="The login shell.")
    groups: list[str] | None = Field(default=None, description="Further groups, as wheel.")
    uid: StrictInt | None = Field(default=None, description="The user's number.")
    gid: StrictInt | None = Field(default=None, description="The number of its group.")
    expiredate: StrictInt | None = Field(
        default=None, description="The day on which it expires, in days since 1970-01-01."
    )
    force_password_reset: StrictBool | None = Field(
        default=None, description="Whether the password must be changed at the first login."
    )


class GroupConfig(Customization):
    """A group that is made."""

    name: str = Field(description="The group's name.")
    gid: StrictInt | None = Field(default=None, description="Its number.")


class KernelConfig(Customization):
    """Arguments for the kernel."""

    append: str | None = Field(default=None, description="Arguments, with spaces between them.")


class FilesystemConfig(Customization):
    """A file system of its own at a mount point; not together with `disk`."""

    mountpoint: str = Field(description="Where it is mounted.")
    minsize: Size = Field(description="Its least size: bytes, or as '10 GiB'.")

    @model_validator(mode="before")
    @classmethod
    def _size_is_minsize(cls, value: Any) -> Any:
        # Blueprints in TOML had `size` first.
        if isinstance(value, Mapping) and "size" in value:
            if "minsize" in value:
                raise ValueError("size is another name of minsize: write only minsize")
            return {("minsize" if key == "size" else key): one for key, one in value.items()}
        return value


class LogicalVolume(Customization):
    """A logical volume with a file system, or swap."""

    name: str | None = Field(default=None, description="Its name; made up without it.")
    minsize: Size = Field(description="Its least size.")
    mountpoint: str | None = Field(default=None, description="Where it is mounted.")
    label: str | None = Field(default=None, description="The file system's label.")
    fs_type: Literal["ext4", "xfs", "vfat", "swap"] | None = Field(
        default=None, description="The file system; swap has no mount point."
    )


class Subvolume(Customization):
    """A subvolume of a btrfs partition."""

    name: str = Field(description="Its path on the volume, as root.")
    mountpoint: str = Field(description="Where it is mounted.")


class PartitionConfig(Customization):
    """A partition: a file system (plain), an LVM volume group, or a btrfs volume."""

    type: Literal["plain", "lvm", "btrfs"] | None = Field(
        default=None, description="What is in it; plain without it."
    )
    minsize: Size = Field(description="Its least size: bytes, or as '10 GiB'.")
    part_type: str | None = Field(
        default=None, description="Its type: a UUID (gpt) or two hexadecimal digits (dos)."
    )
    part_label: str | None = Field(default=None, description="Its label in a gpt table.")
    part_uuid: str | None = Field(default=None, description="Its UUID in a gpt table.")
    mountpoint: str | None = Field(default=None, description="plain: where it is mounted.")
    label: str | None = Field(default=None, description="plain: the file system's label.")
    fs_type: Literal["ext4", "xfs", "vfat", "swap", "none"] | None = Field(
        default=None, description="plain: the file system."
    )
    name: str | None = Field(default=None, description="lvm: the volume group's name.")
    logical_volumes: list[LogicalVolume] | None = Field(
        default=None, description="lvm: the logical volumes."
    )
    subvolumes: list[Subvolume] | None = Field(default=None, description="btrfs: the subvolumes.")


class PartitionTable(Customization):
    """The partitions of the disk, in full; not together with `filesystem`."""

    type: Literal["gpt", "dos"] | None = Field(
        default=None, description="The kind of partition table."
    )
    minsize: Size | None = Field(default=None, description="The least size of the disk.")
    sector_size: StrictInt | None = Field(
        default=None, description="Bytes of a sector: a power of two."
    )
    start_offset: Size | None = Field(
        default=None, description="What is left free before the first partition."
    )
    partitions: list[PartitionConfig] | None = Field(default=None, description="The partitions.")


class FileConfig(Customization):
    """A file that is written into the disk."""

    path: str = Field(description="Where it is, beginning with /.")
    data: str | None = Field(default=None, description="What is in it.")
    mode: str | None = Field(default=None, description="Its mode as octal text: '0644'.")
    user: Owner | None = Field(default=None, description="Its owner, by name or number.")
    group: Owner | None = Field(default=None, description="Its group, by name or number.")


class DirectoryConfig(Customization):
    """A directory that is made in the disk."""

    path: str = Field(description="Where it is, beginning with /.")
    mode: str | None = Field(default=None, description="Its mode as octal text: '0755'.")
    user: Owner | None = Field(default=None, description="Its owner, by name or number.")
    group: Owner | None = Field(default=None, description="Its group, by name or number.")
    ensure_parents: StrictBool | None = Field(
        default=None, description="Whether directories above it are made too."
    )


class SshdConfig(Customization):
    """What sshd allows."""

    password_authentication: StrictBool | None = Field(
        default=None, description="Whether passwords are taken."
    )
    challenge_response_authentication: StrictBool | None = Field(
        default=None, description="Whether challenges are (keyboard-interactive)."
    )
    client_alive_interval: StrictInt | None = Field(
        default=None, description="Seconds after which an idle client is asked whether it lives."
    )
    permit_root_login: StrictBool | str | None = Field(
        default=None, description="Whether and how root may log in."
    )


class EmbeddedIgnition(Customization):
    """An Ignition configuration inside of the image."""

    config: str | None = Field(default=None, description="The configuration, in base64.")


class FirstbootIgnition(Customization):
    """Where Ignition finds its configuration at the first boot."""

    url: str | None = Field(default=None, description="The URL of the configuration.")
    empty: StrictBool | None = Field(default=None, description="That there is none.")


class IgnitionConfig(Customization):
    """Ignition at the first boot."""

    embedded: EmbeddedIgnition | None = Field(default=None, description="Inside of the image.")
    firstboot: FirstbootIgnition | None = Field(default=None, description="At the first boot.")


class Grub2Config(Customization):
    """GRUB's terminals."""

    terminal_input: list[str] | None = Field(default=None, description="Inputs, as serial.")
    terminal_output: list[str] | None = Field(default=None, description="Outputs, as serial.")
    serial: str | None = Field(default=None, description="The serial command, as --speed=115200.")


class BootloaderConfig(Customization):
    """The boot loader; only builders made from osbuild/image-builder know it."""

    grub2: Grub2Config | None = Field(default=None, description="GRUB.")


class KickstartConfig(Customization):
    """A kickstart of one's own."""

    contents: str = Field(description="Its text; the builder adds only the payload to it.")


class AnacondaModules(Customization):
    """Anaconda's modules, by their D-Bus names."""

    enable: list[str] | None = Field(default=None, description="Modules that are started.")
    disable: list[str] | None = Field(default=None, description="Modules that are not; this wins.")


class InstallerConfig(Customization):
    """What an installer ISO does."""

    unattended: StrictBool | None = Field(default=None, description="Whether nobody is asked.")
    sudo_nopasswd: list[str] | None = Field(
        default=None, alias="sudo-nopasswd", description="Who may sudo without a password."
    )
    menu_timeout: StrictInt | None = Field(
        default=None, alias="menu-timeout", description="Seconds for which the menu waits."
    )
    kickstart: KickstartConfig | None = Field(default=None, description="A kickstart.")
    modules: AnacondaModules | None = Field(default=None, description="Anaconda's modules.")


class IsoConfig(Customization):
    """The ISO itself."""

    volume_id: str | None = Field(default=None, description="The volume's id.")
    application_id: str | None = Field(default=None, description="The application's id.")
    publisher: str | None = Field(default=None, description="The publisher.")


class DiskConfig(Customization):
    """All customizations that bootc disks and installers have."""

    user: list[UserConfig] | None = Field(default=None, description="Accounts.")
    group: list[GroupConfig] | None = Field(default=None, description="Groups.")
    kernel: KernelConfig | None = Field(default=None, description="Arguments for the kernel.")
    filesystem: list[FilesystemConfig] | None = Field(
        default=None, description="File systems of their own, by mount point."
    )
    disk: PartitionTable | None = Field(default=None, description="The partitions, in full.")
    files: list[FileConfig] | None = Field(default=None, description="Files.")
    directories: list[DirectoryConfig] | None = Field(default=None, description="Directories.")
    sshd: SshdConfig | None = Field(default=None, description="What sshd allows.")
    ignition: IgnitionConfig | None = Field(default=None, description="Ignition.")
    bootloader: BootloaderConfig | None = Field(default=None, description="The boot loader.")
    fips: StrictBool | None = Field(default=None, description="Whether FIPS mode is on.")
    installer: InstallerConfig | None = Field(
        default=None, description="What an installer ISO does."
    )
    iso: IsoConfig | None = Field(default=None, description="The ISO itself.")

    def blueprint(self) -> dict[str, Any]:
        """The configuration as a blueprint's data: only what was said, under `customizations`."""
        return {"customizations": self.model_dump(by_alias=True, exclude_none=True)}

    @classmethod
    def from_blueprint(cls, data: Mapping[str, Any]) -> Self:
        """Read what `blueprint` gave.  Raises pydantic's `ValidationError`."""
        return cls.model_validate(data.get("customizations", {}))


def render_toml(config: DiskConfig | Mapping[str, Any]) -> str:
    """The blueprint as TOML, for bootc-image-builder's config.toml.

    A mapping is a whole blueprint already, as a file of the user's own has it.
    """
    return toml_text(_blueprint(config))


def render_blueprint_json(config: DiskConfig | Mapping[str, Any]) -> str:
    """The blueprint as JSON."""
    data = _blueprint(config)
    return json.dumps(data, indent=2, ensure_ascii=False, default=str) + "\n"


def _blueprint(config: DiskConfig | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(config, DiskConfig):
        return config.blueprint()
    found = _without_null(config)
    return found if isinstance(found, dict) else {}


def _without_null(value: Any) -> Any:
    """What the builders read of JSON: null is as if it were not there, and TOML has none."""
    if isinstance(value, Mapping):
        return {key: _without_null(one) for key, one in value.items() if one is not None}
    if isinstance(value, list):
        return [_without_null(one) for one in value if one is not None]
    return value
