"""The lab: simulated bootc hosts behind real SSH servers, and a small registry, in one process.

Everything about a lab is in its directory: keys, ``known_hosts``,
``inventory.yaml``, and ``lab.json`` that says where it runs.  Another process
speaks to it through a Unix socket (`labcontrol`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import paramiko
import yaml

from bootcfleet.domain.faults import Fault, FaultSpec
from bootcfleet.domain.reference import ImageRef, Platform
from bootcfleet.drivers.command import write_atomic
from bootcfleet.drivers.labimage import push_image
from bootcfleet.drivers.labregistry import LabRegistry
from bootcfleet.drivers.openfiles import allow_open_files
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.drivers.simhost import Deployment, PullError, SimHost
from bootcfleet.drivers.simpull import Puller
from bootcfleet.drivers.simssh import SimSshServers
from bootcfleet.drivers.simtimer import SimTimers
from bootcfleet.drivers.sshkeys import make_key
from bootcfleet.errors import FleetError, UsageError

#: Roles and sites that the hosts of a lab get in turn, so that selectors have something to find.
ROLES = ("web", "web", "database")
SITES = ("ams", "fra")


#: Files beside those of the hosts: the registry's connections, the control socket, the log.
_SPARE_FILES = 64

#: How often bootc's timers fire in a lab that was started without them, once a host's is to.
_TIMER_SECONDS = 0.5


@dataclass(frozen=True)
class LabHost:
    """A host to be made: its name, what it boots, its labels and groups.

    A simulated host has none of its image's files, so that the checks of an image that
    was really built would fail on it: only with `image_checks` it is asked them.
    """

    name: str
    image: str
    labels: Mapping[str, str]
    groups: tuple[str, ...] = ()
    image_checks: bool = False


class Lab:
    """A lab in this process.  `start_registry` and `start_hosts`, then `stop`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.hosts: dict[str, SimHost] = {}
        self.ports: dict[str, int] = {}
        self._registry: LabRegistry | None = None
        self._servers: SimSshServers | None = None
        self._timers: SimTimers | None = None
        self.directory.mkdir(parents=True, exist_ok=True)

    @property
    def has_registry(self) -> bool:
        """Whether the lab runs a registry of its own."""
        return self._registry is not None

    @property
    def registry(self) -> LabRegistry:
        """The lab's registry.  Raises `FleetError` when it has none."""
        if self._registry is None:
            raise FleetError("this lab has no registry")
        return self._registry

    @property
    def registry_address(self) -> str:
        """``127.0.0.1:PORT``."""
        return self.registry.address

    @property
    def inventory_path(self) -> Path:
        """The inventory of the lab's hosts."""
        return self.directory / "inventory.yaml"

    @property
    def known_hosts_path(self) -> Path:
        """The host keys of the lab's hosts."""
        return self.directory / "known_hosts"

    @property
    def identity_path(self) -> Path:
        """The private key that the hosts let in."""
        return self.directory / "id_ed25519"

    def start_registry(self, *, port: int = 0) -> str:
        """Start the registry; its address."""
        self._registry = LabRegistry(port=port).start()
        return self._registry.address

    def seed(self) -> dict[str, str]:
        """Push a first version of an image for each role; role → reference."""
        made = {}
        for role in dict.fromkeys(ROLES):
            push_image(
                self.registry_address,
                f"lab/{role}",
                "stable",
                version="1.0",
                files={"usr/share/lab/version": b"1.0\n"},
                created=datetime.now(UTC),
                labels={"org.opencontainers.image.title": f"lab {role}"},
            )
            made[role] = f"{self.registry_address}/lab/{role}:stable"
        return made

    def start_hosts(
        self,
        hosts: int | Sequence[LabHost],
        *,
        image: str | Mapping[str, str],
        boot_seconds: float = 1.0,
        sudo_password: str | None = None,
        user: str = "admin",
        client: RegistryClient | None = None,
        timer: float | None = None,
    ) -> None:
        """Boot hosts on an image (one for all, or by role) and write the inventory.

        With `timer`, bootc's update timer fires every so many seconds on each host where it
        is active; on none it is at first.

        Raises `FleetError` when an image cannot be pulled: a host cannot boot
        nothing; and when this process may not have so many connections.
        """
        wanted = _hosts(hosts, image) if isinstance(hosts, int) else list(hosts)
        puller = Puller(client or RegistryClient(), Platform("linux", "amd64"))
        booted = {}
        for reference in dict.fromkeys(host.image for host in wanted):
            ImageRef.parse(reference)
            try:
                booted[reference] = puller.pull(reference)
            except PullError as error:
                raise FleetError(
                    f"the lab's hosts cannot boot {reference}: {error}",
                    hint="push it first, or leave --image out",
                ) from error
        _require_files(len(wanted))
        identity = self._identity()
        self._servers = SimSshServers(identity, sudo_password=sudo_password)
        with ThreadPoolExecutor(4) as pool:
            keys = list(pool.map(lambda host: self._host_keys(host.name), wanted))
        for host, (key, other) in zip(wanted, keys, strict=True):
            deployment = Deployment(host.image, "registry", booted[host.image])
            sim = SimHost(host.name, puller.pull, deployment, boot_seconds)
            self.hosts[host.name] = sim
            self.ports[host.name] = self._servers.add(sim, key, other)
        self._servers.start()
        if timer is not None:
            self._timers = SimTimers(self.hosts.values(), timer)
            self._timers.start()
        self._write(wanted, [key for key, _ in keys], user, ask=sudo_password is not None)

    def break_host(self, name: str, fault: FaultSpec | str) -> None:
        """Let a host suffer a fault, until it is healed.  Raises `UsageError`."""
        spec = FaultSpec.parse(fault) if isinstance(fault, str) else fault
        host = self._host(name)
        host.break_with(spec)
        if spec.fault is Fault.TIMER_MOVES and self._timers is None:
            self._timers = SimTimers(self.hosts.values(), _TIMER_SECONDS)
            self._timers.start()
        if not host.up and self._servers is not None:
            self._servers.drop(name)

    def heal(self, name: str) -> None:
        """Take all of a host's faults away.  Raises `UsageError`."""
        self._host(name).heal()

    def status(self) -> list[dict[str, Any]]:
        """What each host is really in, seen from the inside: JSON-ready."""
        connections = self._servers.connections() if self._servers else {}
        return [
            {
                "host": name,
                "port": self.ports[name],
                "state": host.state,
                "booted": host.booted.image.version,
                "digest": str(host.booted.image.digest),
                "staged": host.staged.image.version if host.staged else None,
                "rollback": host.rollback.image.version if host.rollback else None,
                "rollback_queued": host.rollback_queued,
                "download_only": bool(host.staged and host.staged.download_only),
                "reboots": host.reboots,
                "soft_reboots": host.soft_reboots,
                "history": [entry.to_json() for entry in host.history],
                "timer": "active" if host.timer.active else "inactive",
                "faults": [str(spec) for spec in host.faults.values()],
                "connections": connections.get(name, 0),
            }
            for name, host in self.hosts.items()
        ]

    def stop(self) -> None:
        """Stop the hosts and the registry; the directory stays."""
        if self._timers is not None:
            self._timers.stop()
        for host in self.hosts.values():
            host.stop()
        if self._servers is not None:
            self._servers.stop()
        if self._registry is not None:
            self._registry.stop()
            self._registry = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _host(self, name: str) -> SimHost:
        if name not in self.hosts:
            raise UsageError(
                f"the lab has no host {name!r}", hint="see `bootcfleet lab status` for its hosts"
            )
        return self.hosts[name]

    def _identity(self) -> paramiko.PKey:
        private, public = make_key(f"bootcfleet lab {self.directory.name}")
        write_atomic(self.identity_path, private, mode=0o600)
        write_atomic(self.directory / "id_ed25519.pub", public)
        return paramiko.PKey.from_path(self.identity_path)

    def _host_keys(self, name: str) -> tuple[paramiko.PKey, paramiko.PKey]:
        """A host's key, and the one that it has when its key "has changed"."""
        folder = self.directory / "hostkeys"
        made = []
        for which in (name, f"{name}.other"):
            path = folder / which
            if not path.exists():
                write_atomic(path, make_key(which)[0], mode=0o600)
            made.append(paramiko.PKey.from_path(path))
        return made[0], made[1]

    def _write(
        self, hosts: Sequence[LabHost], keys: Sequence[paramiko.PKey], user: str, *, ask: bool
    ) -> None:
        known = "".join(
            f"[127.0.0.1]:{self.ports[host.name]} {key.get_name()} {key.get_base64()}\n"
            for host, key in zip(hosts, keys, strict=True)
        )
        write_atomic(self.known_hosts_path, known.encode())
        groups = sorted({group for host in hosts for group in host.groups})
        connection = {
            "user": user,
            "identity_file": str(self.identity_path),
            "known_hosts": str(self.known_hosts_path),
            # The lab is reached directly, whatever this user's own ssh configuration says.
            "ssh_config": "/dev/null",
            **({"become_password": True} if ask else {}),
        }
        inventory = {
            "version": 1,
            # Simulated hosts have none of the files and packages that an image promises.
            "defaults": {"connection": connection, "image_checks": False},
            "groups": {group: {} for group in groups},
            "hosts": {
                host.name: {
                    "groups": list(host.groups),
                    "labels": dict(host.labels),
                    "image": host.image,
                    **({} if host.image_checks else {"image_checks": False}),
                    "connection": {"address": "127.0.0.1", "port": self.ports[host.name]},
                }
                for host in hosts
            },
        }
        text = "# Written by bootcfleet lab; a new lab writes it anew.\n"
        text += yaml.safe_dump(inventory, sort_keys=False)
        write_atomic(self.inventory_path, text.encode())


def _require_files(hosts: int) -> None:
    """Make room for a listening socket and a few connections of each host.  Raises `FleetError`."""
    need = 2 * hosts + _SPARE_FILES
    allowed = allow_open_files(4 * hosts + _SPARE_FILES)
    if allowed < need:
        raise FleetError(
            f"{hosts} hosts need {need} open files, and this process may have {allowed}",
            hint="start fewer hosts, or raise the limit (`ulimit -Hn`; LimitNOFILE= in a unit)",
        )


def _hosts(count: int, image: str | Mapping[str, str]) -> list[LabHost]:
    """`count` hosts with roles and sites in turn."""
    made = []
    for number in range(1, count + 1):
        role = ROLES[(number - 1) % len(ROLES)]
        site = SITES[(number - 1) // len(ROLES) % len(SITES)]
        reference = image if isinstance(image, str) else image[role]
        made.append(LabHost(f"host{number}", reference, {"role": role, "site": site}, (role,)))
    return made
