"""Who we are to a registry: credential files and helpers, and what a challenge asks for.

Sources: containers-auth.json(5), the credential helper protocol of
docker-credential-helpers, RFC 9110 section 11 (challenges).  Credentials are
never shown, and reach a helper by its standard streams alone.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bootcfleet.drivers.command import Executor
from bootcfleet.drivers.registryconf import config_home
from bootcfleet.errors import ConfigError, FleetError, ToolMissingError

#: docker.io's three names: in references, in credential files, and of its server.
_DOCKER = {"docker.io", "index.docker.io", "registry-1.docker.io"}
#: Stands in a list of helpers for the credential files themselves.
_FILES = "containers-auth.json"
#: A helper's user name that says: the secret is an identity token.
_IDENTITY_USER = "<token>"


@dataclass(frozen=True)
class Credentials:
    """A user and a password, or an identity token.  The secrets are never shown."""

    user: str
    password: str = field(repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


@dataclass(frozen=True)
class Challenge:
    """One way to authenticate that a 401 offers; scheme and parameter names in lower case."""

    scheme: str
    parameters: Mapping[str, str]


class Keyring:
    """Finds the credentials of a repository."""

    def __init__(self, executor: Executor, helpers: Iterable[str] = ()) -> None:
        self._executor = executor
        self._helpers = tuple(helpers) or (_FILES,)

    def find(self, name: str) -> Credentials | None:
        """The credentials for a repository (``registry/path``); None where there are none.

        Raises `ConfigError` for a credential file that cannot be read,
        `ToolMissingError` for a helper that is configured and not installed.
        """
        for helper in self._helpers:
            found = self._from_files(name) if helper == _FILES else self._ask(helper, name)
            if found is not None:
                return found
        return None

    def _from_files(self, name: str) -> Credentials | None:
        registry = name.partition("/")[0]
        for file in auth_files():
            body = _read(file)
            for host in sorted(_names_of(registry)):
                if helper := _table(body, "credHelpers", file).get(host):
                    return self._ask(str(helper), host)  # its auths do not count then
            if (found := _in_auths(_table(body, "auths", file), name, file)) is not None:
                return found
            store = body.get("credsStore")
            if isinstance(store, str) and store:
                # Docker's default store: often left behind where its program is not.
                try:
                    found = self._ask(store, _store_key(registry))
                except ToolMissingError:
                    continue
                if found is not None:
                    return found
        return None

    def _ask(self, helper: str, name: str) -> Credentials | None:
        registry = name.partition("/")[0] if not name.startswith("https:") else name
        program = f"docker-credential-{helper}"
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", helper):
            raise ConfigError(f"{helper!r} cannot be the name of a credential helper")
        try:
            result = self._executor.run([program, "get"], stdin=registry.encode(), timeout=30)
        except ToolMissingError as error:
            raise ToolMissingError(
                f"the credential helper {program} for {registry} is not installed",
                hint=f"install it, or take {helper!r} out of auth.json and use: "
                f"podman login {registry}",
            ) from error
        if not result.ok:
            # What the protocol says for "I do not know it"; anything else is a failure.
            if "credentials not found" in (result.stdout + result.stderr):
                return None
            raise FleetError(
                f"the credential helper {program} failed for {registry} "
                f"(exit code {result.exit_code})",
                hint=f"try: echo {registry} | {program} get",
            )
        try:
            body = json.loads(result.stdout)
            user, secret = str(body["Username"]), str(body["Secret"])
        except (ValueError, KeyError, TypeError) as error:
            raise FleetError(
                f"the credential helper {program} gave no credentials for {registry}",
                hint=f"try: echo {registry} | {program} get",
            ) from error
        return Credentials("", "", secret) if user == _IDENTITY_USER else Credentials(user, secret)


def auth_files() -> list[Path]:
    """The credential files, in the order in which they are looked at.  Raises `ConfigError`."""
    if named := os.environ.get("REGISTRY_AUTH_FILE"):
        if not Path(named).exists():
            raise ConfigError(
                "REGISTRY_AUTH_FILE names this file, and it is not there",
                file=named,
                hint="unset REGISTRY_AUTH_FILE, or log in: podman login REGISTRY",
            )
        return [Path(named)]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    first = Path(runtime, "containers") if runtime else Path(f"/run/containers/{os.getuid()}")
    docker = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    return [first / "auth.json", config_home() / "auth.json", docker / "config.json"]


def parse_challenges(header: str) -> list[Challenge]:
    """The challenges of a ``WWW-Authenticate`` header, in its order.

    Several may stand in one header, separated like their own parameters by
    commas.  What does not fit the grammar is passed over: it never raises.
    """
    found: list[tuple[str, dict[str, str]]] = []
    position, text = 0, header[:_LONGEST_HEADER]
    while (position := _SEPARATORS.match(text, position).end()) < len(text):  # type: ignore[union-attr]
        if match := _PARAMETER.match(text, position):
            quoted, plain = match["quoted"], match["plain"]
            value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)
            if found:  # a parameter of no scheme says nothing
                found[-1][1].setdefault(match["key"].lower(), value)
        elif match := _SCHEME.match(text, position):
            found.append((match["scheme"].lower(), {}))
        else:
            match = _JUNK.match(text, position)
        position = match.end() if match else len(text)
    return [Challenge(scheme, parameters) for scheme, parameters in found]


#: Characters of a header that are looked at: what is longer is no challenge.
_LONGEST_HEADER = 8192
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SEPARATORS = re.compile(r"[\s,]*")
_PARAMETER = re.compile(
    rf'(?P<key>{_WORD})\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s,"=]+))', re.DOTALL
)
# After a scheme come its parameters, a token68 (which we have no use for), or nothing.
_SCHEME = re.compile(rf"(?P<scheme>{_WORD})(?=[\s,]|$)(?:[ \t]+[\w.~+/-]+=*(?=\s*(?:,|$)))?")
# A quotation that is never closed takes all that follows with it.
_JUNK = re.compile(rf'{_WORD}\s*=\s*".*|{_WORD}|.', re.DOTALL)


def _read(file: Path) -> Mapping[str, Any]:
    try:
        body = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(file)) from error
    except (ValueError, RecursionError) as error:
        # Not the parser's message: it may quote what stands there.
        raise ConfigError(
            "is not valid JSON", file=str(file), hint="log in again: podman login REGISTRY"
        ) from error
    if not isinstance(body, dict):
        raise ConfigError("is not a JSON object", file=str(file))
    return body


def _table(body: Mapping[str, Any], key: str, file: Path) -> Mapping[str, Any]:
    table = body.get(key) or {}
    if not isinstance(table, dict):
        raise ConfigError("is not a JSON object", file=str(file), field=key)
    return table


def _in_auths(auths: Mapping[str, Any], name: str, file: Path) -> Credentials | None:
    """The entry with the longest key that the repository is under."""
    registry = name.partition("/")[0]
    keys = [name]
    while "/" in keys[-1]:
        keys.append(keys[-1].rpartition("/")[0])
    by_host = {_host_of(key): value for key, value in auths.items() if key not in keys}
    candidates = [auths.get(key) for key in keys]
    candidates += [by_host.get(host) for host in sorted(_names_of(registry))]
    for entry in candidates:
        if isinstance(entry, dict) and (found := _decode(entry, file)):
            return found
    return None


def _host_of(key: str) -> str:
    """The registry of a key that Docker wrote as an address (``https://index.docker.io/v1/``)."""
    bare = re.sub(r"^https?://", "", key)
    return bare.partition("/")[0] if bare != key else bare


def _names_of(registry: str) -> set[str]:
    return _DOCKER if registry in _DOCKER else {registry}


def _store_key(registry: str) -> str:
    return "https://index.docker.io/v1/" if registry in _DOCKER else registry


def _decode(entry: Mapping[str, Any], file: Path) -> Credentials | None:
    token, auth = entry.get("identitytoken"), entry.get("auth")
    if isinstance(token, str) and token:
        return Credentials("", "", token)
    if not isinstance(auth, str) or not auth:
        return None
    try:
        user, colon, password = base64.b64decode(auth, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ConfigError("has an auth entry that is not base64", file=str(file)) from error
    if not colon:
        raise ConfigError("has an auth entry that is not user:password", file=str(file))
    return Credentials(user, password.rstrip("\0"))
