"""Real OpenSSH servers on loopback, each with its own keys and settings, stopped by pid."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.tools import need


def keygen(path: Path, kind: str = "ed25519", *, passphrase: str = "") -> Path:
    """A new key pair at `path`."""
    subprocess.run(
        [need("ssh-keygen"), "-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", str(path)],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return path


def sign(authority: Path, public: Path, *options: str) -> Path:
    """A certificate for a public key; its path."""
    subprocess.run(
        [need("ssh-keygen"), "-q", "-s", str(authority), "-I", "test-id", *options, str(public)],
        check=True,
    )
    return public.with_name(public.name.removesuffix(".pub") + "-cert.pub")


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, children before their children."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text()
            except OSError:
                continue
            parent = int(status.rpartition(")")[2].split()[1])
            below.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    todo = [pid]
    while todo:
        children = below.get(todo.pop(), [])
        found += children
        todo += children
    return found


def processes_of(user: str) -> list[int]:
    """All processes of a user."""
    uid = pwd.getpwnam(user).pw_uid
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and entry.stat().st_uid == uid:
                found.append(int(entry.name))
    return found


@dataclass
class Sshd:
    """One server.  `settings` are lines of its sshd_config, before the defaults here."""

    folder: Path
    address: str = "127.0.0.1"
    settings: Sequence[str] = ()
    key_types: Sequence[str] = ("ed25519",)
    port: int = 0
    #: Words before sshd's own: `ip netns exec NAME`.
    prefix: Sequence[str] = ()
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def host_keys(self) -> list[Path]:
        return [self.folder / f"host_{kind}" for kind in self.key_types]

    @property
    def authorized(self) -> Path:
        return self.folder / "authorized_keys"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def authorize(self, *public: Path) -> None:
        with self.authorized.open("a") as stream:
            for path in public:
                stream.write(path.read_text())

    def known_hosts(self, name: str | None = None) -> str:
        """The lines that a known_hosts file needs for this server."""
        name = name or f"[{self.address}]:{self.port}"
        return "".join(
            f"{name} {' '.join(key.with_suffix('.pub').read_text().split()[:2])}\n"
            for key in self.host_keys
        )

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        for kind, key in zip(self.key_types, self.host_keys, strict=True):
            if not key.exists():
                keygen(key, kind)
        self.authorized.touch()
        for _ in range(5):
            if not self.port:
                with socket.socket() as sock:
                    sock.bind((self.address, 0))
                    self.port = sock.getsockname()[1]
            if self._try_start():
                return
            self.port = 0
        raise AssertionError(f"sshd does not start:\n{self.log}")

    def _try_start(self) -> bool:
        lines = [
            *self.settings,
            f"ListenAddress {self.address}:{self.port}",
            *(f"HostKey {key}" for key in self.host_keys),
            *self._who_comes_in(),
            "PidFile none",
            "UsePAM no",
            "StrictModes no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            "PermitRootLogin yes",
            "MaxStartups 300:30:300",
            "AcceptEnv LANG LC_*",
            "PrintMotd no",
            "LogLevel VERBOSE",
        ]
        config = self.folder / "sshd_config"
        config.write_text("\n".join(lines) + "\n")
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self.prefix, need("sshd"), "-D", "-e", "-f", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        while self._process.poll() is None:
            with socket.socket() as sock:
                sock.settimeout(5)
                if sock.connect_ex((self.address, self.port)) == 0:
                    return True
            time.sleep(0.02)
        return False

    def _who_comes_in(self) -> list[str]:
        if os.geteuid() != 0:
            return [f"AuthorizedKeysFile {self.authorized}"]
        # sshd opens the file as the user who logs in, and the folders of tests are closed to him.
        return [
            "AuthorizedKeysFile none",
            f"AuthorizedKeysCommand {need('cat')} {self.authorized}",
            "AuthorizedKeysCommandUser root",
        ]

    def cut(self) -> None:
        """Kill all sessions, as a crash of the machine would; the server goes on listening."""
        assert self._process is not None
        for pid in descendants(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """Stop the server with all its sessions."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)
            self.cut()
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Sshd:
        # One that runs already would be forgotten, and stay behind.
        if self._process is None:
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
