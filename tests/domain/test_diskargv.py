"""The exact words for each builder, and how far they are, from their words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bootcfleet.domain.disk_spec import AmiSpec
from bootcfleet.domain.diskargv import Places, flags_of
from bootcfleet.domain.diskfaults import classify
from bootcfleet.domain.diskplan import disk_steps
from bootcfleet.domain.diskprogress import DiskProgress, ProgressReader
from bootcfleet.domain.diskrequest import DiskRequest
from bootcfleet.domain.diskresult import DiskArtifact, DiskResult
from bootcfleet.domain.disktype import Backend, DiskType
from bootcfleet.errors import FleetError

BIB = "quay.io/centos-bootc/bootc-image-builder:latest"
REQUEST = DiskRequest(
    "web", "registry.example.com/acme/web:prod", (DiskType.QCOW2,),
    Backend.BOOTC_IMAGE_BUILDER, BIB, "linux/amd64",
)  # fmt: skip
PLACES = Places(work="/out/.b", container="c", config="/out/.b/config.toml")
PODMAN = (
    "podman run --rm --name {} --label io.bootcfleet.disk=web --privileged --pull=never "
    "--security-opt label=type:unconfined_t "
)
STORAGE = "--volume /var/lib/containers/storage:/var/lib/containers/storage "


def lines(request: DiskRequest, places: Places = PLACES, container: int = 0) -> list[str]:
    return [" ".join(step.argv) for step in disk_steps(request, places, container=container)]


def test_bootc_image_builder() -> None:
    request = replace(
        REQUEST, types=(DiskType.RAW, DiskType.QCOW2, DiskType.AMI, DiskType.ANACONDA_ISO),
        rootfs="btrfs", config="x",
    )  # fmt: skip
    config = "--volume /out/.b/config.toml:/config.toml:ro "
    assert lines(request) == [
        PODMAN.format("c-1") + config + "--volume /out/.b/run-1:/output " + STORAGE
        + BIB + " build --type ami --type qcow2 --rootfs btrfs --progress debug "
        "registry.example.com/acme/web:prod",
        PODMAN.format("c-2") + config + "--volume /out/.b/run-2:/output " + STORAGE
        + BIB + " build --type anaconda-iso --rootfs btrfs --progress debug "
        "registry.example.com/acme/web:prod",
    ]  # fmt: skip
    first, second = disk_steps(request, PLACES)
    assert [(one.type.value, one.path, one.final) for one in first.makes] == [
        ("ami", "run-1/image/disk.raw", "image/disk.raw"),
        ("raw", "run-1/image/disk.raw", "image/disk.raw"),
        ("qcow2", "run-1/qcow2/disk.qcow2", "qcow2/disk.qcow2"),
    ]
    assert [one.final for one in second.makes] == ["bootiso/install.iso"]


def test_two_installers_do_not_lie_upon_each_other() -> None:
    request = replace(
        REQUEST, types=(DiskType.ANACONDA_ISO, DiskType.BOOTC_INSTALLER), installer="quay.io/i:1"
    )
    first, second = disk_steps(request, replace(PLACES, config=None))
    assert first.makes[0].final == "bootiso/install.iso"
    assert second.makes[0].final == "bootc-installer/install.iso"
    # The ISO boots the installer, and carries the image.
    words = " ".join(second.argv)
    assert words.endswith("quay.io/i:1")
    assert "--installer-payload-ref registry.example.com/acme/web:prod" in words


@pytest.mark.parametrize(
    ("env_file", "aws", "wanted"),
    [
        ("/a/aws.env", "/home/u/.aws", "--env-file /a/aws.env"),
        (None, "/home/u/.aws", "--volume /home/u/.aws:/root/.aws:ro --env AWS_PROFILE"),
        (
            None, None,
            "--env AWS_ACCESS_KEY_ID --env AWS_SECRET_ACCESS_KEY --env AWS_SESSION_TOKEN",
        ),
    ],
)  # fmt: skip
def test_upload(env_file: str | None, aws: str | None, wanted: str) -> None:
    ami = AmiSpec(name="web", bucket="disks", region="eu-central-1")
    request = replace(
        REQUEST, types=(DiskType.RAW, DiskType.AMI, DiskType.ANACONDA_ISO), ami=ami,
        env_file=env_file,
    )  # fmt: skip
    disk, iso = lines(request, replace(PLACES, config=None, aws=aws))
    assert f" {wanted} {BIB} build --type ami " in disk
    assert "--aws-ami-name web --aws-bucket disks --aws-region eu-central-1" in disk
    assert "--type raw" not in disk
    # No credentials where nothing is uploaded.
    assert "aws" not in iso.lower()


def test_another_architecture_is_named() -> None:
    request = replace(REQUEST, platform="linux/arm64")
    assert "--target-arch arm64" in lines(request, replace(PLACES, foreign=True))[0]


def test_image_builder() -> None:
    request = replace(
        REQUEST, backend=Backend.IMAGE_BUILDER, builder="ghcr.io/osbuild/image-builder:latest",
        types=(DiskType.QCOW2, DiskType.VMDK), size=20 * 1024**3, rootfs="ext4", config="x",
    )  # fmt: skip
    assert lines(request)[1] == (
        PODMAN.format("c-2") + "--volume /out/.b/config.toml:/config.toml:ro "
        "--volume /out/.b/run-2:/output " + STORAGE + "ghcr.io/osbuild/image-builder:latest "
        "build vmdk --bootc-ref registry.example.com/acme/web:prod --bootc-default-fs ext4 "
        "--image-size 21474836480 --blueprint /config.toml --output-dir /output/vmdk "
        "--output-name disk --progress debug"
    )
    native = disk_steps(replace(request, native=True), PLACES)[0]
    assert " ".join(native.argv) == (
        "image-builder build qcow2 --bootc-ref registry.example.com/acme/web:prod "
        "--bootc-default-fs ext4 --image-size 21474836480 --blueprint /out/.b/config.toml "
        "--output-dir /out/.b/run-1/qcow2 --output-name disk --progress debug"
    )
    assert native.container is None


def test_bootc_install() -> None:
    request = replace(
        REQUEST, backend=Backend.BOOTC_INSTALL, builder="", rootfs="xfs", kargs=("quiet", "ro"),
        types=(DiskType.QCOW2, DiskType.VHD), root_keys=("ssh-ed25519 A",),
        target_imgref="registry.example.com/web:1",
    )  # fmt: skip
    places = replace(PLACES, keys="/out/.b/root-keys")
    assert lines(request, places, container=6 * 1024**3) == [
        "truncate --size 12884901888 /out/.b/image/disk.raw",
        PODMAN.format("c") + "--pid=host --ipc=host --volume /dev:/dev " + STORAGE
        + "--volume /out/.b:/output --volume /out/.b/root-keys:/run/root-keys:ro "
        "registry.example.com/acme/web:prod bootc install to-disk --generic-image --via-loopback "
        "--filesystem xfs --karg quiet --karg ro --root-ssh-authorized-keys /run/root-keys "
        "--target-imgref registry.example.com/web:1 /output/image/disk.raw",
        "qemu-img convert -f raw -O qcow2 /out/.b/image/disk.raw /out/.b/qcow2/disk.qcow2",
        "qemu-img convert -f raw -O vpc /out/.b/image/disk.raw /out/.b/vpc/disk.vhd",
    ]  # fmt: skip
    # raw is there in between, and was not asked for.
    made = [one for step in disk_steps(request, places) for one in step.makes]
    assert [one.type for one in made] == [DiskType.QCOW2, DiskType.VHD]


def test_options_of_a_builder() -> None:
    said = """Usage:
  bootc-image-builder build IMAGE_NAME [flags]

