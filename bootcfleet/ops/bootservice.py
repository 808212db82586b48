"""What a machine that boots is answered: menus, kickstarts, files, and its callback.

Nothing here knows HTTP libraries or sockets; `drivers/bootserver.py` brings requests.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from bootcfleet.domain import bootmenu
from bootcfleet.domain.boothost import Asked, BootHost, BootHosts, asked_by
from bootcfleet.domain.bootprogress import Step, step_of
from bootcfleet.domain.bootroute import (
    FileRoute,
    GrubRoute,
    IndexRoute,
    InstalledRoute,
    IpxeRoute,
    KickstartRoute,
    public_path,
    route,
    split_path,
)
from bootcfleet.domain.boottoken import Token, TokenUse, token_problem
from bootcfleet.domain.callback import Callback, parse_callback
from bootcfleet.domain.event import Emit, Event
from bootcfleet.drivers.bootfiles import BootTree
from bootcfleet.drivers.bootserver import Answer, Ask
from bootcfleet.drivers.bootstate import BootState, make_token
from bootcfleet.errors import FleetError
from bootcfleet.ops.kickstart_source import KickstartSource

_HOST_HEADER = re.compile(r"[A-Za-z0-9.-]{1,253}(?::\d{1,5})?|\[[0-9A-Fa-f:]{2,45}\](?::\d{1,5})?")
#: Seconds in which the same complaint about the same machine is said once.
_QUIET = 60.0
_MOST_QUIET = 10_000


@dataclass(frozen=True)
class Installed:
    """A machine that called back."""

    host: BootHost
    address: str
    callback: Callback
    at: datetime


@dataclass(frozen=True)
class Finished:
    """What became of a callback: the machine's name from now on, and what went wrong."""

    name: str
    problem: str | None = None


@dataclass(frozen=True)
class ServeSettings:
    """How it is served.

    `url` is the server as machines reach it (None: what they asked for), `arguments` the
    kernel arguments of every menu, times in seconds.
    """

    url: str | None = None
    fallback: str = "127.0.0.1:8000"
    arguments: tuple[str, ...] = ()
    token_seconds: float = 3600.0
    callback_seconds: float = 6 * 3600.0


