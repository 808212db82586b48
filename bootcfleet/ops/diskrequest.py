"""Which disk a word of the command line means, and what is asked for with every option."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bootcfleet.domain.disk_spec import AmiSpec, DiskSpec
from bootcfleet.domain.diskconfig import render_blueprint_json, render_toml
from bootcfleet.domain.disklint.model import DiskFinding
from bootcfleet.domain.diskrequest import DiskRequest
from bootcfleet.domain.disksize import parse_size
from bootcfleet.domain.disktype import Backend, DiskType
from bootcfleet.domain.document import Document
from bootcfleet.domain.lock import Lock
from bootcfleet.domain.reference import ImageRef, Platform, valid_name
from bootcfleet.drivers import blueprintfile
from bootcfleet.drivers.buildfiles import BuildFiles
from bootcfleet.errors import UsageError
from bootcfleet.ops.disklint import DiskSettings, open_disk
from bootcfleet.ops.imagename import name_image
from bootcfleet.ops.plan import this_platform
from bootcfleet.ops.project import LoadedProject, state_dir


@dataclass(frozen=True)
class DiskOptions:
    """What the command line says over a disk of the project; None is what it does not say."""

    types: Sequence[DiskType] = ()
    backend: Backend | None = None
    builder: str | None = None
    native: bool = False
    rootfs: str | None = None
    size: str | None = None
    platform: str | None = None
    channel: str | None = None
    installer: str | None = None
    config: Path | None = None
    env_file: Path | None = None
    target_imgref: str | None = None
    ami_name: str | None = None
    ami_bucket: str | None = None
    ami_region: str | None = None


@dataclass(frozen=True)
class AskedDisk:
    """The request, and what lint found in its configuration."""

    request: DiskRequest
    findings: tuple[DiskFinding, ...]


def ask_disk(
    loaded: LoadedProject | None, word: str, options: DiskOptions, lock: Lock | None = None
) -> AskedDisk:
    """The request for a disk of the project by its name, or for an image.

    An image is what `name_image` reads, or a reference in root's storage.  Raises `UsageError`,
    and `ConfigError` for a configuration that cannot be read.
    """
    settings = _settings(loaded, word, options)
    spec, missing = _override(settings.spec, options)
    settings = replace(settings, spec=spec)
    image = _image(loaded, spec)
    blueprint = settings.blueprint()
    customizations = blueprint.get("customizations") or {}
    install = spec.backend is Backend.BOOTC_INSTALL
    text, kind = (None, "toml") if install or not customizations else _text(settings, blueprint)
    builder = "" if install else _pinned(spec.builder_image, lock)
    try:
        size = parse_size(spec.size) if spec.size is not None else None
    except ValueError as error:
        raise UsageError(f"--size {error}") from error
    request = DiskRequest(
        name=settings.name,
        image=image,
        types=spec.types,
        backend=spec.backend,
        builder="" if options.native else builder,
        platform=spec.platform or this_platform(),
        native=options.native,
        rootfs=spec.rootfs,
        size=size,
        minsize=_minsize(customizations),
        installer=spec.installer,
        ami=spec.ami,
        env_file=str(options.env_file.absolute()) if options.env_file else None,
        config=text,
        config_format=kind,
        kargs=_kargs(customizations) if install else (),
        root_keys=_root_keys(customizations) if install else (),
        target_imgref=options.target_imgref,
        wipes=settings.wipes() if any(one.is_iso for one in spec.types) else "",
        aws_missing=missing,
    )
    return AskedDisk(request, settings.findings())


def _settings(loaded: LoadedProject | None, word: str, options: DiskOptions) -> DiskSettings:
    if loaded is not None and word in loaded.project.disks:
        found = open_disk(loaded, word)
        if options.config is None:
            return found
        return replace(found, document=blueprintfile.load(options.config), at=None)
    name = word.rpartition("/")[2].partition("@")[0].partition(":")[0].lower()
    name = name if valid_name(name) else "disk"
    spec = DiskSpec(image=word)
    if options.config is not None:
        return DiskSettings(name, spec, blueprintfile.load(options.config), None)
    return DiskSettings(name, spec, Document("", {"config": {}}), ("config",))


def _override(spec: DiskSpec, options: DiskOptions) -> tuple[DiskSpec, tuple[str, ...]]:
    """The disk with the options over it, and the options of an upload that are missing."""
    given: dict[str, Any] = {
        key: value
        for key, value in (
            ("types", tuple(dict.fromkeys(options.types)) or None),
            ("backend", options.backend),
            ("rootfs", options.rootfs),
            ("size", options.size),
            ("channel", options.channel),
            ("installer", options.installer),
        )
        if value is not None
    }
    if options.builder is not None:
        given["builder"] = str(ImageRef.parse(options.builder))
    if options.platform is not None:
        given["platform"] = str(Platform.parse(options.platform))
    if options.native:
        given["backend"] = Backend.IMAGE_BUILDER
    upload = {
        "--aws-ami-name": options.ami_name,
        "--aws-bucket": options.ami_bucket,
        "--aws-region": options.ami_region,
    }
    missing = tuple(flag for flag, value in upload.items() if not value)
    if not missing:
        given["ami"] = AmiSpec(
            name=options.ami_name or "",
            bucket=options.ami_bucket or "",
            region=options.ami_region or "",
        )
    changed = spec.model_copy(update=given)
    if DiskType.AMI not in changed.types and "ami" not in given:
        # The types of the command line leave the project's upload out.
        changed = changed.model_copy(update={"ami": None})
    return changed, missing if len(missing) < len(upload) else ()


def _image(loaded: LoadedProject | None, spec: DiskSpec) -> str:
    """The reference that the builder gets, and that the machine will upgrade from."""
    images = loaded.project.images if loaded else {}
    if loaded is not None and spec.channel is not None and spec.image in images:
        return f"{loaded.project.registry}/{spec.image}:{spec.channel}"
    if spec.channel is not None:
        return str(ImageRef.parse(f"{spec.image}:{spec.channel}"))
    named = name_image(loaded, spec.image)
    if loaded is not None and spec.image == named.image:
        # A tag can move on; the digest of the build would hold the machine for ever.
        built = BuildFiles(state_dir(loaded)).last_builds().get(named.image)
        tag = (
            next((one for one in built.tags if ":" in one.rpartition("/")[2]), None)
            if built
            else None
        )
        if tag is not None:
            return tag
    return str(named.ref) if named.ref is not None else named.local or spec.image


def _pinned(builder: str, lock: Lock | None) -> str:
    """The builder by the digest of the lock, where that has it."""
    pin = lock.pin(builder) if lock is not None else None
    return str(pin.reference) if pin is not None else builder


def _text(settings: DiskSettings, blueprint: Mapping[str, Any]) -> tuple[str, str]:
    if settings.document.file.endswith(".json"):
        return render_blueprint_json(blueprint), "json"
    return render_toml(blueprint), "toml"


def _minsize(customizations: Mapping[str, Any]) -> int:
    """The bytes that the configuration asks for in all."""
    found = 0
    disk = customizations.get("disk")
    if isinstance(disk, Mapping):
        found = max(_bytes(disk), sum(_bytes(one) for one in disk.get("partitions") or ()))
    systems = customizations.get("filesystem") or ()
    return max(found, sum(_bytes(one) for one in systems))


def _bytes(part: Any) -> int:
    try:
        return parse_size(part.get("minsize", part.get("size", 0)))
    except (ValueError, TypeError, AttributeError):
        # Lint says what is wrong with it.
        return 0


def _kargs(customizations: Mapping[str, Any]) -> tuple[str, ...]:
    kernel = customizations.get("kernel")
    append = kernel.get("append") if isinstance(kernel, Mapping) else None
    return tuple(str(append).split()) if append else ()


def _root_keys(customizations: Mapping[str, Any]) -> tuple[str, ...]:
    users = customizations.get("user") or ()
    return tuple(
        str(one["key"])
        for one in users
        if isinstance(one, Mapping) and one.get("name") == "root" and one.get("key")
    )
