"""podman, by its command line: build, push, pull, tag, inspect.

Nothing secret is ever in an argv: a secret is given to podman as the path of a
file or the name of an environment variable. Facts about podman's behaviour are
from its manual pages and were checked with 4.3.1; see the field note *image build*.
"""

from __future__ import annotations

import json
import re
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bootcfleet.domain.reference import Digest
from bootcfleet.drivers.command import CommandResult, Executor, OnLine
from bootcfleet.errors import FleetError, ToolMissingError

#: The oldest podman that this is tested with (Debian 12, and what RHEL 9.1 had).
MIN_VERSION = (4, 3, 0)
#: The podman that clamps the times of files instead of setting them all (field note, 2.3).
REWRITES = (5, 6)
_REQUIRED = ".".join(map(str, MIN_VERSION))
_INSTALL = "install it: dnf install podman, or apt-get install podman"

#: How often a push or pull is tried, and the seconds before each new try.
TRIES = 3
DELAYS = (1.0, 4.0)

#: Lines of podman's output that an error repeats.
TAIL = 15

#: What a registry or network says that may be over in a moment.
_TRANSIENT = re.compile(
    r"connection re(?:set|fused)|i/o timeout|TLS handshake timeout|unexpected EOF|: EOF|"
    r"temporary failure in name resolution|no route to host|broken pipe|server misbehaving|"
    r"toomanyrequests|too many requests|\b(?:429|500|502|503|504)\b|"
    r"service unavailable|bad gateway|gateway time-?out",
    re.IGNORECASE,
)


class PodmanError(FleetError):
    """podman ran and failed; the details are the end of what it said."""


@dataclass(frozen=True)
class BuildSecret:
    """A secret for ``RUN --mount=type=secret``: the path of a file, or a variable's name."""

    id: str
    file: Path | None = None
    env: str | None = None

    def option(self) -> str:
        """The value of ``--secret``; it holds a path or a name, never the secret."""
        if self.env is not None:
            return f"id={self.id},type=env,env={self.env}"
        return f"id={self.id},src={self.file}"


@dataclass(frozen=True)
class LocalImage:
    """An image in podman's storage; `digests` are ``NAME@DIGEST`` references to it."""

    id: str
    labels: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    size: int = 0


