"""The network of one machine during its installation, as a line of a kickstart.

Source: pykickstart's documentation, command ``network``. What the image's NetworkManager
does afterwards: Anaconda copies the connections that it made into the installed system.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")
_DOMAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_OPTIONS = re.compile(r"[a-z0-9_]+=[A-Za-z0-9._+:-]+(?:[,;][a-z0-9_]+=[A-Za-z0-9._+:-]+)*")


class IPv6(StrEnum):
    """How an interface gets its IPv6 address; an address in `ipv6_address` is another way."""

    AUTO = "auto"
    DHCP = "dhcp"
    OFF = "off"


def mac_address(text: str) -> str:
    """A MAC address in lower case with colons.  Raises `ValueError`."""
    mac = text.strip().lower().replace("-", ":")
    if not MAC.fullmatch(mac):
        raise ValueError(f"{text!r} is not a MAC address; write 52:54:00:12:34:56")
    return mac


class NetworkModel(BaseModel):
    """One connection: by DHCP without `address`, else static."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str | None = Field(
        default=None,
        description="Interface, MAC address, `link` (the first with a link) or `bootif` (that it "
        "booted from). Without it: the host's MAC address, else `link`.",
    )
    address: str | None = Field(
        default=None, description="IPv4 address with its prefix, as 192.0.2.12/24."
    )
    gateway: str | None = Field(default=None, description="IPv4 gateway.")
    nameservers: tuple[str, ...] = Field(default=(), description="Addresses of name servers.")
    search: tuple[str, ...] = Field(default=(), description="DNS search domains.")
    ipv6: IPv6 = Field(default=IPv6.AUTO, description="auto, dhcp or off.")
    ipv6_address: str | None = Field(
        default=None, description="IPv6 address with its prefix, as 2001:db8::12/64."
    )
    ipv6_gateway: str | None = Field(default=None, description="IPv6 gateway.")
    mtu: int | None = Field(default=None, description="MTU in bytes.", ge=576, le=65535)
    vlan: int | None = Field(default=None, description="VLAN id on the device.", ge=1, le=4094)
    bond: tuple[str, ...] = Field(
        default=(), description="Interfaces of a bond; `device` is then its name (bond0)."
    )
    bond_options: str | None = Field(
        default=None, description="Options of the bond, as mode=802.3ad,miimon=100."
    )

    @field_validator("address", "ipv6_address")
    @classmethod
    def _with_prefix(cls, value: str | None) -> str | None:
        if value is not None and "/" not in value:
            raise ValueError(f"{value!r} has no prefix length; write {value}/24")
        return None if value is None else str(ipaddress.ip_interface(value))

    @field_validator("gateway", "ipv6_gateway")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        return None if value is None else str(ipaddress.ip_address(value))

    @field_validator("nameservers")
    @classmethod
    def _are_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(str(ipaddress.ip_address(one)) for one in value)

    @field_validator("search")
    @classmethod
    def _are_domains(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if not _DOMAIN.fullmatch(one):
                raise ValueError(f"{one!r} is not a domain")
        return value

    @field_validator("device")
    @classmethod
    def _is_device(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if ":" in value or value.count("-") == 5:
            return mac_address(value)
        if not _DEVICE.fullmatch(value):
            raise ValueError(f"{value!r} is not the name of a network interface")
        return value

    @field_validator("bond")
    @classmethod
    def _are_devices(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            if not _DEVICE.fullmatch(one):
                raise ValueError(f"{one!r} is not the name of a network interface")
        return value

    @field_validator("bond_options")
    @classmethod
    def _are_options(cls, value: str | None) -> str | None:
        if value is not None and not _OPTIONS.fullmatch(value):
            raise ValueError(f"{value!r} is not a list of options; write mode=802.3ad,miimon=100")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for name, version in (
            ("address", 4),
            ("gateway", 4),
            ("ipv6_address", 6),
            ("ipv6_gateway", 6),
        ):
            value = getattr(self, name)
            if value is not None and ipaddress.ip_interface(value).version != version:
                raise ValueError(f"{name}: {value} is not an IPv{version} address")
        return self

    def over(self, other: NetworkModel) -> NetworkModel:
        """The keys that are given here, laid over another's."""
        return NetworkModel.model_validate(
            other.model_dump(exclude_unset=True) | self.model_dump(exclude_unset=True)
        )

    def problem(self) -> str | None:
        """What does not fit together once all layers are joined, or None."""
        if self.gateway and not self.address:
            return "a gateway without an address: DHCP brings its own"
        if self.address and self.gateway:
            net = ipaddress.ip_interface(self.address).network
            if ipaddress.ip_address(self.gateway) not in net:
                return f"the gateway {self.gateway} is not in the network of {self.address}"
        if self.bond and self.device in (None, "link", "bootif"):
            return "a bond needs a name: device: bond0"
        if self.bond_options and not self.bond:
            return "bond_options without bond"
        if self.vlan and self.device in (None, "link", "bootif"):
            return "a VLAN needs the interface that it is on: device: eno1"
        return None


def network_line(network: NetworkModel, *, mac: str | None, hostname: str | None) -> str:
    """The kickstart command ``network`` for one machine; quoted as kickstarts are read."""
    device = network.device or (mac if not network.bond else None) or "link"
    words = [f"--device={device}"]
    if network.address:
        interface = ipaddress.ip_interface(network.address)
        words += ["--bootproto=static", f"--ip={interface.ip}", f"--netmask={interface.netmask}"]
        if network.gateway:
            words.append(f"--gateway={network.gateway}")
    elif network.ipv6_address:
        words.append("--noipv4")
    else:
        words.append("--bootproto=dhcp")
    if network.ipv6_address:
        words.append(f"--ipv6={network.ipv6_address}")
        if network.ipv6_gateway:
            words.append(f"--ipv6gateway={network.ipv6_gateway}")
    else:
        choice = {IPv6.AUTO: "--ipv6=auto", IPv6.DHCP: "--ipv6=dhcp", IPv6.OFF: "--noipv6"}
        words.append(choice[network.ipv6])
    if network.nameservers:
        words.append(f"--nameserver={','.join(network.nameservers)}")
    if network.search:
        words.append(f"--ipv4-dns-search={','.join(network.search)}")
    if network.mtu:
        words.append(f"--mtu={network.mtu}")
    if network.bond:
        words.append(f"--bondslaves={','.join(network.bond)}")
        if network.bond_options:
            words.append(f"--bondopts={network.bond_options}")
    if network.vlan:
        words.append(f"--vlanid={network.vlan}")
    if hostname:
        words.append(f"--hostname={hostname}")
    return "network " + " ".join(map(shlex.quote, [*words, "--activate", "--onboot=yes"]))
