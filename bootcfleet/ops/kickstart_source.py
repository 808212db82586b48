"""Where `kickstart serve` has its machines and their kickstarts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from bootcfleet.domain.boothost import BootHost, BootHosts


@dataclass(frozen=True)
class ServedKickstart:
    """A kickstart; `secret` when it must be given to its machine only."""

    text: str
    secret: bool


class KickstartSource(Protocol):
    """Knows the machines and renders; may be called from several threads."""

    def hosts(self) -> BootHosts:
        """The machines, as the inventory says now.  Raises `FleetError`."""
        ...

    def newcomer(self, mac: str) -> BootHost | None:
        """A machine that nobody knows, where those are installed as well; else None."""
        ...

    def render(self, host: BootHost, callback_url: str) -> ServedKickstart:
        """The kickstart of a machine, which calls back there.  Raises `FleetError`."""
        ...