class Podman:
    """podman on an executor (this machine).  Safe to use from several threads."""

    def __init__(self, executor: Executor, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._executor = executor
        self._sleep = sleep
        self._version: str | None = None
        self._lock = threading.Lock()

    def require(self) -> str:
        """The version, once it is sure that podman is there and new enough.

        Raises `ToolMissingError` with the version that is needed and the one found.
        """
        with self._lock:
            if self._version is None:
                self._version = self._checked_version()
            return self._version

    def _checked_version(self) -> str:
        try:
            result = self._executor.run(
                ["podman", "version", "--format", "{{.Client.Version}}"], timeout=60
            )
        except ToolMissingError as error:
            raise ToolMissingError(
                f"podman {_REQUIRED} or newer is needed, and {error.message}", hint=_INSTALL
            ) from error
        found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?\S*", result.stdout)
        if not result.ok or found is None:
            raise ToolMissingError(
                f"podman {_REQUIRED} or newer is needed, and the one here does not say its version",
                hint="run it yourself to see why: podman version",
                details=_tail(result),
            )
        if tuple(int(part or 0) for part in found.groups()) < MIN_VERSION:
            raise ToolMissingError(
                f"podman {_REQUIRED} or newer is needed, found {found[0]}",
                hint="update podman with the system's package manager",
            )
        return found[0]

    def build(
        self,
        context: Path,
        containerfile: Path,
        *,
        tags: Sequence[str] = (),
        build_args: Mapping[str, str] | None = None,
        secrets: Sequence[BuildSecret] = (),
        platform: str | None = None,
        timestamp: int | None = None,
        no_cache: bool = False,
        on_line: OnLine | None = None,
        timeout: float | None = None,
    ) -> str:
        """Build an image and return its id (``sha256:…``).

        The base is pulled only when it is not in the storage: a base by digest
        cannot be stale. `platform` is for another one than this machine's;
        `timestamp` (seconds since 1970) is given to the image and its files;
        `on_line` gets podman's output as it comes. Raises `PodmanError`.
        """
        with tempfile.TemporaryDirectory(prefix="bootcfleet-build-") as folder:
            iidfile = Path(folder) / "iid"
            argv = ["podman", "build", "--file", str(containerfile)]
            argv += [word for tag in tags for word in ("--tag", tag)]
            argv += [word for item in _pairs(build_args) for word in ("--build-arg", item)]
            argv += [word for secret in secrets for word in ("--secret", secret.option())]
            argv += ["--platform", platform] if platform else []
            argv += self._times(timestamp)
            # A cached layer has the times of when it was made.
            argv += ["--no-cache"] if no_cache or timestamp is not None else []
            argv += ["--pull=missing", "--layers", "--iidfile", str(iidfile), str(context)]
            result = self._executor.run(argv, on_line=on_line, timeout=timeout)
            if not result.ok:
                raise PodmanError(
                    f"podman build ended with exit code {result.exit_code}", details=_tail(result)
                )
            image_id = self._executor.get(str(iidfile)).decode().strip()
        return image_id if image_id.startswith("sha256:") else f"sha256:{image_id}"

    def _times(self, timestamp: int | None) -> list[str]:
        """The options for fixed times: podman 5.6 has better ones, which exclude the older."""
        if timestamp is None:
            return []
        version = tuple(int(part) for part in re.findall(r"\d+", self.require())[:2])
        if version >= REWRITES:
            return ["--source-date-epoch", str(timestamp), "--rewrite-timestamp"]
        return ["--timestamp", str(timestamp)]

    def push(
        self,
        image: str,
        destination: str | None = None,
        *,
        tls_verify: bool | None = None,
        on_line: OnLine | None = None,
    ) -> Digest:
        """Push `image` to `destination` (default: its own name) and return the registry's digest.

        The digest is read from ``--digestfile``: the one of the local storage is
        another, as layers are compressed on their way. Tries again when the
        registry or network may recover. Raises `PodmanError`.
        """
        with tempfile.TemporaryDirectory(prefix="bootcfleet-push-") as folder:
            digestfile = Path(folder) / "digest"
            argv = ["podman", "push", "--digestfile", str(digestfile), *_tls(tls_verify), image]
            if destination is not None:
                argv.append(destination)
            self._with_tries("push", destination or image, argv, on_line)
            return Digest(self._executor.get(str(digestfile)).decode().strip())

    def pull(
        self, ref: str, *, tls_verify: bool | None = None, on_line: OnLine | None = None
    ) -> None:
        """Pull an image into the storage; layers that are there already are not loaded again."""
        self._with_tries("pull", ref, ["podman", "pull", *_tls(tls_verify), ref], on_line)

    def tag(self, image: str, *names: str) -> None:
        """Give a local image further names."""
        self._checked("tag", image, ["podman", "tag", image, *names])

    def exists(self, image: str) -> bool:
        """Whether the storage has `image` (an id or a reference)."""
        return self._executor.run(["podman", "image", "exists", image]).ok

    def inspect(self, image: str) -> LocalImage:
        """What the storage knows about `image`.  Raises `PodmanError` when it does not have it."""
        result = self._checked("inspect", image, ["podman", "image", "inspect", image])
        try:
            body = json.loads(result.stdout)[0]
            image_id = str(body["Id"]).removeprefix("sha256:")
        except (ValueError, LookupError, TypeError) as error:
            raise PodmanError(f"podman inspect said nothing readable about {image}") from error
        return LocalImage(
            f"sha256:{image_id}",
            body.get("Labels") or {},
            tuple(body.get("RepoTags") or ()),
            tuple(body.get("RepoDigests") or ()),
            int(body.get("Size") or 0),
        )

    def save(self, image: str, folder: Path) -> None:
        """Copy a local image into a new folder, layers as they are, uncompressed.

        Needs no root rights and no mount.  Raises `PodmanError`.
        """
        argv = ["podman", "save", "--quiet", "--format", "docker-dir", "--output", str(folder)]
        self._checked("save", image, [*argv, image])

    def remove(self, image: str) -> None:
        """Take a name, or an image without other names, out of the storage."""
        self._checked("remove", image, ["podman", "image", "rm", image])

    def _checked(self, what: str, image: str, argv: Sequence[str]) -> CommandResult:
        result = self._executor.run(argv)
        if not result.ok:
            raise PodmanError(f"podman could not {what} {image}", details=_tail(result))
        return result

    def _with_tries(
        self, what: str, image: str, argv: Sequence[str], on_line: OnLine | None
    ) -> None:
        for attempt in range(TRIES):
            result = self._executor.run(argv, on_line=on_line)
            if result.ok:
                return
            last = attempt + 1 == TRIES
            if last or not _TRANSIENT.search(result.stderr):
                break
            if on_line is not None:
                seconds = DELAYS[attempt]
                on_line("stderr", f"{what} failed, trying again in {seconds:g} s")
            self._sleep(DELAYS[attempt])
        tries = f" ({attempt + 1} tries)" if attempt else ""
        raise PodmanError(
            f"podman could not {what} {image}{tries}", hint=_hint(result), details=_tail(result)
        )


def _pairs(items: Mapping[str, str] | None) -> list[str]:
    return [f"{key}={value}" for key, value in (items or {}).items()]


def _tls(verify: bool | None) -> list[str]:
    """The TLS option; None leaves it to podman's registries.conf."""
    return [] if verify is None else [f"--tls-verify={'true' if verify else 'false'}"]


def _tail(result: CommandResult) -> list[str]:
    """The last lines that podman said; errors come last, on standard error."""
    lines = [line for line in (result.stdout + result.stderr).splitlines() if line.strip()]
    return lines[-TAIL:]


def _hint(result: CommandResult) -> str | None:
    text = result.stderr.lower()
    if "unauthorized" in text or "authentication required" in text or "access denied" in text:
        return "log in first: podman login REGISTRY"
    if "server gave http response to https client" in text:
        return "the registry speaks plain http: list it as insecure in registries.conf(5)"
    if "x509" in text or "certificate" in text:
        return "put the registry's CA into /etc/containers/certs.d/REGISTRY/ca.crt"
    return None
