"""The exact words that each builder is called with.

Facts from the code of bootc-image-builder @2cc5e958 and osbuild/image-builder @a1f35083,
and bootc-install-to-disk(8); see the field note *disk images and kickstart*.  There is no
``-it``: without a terminal podman refuses it.  Nothing secret is a word: credentials are
in a file for ``--env-file``, the configuration in a file that is mounted.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from bootcfleet.domain.diskrequest import DiskRequest
from bootcfleet.domain.disktype import Backend, BuilderRun, DiskType

#: Where root's podman keeps images, and where the builders look for them.
STORAGE = "/var/lib/containers/storage"
#: On every container of a build; the value is the disk's name.
LABEL = "io.bootcfleet.disk"
#: What bootc-image-builder has had since its beginning: assumed where it was not asked yet.
KNOWN_FLAGS = frozenset(
    {"--type", "--rootfs", "--progress", "--target-arch", "--chown", "--output", "--store"}
    | {"--aws-ami-name", "--aws-bucket", "--aws-region", "--installer-payload-ref"}
)


@dataclass(frozen=True)
class Places:
    """Folders and files of one run, on this machine.

    `work` gets the output, `storage` is podman's graph root, `config` the blueprint's file,
    `keys` a file of SSH keys, `aws` the folder of AWS credentials (``~/.aws``);
    `foreign` is whether the architecture is another than this machine's.
    """

    work: str
    container: str
    storage: str = STORAGE
    config: str | None = None
    keys: str | None = None
    aws: str | None = None
    foreign: bool = False


def builder_argv(
    request: DiskRequest,
    run: BuilderRun,
    places: Places,
    flags: Collection[str] = KNOWN_FLAGS,
) -> tuple[str, ...]:
    """The words of one run; `flags` are those that this builder has."""
    match request.backend:
        case Backend.BOOTC_IMAGE_BUILDER:
            return _bib(request, run, places, flags)
        case Backend.IMAGE_BUILDER:
            return _image_builder(request, run.named[0], places)
        case Backend.BOOTC_INSTALL:
            return _bootc_install(request, places)


def _podman(request: DiskRequest, places: Places) -> list[str]:
    return [
        *("podman", "run", "--rm", "--name", places.container),
        *("--label", f"{LABEL}={request.name}", "--privileged", "--pull=never"),
        *("--security-opt", "label=type:unconfined_t"),
    ]


def _credentials(request: DiskRequest, places: Places) -> list[str]:
    if request.ami is None:
        return []
    if request.env_file is not None:
        return ["--env-file", request.env_file]
    if places.aws is not None:
        return ["--volume", f"{places.aws}:/root/.aws:ro", "--env", "AWS_PROFILE"]
    return [
        *("--env", "AWS_ACCESS_KEY_ID", "--env", "AWS_SECRET_ACCESS_KEY"),
        *("--env", "AWS_SESSION_TOKEN"),
    ]


def _bib(
    request: DiskRequest, run: BuilderRun, places: Places, flags: Collection[str]
) -> tuple[str, ...]:
    words = _podman(request, places)
    if places.config is not None:
        words += ["--volume", f"{places.config}:/config.{request.config_format}:ro"]
    words += ["--volume", f"{places.work}:/output", "--volume", f"{places.storage}:{STORAGE}"]
    upload = request.ami is not None and DiskType.AMI in run.named
    words += _credentials(request, places) if upload else []
    words += [request.builder, "build"]
    words += [word for one in run.named for word in ("--type", one.value)]
    words += ["--rootfs", request.rootfs] if request.rootfs else []
    # Experimental, and refused for some ISOs: only where it is another machine's.
    words += ["--target-arch", request.architecture] if places.foreign else []
    if request.installer and DiskType.BOOTC_INSTALLER in run.named:
        # The ISO boots the installer's image and carries the other one as its payload.
        words += ["--installer-payload-ref", request.image]
    if request.ami is not None and upload:
        words += ["--aws-ami-name", request.ami.name, "--aws-bucket", request.ami.bucket]
        words += ["--aws-region", request.ami.region]
    words += ["--progress", "debug"] if "--progress" in flags else []
    return (*words, _boots(request, run.named[0]))


def _boots(request: DiskRequest, type_: DiskType) -> str:
    if type_ is DiskType.BOOTC_INSTALLER and request.installer:
        return request.installer
    return request.image


def _image_builder(request: DiskRequest, type_: DiskType, places: Places) -> tuple[str, ...]:
    output, config = (places.work, places.config) if request.native else ("/output", None)
    words: list[str] = []
    if request.native:
        words.append("image-builder")
    else:
        words += _podman(request, places)
        if places.config is not None:
            config = f"/config.{request.config_format}"
            words += ["--volume", f"{places.config}:{config}:ro"]
        words += ["--volume", f"{places.work}:/output", "--volume", f"{places.storage}:{STORAGE}"]
        words.append(request.builder)
    words += ["build", type_.value, "--bootc-ref", _boots(request, type_)]
    if type_ is DiskType.BOOTC_INSTALLER and request.installer:
        words += ["--bootc-installer-payload-ref", request.image]
    words += ["--bootc-default-fs", request.rootfs] if request.rootfs else []
    words += ["--image-size", str(request.size)] if request.size and type_.is_disk else []
    # Unlike bootc-image-builder it looks for no /config.toml.
    words += ["--blueprint", config] if config else []
    words += ["--arch", request.architecture] if places.foreign else []
    words += ["--output-dir", f"{output}/{type_.value}", "--output-name", "disk"]
    return (*words, "--progress", "debug")


def _bootc_install(request: DiskRequest, places: Places) -> tuple[str, ...]:
    words = _podman(request, places)
    words += ["--pid=host", "--ipc=host", "--volume", "/dev:/dev"]
    words += ["--volume", f"{places.storage}:{STORAGE}", "--volume", f"{places.work}:/output"]
    words += ["--volume", f"{places.keys}:/run/root-keys:ro"] if places.keys else []
    words += [request.image, "bootc", "install", "to-disk", "--generic-image", "--via-loopback"]
    words += ["--filesystem", request.rootfs] if request.rootfs else []
    words += [word for karg in request.kargs for word in ("--karg", karg)]
    words += ["--root-ssh-authorized-keys", "/run/root-keys"] if places.keys else []
    words += ["--target-imgref", request.target_imgref] if request.target_imgref else []
    raw = DiskType.RAW.output(Backend.BOOTC_INSTALL)
    return (*words, f"/output/{raw}")


def truncate_argv(places: Places, size: int) -> tuple[str, ...]:
    """Makes the empty disk that `bootc install` fills; `size` in bytes."""
    raw = DiskType.RAW.output(Backend.BOOTC_INSTALL)
    return ("truncate", "--size", str(size), f"{places.work}/{raw}")


def convert_argv(type_: DiskType, places: Places) -> tuple[str, ...]:
    """Converts the raw disk of `bootc install` to another type."""
    raw = DiskType.RAW.output(Backend.BOOTC_INSTALL)
    target = type_.output(Backend.BOOTC_INSTALL)
    words = ["qemu-img", "convert", "-f", "raw", "-O", type_.qemu_format or type_.value]
    return (*words, f"{places.work}/{raw}", f"{places.work}/{target}")


def probe_argv(request: DiskRequest) -> tuple[str, ...]:
    """Asks the builder which options it has."""
    if request.native:
        return ("image-builder", "build", "--help")
    return (
        *("podman", "run", "--rm", "--network=none", "--pull=never", request.builder),
        *("build", "--help"),
    )


_OPTION = re.compile(r"^\s+(?:-\w, )?(--[a-z][a-z0-9-]*)", re.MULTILINE)


def flags_of(said: str) -> frozenset[str]:
    """The long options that ``build --help`` lists."""
    return frozenset(_OPTION.findall(said))
