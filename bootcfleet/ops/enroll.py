"""A machine that was just installed enters the inventory, and its SSH host keys are pinned."""

from __future__ import annotations

import base64
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootcfleet.domain.event import Emit, Event
from bootcfleet.domain.hostpin import pin_host
from bootcfleet.domain.inventory import Host, Inventory
from bootcfleet.drivers import yamlfile
from bootcfleet.drivers.command import LocalExecutor, write_atomic
from bootcfleet.drivers.inventoryedit import add_host
from bootcfleet.drivers.inventoryfile import load_inventory
from bootcfleet.drivers.knownhosts import fingerprint
from bootcfleet.drivers.sshconnect import SshShared
from bootcfleet.errors import FleetError, UsageError
from bootcfleet.ops.audit import Record
from bootcfleet.ops.bootservice import Finished, Installed

#: What an image calls itself when nobody gave it a name.
_NO_NAMES = {"localhost", "localhost.localdomain", "fedora", "rhel", "centos", "bootc"}


def check_inventory(path: Path) -> None:
    """Whether hosts can be added to it.  Raises `UsageError` for an inventory of Ansible's."""
    if not path.exists():
        return
    data: Any = None
    if path.suffix in {".yaml", ".yml"}:
        data = yamlfile.load(path).data
    if not isinstance(data, dict) or "version" not in data:
        raise UsageError(
            f"--enroll adds hosts to bootcfleet's own inventory, and {path} is none",
            hint="write an inventory.yaml that begins with `version: 1`, and name it with -i",
        )


@dataclass(frozen=True)
class Enrolled:
    """What was done: the host, whether it is new in the inventory, and where its keys are."""

    name: str
    new: bool
    known_hosts: Path | None
    fingerprints: tuple[str, ...]


class Enroller:
    """Enrolls one machine after another."""

    def __init__(self, inventory: Path, *, record: Record, emit: Emit) -> None:
        self._path = inventory
        self._record = record
        self._emit = emit
        self._lock = threading.Lock()

    def enroll(self, installed: Installed) -> Finished:
        """Enroll a machine.  What went wrong comes back as a sentence; it stays installed."""
        try:
            with self._lock:
                done = self._enroll(installed)
        except (FleetError, ValueError, OSError) as error:
            hint = getattr(error, "hint", None)
            text = f"is installed but could not be enrolled: {error}"
            self._emit(
                Event(
                    "host.enroll-failed", installed.host.name, text + (f"; {hint}" if hint else "")
                )
            )
            return Finished(installed.host.name, text)
        where = f", its host keys in {done.known_hosts}" if done.known_hosts else ", without keys"
        what = f"entered {self._path}" if done.new else f"is in {self._path}"
        self._emit(
            Event(
                "host.enrolled",
                done.name,
                f"{what}{where}",
                {"new": done.new, "fingerprints": list(done.fingerprints)},
            )
        )
        return Finished(done.name)

    def _enroll(self, installed: Installed) -> Enrolled:
        inventory = self._load()
        host = _of(inventory, installed.host.name)
        new = host is None
        if host is None:
            name = _name(installed, inventory)
            self._add(name, installed)
            host = _of(self._load(), name)
            if host is None:
                raise FleetError(f"{name} was added to {self._path}, and is not in it")
        file = self._pin(host, installed.callback.keys) if installed.callback.keys else None
        prints = tuple(
            f"{key.split()[0]} {fingerprint(base64.b64decode(key.split()[1]))}"
            for key in installed.callback.keys
        )
        self._record(
            "host.enrolled",
            host.name,
            "enrolled" if new else "pinned",
            digests={},
            details={
                "address": installed.address,
                "mac": list(installed.host.macs or installed.callback.macs),
                "serial": installed.host.serial or installed.callback.serial,
                "inventory": str(self._path),
                "known_hosts": str(file) if file else None,
                "ssh_host_keys": list(prints),
            },
        )
        return Enrolled(host.name, new, file, prints)

    def _load(self) -> Inventory:
        if not self._path.exists():
            return Inventory(())
        return load_inventory(self._path, LocalExecutor())

    def _add(self, name: str, installed: Installed) -> None:
        if not self._path.exists():
            write_atomic(self._path, b"version: 1\n")
        macs = installed.host.macs or installed.callback.macs
        serial = installed.host.serial or installed.callback.serial
        install = ({"mac": macs[0]} if macs else {}) | ({"serial": serial} if serial else {})
        body: dict[str, Any] = {"connection": {"address": installed.address}}
        if install:
            body["install"] = install
        add_host(self._path, name, body, f"installed {installed.at:%Y-%m-%d}; enrolled by itself")

    def _pin(self, host: Host, keys: tuple[str, ...]) -> Path:
        """Write the keys where a connection to this host looks first.

        That is `known_hosts` of its connection in the inventory, else what ssh's
        configuration says, else ``~/.ssh/known_hosts``.
        """
        target = SshShared(ask=lambda _question: "").target(host.name, host.connection)
        if not target.known_hosts:
            raise UsageError("no known_hosts file is configured for it (UserKnownHostsFile none)")
        file = Path(target.known_hosts[0])
        try:
            text = file.read_text(encoding="utf-8", errors="surrogateescape")
            mode = file.stat().st_mode & 0o777
        except FileNotFoundError:
            text, mode = "", 0o600
        names = [target.known_as[0]]
        made = pin_host(text, names, keys).encode("utf-8", "surrogateescape")
        if made != text.encode("utf-8", "surrogateescape"):
            write_atomic(file.resolve(), made, mode=mode)
        return file


def _of(inventory: Inventory, name: str) -> Host | None:
    return next((one for one in inventory.hosts if one.name.lower() == name.lower()), None)


def _name(installed: Installed, inventory: Inventory) -> str:
    """What a machine is called that nobody had a name for: what it calls itself, if it is free."""
    name = installed.callback.hostname
    if name is None or name.lower() in _NO_NAMES or _of(inventory, name) is not None:
        return installed.host.name
    return name
