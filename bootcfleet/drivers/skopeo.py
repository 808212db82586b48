"""skopeo: copies images with all their blobs between repositories, the digest unchanged.

Source: skopeo-copy(1).  Credentials are found by skopeo itself, where `podman login` puts them.
"""

from __future__ import annotations

from bootcfleet.domain.reference import ImageRef
from bootcfleet.drivers.command import Executor
from bootcfleet.drivers.registryconf import has_own_ca, is_loopback
from bootcfleet.errors import FleetError


class SkopeoError(FleetError):
    """skopeo did not do what it was asked to."""


class Skopeo:
    """Runs skopeo with an executor."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def copy(self, source: ImageRef, target: ImageRef) -> None:
        """Copy an image, or an index with all its images; blobs that are there are not sent.

        Raises `SkopeoError`, also where the digest could not stay the same, and
        `ToolMissingError` without skopeo.
        """
        argv = [
            "skopeo",
            "copy",
            "--all",
            "--preserve-digests",
            "--quiet",
            *_tls("src", source),
            *_tls("dest", target),
            f"docker://{source}",
            f"docker://{target}",
        ]
        result = self._executor.run(argv)
        if not result.ok:
            said = [line for line in result.stderr.splitlines() if line.strip()]
            raise SkopeoError(
                f"skopeo could not copy {source} to {target}",
                details=said[-3:],
                hint=f"log in to both with podman login, and try: {' '.join(argv)}",
            )


def _tls(side: str, ref: ImageRef) -> list[str]:
    """Loopback registries may speak plain HTTP, as for `RegistryClient`; else registries.conf."""
    plain = is_loopback(ref.registry) and not has_own_ca(ref.registry)
    return [f"--{side}-tls-verify=false"] if plain else []
