"""A boot server in this process, with machines that a test invents."""

from __future__ import annotations

import asyncio
import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3

from bootcfleet.domain.boothost import BootHost, BootHosts
from bootcfleet.domain.event import Event
from bootcfleet.drivers.bootfiles import open_tree
from bootcfleet.drivers.bootstate import BootState
from bootcfleet.errors import FleetError
from bootcfleet.ops.bootservice import Finished, Installed
from bootcfleet.ops.kickstart_serve import Listen, ServePlan, serve, state_file
from bootcfleet.ops.kickstart_source import ServedKickstart

#: A kept connection may be one that the server is just about to close for its idleness.
CLOSE = {"Connection": "close"}
WEB1 = BootHost("web1", ("52:54:00:00:00:01",), "SN-1", "web1 (acme/web:prod)")
VAULT = BootHost("vault", ("52:54:00:00:00:02",), None, "vault")
ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43


class Machines:
    """A source: web1 has no secrets, vault has."""

    def __init__(self, *hosts: BootHost) -> None:
        self.all = list(hosts or (WEB1, VAULT))

    def hosts(self) -> BootHosts:
        return BootHosts(self.all)

    def newcomer(self, mac: str) -> BootHost | None:
        return None

    def render(self, host: BootHost, callback_url: str) -> ServedKickstart:
        secret = host.name == "vault"
        text = f"# {host.name}\n{'rootpw hunter2' if secret else 'rootpw --lock'}\n"
        return ServedKickstart(f"{text}# {callback_url}\n", secret)


def boot_tree(folder: Path, *, arch: str = "x86_64", stage2: bytes = b"stage2") -> Path:
    """The layout of an unpacked installer ISO."""
    files = {
        "images/pxeboot/vmlinuz": b"kernel of " + arch.encode(),
        "images/pxeboot/initrd.img": b"initrd",
        "images/install.img": stage2,
        "EFI/BOOT/BOOTX64.EFI": b"shim",
        "EFI/BOOT/grubx64.efi": b"grub",
        "EFI/BOOT/grub.cfg": b"the ISO's own menu",
        ".treeinfo": f"[general]\narch = {arch}\n".encode(),
    }
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@dataclass
class Served:
    """A running server: its URL and folder, what it said, and who called back."""

    url: str
    port: int
    plan: ServePlan
    events: list[Event]
    called: list[Installed]
    deaf: threading.Event
    http: urllib3.PoolManager = field(
        default_factory=lambda: urllib3.PoolManager(retries=False, headers=CLOSE)
    )

    def get(self, path: str, headers: dict[str, str] | None = None) -> urllib3.BaseHTTPResponse:
        return self.http.request("GET", self.url + path, headers={**(headers or {}), **CLOSE})

    def post(self, url: str, body: bytes, **headers: str) -> urllib3.BaseHTTPResponse:
        return self.http.request("POST", url, body=body, headers={**headers, **CLOSE})

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.plan.access_log.read_text().splitlines()]

    def said(self, kind: str) -> list[str]:
        return [event.message for event in self.events if event.kind == kind]

    @contextmanager
    def state(self) -> Iterator[BootState]:
        state = BootState(state_file(self.plan.folder))
        try:
            yield state
        finally:
            state.close()


@contextmanager
def serving(
    folder: Path, *, boot: Path | None = None, source: Any = None, **settings: Any
) -> Iterator[Served]:
    """Serve until the block ends."""
    trees = (open_tree(str(boot)),) if boot else ()
    listen = Listen("127.0.0.1", settings.pop("port", 0))
    plan = ServePlan(listen, folder, folder / "access.log", trees, **settings)
    events: list[Event] = []
    called: list[Installed] = []
    ready: queue.Queue[Any] = queue.Queue()
    stops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def installed(one: Installed) -> Finished:
        called.append(one)
        return Finished(one.host.name)

    deaf = threading.Event()

    def emit(event: Event) -> None:
        if deaf.is_set():
            raise BrokenPipeError
        events.append(event)
        if event.kind == "kickstart.listening":
            ready.put(event.data)

    def run() -> None:
        try:
            serve(
                plan,
                source or Machines(),
                emit,
                installed,
                stop=lambda event: stops.append((asyncio.get_running_loop(), event)),
            )
        except FleetError as error:
            ready.put(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        data = ready.get(timeout=60)
        if isinstance(data, BaseException):
            raise data
        yield Served(data["url"], data["port"], plan, events, called, deaf)
    finally:
        for loop, event in stops:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)
        thread.join(timeout=60)
    assert not thread.is_alive()
