"""What ``bootc status --format=json`` says, in every published form.

Source: bootc's JSON Schema of the host document (``org.containers.bootc/v1``),
and field note *bootc on a host*: v1alpha1 (up to 0.1.14) has fewer fields and
some others; timestamps may carry nanoseconds; unknown fields come with every
release and are ignored; slots and images may be null.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from bootcfleet.domain.reference import ImageRef
from bootcfleet.errors import FleetError


class StatusError(FleetError):
    """The text is not a status of bootc."""


class Slot(StrEnum):
    """Where a deployment stands."""

    BOOTED = "booted"
    STAGED = "staged"
    ROLLBACK = "rollback"


@dataclass(frozen=True)
class ImageStatus:
    """An image as bootc knows it; `reference` is as bootc writes it, without a transport."""

    reference: str
    transport: str
    digest: str | None
    version: str | None
    timestamp: datetime | None
    architecture: str | None
    signature: str | None = None

    @property
    def enforced(self) -> bool:
        """Whether bootc insists on a policy.json that asks for signatures.

        The host was installed or switched with ``--enforce-container-sigpolicy``; a switch without
        it ends that.
        """
        return self.signature == "containerPolicy"

    @property
    def ref(self) -> ImageRef | None:
        """The reference, when the image comes from a registry."""
        if self.transport not in {"registry", "docker", "docker://"}:
            return None
        try:
            return ImageRef.parse(self.reference)
        except FleetError:
            return None


@dataclass(frozen=True)
class BootEntry:
    """One deployment.  `image` is None for a deployment that rpm-ostree made."""

    image: ImageStatus | None
    cached_update: ImageStatus | None
    pinned: bool
    incompatible: bool
    store: str | None
    checksum: str | None
    deploy_serial: int | None
    stateroot: str | None
    verity: str | None
    soft_reboot_capable: bool
    download_only: bool

    @property
    def reference(self) -> str | None:
        """The image reference as bootc writes it."""
        return self.image.reference if self.image else None

    @property
    def transport(self) -> str | None:
        """The transport of the image."""
        return self.image.transport if self.image else None

    @property
    def ref(self) -> ImageRef | None:
        """The registry reference, when it is one."""
        return self.image.ref if self.image else None

    @property
    def digest(self) -> str | None:
        """The image's digest: that of the host's own platform when the reference is an index."""
        return self.image.digest if self.image else None

    @property
    def version(self) -> str | None:
        """The label ``org.opencontainers.image.version``."""
        return self.image.version if self.image else None

    @property
    def timestamp(self) -> datetime | None:
        """When the image was built."""
        return self.image.timestamp if self.image else None

    @property
    def architecture(self) -> str | None:
        """The architecture, as OCI names it."""
        return self.image.architecture if self.image else None


@dataclass(frozen=True)
class BootcStatus:
    """A host's deployments.

    `rollback_queued`: the next boot is the rollback deployment's.  bootc's ``rollbackQueued`` says
    only that it stands before the booted one, and stays true beneath what was staged later, which
    boots first unless it is held back (its ``status.rs``: a staged deployment is left out there).
    """

    api_version: str
    booted: BootEntry | None
    staged: BootEntry | None
    rollback: BootEntry | None
    others: tuple[BootEntry, ...]
    rollback_queued: bool
    boot_order: str
    spec_reference: str | None
    type: str | None
    usr_overlay: str | None
    read_only: bool

    @property
    def followed(self) -> ImageStatus | None:
        """The image that ``bootc upgrade`` goes on from and ``bootc switch`` compares with."""
        entry = self.staged or self.booted
        return entry.image if entry else None

    @property
    def booted_by_bootc(self) -> bool:
        """Whether the running system is one that bootc manages.

        A host that bootc did not boot gets an answer too, with null slots; an
        rpm-ostree system has a booted slot without an image.
        """
        return self.booted is not None and (self.type == "bootcHost" or bool(self.booted.image))


def _printable(text: str) -> str:
    """A host's word may be wrong, but it must not command the terminal that shows it."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text)


_Text = Annotated[str, AfterValidator(_printable)]


class _Lenient(BaseModel):
    model_config = ConfigDict(
        extra="ignore", frozen=True, alias_generator=to_camel, populate_by_name=True
    )


class _Reference(_Lenient):
    image: _Text
    transport: _Text = "registry"
    signature: Any = None


class _Image(_Lenient):
    image: _Reference
    version: _Text | None = None
    timestamp: _Text | None = None
    image_digest: _Text | None = None
    architecture: _Text | None = None


