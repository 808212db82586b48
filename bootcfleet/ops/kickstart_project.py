"""A project's machines and kickstarts, read anew when its files change while they are served."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from pathlib import Path

from bootcfleet.domain.boothost import BootHost, BootHosts, normal_mac
from bootcfleet.domain.event import Emit, Event
from bootcfleet.domain.install_host import HostInstall
from bootcfleet.domain.inventory import Host
from bootcfleet.errors import FleetError, UsageError
from bootcfleet.ops.kickstart import Kickstarts
from bootcfleet.ops.kickstart_source import ServedKickstart
from bootcfleet.ops.project import FILE, LoadedProject, load_project

#: Seconds for which files are believed to be unchanged.
_PATIENCE = 1.0


class ProjectKickstarts:
    """See `KickstartSource`.

    `unknown` is the install of machines that nobody knows, `pin` the key of the server's
    certificate, for the callback.
    """

    def __init__(
        self,
        loaded: LoadedProject,
        inventory: Path,
        *,
        unknown: str | None,
        pin: str = "",
        emit: Emit,
    ) -> None:
        self._root = loaded.root
        self._inventory = inventory
        self._unknown = unknown
        self._pin = pin
        self._emit = emit
        self._lock = threading.Lock()
        self._looked = time.monotonic()
        self._loaded = loaded
        self._seen = self._stamp(loaded)
        self._use(self._open(loaded))
        if unknown is not None and unknown not in self._kickstarts.installs:
            known = ", ".join(self._kickstarts.installs) or "none"
            raise UsageError(f"--unknown: there is no install {unknown!r}; there is: {known}")

    @property
    def secrets(self) -> bool:
        """Whether a kickstart has secrets."""
        return any(spec.secrets for spec in self._kickstarts.installs.values())

    def problems(self) -> list[str]:
        """The hosts that cannot be recognised, or have no kickstart: sentences."""
        said = []
        for host in self._kickstarts.inventory.hosts:
            if host.install.mac is None and host.install.serial is None:
                continue
            try:
                self._kickstarts.install_of(host)
            except FleetError as error:
                said.append(f"{error.message}; {error.hint}")
        said += [
            f"{what} is {first}'s and {second}'s: {first} gets it"
            for what, first, second in self._hosts.doubles
        ]
        if not self._hosts.all:
            said.append(f"no host in {self._inventory} can be installed yet: there is none")
        return said

    def hosts(self) -> BootHosts:
        """The machines, as the inventory says now."""
        self._refresh()
        return self._hosts

    def newcomer(self, mac: str) -> BootHost | None:
        """A machine that nobody knows, called by its MAC address."""
        address = normal_mac(mac)
        if self._unknown is None or address is None:
            return None
        return BootHost(address.replace(":", "-"), (address,), None, f"a new machine, {address}")

    def render(self, host: BootHost, callback_url: str) -> ServedKickstart:
        """The kickstart of a machine."""
        self._refresh()
        kickstarts = self._kickstarts
        known = [one for one in kickstarts.inventory.hosts if one.name == host.name]
        if known:
            target = known[0]
            name = kickstarts.install_of(target)
        elif self._unknown is not None and host.macs:
            target = Host(host.name, install=HostInstall(mac=host.macs[0]))
            name = self._unknown
        else:
            raise UsageError(f"{host.name} is no longer in the inventory")
        made = kickstarts.render(name, target, callback_url=callback_url, callback_pin=self._pin)
        # Any kickstart that calls back has its token; that alone lets it be fetched again.
        return ServedKickstart(made.text, bool(kickstarts.installs[name].secrets))

    def _refresh(self) -> None:
        with self._lock:
            if time.monotonic() - self._looked < _PATIENCE:
                return
            try:
                stamp = self._stamp(self._loaded)
                if stamp == self._seen:
                    return
                self._seen = stamp
                self._loaded = load_project(self._root)
                self._use(self._open(self._loaded))
                # Templates may be in another folder now.
                self._seen = self._stamp(self._loaded)
                self._emit(Event("kickstart.reloaded", "", "read the project and inventory anew"))
            except FleetError as error:
                # Half-edited files: what was read last goes on being served.
                text = f"{error.message}; what was read before is served"
                self._emit(Event("kickstart.failed", "", text))
            finally:
                self._looked = time.monotonic()

    def _open(self, loaded: LoadedProject) -> Kickstarts:
        return Kickstarts.open(loaded, self._inventory if self._inventory.exists() else None)

    def _use(self, kickstarts: Kickstarts) -> None:
        self._kickstarts = kickstarts
        self._hosts = BootHosts(_machine(host, kickstarts) for host in kickstarts.inventory.hosts)

    def _stamp(self, loaded: LoadedProject) -> tuple[tuple[str, int, int], ...]:
        folder = loaded.root / loaded.project.kickstarts
        files = [loaded.root / FILE, self._inventory, *sorted(folder.rglob("*"))]
        return tuple(_stamps(files))


def _stamps(files: Iterable[Path]) -> Iterable[tuple[str, int, int]]:
    for file in files:
        try:
            found = file.stat()
        except OSError:
            continue
        yield str(file), found.st_mtime_ns, found.st_size


def _machine(host: Host, kickstarts: Kickstarts) -> BootHost:
    install = host.install
    try:
        name = kickstarts.install_of(host)
        title = f"{host.name} ({kickstarts.reference(kickstarts.installs[name])})"
    except FleetError:
        title = host.name
    return BootHost(host.name, (install.mac,) if install.mac else (), install.serial, title)
