"""`kickstart serve` from its options to its end: what is checked before, and what runs."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import shutil
import signal
import ssl
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from bootcfleet.domain import dnsmasq
from bootcfleet.domain.bootmenu import argument_problem
from bootcfleet.domain.event import Emit, Event
from bootcfleet.drivers.accesslog import AccessLog
from bootcfleet.drivers.bootconnection import Limits
from bootcfleet.drivers.bootfiles import BootTree
from bootcfleet.drivers.bootserver import BootServer, raise_file_limit
from bootcfleet.drivers.bootstate import BootState
from bootcfleet.drivers.command import write_atomic
from bootcfleet.errors import FleetError, UsageError
from bootcfleet.ops.bootservice import BootAnswers, Finished, Installed, ServeSettings
from bootcfleet.ops.kickstart_source import KickstartSource

_LISTEN = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<four>[^:\[\]]+)):(?P<port>\d{1,5})")
_URL = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
#: Where packages put iPXE for BIOS: Debian, Fedora and RHEL.
_IPXE = ("/usr/lib/ipxe", "/usr/share/ipxe")


@dataclass(frozen=True)
class Listen:
    """Where is listened."""

    address: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Listen:
        """``ADDRESS:PORT`` or ``[ADDRESS]:PORT``.  Raises `UsageError`."""
        found = _LISTEN.fullmatch(text)
        port = int(found["port"]) if found else -1
        if found is None or port > 65535:
            raise UsageError(
                f"--listen {text!r} is not ADDRESS:PORT", hint="--listen 192.0.2.1:8000"
            )
        address = found["six"] or found["four"]
        try:
            return cls(str(ipaddress.ip_address(address)), port)
        except ValueError as error:
            raise UsageError(
                f"--listen {address} is not an IP address",
                hint="0.0.0.0 is every IPv4 address of this machine; see `ip address`",
            ) from error

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return ipaddress.ip_address(self.address).is_loopback

    @property
    def anywhere(self) -> bool:
        """Whether it is every address, and so none that could stand in a URL."""
        return ipaddress.ip_address(self.address).is_unspecified

    def url(self, *, secure: bool, port: int | None = None) -> str:
        """The server's URL."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{'https' if secure else 'http'}://{address}:{port or self.port}"


def check_url(text: str) -> str:
    """A server's URL without a path.  Raises `UsageError`."""
    url = text.rstrip("/")
    if not _URL.fullmatch(url):
        raise UsageError(
            f"--url {text!r} is not the URL of a server", hint="--url http://192.0.2.1:8000"
        )
    return url


def check_arguments(words: Sequence[str]) -> tuple[str, ...]:
    """Kernel arguments for the menus.  Raises `UsageError`."""
    for word in words:
        if problem := argument_problem(word):
            raise UsageError(f"--append: {problem}", hint="repeat --append for each argument")
    return tuple(words)


@dataclass(frozen=True)
class ServePlan:
    """Everything that is served, where and how.  `folder` is where the state is."""

    listen: Listen
    folder: Path
    access_log: Path
    trees: tuple[BootTree, ...] = ()
    settings: ServeSettings = field(default_factory=ServeSettings)
    limits: Limits = field(default_factory=Limits)
    tls: ssl.SSLContext | None = None


def state_file(folder: Path) -> Path:
    """The file of the server's state in its folder."""
    return folder / "state.db"


def write_dnsmasq(
    plan: ServePlan, file: Path, tftp: Path, emit: Emit, *, ipxe: Sequence[str] = _IPXE
) -> None:
    """Write dnsmasq's configuration, and fill its TFTP folder.

    Raises `UsageError` when no address is known that machines reach the server at.
    """
    if plan.listen.port == 0 and plan.settings.url is None:
        raise UsageError("--dnsmasq needs a port: --listen ADDRESS:PORT")
    if plan.listen.anywhere and plan.settings.url is None:
        raise UsageError(
            f"--dnsmasq needs the address that machines reach this server at, and "
            f"{plan.listen.address} is none",
            hint="--url http://ADDRESS:PORT",
        )
    base = plan.settings.url or plan.listen.url(secure=plan.tls is not None)
    address = re.sub(r"^https?://|:\d+$", "", base).strip("[]")
    try:
        ipaddress.IPv4Address(address)
    except ValueError as error:
        raise UsageError(
            f"--dnsmasq needs an IPv4 address, and {address} is none",
            hint="DHCP for IPv4 is what firmware boots by; --url http://ADDRESS:PORT",
        ) from error
    archs = tuple(tree.arch for tree in plan.trees)
    tftp = tftp.absolute()
    try:
        missing = _fill_tftp(plan.trees, tftp, base, ipxe)
        made = dnsmasq.DnsmasqPlan(address, base, str(tftp), archs)
        write_atomic(file, dnsmasq.dnsmasq_config(made).encode())
    except OSError as error:
        raise FleetError(f"{file} or {tftp} cannot be written: {error}") from error
    emit(Event("kickstart.dnsmasq", "", f"wrote {file}; its TFTP folder is {tftp}"))
    for name, where in missing:
        emit(Event("kickstart.missing", "", f"missing: {tftp / name}; {where}"))
    closed = next((one for one in (tftp, *tftp.parents) if not _open_to_all(one)), None)
    if closed is not None:
        text = f"dnsmasq's user cannot look into {closed}; choose another --tftp-root"
        emit(Event("kickstart.missing", "", text))
    if plan.tls is not None:
        text = (
            "GRUB and most iPXE programs do not trust your certificate: serve boot files over "
            "http, or build iPXE with TRUST="
        )
        emit(Event("kickstart.missing", "", text))


