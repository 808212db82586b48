"""cosign, by its command line: signs a digest with a key, without a transparency log.

The passphrase is given in the environment, as cosign has it; never in an argv. Flags are from
cosign's own help (2.x), and from its release notes for 3.x, whose new bundles podman and
bootc do not read yet: they are turned off.
"""

from __future__ import annotations

import re
from pathlib import Path

from bootcfleet.domain.reference import ImageRef
from bootcfleet.drivers.command import CommandResult, Executor, LocalExecutor
from bootcfleet.errors import FleetError, ToolMissingError


class CosignError(FleetError):
    """cosign ran and failed; the details are the end of what it said."""


class Cosign:
    """cosign on this machine; `password` opens the private key."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    @classmethod
    def with_password(cls, password: str) -> Cosign:
        """cosign with the passphrase in its environment."""
        return cls(LocalExecutor(env={"COSIGN_PASSWORD": password}))

    def version(self) -> tuple[int, int] | None:
        """Its version; None where it is not installed."""
        try:
            result = self._executor.run(["cosign", "version"], timeout=60)
        except ToolMissingError:
            return None
        found = re.search(r"GitVersion:\s*v?(\d+)\.(\d+)", result.stdout + result.stderr)
        return (int(found[1]), int(found[2])) if found else (0, 0)

    def sign(self, ref: ImageRef, key: Path, repository: str, *, insecure: bool = False) -> None:
        """Sign the digest of `ref` for a repository.

        cosign does not read registries.conf: `insecure` says that the registry is listed
        there without TLS.  Raises `CosignError`, `ToolMissingError`.
        """
        argv = ["cosign", "sign", "--yes", "--key", str(key), "--tlog-upload=false"]
        if (self.version() or (0, 0)) >= (3, 0):
            argv += ["--new-bundle-format=false", "--use-signing-config=false"]
        if repository != ref.name:
            argv += ["--sign-container-identity", repository]
        if insecure:
            argv += ["--allow-insecure-registry", "--allow-http-registry"]
        result = self._executor.run([*argv, str(ref)], timeout=600)
        if not result.ok:
            raise CosignError(f"cosign could not sign {ref}", details=_tail(result))


def _tail(result: CommandResult) -> list[str]:
    return [line for line in result.stderr.splitlines() if line.strip()][-10:]