class BootAnswers:
    """The answers.  Called from several threads."""

    def __init__(
        self,
        source: KickstartSource,
        trees: Sequence[BootTree],
        state: BootState,
        settings: ServeSettings,
        *,
        emit: Emit,
        installed: Callable[[Installed], Finished],
    ) -> None:
        self._source = source
        self._trees: Mapping[str, BootTree] = {tree.arch: tree for tree in trees}
        self._state = state
        self._settings = settings
        self._emit = emit
        self._installed = installed
        self._said: dict[str, datetime] = {}
        self._saying = threading.Lock()
        self._callbacks = threading.Lock()

    def answer(self, ask: Ask) -> Answer:
        """See `BootService`."""
        parts = split_path(ask.path)
        if parts is None:
            self._complain(ask.peer, f"{ask.peer} asked for a path that no boot loader asks for")
            return Answer(400, "no such path\n", what="bad-path")
        wanted = route(parts)
        posted = isinstance(wanted, InstalledRoute)
        if wanted is None:
            return Answer(404, "nothing is here; see /\n")
        if ask.method not in (("POST",) if posted else ("GET", "HEAD")):
            allow = "POST" if posted else "GET, HEAD"
            return Answer(405, f"only {allow}\n", headers={"Allow": allow})
        try:
            match wanted:
                case IndexRoute():
                    return self._index()
                case KickstartRoute():
                    return self._kickstart(ask, wanted)
                case InstalledRoute(token):
                    return self._called_back(ask, token)
                case IpxeRoute(mac):
                    return self._ipxe(ask, mac)
                case GrubRoute(mac):
                    return self._grub(ask, mac)
                case FileRoute():
                    return self._file(ask, wanted)
        except FleetError as error:
            # The machine's console says where to look; what is wrong with the project stays here.
            hint = f" ({error.hint})" if error.hint else ""
            where = public_path(ask.path)
            message = f"{ask.peer}, {where}: {error.message}{hint}"
            self._complain(f"{where} {error.message}", message, kind="kickstart.failed")
            return Answer(500, _FAILED, what="failed")
        except Exception as error:  # noqa: BLE001 - one machine's trouble is not the others'
            message = f"{ask.peer}, {public_path(ask.path)}: {type(error).__name__}: {error}"
            self._complain(message, message, kind="kickstart.failed")
            return Answer(500, _FAILED, what="failed")

    def _index(self) -> Answer:
        archs = ", ".join(self._trees) or "none"
        return Answer(
            text="bootcfleet kickstart serve\n\n"
            "/ks                 kickstart, by Anaconda's headers (inst.ks.sendmac)\n"
            "/ks/HOST            kickstart by name, MAC address or serial number\n"
            "/ipxe               iPXE's first script\n"
            "/grub/grub.cfg      GRUB's configuration\n"
            f"/boot/ARCH/PATH     boot files; ARCH: {archs}\n"
        )

    def _base(self, ask: Ask) -> str:
        """This server, as the machine reaches it."""
        if self._settings.url:
            return self._settings.url
        host = ask.headers.get("Host", "")
        where = host if _HOST_HEADER.fullmatch(host) else self._settings.fallback
        return f"{'https' if ask.secure else 'http'}://{where}"

    def _with_mac(self, mac: str) -> BootHost | None:
        return self._source.hosts().with_mac(mac) or self._source.newcomer(mac)

    def _unknown(self, ask: Ask, who: str, *, mac: str | None, what: str) -> Answer:
        now = datetime.now(UTC)
        problem = f"no machine with {who} is in the inventory"
        if mac is not None:
            self._state.seen(mac, ask.peer, now, known=False, problem=problem)
        hint = (
            f"add it: hosts: NAME: install: {{mac: '{mac}'}}"
            if mac
            else "its mac or serial stands under install: of a host"
        )
        self._complain(f"unknown {who}", f"{ask.peer}: {problem}; {hint}", kind="kickstart.unknown")
        return Answer(404, f"{problem}\nhint: {hint}\n", what=what)

    def _entry(self, ask: Ask, host: BootHost, mac: str) -> bootmenu.Entry:
        base = self._base(ask)
        token = self._state.new_token(
            TokenUse.KICKSTART, host.name, datetime.now(UTC), self._settings.token_seconds
        )
        return bootmenu.Entry(
            host.name,
            host.title or host.name,
            base,
            f"{base}/ks/{host.name}/{token}",
            tuple(self._trees),
            mac,
            self._settings.arguments,
        )

    def _menu(self, ask: Ask, host: BootHost, text: str, what: str) -> Answer:
        if ask.method == "GET":
            now = datetime.now(UTC)
            self._state.seen(host.name, ask.peer, now, known=True, step=Step.MENU)
            self._emit(
                Event("kickstart.menu", host.name, f"{ask.peer} has {what}", {"client": ask.peer})
            )
        return Answer(text=text, host=host.name, what="menu", headers=_NO_STORE)

    def _is_installed(self, host: BootHost) -> bool:
        row = self._state.row(host.name)
        return row is not None and row.installed is not None

    def _ipxe(self, ask: Ask, mac: str | None) -> Answer:
        if mac is None:
            return Answer(text=bootmenu.ipxe_default(self._base(ask)), what="ipxe")
        host = self._with_mac(mac)
        if host is None:
            return self._unknown(ask, f"MAC {mac}", mac=mac, what="menu")
        if self._is_installed(host):
            text = bootmenu.ipxe_disk(host.name)
            return self._menu(ask, host, text, "iPXE's menu: it is installed and boots its disk")
        arch = bootmenu.ipxe_arch(ask.query.get("arch")) or next(iter(self._trees), None)
        if problem := bootmenu.missing_arch(arch, tuple(self._trees)):
            return self._nothing_to_boot(ask, host, problem)
        text = bootmenu.ipxe_install(self._entry(ask, host, mac), arch or "")
        return self._menu(ask, host, text, "iPXE's menu")

    def _grub(self, ask: Ask, mac: str | None) -> Answer:
        if mac is None:
            return Answer(text=bootmenu.grub_default(), what="grub")
        host = self._with_mac(mac)
        if host is None:
            return self._unknown(ask, f"MAC {mac}", mac=mac, what="menu")
        if self._is_installed(host):
            text = bootmenu.grub_disk(host.name)
            return self._menu(ask, host, text, "GRUB's menu: it is installed and boots its disk")
        if problem := bootmenu.missing_arch(None, tuple(self._trees)):
            return self._nothing_to_boot(ask, host, problem)
        text = bootmenu.grub_install(self._entry(ask, host, mac))
        return self._menu(ask, host, text, "GRUB's menu")

    def _nothing_to_boot(self, ask: Ask, host: BootHost, problem: str) -> Answer:
        self._state.seen(host.name, ask.peer, datetime.now(UTC), known=True, problem=problem)
        self._complain(host.name, problem, kind="kickstart.failed", subject=host.name)
        return Answer(404, f"{problem}\n", host=host.name, what="menu")

    def _file(self, ask: Ask, wanted: FileRoute) -> Answer:
        tree = self._trees.get(wanted.arch)
        path = tree.find(wanted.parts) if tree is not None else None
        if path is None:
            return Answer(
                404, "no such file in the boot directory\n", host=wanted.host, what="file"
            )
        step = step_of(wanted.parts)
        # A name in a URL is believed for the table only; it opens nothing.
        host = self._source.hosts().named(wanted.host) if wanted.host and step else None
        name = host.name if host else wanted.host
        if host is not None and step is not None and ask.method == "GET":
            self._state.seen(host.name, ask.peer, datetime.now(UTC), known=True, step=step)
            data = {"client": ask.peer, "file": "/".join(wanted.parts)}
            self._emit(Event("kickstart.file", host.name, f"{ask.peer} takes the {step}", data))
        return Answer(file=path, host=name, what=str(step or "file"))

    def _found(self, ask: Ask, key: str | None, hosts: BootHosts) -> tuple[BootHost | None, Asked]:
        asked = asked_by(ask.headers)
        if key is not None:
            host = hosts.called(key) or self._source.newcomer(key)
        else:
            host = hosts.asking(asked)
            for mac in asked.macs if host is None else ():
                host = host or self._source.newcomer(mac)
        return host, asked

    def _kickstart(self, ask: Ask, wanted: KickstartRoute) -> Answer:
        host, asked = self._found(ask, wanted.key, self._source.hosts())
        if host is None:
            mac = next(iter(asked.macs), None)
            who = f"the name, MAC address or serial number {wanted.key!r}"
            return self._unknown(ask, str(asked) if wanted.key is None else who, mac=mac, what="ks")
        now = datetime.now(UTC)
        callback = make_token()
        made = self._source.render(host, f"{self._base(ask)}/installed/{callback}")
        token = None
        if made.secret:
            token, problem = self._redeem(ask, host, wanted.token, now)
            if problem:
                return self._refused(ask, host, problem)
        headers = _NO_STORE
        if ask.method == "HEAD":
            return Answer(text=made.text, host=host.name, what="ks", headers=headers)
        seconds = self._settings.callback_seconds
        self._state.new_token(TokenUse.INSTALLED, host.name, now, seconds, callback)

        def sent(whole: bool) -> None:
            if whole:
                self._given(ask, host, made.secret)
            elif token is not None:
                self._state.give_back(token)

        return Answer(text=made.text, host=host.name, what="ks", headers=headers, sent=sent)

    def _redeem(
        self, ask: Ask, host: BootHost, text: str | None, now: datetime
    ) -> tuple[Token | None, str | None]:
        """The token that was used up, or why there is none to use."""
        if text is None:
            return None, "it has secrets, and is given for the token of a menu only"
        token = self._state.token(text)
        if problem := token_problem(token, TokenUse.KICKSTART, host.name, now):
            return None, problem
        if ask.method == "GET" and token is not None and not self._state.claim(token, now):
            return None, "its token was used by another request at the same time"
        return token, None

    def _given(self, ask: Ask, host: BootHost, secret: bool) -> None:
        self._state.seen(host.name, ask.peer, datetime.now(UTC), known=True, step=Step.KICKSTART)
        with_secrets = " (with secrets, once)" if secret else ""
        self._emit(
            Event(
                "kickstart.given",
                host.name,
                f"{ask.peer} has its kickstart{with_secrets}",
                {"client": ask.peer, "secret": secret},
            )
        )

    def _refused(self, ask: Ask, host: BootHost, problem: str) -> Answer:
        message = f"the kickstart was not given to {ask.peer}: {problem}"
        self._state.seen(host.name, ask.peer, datetime.now(UTC), known=True, problem=message)
        self._complain(
            f"{host.name} {problem}", message, kind="kickstart.refused", subject=host.name
        )
        hint = "boot again from the network: a new menu has a new token"
        return Answer(403, f"{problem}\nhint: {hint}\n", host=host.name, what="ks")

    def _called_back(self, ask: Ask, text: str | None) -> Answer:
        kind, _, bearer = ask.headers.get("Authorization", "").partition(" ")
        if text is None and kind.lower() == "bearer":
            text = bearer.strip()
        now = datetime.now(UTC)
        token = self._state.token(text) if text else None
        problem = token_problem(token, TokenUse.INSTALLED, None, now)
        if token is None or problem:
            self._complain(
                f"callback {ask.peer}",
                f"a callback from {ask.peer} is not believed: {problem}",
                kind="kickstart.refused",
            )
            return Answer(403, f"{problem}\n", what="installed")
        try:
            said = parse_callback(ask.body)
        except ValueError as error:
            return Answer(400, f"{error}\n", host=token.host, what="installed")
        with self._callbacks:
            if not self._state.claim(token, now):
                return Answer(403, "this token was used already\n", what="installed")
            host = self._source.hosts().named(token.host) or self._source.newcomer(token.host)
            host = host or BootHost(token.host, said.macs)
            self._state.seen(host.name, ask.peer, now, known=True, step=Step.INSTALLED)
            self._state.installed(host.name, now, said.keys)
            data = {"client": ask.peer, "ssh_host_keys": len(said.keys)}
            self._emit(Event("host.installed", host.name, f"{ask.peer} is installed", data))
            try:
                done = self._installed(Installed(host, ask.peer, said, now))
            except FleetError as error:
                trouble = f"is installed, which could not be recorded: {error.message}"
                self._complain(trouble, trouble, kind="kickstart.failed", subject=host.name)
                done = Finished(host.name, trouble)
            if done.name != host.name:
                # It is installed under its new name, too: it must not be installed once more.
                self._state.rename(host.name, done.name)
            if done.problem:
                self._state.seen(done.name, ask.peer, now, known=True, problem=done.problem)
        return Answer(text="thank you\n", host=host.name, what="installed")

    def _complain(
        self, key: str, message: str, *, kind: str = "kickstart.refused", subject: str = ""
    ) -> None:
        """Say it, but not hundreds of times a minute."""
        now = datetime.now(UTC)
        with self._saying:
            last = self._said.get(key)
            if last is not None and (now - last).total_seconds() < _QUIET:
                return
            if len(self._said) >= _MOST_QUIET:
                self._said.clear()
            self._said[key] = now
        self._emit(Event(kind, subject, message))


_FAILED = "this cannot be made now; see the server's messages\n"
#: Menus and kickstarts are made for one machine at one time.
_NO_STORE = {"Cache-Control": "no-store"}