Flags:
      --aws-ami-name string     name for the AMI in AWS (only for type=ami)
  -h, --help                    help for build
      --type stringArray        image types, see --rootfs [raw] (default [qcow2])
"""
    assert flags_of(said) == {"--aws-ami-name", "--help", "--type"}
    assert flags_of("podman: --type is not known") == frozenset()


DEBUG = """Start progressbar
pulse: Manifest generation step
msg: Building manifest-qcow2.json
[1 / 4] Pipeline build
  [1 / 8] Stage org.osbuild.container-deploy
    [1 / 2] Copying
some other words [3 / 4]
[4 / 4] Pipeline qcow2
  [1 / 1] Stage org.osbuild.qemu
Stop progressbar
"""


def test_progress() -> None:
    reader = ProgressReader()
    found = [one for line in DEBUG.splitlines() if (one := reader.feed(line)) is not None]
    assert [one.message for one in found] == [
        "Manifest generation step", "Building manifest-qcow2.json", "Pipeline build",
        "build: org.osbuild.container-deploy", "Pipeline qcow2", "qcow2: org.osbuild.qemu",
    ]  # fmt: skip
    assert [one.fraction for one in found] == [0, 0, 0, 1 / 32, 0.75, 1]
    last = DiskProgress("qcow2: org.osbuild.qemu", 4, 4, "qcow2", "org.osbuild.qemu", 1, 1)
    assert found[-1] == last
    # A builder that counts past its end shows no more than all.
    assert ProgressReader().feed("[9 / 4] Pipeline x") is not None
    assert DiskProgress("", 9, 4).fraction == 1.0


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("error: this command must be run in rootful (not rootless) podman", "rootless"),
        ("this command requires a privileged container", "not-privileged"),
        (
            "cannot run canary binary for \"arm64\", do you have 'qemu-user-static' installed?",
            "emulation",
        ),
        ("could not access container storage, did you forget -v /var/lib", "storage"),
        ("'overlay' is not supported over overlayfs, a mount_program is required",
         "overlay-over-overlay"),
        ("failed to inspect the image: bootc-image-builder no longer pulls images", "no-image"),
        ("image registry.example.com/x is not a bootc image", "not-bootc"),
        ("setfiles: Could not set context for /run/osbuild/tree: Invalid argument", "selinux"),
        ("cp: error writing 'disk.raw': No space left on device", "no-space"),
        ("cannot load config: unknown keys found: [customizations.usr]", "config"),
        ('blueprint validation failed for image type "qcow2": x: not supported', "config-type"),
        ("no installer payload bootc ref set", "installer"),
        ("error: Found entry in boot: efi", "bootc-efi"),
        ("panic: runtime error: index out of range [1] with length 1", "panic-types"),
        ("NoSuchBucket: The specified bucket does not exist", "aws-bucket"),
        ("losetup: /output/disk.raw: failed to set up loop device: No such file", "loop"),
        ("DNF error: error depsolving: nothing provides anaconda", "packages"),
    ],
)  # fmt: skip
def test_causes(line: str, cause: str) -> None:
    fault = classify(["Start progressbar", line, "goroutine 1 [running]:"], 1)
    assert fault is not None
    assert fault.cause == cause
    assert fault.remedy


def test_what_is_not_known_is_not_guessed() -> None:
    assert classify(["something else"], 1) is None
    assert (killed := classify([], 137)) is not None
    assert killed.cause == "killed"


def test_artifacts_read_what_they_wrote() -> None:
    result = DiskResult.model_validate(
        {
            "name": "web", "image": "r/web:1", "backend": "bootc-install",
            "platform": "linux/amd64",
            "built_at": "2026-11-21T09:00:00Z", "duration": 1.5,
            "artifacts": [DiskArtifact(type=DiskType.RAW, path="a", size=1, sha256="0" * 64)],
        }
    )  # fmt: skip
    assert DiskResult.parse(result.render(), "artifacts.json") == result
    with pytest.raises(FleetError, match=r"^artifacts.json is not a list of artifacts: name: "):
        DiskResult.parse("{}", "artifacts.json")
