"""``install:`` of a host in the inventory: what its kickstart says of this machine alone."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from bootcfleet.domain.install_network import NetworkModel, mac_address

_DISK = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]*(?:/[A-Za-z0-9._:+-]+)*")
_HOSTNAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


def _disk(value: str) -> str:
    disk = value.removeprefix("/dev/")
    if not _DISK.fullmatch(disk) or ".." in disk:
        raise ValueError(
            f"{value!r} is not a disk; write nvme0n1, sda or disk/by-id/NAME, without patterns"
        )
    return disk


def _hostname(value: str) -> str:
    if not _HOSTNAME.fullmatch(value):
        raise ValueError(f"{value!r} cannot be a host name")
    return value


def _serial(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Disk = Annotated[str, AfterValidator(_disk)]
Hostname = Annotated[str, AfterValidator(_hostname)]
Mac = Annotated[str, AfterValidator(mac_address)]
Serial = Annotated[str, BeforeValidator(_serial), Field(min_length=1, max_length=128)]


class InstallSettings(BaseModel):
    """What defaults, groups and hosts can say about an installation; a host's word goes over."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    disk: Disk | None = Field(
        default=None, description="The disk that is erased and installed on, as nvme0n1."
    )
    data_disks: tuple[Disk, ...] | None = Field(
        default=None, description="Further disks that are erased, for templates that use them."
    )
    network: NetworkModel = Field(
        default_factory=NetworkModel, description="The network of the machine."
    )
    vars: dict[str, Any] = Field(
        default_factory=dict, description="Values for the kickstart template's variables."
    )


class HostInstall(InstallSettings):
    """The same of one host, with what no two machines share."""

    mac: Mac | None = Field(
        default=None, description="MAC address that the machine boots from; how it is recognised."
    )
    serial: Serial | None = Field(
        default=None, description="Serial number of the machine; how it is recognised."
    )
    hostname: Hostname | None = Field(
        default=None, description="Host name to set; the host's name in the inventory without it."
    )

    def over(self, other: InstallSettings) -> HostInstall:
        """These settings laid over another layer's: networks and vars key by key."""
        below = other.model_dump(exclude_unset=True, include=set(HostInstall.model_fields))
        joined = below | self.model_dump(exclude_unset=True)
        joined["network"] = self.network.over(other.network).model_dump(exclude_unset=True)
        joined["vars"] = {**other.vars, **self.vars}
        return HostInstall.model_validate(joined)
