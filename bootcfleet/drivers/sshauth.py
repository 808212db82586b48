"""Keys, certificates, passphrases and passwords for SSH: read once, asked for once."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import paramiko
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    load_ssh_public_identity,
)
from paramiko.agent import AgentSSH

from bootcfleet.drivers.knownhosts import fingerprint
from bootcfleet.drivers.sshtarget import Target
from bootcfleet.errors import FleetError

#: What ssh tries when nothing is named (ssh_config(5), IdentityFile), the best first.
_DEFAULT_IDENTITIES = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
_MAGIC = b"openssh-key-v1\0"
_TRIES = 3


class Secrets:
    """Asks a person, once for each question, and remembers the answer for this process only."""

    def __init__(self, ask: Callable[[str], str]) -> None:
        self._ask = ask
        self._answers: dict[str, str] = {}
        self._proven: set[str] = set()
        self._asked: dict[str, int] = {}
        self._lock = threading.Lock()

    def get(self, question: str) -> str:
        """The answer; other threads wait while a person types."""
        with self._lock:
            if question not in self._answers:
                self._answers[question] = self._ask(question)
                self._asked[question] = self._asked.get(question, 0) + 1
            return self._answers[question]

    def worked(self, question: str) -> None:
        """The answer was right somewhere: who refuses it now is the odd one out."""
        with self._lock:
            self._proven.add(question)

    def refused(self, question: str, answer: str) -> bool:
        """The answer was wrong; whether it is worth asking (or looking) again.

        An answer that has worked elsewhere stays.  One that never worked is
        forgotten, so that a typing mistake does not fail a whole fleet; after
        three of them nobody is asked any more.
        """
        with self._lock:
            if question in self._proven:
                return False
            current = self._answers.get(question)
            if current is not None and current != answer:
                return True
            if self._asked.get(question, 0) >= _TRIES:
                return False
            # Already gone when another host had the same answer refused before.
            self._answers.pop(question, None)
            return True


@dataclass(frozen=True)
class Candidate:
    """A key to offer and how to call it; without a key, why there is none."""

    label: str
    key: paramiko.PKey | None


class Keys:
    """Private keys from files and the agent.  Files are parsed once."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._files: dict[str, paramiko.PKey] = {}
        self._lock = threading.Lock()

    def candidates(self, target: Target) -> Iterator[Candidate]:
        """The keys to offer, one after the other; nothing is looked for before it is wanted.

        A named key goes first, its certificate before it.  The agent is asked
        only when that was refused, or when it holds a named key that is
        encrypted here.  Close the iterator: it holds the agent's socket.
        Raises `FleetError` for the inventory's key when it cannot be used.
        """
        with contextlib.ExitStack() as stack:
            agent = _LazyAgent(target.agent, stack)
            offered: set[bytes] = set()
            for path in target.identities:
                for candidate in self._named(Path(path), target, agent):
                    if candidate.key is not None:
                        offered.add(_blob(candidate.key))
                    yield candidate
            if target.only_identities:
                return
            for identity in agent.identities():
                if _blob(identity) not in offered:
                    yield Candidate(f"{_label(identity)} of the agent", identity)
            if not target.identities:
                for path in _DEFAULT_IDENTITIES:
                    if Path(path).expanduser().exists():
                        yield from self._named(Path(path).expanduser(), target, agent)

    def _named(self, path: Path, target: Target, agent: _LazyAgent) -> Iterator[Candidate]:
        """A key file: its certificates, then the key itself."""
        try:
            key = self._from_file(path) or self._from_agent(path, agent) or self._unlock(path)
        except FleetError as error:
            if target.named_key:
                raise
            yield Candidate(error.message, None)
            return
        public = _blob(key)
        for certificate in (f"{path}-cert.pub", *target.certificates):
            blob = _certificate(Path(certificate), public)
            if blob is not None:
                yield Candidate(f"certificate {certificate}", _Certified(key, blob))
        yield Candidate(f"{_label(key)} ({path})", key)

    def _from_file(self, path: Path) -> paramiko.PKey | None:
        """The key of a file, None when it is encrypted or only the public half is there."""
        with self._lock:
            if str(path) not in self._files:
                if not path.exists():
                    if path.with_name(path.name + ".pub").exists():
                        return None
                    raise FleetError(
                        f"the key {path} does not exist",
                        hint="look at identity_file in the inventory, or make a key: ssh-keygen",
                    )
                if path.suffix == ".pub":
                    return None
                try:
                    self._files[str(path)] = _read_key(path, None)
                except _LockedError:
                    return None
            return self._files[str(path)]

    def _from_agent(self, path: Path, agent: _LazyAgent) -> paramiko.PKey | None:
        public = _public_half(path)
        for identity in agent.identities() if public else ():
            if _blob(identity) == public:
                return identity
        return None

    def _unlock(self, path: Path) -> paramiko.PKey:
        if path.suffix == ".pub" or not path.exists():
            raise FleetError(
                f"the private half of {path} is neither in a file nor in the agent",
                hint="ssh-add it, and look with ssh-add -l",
            )
        question = f"Passphrase for {path}: "
        while True:
            passphrase = self._secrets.get(question)
            with self._lock:
                if str(path) in self._files:
                    return self._files[str(path)]
                try:
                    self._files[str(path)] = _read_key(path, passphrase.encode())
                    return self._files[str(path)]
                except _LockedError:
                    pass
            if not self._secrets.refused(question, passphrase):
                raise FleetError(
                    f"the passphrase for {path} is wrong",
                    hint=f"or give it to the agent: ssh-add {path}",
                )


