"""What would fail after ten minutes, said before anything starts: pure decisions from facts.

Facts about the builders are from the field note *disk images and kickstart*: their own
checks, in the code of bootc-image-builder @2cc5e958, and the issues that their users filed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bootcfleet.domain.diskobserved import (
    Consent,
    DiskFacts,
    Level,
    PreflightFinding,
    human,
    space,
)
from bootcfleet.domain.diskrequest import DiskRequest
from bootcfleet.domain.disktype import Backend, DiskType, mixed, unsupported
from bootcfleet.domain.diskupload import upload_findings
from bootcfleet.domain.reference import ARCHITECTURES, ImageRef, InvalidReferenceError

#: What says that an image is one for bootc.
BOOTC_LABEL = "containers.bootc"


def preflight(
    request: DiskRequest, facts: DiskFacts, consent: Consent | None = None
) -> tuple[PreflightFinding, ...]:
    """Every finding at once, the worst first."""
    case = _Case(request, facts, consent or Consent())
    found = [one for check in _CHECKS for one in check(case)]
    order = list(Level)
    return tuple(sorted(found, key=lambda one: order.index(one.level)))


Found = Iterator[PreflightFinding]


@dataclass(frozen=True)
class _Case:
    """What every check decides from."""

    request: DiskRequest
    facts: DiskFacts
    said: Consent


_Check = Callable[[_Case], Found]


def _error(check: str, message: str, remedy: str) -> PreflightFinding:
    return PreflightFinding(check, Level.ERROR, message, remedy)


def _types(case: _Case) -> Found:
    request, facts = case.request, case.facts
    for sentence in unsupported(request.types, request.backend):
        yield _error("types", sentence, "disk backends shows what each makes")
    if mixed(request.types):
        yield PreflightFinding(
            "types",
            Level.NOTE,
            "disks, installers and PXE trees are not made together: each is a run of its own",
        )
    if DiskType.BOOTC_INSTALLER in request.types and not request.installer:
        yield _error(
            "installer",
            "bootc-installer boots the image of an installer, and none is named",
            "add --installer REF: a bootc image with Anaconda",
        )
    elif request.installer and not facts.installer:
        yield _error(
            "installer",
            f"the installer {request.installer} is not in root's storage",
            f"sudo podman pull {request.installer}, or build with --pull",
        )


def _rights(case: _Case) -> Found:
    request, facts = case.request, case.facts
    if not facts.root and not facts.sudo:
        yield _error(
            "root",
            "disks are made with root rights, and sudo wants a password here",
            "run it as root: sudo bootcfleet disk build …",
        )
    if facts.podman is None:
        yield _error(
            "podman", "podman is not installed", "dnf install podman, or apt-get install podman"
        )
    elif facts.storage_driver not in (None, "overlay"):
        yield _error(
            "storage-driver",
            f"root's container storage uses {facts.storage_driver}; builders read only overlay",
            'set driver = "overlay" in /etc/containers/storage.conf, then: podman system reset',
        )
    if request.native and facts.native is None:
        yield _error(
            "builder",
            "image-builder is not installed",
            "dnf install image-builder, or leave --native out",
        )


def _image(case: _Case) -> Found:
    request, facts, said = case.request, case.facts, case.said
    image = facts.image
    if image is None:
        if facts.podman is None:
            return
        if said.transfer and facts.user_has_image:
            yield PreflightFinding("image", Level.NOTE, "the image is copied to root's storage")
        elif said.pull and not request.image.startswith("localhost/"):
            yield PreflightFinding("image", Level.NOTE, "the image is pulled to root's storage")
        else:
            mend = (
                f"build with --transfer, or: podman image scp $USER@localhost::{request.image} "
                "root@localhost::"
                if facts.user_has_image
                else f"build with --pull, or: sudo podman pull {request.image}"
            )
            here = "in your own storage and not" if facts.user_has_image else "not"
            yield _error(
                "image",
                f"{request.image} is {here} in root's storage; builders pull nothing",
                mend,
            )
        return
    labels = dict(image.labels)
    if labels.get(BOOTC_LABEL) not in ("1", "true"):
        yield _error(
            "label",
            f"{request.image} is not a bootc image: it has no label {BOOTC_LABEL}=1",
            f"build it from a bootc base, or add LABEL {BOOTC_LABEL} 1",
        )
    architecture = ARCHITECTURES.get(image.architecture, image.architecture)
    if architecture != request.architecture:
        yield _error(
            "architecture",
            f"{request.image} is for {architecture}, and {request.architecture} was asked for",
            f"add --platform linux/{architecture}, or: "
            f"sudo podman pull --platform {request.platform} {request.image}",
        )


def _architecture(case: _Case) -> Found:
    request, facts = case.request, case.facts
    if request.architecture == facts.machine:
        return
    if facts.emulation is not None:
        yield _error(
            "emulation",
            facts.emulation,
            "apt-get install qemu-user-static binfmt-support, or dnf install qemu-user-static",
        )
    if request.backend is Backend.BOOTC_INSTALL:
        yield _error(
            "architecture",
            f"bootc install makes disks only of this machine's architecture ({facts.machine})",
            "use --backend bootc-image-builder",
        )
    elif DiskType.ANACONDA_ISO in request.types:
        yield PreflightFinding(
            "architecture",
            Level.WARNING,
            "installers of another architecture are experimental",
            f"build it on a machine with {request.architecture}",
        )


def _rootfs(case: _Case) -> Found:
    request, facts = case.request, case.facts
    if request.rootfs or facts.image is None or not any(one.is_disk for one in request.types):
        return
    if facts.image.asked and facts.image.rootfs is None:
        yield _error(
            "rootfs",
            f"{request.image} does not say which file system its root has",
            "add --rootfs xfs (or ext4, btrfs), or put it into /usr/lib/bootc/install/*.toml",
        )
    elif not facts.image.asked:
        yield PreflightFinding(
            "rootfs",
            Level.WARNING,
            "the image could not be asked which file system its root has",
            "add --rootfs xfs (or ext4, btrfs) to be sure",
        )


def _selinux(case: _Case) -> Found:
    request, facts = case.request, case.facts
    if request.backend is Backend.BOOTC_INSTALL or facts.selinux != "enforcing":
        return
    if not facts.osbuild_selinux:
        yield _error(
            "selinux",
            "SELinux is enforcing and osbuild's policy is missing: files cannot be labelled",
            "sudo dnf install osbuild-selinux",
        )


def _space(case: _Case) -> Found:
    request, facts = case.request, case.facts
    need = space(request, facts)
    if need is None or facts.image is None:
        return
    wanted = [("output", need.output, facts.free_output)]
    if need.store and facts.one_filesystem:
        wanted = [("store and output", need.store + need.output, facts.free_output)]
    elif need.store:
        wanted.append(("store", need.store, facts.free_store))
    for where, size, free in wanted:
        if free is None or free >= size:
            continue
        least = 3 * facts.image.size if "store" in where else 2 * facts.image.size
        message = f"the {where} may need {human(size)}, and {human(free)} are free"
        remedy = "podman image prune; podman volume prune; or --output on a larger disk"
        # Disks are sparse: below the least it cannot end well, in between it may.
        level = Level.ERROR if free < least else Level.CONFIRM
        yield PreflightFinding("space", level, message, remedy)


def _loop(case: _Case) -> Found:
    request, facts = case.request, case.facts
    if not facts.loop and not request.native:
        yield _error("loop", "there are no loop devices (/dev/loop-control)", "sudo modprobe loop")
    converted = [one for one in request.types if one is not DiskType.RAW]
    if request.backend is Backend.BOOTC_INSTALL and converted and not facts.qemu_img:
        yield _error(
            "qemu-img",
            f"{', '.join(converted)} is converted by qemu-img, which is not installed",
            "apt-get install qemu-utils, or dnf install qemu-img",
        )


def _aws(case: _Case) -> Found:
    return upload_findings(case.request, case.facts)


def _source(case: _Case) -> Found:
    request = case.request
    target = request.target_imgref or request.image
    if request.target_imgref and request.backend is not Backend.BOOTC_INSTALL:
        yield _error(
            "target",
            f"{request.backend} cannot say where updates come from (BIB#454)",
            "use --backend bootc-install, or tag the image as it is called in the registry",
        )
        return
    try:
        ref = ImageRef.parse(target)
    except InvalidReferenceError:
        # An image id: there is nothing to upgrade from.
        yield _error(
            "source",
            f"{target} has no name in a registry, from which the machine could upgrade",
            "name it as it is called in the registry: REGISTRY/PATH/NAME:TAG",
        )
        return
    if ref.registry == "localhost":
        yield PreflightFinding(
            "source",
            Level.CONFIRM,
            f"machines look for upgrades at {target}, where there is no registry",
            f"podman tag {target} REGISTRY/NAME:TAG and build that, or --backend bootc-install "
            "--target-imgref REGISTRY/NAME:TAG",
        )
    elif ref.pinned:
        yield PreflightFinding(
            "source",
            Level.CONFIRM,
            "machines stay at this digest: bootc upgrade never moves them",
            "name a channel or tag: NAME:CHANNEL",
        )


def _wipe(case: _Case) -> Found:
    request, said = case.request, case.said
    if request.wipes and not said.wipe_disks:
        yield _error(
            "wipe",
            "whoever boots this installer loses all disks of the machine, without a question: "
            f"{request.wipes}",
            "add --wipe-disks if this is wanted, or a kickstart that names its disk "
            "(bootcfleet kickstart render)",
        )


def _builder(case: _Case) -> Found:
    request, facts = case.request, case.facts
    if request.native or request.backend is Backend.BOOTC_INSTALL:
        return
    if not facts.builder:
        yield PreflightFinding(
            "builder", Level.NOTE, f"{request.builder} is not here yet: it is pulled"
        )
    if not request.builder_pinned:
        yield PreflightFinding(
            "builder-pinned",
            Level.WARNING,
            f"{request.builder} is not pinned: another day may bring another builder",
            "bootcfleet lock update, or give it with its digest: --builder REF@sha256:…",
        )
    if facts.builder_flags is not None and "--type" not in facts.builder_flags:
        wanted = request.backend is Backend.BOOTC_IMAGE_BUILDER
        if wanted:
            yield _error(
                "builder",
                f"{request.builder} is not bootc-image-builder: its build has no --type",
                "see disk backends",
            )


_CHECKS: tuple[_Check, ...] = (
    _types,
    _rights,
    _image,
    _architecture,
    _rootfs,
    _selinux,
    _space,
    _loop,
    _aws,
    _source,
    _wipe,
    _builder,
)


def backend_problems(
    backend: Backend, facts: DiskFacts, *, native: bool
) -> tuple[PreflightFinding, ...]:
    """Why a backend cannot be used on this machine, whatever is built; empty where it can."""
    request = DiskRequest("", "", (DiskType.RAW,), backend, "", f"linux/{facts.machine}", native)
    case = _Case(request, facts, Consent())
    found = [one for check in (_rights, _selinux, _loop) for one in check(case)]
    return tuple(one for one in found if one.level is Level.ERROR)
