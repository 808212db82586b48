"""containers' own configuration of registries: credentials, certificates, mirrors, insecure ones.

Sources: containers-auth.json(5), containers-registries.conf(5),
containers-certs.d(5).  bootcfleet has none of its own, so that podman, bootc
and this tool agree.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootcfleet.domain.reference import ImageRef
from bootcfleet.drivers.command import Executor
from bootcfleet.errors import ConfigError, FleetError


@dataclass(frozen=True)
class Credentials:
    """A user and a password or token.  Never shown."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials(user={self.user!r})"


@dataclass(frozen=True)
class Endpoint:
    """Where a repository is really asked for: registry and repository there."""

    registry: str
    repository: str
    insecure: bool


def is_loopback(registry: str) -> bool:
    """Whether the registry is on this machine."""
    host = registry.rpartition(":")[0] if registry.count(":") == 1 else registry
    host = host.split("]")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class RegistriesConf:
    """registries.conf and its drop-ins: the longest prefix decides."""

    def __init__(self, files: Iterable[Path] | None = None) -> None:
        self._entries: list[Mapping[str, Any]] = []
        for file in _default_files() if files is None else files:
            try:
                body = tomllib.loads(file.read_text(encoding="utf-8"))
            except OSError:
                continue
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise ConfigError(f"is not valid TOML: {error}", file=str(file)) from error
            self._entries += [e for e in body.get("registry", ()) if isinstance(e, dict)]

    def endpoints(self, ref: ImageRef) -> list[Endpoint]:
        """Where to ask, mirrors first.  Raises `FleetError` for a blocked registry."""
        entry = self._entry(ref)
        if entry is None:
            return [Endpoint(ref.registry, ref.repository, is_loopback(ref.registry))]
        if entry.get("blocked"):
            raise FleetError(f"{ref.registry} is blocked in registries.conf")
        prefix = str(entry.get("prefix") or entry.get("location") or ref.registry)
        found = []
        for place in (*entry.get("mirror", ()), entry):
            location = str(place.get("location") or prefix)
            # A wildcard prefix keeps the name; any other is replaced by the location.
            wild = prefix.startswith("*.")
            name = ref.name if wild else location + ref.name.removeprefix(prefix)
            registry, _, path = name.partition("/")
            insecure = bool(place.get("insecure")) or is_loopback(registry)
            found.append(Endpoint(registry, path, insecure))
        return found

    def _entry(self, ref: ImageRef) -> Mapping[str, Any] | None:
        best: tuple[int, Mapping[str, Any]] | None = None
        for entry in self._entries:
            prefix = str(entry.get("prefix") or entry.get("location") or "")
            if prefix and _under(ref, prefix) and (best is None or len(prefix) > best[0]):
                best = (len(prefix), entry)
        return best[1] if best else None


def _under(ref: ImageRef, prefix: str) -> bool:
    if prefix.startswith("*."):
        return ref.registry.endswith(prefix[1:])
    return ref.name == prefix or ref.name.startswith(prefix + "/")


def _default_files() -> list[Path]:
    if named := os.environ.get("CONTAINERS_REGISTRIES_CONF"):
        return [Path(named)]
    home = Path.home() / ".config/containers"
    base = home if (home / "registries.conf").exists() else Path("/etc/containers")
    drops = [*Path("/etc/containers/registries.conf.d").glob("*.conf")]
    drops += [*(home / "registries.conf.d").glob("*.conf")]
    return [base / "registries.conf", *sorted(drops, key=lambda path: path.name)]


def auth_files() -> list[Path]:
    """The credential files, in the order in which they are looked at."""
    if named := os.environ.get("REGISTRY_AUTH_FILE"):
        return [Path(named)]
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    first = Path(runtime or f"/run/containers/{os.getuid()}") / "containers/auth.json"
    if not runtime:
        first = Path(f"/run/containers/{os.getuid()}/auth.json")
    config = Path(os.environ.get("DOCKER_CONFIG", Path.home() / ".docker"))
    return [first, Path.home() / ".config/containers/auth.json", config / "config.json"]


def credentials(name: str, executor: Executor) -> Credentials | None:
    """The credentials for a repository (``registry/path``): the longest key that it is under.

    Raises `ConfigError` for a credential file that cannot be read.
    """
    for file in auth_files():
        try:
            body = json.loads(file.read_text(encoding="utf-8"))
        except OSError:
            continue
        except ValueError as error:
            raise ConfigError(f"is not valid JSON: {error}", file=str(file)) from error
        registry = name.partition("/")[0]
        helper = (body.get("credHelpers") or {}).get(registry)
        auths = body.get("auths") or {}
        key = name
        while key:
            found = auths.get(key) or auths.get(f"https://{key}")
            if found and found.get("auth"):
                return _decode(found["auth"], file)
            key = key.rpartition("/")[0]
        if not helper and registry in auths:
            helper = body.get("credsStore")
        if helper and (answer := _ask_helper(helper, registry, executor)):
            return answer
    return None


def _decode(auth: str, file: Path) -> Credentials:
    try:
        user, _, password = base64.b64decode(auth).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ConfigError("has an auth entry that is not base64", file=str(file)) from error
    return Credentials(user, password.rstrip("\0"))


def _ask_helper(helper: str, registry: str, executor: Executor) -> Credentials | None:
    result = executor.run(
        [f"docker-credential-{helper}", "get"], stdin=registry.encode(), timeout=30
    )
    if not result.ok:
        return None
    try:
        body = json.loads(result.stdout)
        return Credentials(str(body["Username"]), str(body["Secret"]))
    except (ValueError, KeyError, TypeError):
        return None


def certificates(registry: str) -> tuple[Path | None, Path | None, Path | None]:
    """CA, client certificate and client key for a registry, from certs.d."""
    for base in (Path.home() / ".config/containers/certs.d", Path("/etc/containers/certs.d")):
        folder = base / registry
        if folder.is_dir():
            ca = next(iter(sorted(folder.glob("*.crt"))), None)
            cert = next(iter(sorted(folder.glob("*.cert"))), None)
            key = next(iter(sorted(folder.glob("*.key"))), None)
            return ca, cert, key
    return None, None, None
