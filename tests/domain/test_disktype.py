"""Disk types: outputs, what makes them, and which go together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.disktype import (
    SUPPORTED,
    Backend,
    BuilderRun,
    DiskType,
    builder_runs,
    mixed,
    unsupported,
)
from bootcfleet.errors import UsageError

BIB, IB, INSTALL = Backend.BOOTC_IMAGE_BUILDER, Backend.IMAGE_BUILDER, Backend.BOOTC_INSTALL

#: (type, file by bootc-image-builder, file by image-builder, file by bootc install); None: refused.
OUTPUTS = [
    ("qcow2", "qcow2/disk.qcow2", "qcow2/web.qcow2", "qcow2/disk.qcow2"),
    ("ami", "image/disk.raw", "ami/web.raw", None),
    ("raw", "image/disk.raw", "raw/web.raw", "image/disk.raw"),
    ("vmdk", "vmdk/disk.vmdk", "vmdk/web.vmdk", "vmdk/disk.vmdk"),
    ("vhd", "vpc/disk.vhd", "vhd/web.vhd", "vpc/disk.vhd"),
    ("gce", "gce/image.tar.gz", "gce/web.tar.gz", None),
    ("ova", "archive/image.ova", "ova/web.ova", None),
    ("anaconda-iso", "bootiso/install.iso", None, None),
    ("bootc-installer", "bootiso/install.iso", "bootc-installer/web.iso", None),
    ("pxe-tar-xz", "xz/pxe.tar.xz", "pxe-tar-xz/web.tar.xz", None),
]


def test_the_table_has_every_type() -> None:
    assert {row[0] for row in OUTPUTS} == set(DiskType)


@pytest.mark.parametrize("row", OUTPUTS, ids=lambda row: row[0])
def test_output(row: tuple[str, str | None, str | None, str | None]) -> None:
    for backend, expected in zip((BIB, IB, INSTALL), row[1:], strict=True):
        one = DiskType(row[0])
        assert (one in SUPPORTED[backend]) == (expected is not None)
        if expected is None:
            with pytest.raises(UsageError, match=f"{backend} does not make {one}"):
                one.output(backend, "web")
            assert unsupported([one], backend) == (f"{backend} does not make {one}",)
        else:
            assert one.output(backend, "web") == expected
            assert unsupported([one], backend) == ()


def test_a_refusal_names_the_backends_that_make_it() -> None:
    with pytest.raises(UsageError) as caught:
        DiskType.ANACONDA_ISO.output(IB)
    assert caught.value.hint == "use --backend bootc-image-builder"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("qcow2", "qcow2"), ("iso", "anaconda-iso"), ("pxe-tar-xz", "pxe-tar-xz")],
)
def test_parse(text: str, expected: str) -> None:
    assert DiskType.parse(text).value == expected


def test_parse_of_an_unknown_type_says_what_is_meant() -> None:
    with pytest.raises(UsageError, match="no disk type 'qcow'") as caught:
        DiskType.parse("qcow")
    assert caught.value.hint == "did you mean 'qcow2'?"


#: (types, backend, runs as NAMED or NAMED>MADE)
RUNS = [
    ("qcow2", BIB, ["qcow2"]),
    ("qcow2 vmdk gce", BIB, ["qcow2 vmdk gce"]),
    ("raw ami", BIB, ["ami>ami raw"]),
    ("ami raw", BIB, ["ami>ami raw"]),
    ("qcow2 raw ami", BIB, ["ami qcow2>ami qcow2 raw"]),
    ("qcow2 raw", BIB, ["qcow2 raw"]),
    ("qcow2 qcow2", BIB, ["qcow2"]),
    ("anaconda-iso qcow2", BIB, ["qcow2", "anaconda-iso"]),
    ("anaconda-iso bootc-installer", BIB, ["anaconda-iso", "bootc-installer"]),
    ("pxe-tar-xz raw", BIB, ["raw", "pxe-tar-xz"]),
    ("raw ami", IB, ["raw", "ami"]),
    ("qcow2 vhd", INSTALL, ["raw>qcow2 vhd"]),
    ("raw", INSTALL, ["raw"]),
    ("", BIB, []),
    ("", INSTALL, []),
]


@pytest.mark.parametrize(("types", "backend", "expected"), RUNS)
def test_runs(types: str, backend: Backend, expected: list[str]) -> None:
    wanted = [DiskType(word) for word in types.split()]
    found = []
    for text in expected:
        named, _, makes = text.partition(">")
        found.append(
            BuilderRun(
                tuple(DiskType(word) for word in named.split()),
                tuple(DiskType(word) for word in (makes or named).split()),
            )
        )
    assert builder_runs(wanted, backend) == tuple(found)


@given(st.lists(st.sampled_from(DiskType)))
def test_every_type_is_made_once_and_nothing_panics(types: list[DiskType]) -> None:
    runs = builder_runs(types, BIB)
    assert sorted(one for run in runs for one in run.makes) == sorted(set(types))
    for run in runs:
        assert not mixed(run.makes)
        files = [one.output(BIB) for one in run.named]
        assert len(files) == len(set(files)), "two types of one export: the panic"
        assert DiskType.AMI not in run.named[1:]
        assert len(run.named) == 1 or all(one.is_disk for one in run.named)


def test_runs_refuse_what_the_backend_does_not_make() -> None:
    with pytest.raises(UsageError, match="bootc-install does not make ova"):
        builder_runs([DiskType.OVA], INSTALL)


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ("qcow2 ami raw", False),
        ("qcow2 anaconda-iso", True),
        ("pxe-tar-xz raw", True),
        ("anaconda-iso bootc-installer", True),
        ("anaconda-iso", False),
        ("", False),
    ],
)
def test_mixed(types: str, expected: bool) -> None:
    assert mixed([DiskType(word) for word in types.split()]) is expected


def test_what_is_an_iso_and_what_qemu_img_makes() -> None:
    assert [one.value for one in DiskType if one.is_iso] == ["anaconda-iso", "bootc-installer"]
    formats = {one.value: one.qemu_format for one in DiskType if one.qemu_format}
    assert formats == {"qcow2": "qcow2", "vmdk": "vmdk", "vhd": "vpc", "raw": "raw"}
