"""What each type and backend makes of each customization: does, warns, ignores, refuses.

Source: data/distrodefs/bootc-generic/imagetypes.yaml of osbuild/image-builder.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from bootcfleet.domain.diskconfig import DiskConfig
from bootcfleet.domain.disklint.model import (
    At,
    DiskRules,
    Format,
    Subject,
    mapping,
    named,
    part,
)
from bootcfleet.domain.disktype import SUPPORTED, Backend, DiskType
from bootcfleet.domain.document import Path
from bootcfleet.domain.lint.model import Severity

RULES = DiskRules()

#: What blueprints have for images of packages; no type of a bootc image does anything with it.
#: With how image mode does the same.
UNSUPPORTED_ANYWHERE = {
    "packages": "install packages in the image's Containerfile",
    "modules": "install packages in the image's Containerfile",
    "enabled_modules": "install packages in the image's Containerfile",
    "groups": "install packages in the image's Containerfile; accounts are customizations.group",
    "containers": "bind containers to the image (bootc logically bound images)",
    "minimal": "remove it",
    "architecture": "say platform: of the disk in bootcfleet.yaml",
    "hostname": "write /etc/hostname with files, or in the image's Containerfile",
    "sshkey": "write user with name and key",
    "timezone": "set it in the image's Containerfile",
    "locale": "set it in the image's Containerfile",
    "firewall": "set it in the image's Containerfile",
    "services": "systemctl enable it in the image's Containerfile",
    "installation_device": "write installer.kickstart with ignoredisk --only-use",
    "partitioning_mode": "write disk or filesystem",
    "fdo": "remove it",
    "openscap": "harden the image in its Containerfile",
    "repositories": "add repositories in the image's Containerfile",
    "rpm": "import keys in the image's Containerfile",
    "rhsm": "set it in the image's Containerfile",
    "cacerts": "add certificates in the image's Containerfile",
    "containers-storage": "remove it",
    "firstboot": "add a unit to the image",
    "dnf": "set it in the image's Containerfile",
}

_DISK = frozenset(
    {"bootloader", "directories", "disk", "files", "group", "ignition", "kernel", "user", "sshd"}
)
_ISO = frozenset({"fips", "group", "installer", "kernel", "user"})
_PXE = frozenset({"directories", "files", "user", "group", "kernel"})


class Verdict(StrEnum):
    """What becomes of a customization."""

    DONE = "done"
    WARNED = "warned"
    DROPPED = "dropped"
    IGNORED = "ignored"
    REFUSED = "refused"


def verdict(key: str, type_: DiskType, backend: Backend) -> Verdict:
    """What `backend` does with the customization `key` for a type that it makes.

    `WARNED` is done all the same, `DROPPED` is left out with a warning, `IGNORED`
    without one.
    """
    if backend is Backend.BOOTC_INSTALL:
        # --karg, and --root-ssh-authorized-keys for root's key.
        return Verdict.DONE if key in ("kernel", "user") else Verdict.REFUSED
    if key in _supported(type_):
        return Verdict.DONE
    refuses = backend is Backend.IMAGE_BUILDER
    if key == "filesystem" and type_.is_disk:
        # It works; the list of what is supported lacks it.
        return Verdict.REFUSED if refuses else Verdict.WARNED
    if type_ is DiskType.ANACONDA_ISO and not refuses:
        # The old path of ISOs checks nothing.
        return Verdict.DONE if key == "iso" else Verdict.IGNORED
    return Verdict.REFUSED if refuses else Verdict.DROPPED


def _supported(type_: DiskType) -> frozenset[str]:
    if type_.is_iso:
        return _ISO
    return _DISK if type_.is_disk else _PXE


def _keys(subject: Subject) -> Iterable[tuple[str, Path]]:
    """Each customization that is there and not empty, and what else a blueprint has."""
    if subject.format is not Format.PROJECT:
        top = mapping(part(subject.document.data, subject.at[:-1]))
        for key in top:
            if key in UNSUPPORTED_ANYWHERE and top[key] not in ([], {}, "", None):
                yield key, (*subject.at[:-1], key)
    for key in subject.data:
        known = key in DiskConfig.model_fields
        if subject.format is not Format.PROJECT:
            known = known or key in UNSUPPORTED_ANYWHERE
        if known and subject.has(key):
            yield key, (*subject.at, key)


def _with(subject: Subject, key: str, wanted: Verdict) -> list[DiskType]:
    able = [one for one in subject.types if one in SUPPORTED[subject.backend]]
    return [one for one in able if verdict(key, one, subject.backend) is wanted]


_INSTALL_REMEDY = "put it into the image, or use backend: bootc-image-builder"
_OTHERWISE = "remove it, or choose another backend or type"


def _remedy(key: str, default: str) -> str:
    return UNSUPPORTED_ANYWHERE.get(key, default)


@RULES.add(
    "DSK201",
    Severity.ERROR,
    "customization that the builder refuses",
    reason="the builder stops at a customization that is not in its list for the type",
    source='image-builder: "blueprint validation failed for image type … not supported"',
    remedy="remove it, or choose another backend or type",
)
def refused(subject: Subject) -> Iterable[At]:
    """What image-builder and `bootc install` do not take."""
    for key, path in _keys(subject):
        types = _with(subject, key, Verdict.REFUSED)
        if not types:
            continue
        if subject.backend is Backend.BOOTC_INSTALL:
            message, remedy = "bootc install cannot do it", _INSTALL_REMEDY
        elif key == "filesystem":
            message = f"image-builder refuses it for {named(types)}, although it would work"
            remedy = "write disk with partitions, or use backend: bootc-image-builder"
        else:
            message = f"image-builder refuses it for {named(types)}"
            remedy = _OTHERWISE
        yield At(path, message, remedy=_remedy(key, remedy), from_top=True)


@RULES.add(
    "DSK202",
    Severity.WARNING,
    "customization that is left out with a warning",
    reason="the build goes on, and the disk lacks it",
    source='bootc-image-builder: "blueprint validation failed … not supported", as a warning',
    remedy="remove it, or choose another type",
)
def dropped(subject: Subject) -> Iterable[At]:
    """What bootc-image-builder warns of and leaves out."""
    for key, path in _keys(subject):
        if types := _with(subject, key, Verdict.DROPPED):
            message = f"bootc-image-builder leaves it out of {named(types)}, with a warning"
            advice = _remedy(key, "remove it, or choose another type")
            yield At(path, message, remedy=advice, from_top=True)


@RULES.add(
    "DSK203",
    Severity.WARNING,
    "customization that is ignored",
    reason="the ISO is built as if it were not there, and nobody is told",
    source="bootc-image-builder, manifestForISO: only users, groups, kernel, fips, installer and "
    "iso.volume_id are read",
    remedy="write it into installer.kickstart, or put it into the image",
)
def ignored(subject: Subject) -> Iterable[At]:
    """What bootc-image-builder leaves out of anaconda-iso without a word."""
    for key, path in _keys(subject):
        if types := _with(subject, key, Verdict.IGNORED):
            message = f"bootc-image-builder ignores it for {named(types)}, without a word"
            default = "write it into installer.kickstart, or put it into the image"
            yield At(path, message, remedy=_remedy(key, default), from_top=True)


@RULES.add(
    "DSK204",
    Severity.INFO,
    "customization that works, but is warned of",
    reason="the builder's list lacks it, so it warns; image-builder would refuse it",
    source="imagetypes.yaml: customizations.filesystem is in no list",
    remedy="write disk with partitions, which both builders take",
)
def warned(subject: Subject) -> Iterable[At]:
    """What bootc-image-builder warns of and does."""
    for key, path in _keys(subject):
        if _with(subject, key, Verdict.WARNED):
            message = "bootc-image-builder warns that it is not supported, and does it"
            yield At(path, message, from_top=True)


@RULES.add(
    "DSK205",
    Severity.WARNING,
    "boot loader for a builder that may not know it",
    reason="only builders made from osbuild/image-builder know bootloader; older ones stop at "
    "the unknown key",
    source="bootc-image-builder @2cc5e958 has no such field",
    remedy="use builder: ghcr.io/osbuild/bootc-image-builder, or set it in the image",
)
def new_bootloader(subject: Subject) -> Iterable[At]:
    """`bootloader` with the older builder."""
    old = subject.backend is Backend.BOOTC_IMAGE_BUILDER
    if old and subject.disks and subject.has("bootloader"):
        yield At(("bootloader",), "bootc-image-builder from before 2026-06 does not know it")


@RULES.add(
    "DSK206",
    Severity.ERROR,
    "another kernel",
    reason="the kernel is the image's; only kernel.append is supported",
    source="imagetypes.yaml: customizations.kernel.append",
    remedy="install the kernel in the image's Containerfile",
)
def kernel_name(subject: Subject) -> Iterable[At]:
    """`kernel.name`, which is for images of packages."""
    if subject.format is not Format.PROJECT and "name" in subject.table("kernel"):
        stops = subject.backend is not Backend.BOOTC_IMAGE_BUILDER
        level = Severity.ERROR if stops else Severity.WARNING
        yield At(("kernel", "name"), "the kernel is the image's own", level)


@RULES.add(
    "DSK207",
    Severity.WARNING,
    "key of iso that is ignored",
    reason="only volume_id is read, and only for anaconda-iso",
    source="bootc-image-builder: iso.application_id and iso.publisher are not used",
    remedy="remove it",
)
def iso_keys(subject: Subject) -> Iterable[At]:
    """What nobody reads of `iso`."""
    if subject.backend is not Backend.BOOTC_IMAGE_BUILDER:
        return
    if DiskType.ANACONDA_ISO in subject.types:
        for key in ("application_id", "publisher"):
            if key in subject.table("iso"):
                yield At(("iso", key), "bootc-image-builder ignores it")


def install_key_only(user: Any) -> bool:
    """Whether an account is one that `bootc install` can do: root with nothing but a key."""
    return isinstance(user, dict) and set(user) <= {"name", "key"} and user.get("name") == "root"


@RULES.add(
    "DSK208",
    Severity.ERROR,
    "account that bootc install cannot make",
    reason="bootc install only takes an SSH key of root (--root-ssh-authorized-keys)",
    source="bootc install to-disk --help",
    remedy="put accounts into the image, or use backend: bootc-image-builder",
)
def install_users(subject: Subject) -> Iterable[At]:
    """Accounts with the backend that has only root's key."""
    if subject.backend is Backend.BOOTC_INSTALL:
        for path, user in subject.tables("user"):
            if not install_key_only(user):
                yield At(path, "bootc install only takes a key of root")
