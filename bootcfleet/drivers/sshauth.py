"""Keys, passphrases and passwords for SSH: read once for the process, asked for once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

import paramiko

from bootcfleet.drivers.sshconfig import Target
from bootcfleet.errors import FleetError

#: What ssh tries when nothing is named (ssh_config(5), IdentityFile), without the weak ones.
_DEFAULT_IDENTITIES = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")


class Secrets:
    """Asks a person, once for each question, and remembers the answer for this process only."""

    def __init__(self, ask: Callable[[str], str]) -> None:
        self._ask = ask
        self._answers: dict[str, str] = {}
        self._lock = threading.Lock()

    def get(self, question: str) -> str:
        """The answer; other threads wait while a person types."""
        with self._lock:
            if question not in self._answers:
                self._answers[question] = self._ask(question)
            return self._answers[question]

    def forget(self, question: str) -> None:
        """Drop an answer that was wrong."""
        with self._lock:
            self._answers.pop(question, None)


class Keys:
    """Private keys from files and the agent, parsed once."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._files: dict[tuple[str, tuple[str, ...]], paramiko.PKey | None] = {}
        self._agent: list[paramiko.PKey] | None = None
        self._lock = threading.RLock()

    def candidates(self, target: Target) -> list[paramiko.PKey]:
        """The keys to offer, in order.

        A named key goes first and alone (`only_identities`); else the agent's
        keys and then the usual files.  Raises `FleetError` for a named key that
        cannot be read or unlocked.
        """
        with self._lock:
            named = [self._file(path, target.certificates) for path in target.identities]
            keys = [key for key in named if key is not None]
            if target.only_identities:
                if not keys:
                    raise FleetError(
                        f"the key {', '.join(target.identities)} does not exist",
                        hint="look at identity_file in the inventory, or IdentityFile in "
                        "~/.ssh/config",
                    )
                return keys
            offered = {key.asbytes() for key in keys}
            keys += [key for key in self._from_agent() if key.asbytes() not in offered]
            if not keys:
                usual = [self._file(path, ()) for path in _DEFAULT_IDENTITIES]
                keys = [key for key in usual if key is not None]
            return keys

    def _from_agent(self) -> list[paramiko.PKey]:
        if self._agent is None:
            try:
                self._agent = list(paramiko.Agent().get_keys())
            except paramiko.SSHException:
                self._agent = []
        return self._agent

    def _file(self, path: str, certificates: tuple[str, ...]) -> paramiko.PKey | None:
        known = (path, certificates)
        if known not in self._files:
            self._files[known] = self._load(Path(path).expanduser(), certificates)
        return self._files[known]

    def _load(self, path: Path, certificates: tuple[str, ...]) -> paramiko.PKey | None:
        if not path.exists():
            return None
        key = self._unlock(path)
        for certificate in certificates:
            # A certificate of another key does not fit; ssh passes it over as well.
            with contextlib.suppress(ValueError, OSError, paramiko.SSHException):
                key.load_certificate(str(Path(certificate).expanduser()))
        return key

    def _unlock(self, path: Path) -> paramiko.PKey:
        question = f"Passphrase for {path}: "
        for attempt in range(3):
            password = self._secrets.get(question).encode() if attempt else None
            try:
                return _read_key(path, password)
            except _WrongPasswordError:
                if password is not None:
                    self._secrets.forget(question)
            except (ValueError, paramiko.SSHException, OSError) as error:
                raise FleetError(
                    f"the key {path} cannot be read: {error}",
                    hint=f"look at it with `ssh-keygen -y -f {path}`",
                ) from error
        raise FleetError(f"the passphrase for {path} is wrong", hint="or use ssh-agent: ssh-add")


class _WrongPasswordError(Exception):
    """No passphrase was given where one is needed, or another than the key's."""


def _read_key(path: Path, password: bytes | None) -> paramiko.PKey:
    try:
        # paramiko names the parameter's type str and hands it to cryptography, which wants bytes.
        return paramiko.PKey.from_path(path, password)  # type: ignore[arg-type, unused-ignore]
    except (TypeError, paramiko.PasswordRequiredException) as error:
        raise _WrongPasswordError from error
    except ValueError as error:
        # cryptography says "Incorrect password?" or "Corrupt data"; both with an encrypted key.
        if password is not None:
            raise _WrongPasswordError from error
        if "ncrypted" in str(error) or "password" in str(error).lower():
            raise _WrongPasswordError from error
        raise
