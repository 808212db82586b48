"""Machines that boot from the network, and how they are recognised.

Anaconda sends its provisioning headers when it is started with ``inst.ks.sendmac``
and ``inst.ks.sendsn``: ``X-RHN-Provisioning-Mac-0: eth0 52:54:00:12:34:56`` and
``X-System-Serial-Number`` (Anaconda's documentation, boot-options.rst).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")
_MAC_HEADER = "x-rhn-provisioning-mac-"
_SERIAL_HEADER = "x-system-serial-number"
#: Anaconda numbers the interfaces; no machine has more.
_MOST_MACS = 64


def normal_mac(text: str) -> str | None:
    """A MAC address in lower case with colons, or None when it is none.

    Takes ``52-54-00-12-34-56`` and GRUB's form with the hardware type in front
    (``01-52-54-…``), too.
    """
    mac = text.strip().lower().replace("-", ":")
    if len(mac) == 20 and mac.startswith("01:"):
        mac = mac[3:]
    return mac if _MAC.fullmatch(mac) else None


@dataclass(frozen=True)
class BootHost:
    """A machine of the inventory: by what it is recognised, and what stands in its menu."""

    name: str
    macs: tuple[str, ...] = ()
    serial: str | None = None
    title: str = ""


@dataclass(frozen=True)
class Asked:
    """What a machine says of itself in the headers of a request."""

    macs: tuple[str, ...] = ()
    serial: str | None = None

    def __str__(self) -> str:
        """For log lines."""
        words = [f"MAC {', '.join(self.macs)}"] if self.macs else []
        words += [f"serial number {self.serial}"] if self.serial else []
        return " and ".join(words) or "no provisioning headers"


def asked_by(headers: Mapping[str, str]) -> Asked:
    """The MAC addresses and the serial number in Anaconda's headers."""
    macs: list[str] = []
    serial = None
    for key, value in headers.items():
        name = key.lower()
        if name.startswith(_MAC_HEADER) and len(macs) < _MOST_MACS:
            # "eth0 52:54:00:12:34:56"
            mac = normal_mac(value.split()[-1]) if value.split() else None
            if mac is not None:
                macs.append(mac)
        elif name == _SERIAL_HEADER:
            serial = clean_serial(value)
    return Asked(tuple(dict.fromkeys(macs)), serial)


def clean_serial(text: str) -> str | None:
    """A serial number as it is compared, or None: firmware says "Not Specified" and the like."""
    serial = text.strip()
    hollow = {"", "none", "not specified", "to be filled by o.e.m.", "system serial number", "0"}
    return None if serial.lower() in hollow or not serial.isprintable() else serial[:128]


class BootHosts:
    """The machines, found by name, MAC address or serial number."""

    def __init__(self, hosts: Iterable[BootHost]) -> None:
        self.all = tuple(hosts)
        self._names = {host.name.lower(): host for host in self.all}
        self._macs: dict[str, BootHost] = {}
        self._serials: dict[str, BootHost] = {}
        #: Complaints about addresses that two machines have: (what, first, second).
        self.doubles: list[tuple[str, str, str]] = []
        for host in self.all:
            for mac in host.macs:
                self._put(self._macs, mac, host, f"MAC {mac}")
            if host.serial:
                self._put(self._serials, host.serial.lower(), host, f"serial number {host.serial}")

    def _put(self, table: dict[str, BootHost], key: str, host: BootHost, what: str) -> None:
        first = table.setdefault(key, host)
        if first is not host:
            self.doubles.append((what, first.name, host.name))

    def named(self, name: str) -> BootHost | None:
        """The machine of this name."""
        return self._names.get(name.lower())

    def with_mac(self, mac: str) -> BootHost | None:
        """The machine with this (normal) MAC address."""
        return self._macs.get(mac)

    def called(self, key: str) -> BootHost | None:
        """By what stands in a URL: its name, a MAC address or a serial number."""
        mac = normal_mac(key)
        return (
            self.named(key)
            or (self.with_mac(mac) if mac else None)
            or self._serials.get(key.lower())
        )

    def asking(self, asked: Asked) -> BootHost | None:
        """By Anaconda's headers.  A MAC address says more than a serial number."""
        for mac in asked.macs:
            if found := self._macs.get(mac):
                return found
        return self._serials.get(asked.serial.lower()) if asked.serial else None
