"""Image references, digests and platforms, as bootc, podman and OCI registries read them.

Sources: OCI distribution specification 1.1 (repository name and tag grammar),
containers-transports(5), field note *bootc on a host* (``tag@digest`` is pulled
by its digest; transport ``registry`` is docker://).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Self

from bootcfleet.errors import UsageError

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_PATH = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)
_HOST_LABEL = r"(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]{0,61}[A-Za-z0-9])"
_REGISTRY = re.compile(
    rf"(?:{_HOST_LABEL}(?:\.{_HOST_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?"
)
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")

#: Longest repository name with its registry (distribution spec: many registries refuse more).
MAX_NAME = 255


class InvalidReferenceError(UsageError, ValueError):
    """An image reference, digest, platform or name that cannot be used.

    A ValueError too, so that a pydantic validator that parses one gets its
    message into the error with file and line.
    """


@dataclass(frozen=True, order=True)
class Digest:
    """A content digest, ``sha256:`` and 64 lower-case hex digits."""

    value: str

    def __post_init__(self) -> None:
        if not _DIGEST.fullmatch(self.value):
            raise InvalidReferenceError(
                f"{self.value!r} is not a digest",
                hint="a digest is sha256: and 64 hexadecimal digits in lower case",
            )

    def __str__(self) -> str:
        return self.value

    @property
    def short(self) -> str:
        """The first twelve hex digits, for people."""
        return self.value[7:19]


@dataclass(frozen=True)
class ImageRef:
    """A registry reference: registry, repository, and a tag or digest or both.

    As podman and bootc do, a reference that has both is pulled by its digest.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a fully qualified reference, with or without ``docker://``.

        A name without a registry is refused: which registry a short name means
        depends on the machine that reads it (shortnames.conf), so it cannot be
        the same image on the controller and on a host.  Raises `InvalidReferenceError`.
        """
        rest = text.removeprefix("docker://")
        digest: Digest | None = None
        if "@" in rest:
            rest, _, raw = rest.partition("@")
            digest = Digest(raw)
        registry, slash, path = rest.partition("/")
        if not slash or not (registry == "localhost" or "." in registry or ":" in registry):
            raise InvalidReferenceError(
                f"{text!r} does not name its registry",
                hint="write it in full, for example registry.example.com/acme/soe:1.0",
            )
        tag: str | None = None
        if ":" in path:
            path, _, tag = path.partition(":")
            if not _TAG.fullmatch(tag):
                raise InvalidReferenceError(
                    f"{text!r} has an invalid tag {tag!r}",
                    hint="a tag has 1 to 128 letters, digits, '_', '.' or '-', and does not start "
                    "with one of the last two",
                )
        port = registry.rpartition(":")[2] if re.search(r":[0-9]+$", registry) else "1"
        if not _REGISTRY.fullmatch(registry) or not 0 < int(port) < 65536:
            raise InvalidReferenceError(f"{text!r} has an invalid registry {registry!r}")
        if not _PATH.fullmatch(path) or len(registry) + len(path) + 1 > MAX_NAME:
            raise InvalidReferenceError(
                f"{text!r} has an invalid repository {path!r}",
                hint="a repository has lower-case letters and digits, separated by '/', '.', '_' "
                "or '-'",
            )
        return cls(registry, path, tag, digest)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def manifest(self) -> str:
        """What to ask a registry for: the digest if there is one, else the tag, else latest."""
        return str(self.digest) if self.digest else self.tag or "latest"

    @property
    def pinned(self) -> bool:
        """Whether a digest decides; ``bootc upgrade`` never moves such a host (field note)."""
        return self.digest is not None

    def with_tag(self, tag: str) -> ImageRef:
        """The same repository under another tag, without a digest."""
        return ImageRef.parse(f"{self.name}:{tag}")

    def with_digest(self, digest: Digest) -> ImageRef:
        """The same repository by digest alone."""
        return replace(self, tag=None, digest=digest)


#: Names of architectures: OCI (GOARCH) ← what uname and Rust say.
ARCHITECTURES = {
    "x86_64": "amd64",
    "amd64": "amd64",
    "aarch64": "arm64",
    "arm64": "arm64",
    "ppc64le": "ppc64le",
    "powerpc64": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
}


@dataclass(frozen=True, order=True)
class Platform:
    """An OCI platform: operating system and architecture (GOARCH names)."""

    os: str = "linux"
    architecture: str = "amd64"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``linux/amd64``, or an architecture alone in any of its usual names."""
        system, slash, machine = text.rpartition("/")
        architecture = ARCHITECTURES.get(machine)
        if architecture is None or (slash and system != "linux"):
            raise InvalidReferenceError(
                f"{text!r} is not a platform that bootc runs on",
                hint="one of: "
                + ", ".join(f"linux/{a}" for a in sorted(set(ARCHITECTURES.values()))),
            )
        return cls("linux", architecture)

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}"


def valid_name(text: str) -> bool:
    """Whether `text` may name an image: it becomes a repository, a directory and a file name."""
    return bool(_NAME.fullmatch(text)) and ".." not in text and bool(_PATH.fullmatch(text))
