"""The demo's images: three versions of one OS, the last of which is bad."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bootcfleet.domain.reference import Digest
from bootcfleet.drivers.command import LocalExecutor, write_atomic
from bootcfleet.drivers.labimage import push_image
from bootcfleet.drivers.podman import Podman
from bootcfleet.errors import FleetError

#: The repository of the demo's image on the lab's registry.
REPOSITORY = "demo/web"
#: The tag that the demo's hosts follow.
TAG = "stable"


@dataclass(frozen=True)
class Release:
    """A version of the demo's image; a bad one's services fail once it is booted."""

    version: str
    good: bool = True

    @property
    def labels(self) -> Mapping[str, str]:
        """Its image labels; the last is what the lab's hosts look at."""
        return {
            "containers.bootc": "1",
            "org.opencontainers.image.title": "demo web",
            "org.opencontainers.image.version": self.version,
            "bootcfleet.lab.health": "good" if self.good else "bad",
        }


RELEASES = (Release("1.0"), Release("1.1"), Release("1.2", good=False))


class Publisher:
    """Puts releases into the lab's registry: built by podman where it works, else by HTTP alone."""

    def __init__(self, registry: str, workspace: Path) -> None:
        self._registry = registry
        self._workspace = workspace
        self._podman: Podman | None = None
        self.how = self._choose()

    def _choose(self) -> str:
        """Which way is taken, as a sentence."""
        podman = Podman(LocalExecutor())
        try:
            version = podman.require()
        except FleetError as error:
            return f"without podman ({error.message}): images are made and pushed by HTTP"
        self._podman = podman
        return f"with podman {version}: images are built and pushed by it"

    def publish(self, release: Release) -> Digest:
        """Build and push a release under `TAG`; the registry's digest."""
        if self._podman is not None:
            try:
                return self._with_podman(self._podman, release)
            except FleetError as error:
                self._podman = None
                self.how = f"podman could not do it ({error.message}): going on by HTTP"
        return push_image(
            self._registry,
            REPOSITORY,
            TAG,
            version=release.version,
            files={"usr/share/www/index.html": _page(release)},
            labels=release.labels,
            created=datetime.now(UTC),
        )

    def _with_podman(self, podman: Podman, release: Release) -> Digest:
        context = self._workspace / f"demo-{release.version}"
        write_atomic(context / "index.html", _page(release))
        labels = "".join(f'LABEL {key}="{value}"\n' for key, value in release.labels.items())
        text = f"FROM scratch\nCOPY index.html /usr/share/www/index.html\n{labels}"
        write_atomic(context / "Containerfile", text.encode())
        reference = f"{self._registry}/{REPOSITORY}:{TAG}"
        podman.build(context, context / "Containerfile", tags=[reference])
        try:
            return podman.push(reference, tls_verify=False)
        finally:
            podman.remove(reference)


def _page(release: Release) -> bytes:
    return f"<h1>demo web {release.version}</h1>\n".encode()
