"""A user, a home folder and a server, for tests and benches that come in over SSH."""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bootcfleet.domain.inventory import Connection
from bootcfleet.drivers.ssh import SshExecutor, SshShared
from bootcfleet.errors import HostError
from tests.integration.opensshd import Sshd, keygen, processes_of
from tests.tools import need


@dataclass(frozen=True)
class Account:
    """Who logs in, and a folder of his.  `password` is known only for a throw-away user."""

    name: str
    folder: Path
    password: str | None = None


@contextlib.contextmanager
def throwaway_account() -> Iterator[Account]:
    """A throw-away user where this is root (a login shell without anybody's profile).

    Elsewhere this user, with a folder that goes away.
    """
    if os.geteuid() != 0:
        with tempfile.TemporaryDirectory(prefix="bootcfleet-account-") as folder:
            yield Account(getpass.getuser(), Path(folder))
        return
    name = f"bcf{os.getpid()}"
    # Not among pytest's folders: they are closed to other users.
    home = Path(tempfile.mkdtemp(prefix="bootcfleet-account-"))
    password = secrets.token_urlsafe(12)
    subprocess.run([need("useradd"), "-M", "-d", str(home), "-s", "/bin/sh", name], check=True)
    try:
        subprocess.run([need("chpasswd")], input=f"{name}:{password}\n", text=True, check=True)
        shutil.chown(home, name)
        yield Account(name, home, password)
    finally:
        shutil.rmtree(home)
        for pid in processes_of(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        subprocess.run([need("userdel"), "-f", name], check=True, capture_output=True)


@dataclass
class World:
    """One server that lets one key in, and a home folder that knows it."""

    home: Path
    server: Sshd
    account: Account
    questions: list[str] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> Path:
        return self.home / "key"

    def ask(self, question: str) -> str:
        self.questions.append(question)
        for part, answer in self.answers.items():
            if part in question:
                return answer
        raise AssertionError(f"nobody should ask {question!r}")

    def know(self, text: str | None = None) -> None:
        (self.home / ".ssh" / "known_hosts").write_text(
            self.server.known_hosts() if text is None else text
        )

    def config(self, text: str, name: str = "config") -> None:
        path = self.home / ".ssh" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)

    def shared(self) -> SshShared:
        return SshShared(ask=self.ask)

    def connection(self, **more: object) -> Connection:
        settings: dict[str, object] = {
            "address": self.server.address,
            "port": self.server.port,
            "user": self.account.name,
            "identity_file": str(self.key),
        }
        return Connection().over({**settings, **more})

    def executor(self, shared: SshShared | None = None, **more: object) -> SshExecutor:
        return SshExecutor("web1", self.connection(**more), shared or self.shared())

    def named(self, name: str, shared: SshShared | None = None) -> SshExecutor:
        """A host of which only the name is known: ~/.ssh/config says the rest."""
        return SshExecutor(name, Connection(), shared or self.shared())


@contextlib.contextmanager
def worlds(
    folder: Path, account: Account, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., World]]:
    """Makes worlds with a server of their own each: address, lines of its sshd_config."""
    home = folder / "home"
    (home / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    key = keygen(home / "key")
    servers: list[Sshd] = []

    def make(address: str, *settings: str) -> World:
        server = Sshd(folder / f"sshd{len(servers)}", address, settings=settings)
        servers.append(server)
        server.start()
        server.authorize(key.with_suffix(".pub"))
        made = World(home, server, account)
        made.know()
        return made

    try:
        yield make
    finally:
        for server in servers:
            server.stop()


def fault(do: Callable[[], object]) -> HostError:
    with pytest.raises(HostError) as caught:
        do()
    return caught.value


def until(what: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether it comes true; a limit, never a measurement."""
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