class _Ostree(_Lenient):
    checksum: _Text
    deploy_serial: int = 0
    stateroot: _Text | None = None


class _Composefs(_Lenient):
    verity: _Text


class _Entry(_Lenient):
    image: _Image | None = None
    cached_update: _Image | None = None
    incompatible: bool = False
    pinned: bool = False
    store: _Text | None = None
    ostree: _Ostree | None = None
    composefs: _Composefs | None = None
    soft_reboot_capable: bool = False
    download_only: bool = False


class _Overlay(_Lenient):
    access_mode: _Text = "readWrite"
    persistence: _Text = "transient"


class _Spec(_Lenient):
    image: _Reference | None = None
    boot_order: _Text | None = None


class _Status(_Lenient):
    staged: _Entry | None = None
    booted: _Entry | None = None
    rollback: _Entry | None = None
    other_deployments: list[_Entry] | None = None
    rollback_queued: bool | None = None
    type: _Text | None = None
    usr_overlay: _Overlay | None = None
    read_only: bool | None = None


class _Host(_Lenient):
    api_version: _Text
    kind: _Text
    spec: _Spec | None = None
    status: _Status | None = None


_API = "org.containers.bootc/"


def parse_status(text: str) -> BootcStatus:
    """Read the JSON that ``bootc status --format=json`` prints.

    Lines before the document (a warning of a login script, say) are passed
    over.  Raises `StatusError` for anything that is not one status document.
    """
    start = re.search(r"^\s*\{", text, re.MULTILINE)
    if start is None:
        raise _garbage(text, "no JSON object in it")
    try:
        host = _Host.model_validate(json.loads(text[start.start() :]))
    except (ValueError, RecursionError) as error:
        # pydantic's ValidationError is a ValueError; json's JSONDecodeError too.
        why = (
            f"{error.error_count()} fields are wrong"
            if isinstance(error, ValidationError)
            else str(error)
        )
        raise _garbage(text, why) from error
    if host.kind != "BootcHost" or not host.api_version.startswith(_API):
        raise _garbage(text, f"it is a {host.kind} of {host.api_version}")
    spec, status = host.spec or _Spec(), host.status or _Status()
    overlay, staged = status.usr_overlay, _entry(status.staged)
    queued = bool(status.rollback_queued) or spec.boot_order == "rollback"
    return BootcStatus(
        api_version=host.api_version.removeprefix(_API),
        booted=_entry(status.booted),
        staged=staged,
        rollback=_entry(status.rollback),
        others=tuple(e for e in map(_entry, status.other_deployments or ()) if e is not None),
        rollback_queued=queued and (staged is None or staged.download_only),
        boot_order=spec.boot_order or "default",
        spec_reference=spec.image.image if spec.image else None,
        type=status.type,
        usr_overlay=f"{overlay.access_mode} {overlay.persistence}" if overlay else None,
        read_only=bool(status.read_only),
    )


def _entry(entry: _Entry | None) -> BootEntry | None:
    if entry is None:
        return None
    return BootEntry(
        image=_image(entry.image),
        cached_update=_image(entry.cached_update),
        pinned=entry.pinned,
        incompatible=entry.incompatible,
        store="composefs" if entry.composefs else entry.store,
        checksum=entry.ostree.checksum if entry.ostree else None,
        deploy_serial=entry.ostree.deploy_serial if entry.ostree else None,
        stateroot=entry.ostree.stateroot if entry.ostree else None,
        verity=entry.composefs.verity if entry.composefs else None,
        soft_reboot_capable=entry.soft_reboot_capable,
        download_only=entry.download_only,
    )


def _image(image: _Image | None) -> ImageStatus | None:
    if image is None:
        return None
    signature = image.image.signature
    return ImageStatus(
        reference=image.image.image,
        transport=image.image.transport,
        digest=image.image_digest or None,
        version=image.version,
        timestamp=_moment(image.timestamp),
        architecture=image.architecture,
        signature=None if signature is None else _printable(str(signature)),
    )


def _moment(text: str | None) -> datetime | None:
    """RFC 3339 with up to nine digits of a second; a time that cannot be read is no time."""
    if text is None:
        return None
    shorter = re.sub(r"(\.\d{6})\d+", r"\1", text)
    try:
        moment = datetime.fromisoformat(shorter)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _garbage(text: str, why: str) -> StatusError:
    shown = text.strip()[:200]
    return StatusError(
        f"what came back is not a status of bootc: {why}",
        details=[f"it begins with {shown!r}"] if shown else ["it is empty"],
        hint="run `bootc status --format=json` on the host and look at what it prints",
    )
