"""``disks:`` of a project: what is taken, and what is refused with file and line."""

from __future__ import annotations

import pytest

from bootcfleet.domain.disk_spec import DEFAULT_BUILDER, DEFAULT_IMAGE_BUILDER
from bootcfleet.domain.disktype import Backend, DiskType
from bootcfleet.domain.project import Project, parse_project
from bootcfleet.drivers.yamlfile import parse
from bootcfleet.errors import ConfigError

HEAD = """\
version: 1
name: acme
registry: r.example.com/acme
images: {web: {base: quay.io/fedora/fedora-bootc:42}}
channels: {production: {}}
"""


def project(disks: str) -> Project:
    return parse_project(parse(HEAD + disks, "bootcfleet.yaml"))


def test_a_disk_in_full() -> None:
    disk = project(
        """\
disks:
  web:
    image: web
    channel: production
    types: [qcow2, ami, qcow2]
    rootfs: xfs
    platform: linux/arm64
    builder: registry.redhat.io/rhel10/bootc-image-builder:10.0
    ami: {name: web, bucket: acme-images, region: eu-central-1}
    config:
      user: [{name: admin, key: ssh-ed25519 AAAA, groups: [wheel]}]
      filesystem: [{mountpoint: /, minsize: 20 GiB}]
"""
    ).disks["web"]
    assert disk.types == (DiskType.QCOW2, DiskType.AMI)
    assert disk.backend is Backend.BOOTC_IMAGE_BUILDER
    assert disk.builder_image == "registry.redhat.io/rhel10/bootc-image-builder:10.0"
    assert disk.config is not None
    assert disk.config.blueprint()["customizations"]["user"][0]["name"] == "admin"


def test_the_least_disk() -> None:
    disk = project("disks: {web: {image: web}}").disks["web"]
    assert disk.types == (DiskType.QCOW2,)
    assert disk.builder_image == DEFAULT_BUILDER
    other = project("disks: {web: {image: web, backend: image-builder}}").disks["web"]
    assert other.builder_image == DEFAULT_IMAGE_BUILDER


@pytest.mark.parametrize(
    ("disks", "message"),
    [
        (
            "disks:\n  web:\n    image: web\n    typs: [raw]\n",
            "bootcfleet.yaml:9: disks.web.typs: unknown key",
        ),
        (
            "disks: {web: {image: web, types: []}}",
            "bootcfleet.yaml:6: disks.web.types: name at least one type, as qcow2",
        ),
        (
            "disks: {web: {image: web, config: {}, config_file: a.toml}}",
            "bootcfleet.yaml:6: disks.web: a disk has config or config_file, not both",
        ),
        (
            "disks: {web: {image: web, config_file: a.yaml}}",
            "bootcfleet.yaml:6: disks.web.config_file: the builders tell the format by the name: "
            ".toml or .json",
        ),
        (
            "disks: {web: {image: web, ami: {name: a, bucket: b, region: c}}}",
            "bootcfleet.yaml:6: disks.web: ami says where an AMI goes, but ami is not among the "
            "types",
        ),
        (
            "disks: {web: {image: web, ami: {name: a}, types: [ami]}}",
            "bootcfleet.yaml:6: disks.web.ami.bucket: is required and is not there",
        ),
        (
            "disks:\n  web:\n    image: web\n    config:\n      hostname: x\n",
            "bootcfleet.yaml:10: disks.web.config.hostname: unknown key",
        ),
    ],
)
def test_what_is_refused(disks: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        project(disks)
    assert caught.value.message == message


def test_a_bad_name() -> None:
    with pytest.raises(ConfigError, match="'Web' cannot be the name of a disk"):
        project("disks: {Web: {image: web}}")


def test_a_bad_builder() -> None:
    with pytest.raises(ConfigError, match=r"bootcfleet.yaml:6: disks.web.builder"):
        project("disks: {web: {image: web, builder: 'UPPER/case'}}")


@pytest.mark.parametrize(
    ("disks", "message", "hint"),
    [
        (
            "disks: {web: {image: wb}}",
            "bootcfleet.yaml:6: disks.web.image: there is no image 'wb'",
            "did you mean 'web'?",
        ),
        (
            "disks: {web: {image: web, channel: prod}}",
            "bootcfleet.yaml:6: disks.web.channel: there is no channel 'prod'",
            "known: production",
        ),
    ],
)
def test_what_is_not_in_the_project(disks: str, message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        project(disks)
    assert (caught.value.message, caught.value.hint) == (message, hint)
