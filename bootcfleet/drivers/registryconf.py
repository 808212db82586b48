"""containers' own configuration of registries: where a name leads, over TLS or not.

Sources: containers-registries.conf(5), containers-registries.conf.d(5),
containers-certs.d(5).  bootcfleet has no such settings of its own, so that
podman, bootc and this tool agree.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from bootcfleet.domain.document import Document, validate
from bootcfleet.domain.reference import ImageRef, InvalidReferenceError
from bootcfleet.errors import ConfigError


@dataclass(frozen=True)
class Endpoint:
    """Where a reference is really asked for.

    `insecure`: it may speak plain HTTP.  `declared`: because an administrator says
    so, and not only because it is on this machine.
    """

    ref: ImageRef
    insecure: bool = False
    declared: bool = False

    @property
    def registry(self) -> str:
        """Host and port."""
        return self.ref.registry


class _Place(BaseModel):
    """A location; keys that later versions of the format add are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    location: str = ""
    insecure: bool | None = None


class _Mirror(_Place):
    pull_from_mirror: str = Field(default="all", alias="pull-from-mirror")


class _Table(_Place):
    """One ``[[registry]]``."""

    prefix: str = ""
    blocked: bool = False
    mirror: tuple[_Mirror, ...] = ()
    by_digest_only: bool = Field(default=False, alias="mirror-by-digest-only")

    @property
    def key(self) -> str:
        return self.prefix or self.location


class _File(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)
    registry: tuple[_Table, ...] = ()
    helpers: tuple[str, ...] = Field(default=(), alias="credential-helpers")


class RegistriesConf:
    """registries.conf and its drop-ins: the longest prefix decides.

    `files` are read in their order, a later one's table replacing an earlier one
    with the same prefix; by default the files that podman reads.  Raises
    `ConfigError`.
    """

    def __init__(self, files: Iterable[Path] | None = None) -> None:
        self._tables: dict[str, tuple[_Table, Path]] = {}
        #: Credential helpers in the order in which they are asked.
        self.helpers: tuple[str, ...] = ()
        for file in _default_files() if files is None else files:
            try:
                data = tomllib.loads(file.read_text(encoding="utf-8"))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise ConfigError(f"cannot be read: {error.strerror}", file=str(file)) from error
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise ConfigError(f"is not valid TOML: {error}", file=str(file)) from error
            read = validate(Document(str(file), data), _File)
            self._tables |= {table.key: (table, file) for table in read.registry if table.key}
            self.helpers = read.helpers or self.helpers

    def pull_endpoints(self, ref: ImageRef) -> list[Endpoint]:
        """Where to read a reference: its mirrors, then its location.

        Raises `ConfigError` for a blocked registry.
        """
        table = self._table(ref)
        if table is None:
            return [_endpoint(ref, None)]
        pinned = ref.pinned
        mirrors = [
            mirror
            for mirror in table.mirror
            if (pinned or not table.by_digest_only)
            and mirror.pull_from_mirror in {"all", "", "digest-only" if pinned else "tag-only"}
        ]
        return [
            *(_endpoint(_moved(ref, table, one.location), one.insecure) for one in mirrors),
            _endpoint(_moved(ref, table, table.location), table.insecure),
        ]

    def push_endpoint(self, ref: ImageRef) -> Endpoint:
        """Where to write a reference: itself, for neither mirrors nor locations count for pushes.

        Raises `ConfigError` for a blocked registry.
        """
        table = self._table(ref)
        return _endpoint(ref, table.insecure if table else None)

    def _table(self, ref: ImageRef) -> _Table | None:
        matching = [key for key in self._tables if _matched(ref, key)]
        if not matching:
            return None
        table, file = self._tables[max(matching, key=len)]
        if table.blocked:
            raise ConfigError(
                f"the registry {table.key} is blocked here",
                file=str(file),
                hint="take the image from another registry, or remove 'blocked' from the file",
            )
        return table


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


def tls_context(registry: str, *, verify: bool) -> ssl.SSLContext:
    """TLS as certs.d says for a registry: the machine's CAs, its own, and a client certificate.

    SSL_CERT_FILE and SSL_CERT_DIR name other CAs of the machine, as for any
    program.  Without `verify` any certificate will do.  Raises `ConfigError`.
    """
    context = ssl.create_default_context()
    folder = _certs_d(registry)
    try:
        for file in sorted(folder.iterdir()) if folder else ():
            if file.suffix == ".crt":
                context.load_verify_locations(file)
            elif file.suffix == ".cert":
                key = file.with_suffix(".key")
                if not key.exists():
                    raise ConfigError(f"has no key beside it: {key}", file=str(file))
                context.load_cert_chain(file, key)
    except OSError as error:  # ssl.SSLError is one
        reason = error.strerror if error.errno else "not a certificate in PEM form, or another key"
        raise ConfigError(f"cannot be used: {reason}", file=str(file)) from error
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def has_own_ca(registry: str) -> bool:
    """Whether certs.d has a CA for the registry."""
    folder = _certs_d(registry)
    return folder is not None and any(folder.glob("*.crt"))


def config_home() -> Path:
    """The user's folder of containers' configuration."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "containers"


def _certs_d(registry: str) -> Path | None:
    """The first folder that is there; it alone counts."""
    for base in (
        config_home() / "certs.d",
        Path("/etc/containers/certs.d"),
        Path("/etc/docker/certs.d"),
    ):
        if (base / registry).is_dir():
            return base / registry
    return None


def _default_files() -> list[Path]:
    system, user = Path("/etc/containers"), config_home()
    folders = [system / "registries.conf.d", user / "registries.conf.d"]
    named = os.environ.get("CONTAINERS_REGISTRIES_CONF")
    if named:
        main = Path(named)
    elif (user / "registries.conf").exists():
        main, folders = user / "registries.conf", folders[1:]
    else:
        main = system / "registries.conf"
    drops = [file for folder in folders for file in sorted(folder.glob("*.conf"))]
    return [main, *drops]


def _endpoint(ref: ImageRef, insecure: bool | None) -> Endpoint:
    """A registry of this machine may speak plain HTTP unless its table says otherwise."""
    if insecure is None:
        return Endpoint(ref, insecure=is_loopback(ref.registry))
    return Endpoint(ref, insecure=insecure, declared=insecure)


def _matched(ref: ImageRef, prefix: str) -> str | None:
    """The beginning of the reference that a prefix stands for; None when it is another."""
    text = str(ref)
    if prefix.startswith("*."):
        host = ref.registry.rpartition(":")[0] or ref.registry
        return host if host.endswith(prefix[1:]) else None
    if text == prefix or (text.startswith(prefix) and text[len(prefix)] in ":/@"):
        return prefix
    return None


def _moved(ref: ImageRef, table: _Table, location: str) -> ImageRef:
    """The reference with its prefix replaced; no location leaves it as it is."""
    beginning = _matched(ref, table.key)
    if not location or beginning is None:
        return ref
    try:
        moved = ImageRef.parse(location + str(ref)[len(beginning) :])
    except InvalidReferenceError as error:
        raise InvalidReferenceError(
            f"the location {location!r} for {table.key} in registries.conf cannot be used",
            hint=error.hint,
        ) from error
    # A prefix may name a tag or digest itself, and its location none.
    return moved if moved.tag or moved.digest else replace(moved, tag=ref.tag, digest=ref.digest)
