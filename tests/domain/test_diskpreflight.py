"""Every rule of the preflight as a case: facts, request and consent, and the verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bootcfleet.domain.disk_spec import AmiSpec
from bootcfleet.domain.diskobserved import Consent, DiskFacts, ImageState, human
from bootcfleet.domain.diskpreflight import backend_problems, preflight
from bootcfleet.domain.diskrequest import GIB, DiskRequest, disk_bytes, space_need
from bootcfleet.domain.disktype import Backend, DiskType

IMAGE = ImageState("sha256:1", 2 * GIB, "amd64", (("containers.bootc", "1"),), rootfs="xfs")
REQUEST = DiskRequest(
    "web",
    "registry.example.com/acme/web:prod",
    (DiskType.QCOW2,),
    Backend.BOOTC_IMAGE_BUILDER,
    "quay.io/centos-bootc/bootc-image-builder@sha256:" + "b" * 64,
    "linux/amd64",
)
FACTS = DiskFacts(image=IMAGE, free_store=100 * GIB, free_output=100 * GIB)
AMI = AmiSpec(name="web", bucket="disks", region="eu-central-1")
INSTALL = {"backend": Backend.BOOTC_INSTALL, "builder": ""}


def verdict(
    request: dict[str, Any], facts: dict[str, Any], consent: dict[str, Any]
) -> list[tuple[str, str]]:
    found = preflight(replace(REQUEST, **request), replace(FACTS, **facts), Consent(**consent))
    assert all(one.message for one in found)
    # Whoever reads an error can do something about it.
    assert all(one.remedy for one in found if one.level in ("error", "confirm", "warning")
               if one.check != "aws" or one.level != "confirm")  # fmt: skip
    return [(one.check, one.level.value) for one in found]


NO_IMAGE = {"image": None}
FOREIGN = {"platform": "linux/arm64"}
ARM = replace(IMAGE, architecture="arm64")
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], list[tuple[str, str]]]] = {
    "all is well": ({}, {}, {}, []),
    "no root and no sudo": ({}, {"root": False}, {}, [("root", "error")]),
    "sudo is enough": ({}, {"root": False, "sudo": True}, {}, []),
    "no podman": ({}, {"podman": None, "image": None}, {}, [("podman", "error")]),
    "vfs storage": ({}, {"storage_driver": "vfs"}, {}, [("storage-driver", "error")]),
    "image nowhere": ({}, NO_IMAGE, {}, [("image", "error")]),
    "image of the user": ({}, NO_IMAGE | {"user_has_image": True}, {}, [("image", "error")]),
    "transferred": (
        {}, NO_IMAGE | {"user_has_image": True}, {"transfer": True}, [("image", "note")],
    ),
    "nothing to transfer": ({}, NO_IMAGE, {"transfer": True}, [("image", "error")]),
    "pulled": ({}, NO_IMAGE, {"pull": True}, [("image", "note")]),
    "localhost is not pulled": (
        {"image": "localhost/web:1"}, NO_IMAGE, {"pull": True},
        [("image", "error"), ("source", "confirm")],
    ),
    "no label": ({}, {"image": replace(IMAGE, labels=())}, {}, [("label", "error")]),
    "another architecture": ({}, {"image": ARM}, {}, [("architecture", "error")]),
    "no qemu-user": (
        FOREIGN, {"image": ARM, "emulation": "no qemu-aarch64"}, {}, [("emulation", "error")],
    ),
    "emulated": (FOREIGN, {"image": ARM}, {}, []),
    "foreign bootc install": (
        FOREIGN | INSTALL, {"image": ARM}, {}, [("architecture", "error")],
    ),
    "foreign iso": (
        FOREIGN | {"types": (DiskType.ANACONDA_ISO,)}, {"image": ARM}, {},
        [("architecture", "warning")],
    ),
    "no rootfs": ({}, {"image": replace(IMAGE, rootfs=None)}, {}, [("rootfs", "error")]),
    "rootfs is given": ({"rootfs": "ext4"}, {"image": replace(IMAGE, rootfs=None)}, {}, []),
    "rootfs not asked": (
        {}, {"image": replace(IMAGE, rootfs=None, asked=False)}, {}, [("rootfs", "warning")],
    ),
    "an iso needs none": (
        {"types": (DiskType.ANACONDA_ISO,)}, {"image": replace(IMAGE, rootfs=None)}, {}, [],
    ),
    "selinux without policy": ({}, {"selinux": "enforcing"}, {}, [("selinux", "error")]),
    "selinux with policy": ({}, {"selinux": "enforcing", "osbuild_selinux": True}, {}, []),
    "selinux permissive": ({}, {"selinux": "permissive"}, {}, []),
    "bootc install needs no policy": (INSTALL, {"selinux": "enforcing"}, {}, []),
    "no space in the store": ({}, {"free_store": 5 * GIB}, {}, [("space", "error")]),
    "space may do": ({}, {"free_store": 7 * GIB}, {}, [("space", "confirm")]),
    "no space for the output": ({}, {"free_output": 3 * GIB}, {}, [("space", "error")]),
    "one file system": (
        {}, {"one_filesystem": True, "free_output": 17 * GIB}, {}, [("space", "confirm")],
    ),
    "one file system that shares blocks": (
        {}, {"one_filesystem": True, "reflink": True, "free_output": 17 * GIB}, {}, [],
    ),
    "no loop": ({}, {"loop": False}, {}, [("loop", "error")]),
    "no qemu-img": (INSTALL, {"qemu_img": False}, {}, [("qemu-img", "error")]),
    "raw needs no qemu-img": (
        INSTALL | {"types": (DiskType.RAW,)}, {"qemu_img": False}, {}, [],
    ),
    "bib needs no qemu-img": ({}, {"qemu_img": False}, {}, []),
    "wrong backend": (
        INSTALL | {"types": (DiskType.OVA,)}, {}, {}, [("types", "error")],
    ),
    "mixed": (
        {"types": (DiskType.QCOW2, DiskType.ANACONDA_ISO)}, {}, {}, [("types", "note")],
    ),
    "no installer": (
        {"types": (DiskType.BOOTC_INSTALLER,)}, {}, {}, [("installer", "error")],
    ),
    "installer not here": (
        {"types": (DiskType.BOOTC_INSTALLER,), "installer": "quay.io/a/b:1"},
        {"installer": False}, {}, [("installer", "error")],
    ),
    "aws in part": ({"aws_missing": ("--aws-bucket",)}, {}, {}, [("aws", "error")]),
    "aws without ami": ({"ami": AMI}, {}, {}, [("aws", "error")]),
    "aws": (
        {"ami": AMI, "types": (DiskType.AMI,)}, {"aws_asked": True}, {}, [("aws", "confirm")],
    ),
    "aws not asked": (
        {"ami": AMI, "types": (DiskType.AMI,)}, {}, {}, [("aws", "confirm"), ("aws", "warning")],
    ),
    "aws without anything": (
        {"ami": AMI, "types": (DiskType.AMI,)},
        {"aws_asked": True, "credentials": False, "bucket": "404", "role": "NoSuchEntity"}, {},
        [
            ("aws-credentials", "error"), ("aws-bucket", "error"), ("aws-role", "error"),
            ("aws", "confirm"),
        ],
    ),
    "open credentials": (
        {"ami": AMI, "types": (DiskType.AMI,), "env_file": "aws.env"},
        {"aws_asked": True, "credentials_open": True}, {},
        [("aws", "confirm"), ("aws-credentials", "warning")],
    ),
    "localhost": ({"image": "localhost/web:1"}, {}, {}, [("source", "confirm")]),
    "localhost with a target": (
        {"image": "localhost/web:1", "target_imgref": "registry.example.com/web:1"} | INSTALL,
        {}, {}, [],
    ),
    "no target with bib": (
        {"target_imgref": "registry.example.com/web:1"}, {}, {}, [("target", "error")],
    ),
    "a digest": (
        {"image": "registry.example.com/web@sha256:" + "1" * 64}, {}, {}, [("source", "confirm")],
    ),
    "an image id": ({"image": "sha256:" + "1" * 64}, {}, {}, [("source", "error")]),
    "wipes": (
        {"types": (DiskType.ANACONDA_ISO,), "wipes": "clearpart"}, {}, {}, [("wipe", "error")],
    ),
    "wipes, and it is wanted": (
        {"types": (DiskType.ANACONDA_ISO,), "wipes": "clearpart"}, {}, {"wipe_disks": True}, [],
    ),
    "builder by its tag": (
        {"builder": "quay.io/a/bib:latest"}, {}, {}, [("builder-pinned", "warning")],
    ),
    "builder not here": ({}, {"builder": False}, {}, [("builder", "note")]),
    "builder that is none": (
        {}, {"builder_flags": frozenset({"--bootc-ref"})}, {}, [("builder", "error")],
    ),
    "no image-builder": (
        {"native": True, "backend": Backend.IMAGE_BUILDER}, {}, {}, [("builder", "error")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_verdict(name: str) -> None:
    request, facts, consent, wanted = CASES[name]
    assert verdict(request, facts, consent) == wanted


def test_everything_is_said_at_once() -> None:
    facts = {"root": False, "storage_driver": "vfs", "selinux": "enforcing", "loop": False}
    found = verdict({}, facts, {})
    assert [check for check, _ in found] == ["root", "storage-driver", "selinux", "loop"]


def test_the_rule_for_space() -> None:
    assert disk_bytes(REQUEST, 2 * GIB) == 10 * GIB
    assert disk_bytes(REQUEST, 6 * GIB) == 12 * GIB
    assert disk_bytes(replace(REQUEST, minsize=40 * GIB), 2 * GIB) == 40 * GIB
    assert disk_bytes(replace(REQUEST, types=(DiskType.ANACONDA_ISO,)), 2 * GIB) == 4 * GIB
    need = space_need(REQUEST, 2 * GIB, reflink=False)
    assert (need.store, need.output) == (16 * GIB, 10 * GIB)
    assert space_need(REQUEST, 2 * GIB, reflink=True).output == 0
    # ami and raw are one file.
    both = replace(REQUEST, types=(DiskType.AMI, DiskType.RAW, DiskType.QCOW2))
    assert space_need(both, 2 * GIB, reflink=False).output == 20 * GIB
    own = replace(REQUEST, backend=Backend.BOOTC_INSTALL)
    assert space_need(own, 2 * GIB, reflink=False).store == 0


@pytest.mark.parametrize(
    ("size", "text"),
    [(5, "5 bytes"), (2048, "2.0 KiB"), (3 * 1024**2, "3.0 MiB"), (2048 * GIB, "2048.0 GiB")],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert human(size) == text


def test_backends() -> None:
    facts = replace(FACTS, selinux="enforcing", loop=True)
    assert [
        one.check for one in backend_problems(Backend.BOOTC_IMAGE_BUILDER, facts, native=False)
    ] == ["selinux"]
    assert not backend_problems(Backend.BOOTC_INSTALL, facts, native=False)
    assert backend_problems(Backend.IMAGE_BUILDER, facts, native=True)