class _LockedError(Exception):
    """No passphrase was given where one is needed, or another than the key's."""


def _read_key(path: Path, passphrase: bytes | None) -> paramiko.PKey:
    try:
        # paramiko calls the parameter a str and hands it to cryptography, which wants bytes.
        key = paramiko.PKey.from_path(path, passphrase)  # type: ignore[arg-type, unused-ignore]
    except (TypeError, paramiko.PasswordRequiredException) as error:
        raise _LockedError from error
    except (ValueError, paramiko.SSHException, OSError) as error:
        # With a wrong passphrase cryptography says "Incorrect password?" or "Corrupt data".
        if isinstance(error, ValueError | paramiko.SSHException) and passphrase is not None:
            raise _LockedError from error
        raise FleetError(
            f"the key {path} cannot be read: {error}",
            hint=f"look at it with: ssh-keygen -y -f {path}",
        ) from error
    # The certificate beside it is offered on its own, and is read again when it changes.
    key.public_blob = None
    return key


class _Certified(paramiko.PKey):
    """A key that is offered with a certificate for it."""

    def __init__(self, key: paramiko.PKey, blob: paramiko.pkey.PublicBlob) -> None:
        self._key = key
        self._blob = blob
        self.public_blob = blob

    def asbytes(self) -> bytes:
        """The certificate, as it goes over the wire."""
        return bytes(self._blob.key_blob)

    def get_name(self) -> str:
        """The certificate's type."""
        return str(self._blob.key_type)

    def sign_ssh_data(self, data: bytes, algorithm: str | None = None) -> paramiko.Message:
        """Sign with the key: the signature is the same as without a certificate."""
        return self._key.sign_ssh_data(data, algorithm)


class _Identity(paramiko.AgentKey):
    """A key or certificate of the agent, called by the very bytes that the agent knows it by."""

    def asbytes(self) -> bytes:
        """The public half or certificate."""
        return bytes(self.blob)


class _Agent(AgentSSH):
    """A connection to an agent, for one thread: paramiko's answers mix when it is shared.

    paramiko's own `Agent` knows only $SSH_AUTH_SOCK.
    """

    _connect: Callable[[socket.socket], None]
    _close: Callable[[], None]

    def __init__(self, path: str) -> None:
        super().__init__()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(path)
            self._connect(connection)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Let the socket go."""
        self._close()


class _LazyAgent:
    """The agent's identities; it is connected to when they are first wanted."""

    def __init__(self, path: str | None, stack: contextlib.ExitStack) -> None:
        self._path = path
        self._stack = stack
        self._identities: tuple[_Identity, ...] | None = None

    def identities(self) -> tuple[_Identity, ...]:
        """What it holds; nothing where there is no agent."""
        if self._identities is None:
            self._identities = ()
            if self._path:
                # A socket that nobody listens on is no agent, as for ssh.
                with contextlib.suppress(OSError, paramiko.SSHException):
                    agent = _Agent(self._path)
                    self._stack.callback(agent.close)
                    self._identities = tuple(
                        _Identity(agent, key.blob, key.comment) for key in agent.get_keys()
                    )
        return self._identities


def _certificate(path: Path, public: bytes) -> paramiko.pkey.PublicBlob | None:
    """The certificate of a file if it is for this public key; else ssh passes it over as well."""
    try:
        text = path.read_bytes().strip()
        certificate = load_ssh_public_identity(text)
        if not isinstance(certificate, SSHCertificate):
            return None
        key = certificate.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        if base64.b64decode(key.split()[1]) != public:
            return None
        return paramiko.pkey.PublicBlob.from_string(text.decode())
    except (OSError, ValueError, UnicodeDecodeError):
        return None


def _public_half(path: Path) -> bytes | None:
    """The public key of a private key file, without its passphrase.

    It stands in the file in the clear (OpenSSH's PROTOCOL.key), or beside it.
    """
    for beside in (path, path.with_name(path.name + ".pub")):
        with contextlib.suppress(OSError, ValueError, IndexError):
            text = beside.read_text(encoding="ascii")
            if not text.startswith("-----"):
                return base64.b64decode(text.split()[1])
            data = base64.b64decode("".join(text.split("-----")[2].split()))
            if data.startswith(_MAGIC):
                message = paramiko.Message(data[len(_MAGIC) :])
                for _ in range(3):
                    message.get_string()
                if message.get_int() == 1:
                    return bytes(message.get_string())
    return None


def _blob(key: paramiko.PKey) -> bytes:
    return key.asbytes()


def _label(key: paramiko.PKey) -> str:
    return f"{key.get_name()} {fingerprint(_blob(key))}"