def _fill_tftp(
    trees: Sequence[BootTree], tftp: Path, base: str, ipxe: Sequence[str]
) -> list[tuple[str, str]]:
    """Copy the firmware programs; those that are not there, and where they come from."""
    missing = []
    tftp.mkdir(parents=True, exist_ok=True)
    bios = next((path for one in ipxe if (path := Path(one) / dnsmasq.BIOS_IPXE).is_file()), None)
    if bios is None:
        where = "for BIOS: from the package ipxe (Debian) or ipxe-bootimgs-x86 (Fedora, RHEL)"
        missing.append((dnsmasq.BIOS_IPXE, where))
    else:
        shutil.copyfile(bios, tftp / dnsmasq.BIOS_IPXE)
    for tree in trees:
        folder = tftp / tree.arch
        folder.mkdir(exist_ok=True)
        write_atomic(folder / "grub.cfg", dnsmasq.tftp_grub(base).encode())
        for name in (dnsmasq.SHIM[tree.arch], dnsmasq.GRUB[tree.arch]):
            found = tree.find(("EFI", "BOOT", name))
            if found is None:
                missing.append((f"{tree.arch}/{name}", f"it is not in {tree.root}/EFI/BOOT"))
            else:
                shutil.copyfile(found, folder / name)
    return missing


def _open_to_all(folder: Path) -> bool:
    try:
        return bool(folder.stat().st_mode & stat.S_IXOTH)
    except OSError:
        return False


def warnings(plan: ServePlan, *, secrets: bool) -> list[str]:
    """What must be said loudly before it is served."""
    said = []
    if not plan.listen.loopback:
        said.append(
            f"{plan.listen.address} is not this machine alone: whoever reaches it can fetch "
            "menus, boot files and the kickstarts of every host"
        )
        if secrets and plan.tls is None:
            said.append(
                "kickstarts with secrets go over the network as plain text; use --tls-cert and "
                "--tls-key, or a network that nobody else is in"
            )
    return said


def serve(
    plan: ServePlan,
    source: KickstartSource,
    emit: Emit,
    installed: Callable[[Installed], Finished],
    *,
    stop: Callable[[asyncio.Event], None] | None = None,
) -> int:
    """Serve until a signal, which is returned.  Raises `FleetError`.

    `stop` gets the event that ends it, for callers that send no signals (tests).
    """
    limits = replace(plan.limits, connections=raise_file_limit(plan.limits.connections))
    state = BootState(state_file(plan.folder))
    log = AccessLog(plan.access_log)
    settings = replace(plan.settings, fallback=plan.listen.url(secure=False).partition("://")[2])

    def say(event: Event) -> None:
        # Whoever watched has gone (a pipe's reader): machines go on booting.
        with suppress(BrokenPipeError):
            emit(event)

    answers = BootAnswers(source, plan.trees, state, settings, emit=say, installed=installed)
    server = BootServer(
        answers,
        address=plan.listen.address,
        port=plan.listen.port,
        log=log,
        limits=limits,
        tls=plan.tls,
    )
    caught = 0

    async def run() -> None:
        event = asyncio.Event()
        loop = asyncio.get_running_loop()

        def end(number: int) -> None:
            nonlocal caught
            caught = number
            event.set()
            for one in _SIGNALS:
                loop.remove_signal_handler(one)  # a second ^C does not wait

        if stop is not None:
            stop(event)
        else:
            for one in _SIGNALS:
                loop.add_signal_handler(one, end, one)

        def ready(port: int) -> None:
            url = plan.listen.url(secure=plan.tls is not None, port=port)
            data = {"url": url, "port": port, "connections": limits.connections}
            say(Event("kickstart.listening", "", f"listening on {url}", data))

        def busy(count: int) -> None:
            noun = "connection" if count == 1 else "connections"
            text = f"put off {count} {noun}: {limits.connections} are open already"
            say(Event("kickstart.busy", "", text, {"refused": count}))

        await server.serve(event, ready, busy)

    try:
        asyncio.run(run())
    finally:
        state.close()
        log.close()
    return caught


_SIGNALS = (signal.SIGINT, signal.SIGTERM)
