"""syft, by its command line: an SPDX document of everything that it knows to find."""

from __future__ import annotations

from bootcfleet.domain.reference import ImageRef
from bootcfleet.domain.sbom import package_count
from bootcfleet.drivers.command import Executor
from bootcfleet.errors import FleetError, ToolMissingError


class SyftError(FleetError):
    """syft ran and gave no document; the details are the end of what it said."""


class Syft:
    """syft on this machine."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def installed(self) -> bool:
        """Whether it is there."""
        try:
            return self._executor.run(["syft", "version"], timeout=60).ok
        except ToolMissingError:
            return False

    def document(self, ref: ImageRef) -> bytes:
        """The SPDX JSON document of an image in its registry.  Raises `SyftError`."""
        result = self._executor.run(
            ["syft", f"registry:{ref}", "--output", "spdx-json", "--quiet"], timeout=3600
        )
        raw = result.stdout.encode()
        if not result.ok or package_count(raw) is None:
            lines = [line for line in result.stderr.splitlines() if line.strip()]
            raise SyftError(f"syft made no SPDX document of {ref}", details=lines[-10:])
        return raw
