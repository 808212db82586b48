"""One real sshd that lets this process's user in, and executors that know it."""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bootcfleet.domain.inventory import Connection, Host
from bootcfleet.drivers.ssh import SshExecutor, SshShared
from tests.integration.opensshd import Sshd, keygen


@dataclass
class OneHost:
    """A host named ``web1``; `bin` stands first in the PATH of its sessions."""

    server: Sshd
    host: Host
    bin: Path

    def executor(self) -> SshExecutor:
        """A connection of its own; who asks for it closes it."""
        return SshExecutor("web1", self.host.connection, SshShared(ask=lambda question: question))

    def program(self, name: str, script: str) -> None:
        """Put a program into the PATH of the host's sessions."""
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)


@contextmanager
def one_host(
    folder: Path, monkeypatch: pytest.MonkeyPatch, address: str, settings: Sequence[str] = ()
) -> Iterator[OneHost]:
    """Start the server; the home folder of this process is one that knows it."""
    home, bin_ = folder / "home", folder / "bin"
    (home / ".ssh").mkdir(parents=True)
    bin_.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    key = keygen(home / "key")
    path = f"SetEnv PATH={bin_}:/usr/bin:/bin"
    with Sshd(folder / "sshd", address, [path, *settings]) as server:
        server.authorize(key.with_suffix(".pub"))
        (home / ".ssh/known_hosts").write_text(server.known_hosts())
        connection = Connection(
            address=server.address,
            port=server.port,
            user=getpass.getuser(),
            identity_file=str(key),
            become=False,
        )
        yield OneHost(server, Host("web1", connection=connection), bin_)
