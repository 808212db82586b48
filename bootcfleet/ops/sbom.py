"""Make an image's bill of materials, and attach it to the image's digest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from bootcfleet import __version__
from bootcfleet.domain.evidence import EvidenceKind, EvidenceOutcome
from bootcfleet.domain.gate import GateResult
from bootcfleet.domain.image import Config, Manifest, sha256
from bootcfleet.domain.reference import Digest, ImageRef, Platform
from bootcfleet.domain.sbom import SPDX_TYPE, Subject, document, os_release, package_count
from bootcfleet.drivers.licenses import spdx_expression
from bootcfleet.drivers.registryartifact import Artifacts
from bootcfleet.drivers.syft import Syft
from bootcfleet.errors import FleetError, ToolMissingError
from bootcfleet.ops.audit import Record
from bootcfleet.ops.download import platform_image
from bootcfleet.ops.evidence import record_evidence
from bootcfleet.ops.imagecontents import OpenedImage, Reader, open_image
from bootcfleet.ops.imagename import NamedImage

GATE = "sbom"
#: What a bill of materials may be: ours, and the other common form.
SBOM_TYPES = frozenset({SPDX_TYPE, "application/vnd.cyclonedx+json"})


class SbomTool(StrEnum):
    """What makes the document."""

    AUTO = "auto"
    SYFT = "syft"
    BUILTIN = "builtin"


@dataclass(frozen=True)
class Sbom:
    """A document about one platform's image; `digest` is that of its manifest."""

    image: str
    digest: str
    raw: bytes
    packages: int
    tool: SbomTool
    created: str | None
    platform: Platform | None = None


def choose_tool(reader: Reader, wanted: SbomTool) -> SbomTool:
    """The tool itself where `wanted` leaves it open.  Raises `ToolMissingError`."""
    match wanted:
        case SbomTool.BUILTIN:
            return wanted
        case SbomTool.AUTO:
            return SbomTool.SYFT if Syft(reader.executor).installed() else SbomTool.BUILTIN
        case SbomTool.SYFT:
            if not Syft(reader.executor).installed():
                raise ToolMissingError(
                    "syft is not installed", hint="install syft, or leave --tool out"
                )
            return wanted
        case _:
            assert_never(wanted)


def make_sbom(reader: Reader, named: NamedImage, tool: SbomTool) -> Sbom:
    """The document of an image, for the reader's platform.

    An image that was not pushed is read from podman's storage, by the builtin maker.
    Raises `FleetError` for an image without an RPM database, `SyftError`, `RegistryError`.
    """
    if tool is SbomTool.SYFT and named.ref is not None:
        image = platform_image(reader.client, named.ref, reader.platform)
        raw = Syft(reader.executor).document(image.ref)
        created = reader.client.config(image.ref).created
        digest, count = str(image.manifest.digest), package_count(raw) or 0
        return Sbom(_name(named), digest, raw, count, tool, created, reader.platform)
    opened = open_image(reader, named)
    created = Config.parse(opened.tree.config).created
    return _builtin(named, opened, created, reader.platform)


def _name(named: NamedImage) -> str:
    return named.image or (named.ref.name if named.ref else named.text)


def _builtin(
    named: NamedImage, opened: OpenedImage, created: str | None, platform: Platform
) -> Sbom:
    packages = [one for one in opened.installed.packages if not one.is_key]
    if not packages:
        raise FleetError(
            f"{named.text} has no RPM database: there is nothing to list",
            hint="install syft, which knows other package managers too",
        )
    # Of an index, the document is about the platform's own image.
    digest = str(opened.remote.manifest.digest) if opened.remote else opened.digest
    name = named.ref.name if named.ref else f"localhost/{named.image}"
    release = opened.tree.read("etc/os-release") or opened.tree.read("usr/lib/os-release")
    subject = Subject(name, digest, created, os_release(release))
    raw = document(subject, packages, __version__, spdx_expression)
    return Sbom(_name(named), digest, raw, len(packages), SbomTool.BUILTIN, created, platform)


def sboms_to_attach(reader: Reader, named: NamedImage, tool: SbomTool) -> tuple[Digest, list[Sbom]]:
    """The digest that is named, and a document for each platform of it.

    Raises `UsageError` for an image that is in no registry, and as `make_sbom` does.
    """
    ref = named.pushed()
    manifest = reader.client.manifest(ref)
    platforms = list(manifest.children) if manifest.is_index else [reader.platform]
    pinned = NamedImage(named.text, named.image, ref.with_digest(manifest.digest))
    found = [make_sbom(reader.on(platform), pinned, tool) for platform in platforms]
    return manifest.digest, found


def verify_sbom(artifacts: Artifacts, ref: ImageRef, manifest: Manifest) -> GateResult:
    """Whether a bill of materials is attached to an image; of an index, to each of its images.

    One that another tool has attached counts too. Raises `RegistryError`.
    """
    hint = f"bootcfleet image sbom --attach {ref.name}@{manifest.digest}"
    if _attached(artifacts, ref, manifest.digest):
        return GateResult(GATE, True, f"{manifest.digest} has a bill of materials beside it")
    children = tuple(dict.fromkeys(manifest.children.values())) if manifest.is_index else ()
    missing = [digest for digest in children if not _attached(artifacts, ref, digest)]
    if children and not missing:
        message = f"each image of {manifest.digest} has a bill of materials beside it"
        return GateResult(GATE, True, message)
    what = missing[0] if missing else manifest.digest
    return GateResult(GATE, False, f"{what} has no bill of materials beside it", hint)


def _attached(artifacts: Artifacts, ref: ImageRef, digest: Digest) -> bool:
    return any(one.artifact_type in SBOM_TYPES for one in artifacts.referrers(ref, digest))


def attach(
    reader: Reader, ref: ImageRef, digest: Digest, sboms: Sequence[Sbom], record: Record
) -> tuple[Digest, ...]:
    """Attach each document to the image that it is about; the digests of the artifacts.

    The same document is the same artifact. Recorded as evidence about `digest`, which is
    that of the index where there is one.  Raises `RegistryError`.
    """
    artifacts = Artifacts(reader.client)
    pushed = []
    for one in sboms:
        title = f"{one.image.rpartition('/')[2]}.spdx.json"
        notes = {"org.opencontainers.image.title": title}
        when = {"org.opencontainers.image.created": one.created} if one.created else {}
        pushed.append(
            artifacts.push(
                ref,
                SPDX_TYPE,
                [(SPDX_TYPE, one.raw, notes)],
                subject=Digest(one.digest),
                annotations=when,
            )
        )
    details = {
        "tool": sboms[0].tool.value,
        "packages": {one.digest: one.packages for one in sboms},
        "documents": {one.digest: str(sha256(one.raw)) for one in sboms},
        "artifacts": [str(one) for one in pushed],
    }
    record_evidence(
        record, EvidenceKind.SBOM, sboms[0].image, str(digest), EvidenceOutcome.PASSED, details
    )
    return tuple(pushed)
