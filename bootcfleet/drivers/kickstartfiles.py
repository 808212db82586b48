"""Reads kickstart templates, and the secrets and certificates of an installation."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from bootcfleet.domain.document import Document
from bootcfleet.domain.install_spec import InstallSecret
from bootcfleet.domain.kickstart import METADATA_SUFFIX, SUFFIX, KickstartSet
from bootcfleet.domain.template import SourceFile
from bootcfleet.drivers import yamlfile
from bootcfleet.drivers.templatefiles import read_tree
from bootcfleet.errors import ConfigError, UsageError

#: The largest secret or certificate that is put into a kickstart.
MAX_SECRET = 64 * 1024


def load_kickstarts(folders: Sequence[Path]) -> KickstartSet:
    """Read folders of kickstart templates; an earlier folder's files go over a later one's.

    A template that is there itself (``NAME.ks.j2``) takes no ``NAME.yaml`` from a later
    folder.  Raises `ConfigError`.
    """
    files: dict[str, SourceFile] = {}
    metadata: dict[str, Document] = {}
    for folder in reversed(folders):
        for path, file in read_tree(folder):
            files[path] = file
            name = path.removesuffix(SUFFIX)
            if name != path and not (folder / f"{name}{METADATA_SUFFIX}").exists():
                metadata.pop(name, None)
            if path.endswith(METADATA_SUFFIX) and "/" not in path:
                metadata[path.removesuffix(METADATA_SUFFIX)] = yamlfile.load(folder / path)
    known = {path.removesuffix(SUFFIX) for path in files if path.endswith(SUFFIX)}
    return KickstartSet(files, {name: one for name, one in metadata.items() if name in known})


def read_install_secret(
    name: str, secret: InstallSecret, *, root: Path, host: str | None, env: Mapping[str, str]
) -> bytes:
    """A secret from where the project says that it is.

    Raises `UsageError` when it is not there, or needs a host and there is none; the
    message never has its value.
    """
    if secret.env is not None:
        value = env.get(secret.env)
        if not value:
            raise UsageError(f"the secret {name!r} is not in the environment as ${secret.env}")
        return value.encode("utf-8", "surrogateescape")
    path = secret.file or ""
    if "{host}" in path:
        if host is None:
            raise UsageError(
                f"the secret {name!r} is a file for each host ({path})",
                hint="name the host with --host",
            )
        path = path.replace("{host}", host)
    return _read(root, path, f"the secret {name!r}")


def read_certificate(path: str, *, root: Path) -> bytes:
    """A file of CA certificates.  Raises `UsageError` and `ConfigError`."""
    data = _read(root, path, "the CA certificate")
    if b"-----BEGIN CERTIFICATE-----" not in data:
        raise ConfigError("holds no certificate in PEM form", file=str(path))
    if b"PRIVATE KEY-----" in data:
        raise ConfigError(
            "holds a private key", file=str(path), hint="take a file with the certificate alone"
        )
    return data


def _read(root: Path, given: str, what: str) -> bytes:
    path = root / Path(given).expanduser()
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_SECRET + 1)
    except OSError as error:
        raise UsageError(f"{what} cannot be read: {path}: {error.strerror}") from error
    if not data.strip() or len(data) > MAX_SECRET:
        problem = "is empty" if not data.strip() else f"is larger than {MAX_SECRET // 1024} KiB"
        raise UsageError(f"{what} {problem}: {path}")
    return data


def environment() -> Mapping[str, str]:
    """The environment that secrets are read from."""
    return os.environ
