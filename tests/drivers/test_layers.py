"""Layers as they stream by, remembered by their digest; damaged ones are refused."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from pathlib import Path

import pytest
import zstandard

from bootcfleet.domain.image import sha256
from bootcfleet.domain.imagetree import Kind, flatten
from bootcfleet.domain.package import HeaderError, header_files, parse_header
from bootcfleet.domain.reference import Digest
from bootcfleet.drivers.layercache import Layer, LayerCache
from bootcfleet.drivers.layerreader import LayerError
from bootcfleet.drivers.rpmdb import RpmDatabaseError, read_packages
from tests.rpmheaders import database, header

OBJECT = "sysroot/ostree/repo/objects/aa/bb.file"
KEPT = "usr/lib/x"


def wanted(path: str) -> int:
    return 100 if path == KEPT else 0


def archive(*members: tuple[str, bytes, str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar of (name, type, link, content)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for name, kind, link, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size, info.mode = kind, link, len(content), 0o4755
            info.uid, info.gid = 7, 8
            if content == b"capable":
                info.pax_headers = {"SCHILY.xattr.security.capability": "\x01\udcff"}
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def file(name: str, content: bytes) -> tuple[str, bytes, str, bytes]:
    return (name, tarfile.REGTYPE, "", content)


def read(folder: Path, blob: bytes, digest: Digest | None = None) -> Layer:
    return LayerCache(folder, wanted).read(digest or sha256(blob), io.BytesIO(blob))


def content(layer: Layer, path: str) -> bytes:
    buffer = io.BytesIO()
    entry = next(one for one in layer.entries if one.path == path)
    layer.copy(entry.kept.partition("/")[2], buffer)
    return buffer.getvalue()


PLAIN = archive(
    ("./etc/", tarfile.DIRTYPE, "", b""),
    file("./etc/motd", b"hello"),
    (f"./{KEPT}", tarfile.REGTYPE, "", b"keep me"),
    ("./etc/link", tarfile.SYMTYPE, "../motd", b""),
    ("./etc/hard", tarfile.LNKTYPE, "./etc/motd", b""),
    ("./dev/pipe", tarfile.FIFOTYPE, "", b""),
    ("./dev/null", tarfile.CHRTYPE, "", b""),
    file("./usr/bin/ping", b"capable"),
    ("./" + "long/" * 60 + "é", tarfile.REGTYPE, "", b"1"),
)


@pytest.mark.parametrize(
    "pack",
    [
        bytes,
        gzip.compress,
        lambda raw: gzip.compress(raw[:1024]) + gzip.compress(raw[1024:]),
        zstandard.compress,
        lambda raw: zstandard.compress(raw[:700]) + zstandard.compress(raw[700:])
        + struct.pack("<II", 0x184D2A50, 4) + b"skip",
    ],
    ids=["plain", "gzip", "gzip in parts", "zstd", "zstd in frames"],
)  # fmt: skip
def test_what_is_in_a_layer(tmp_path: Path, pack) -> None:  # type: ignore[no-untyped-def]
    layer = read(tmp_path, pack(PLAIN))
    found = {one.path: one for one in layer.entries}
    motd = found["etc/motd"]
    assert (motd.kind, motd.mode, motd.uid, motd.gid, motd.size) == (Kind.FILE, 0o4755, 7, 8, 5)
    assert motd.sha256 == str(sha256(b"hello")).removeprefix("sha256:")
    assert motd.kept == ""
    assert (found["etc/link"].kind, found["etc/link"].link) == (Kind.SYMLINK, "../motd")
    assert (found["etc/hard"].kind, found["etc/hard"].link) == (Kind.HARDLINK, "etc/motd")
    assert found["dev/pipe"].kind is Kind.FIFO
    assert found["dev/null"].link == "0:0"
    assert found["usr/bin/ping"].capability == "01ff"
    assert found["long/" * 60 + "é"].size == 1
    assert content(layer, KEPT) == b"keep me"


def test_a_layer_is_remembered(tmp_path: Path) -> None:
    layer = read(tmp_path, PLAIN)
    again = LayerCache(tmp_path, wanted).get(sha256(PLAIN))
    assert again == layer
    assert [path.name for path in tmp_path.iterdir()] == [f"{str(sha256(PLAIN))[7:]}.zip"]
    assert LayerCache(tmp_path, wanted).get(sha256(b"other")) is None


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04nothing"])
def test_a_damaged_memory_counts_as_none(tmp_path: Path, damage: bytes) -> None:
    layer = read(tmp_path, PLAIN)
    layer.file.write_bytes(damage)
    assert LayerCache(tmp_path, wanted).get(sha256(PLAIN)) is None


def test_the_content_of_a_name_that_links_into_an_ostree_repository(tmp_path: Path) -> None:
    """As Fedora's and RHEL's bases are packed: the content under its hash, then its names."""
    blob = archive(
        file(OBJECT, b"the database"),
        ("usr/bin/other", tarfile.LNKTYPE, OBJECT, b""),
        (KEPT, tarfile.LNKTYPE, OBJECT, b""),
        file("sysroot/ostree/repo/objects/cc/dd.file", b"else"),
        ("usr/lib/y", tarfile.LNKTYPE, "sysroot/ostree/repo/objects/cc/dd.file", b""),
    )
    layer = read(tmp_path, blob)
    assert content(layer, KEPT) == b"the database"
    tree = flatten([layer.entries])
    assert tree.entries[KEPT].kept
    assert tree.entries["usr/lib/y"].size == 4
    assert not tree.entries["usr/lib/y"].kept


def test_a_file_that_is_larger_than_wanted_is_not_kept(tmp_path: Path) -> None:
    layer = read(tmp_path, archive(file(KEPT, b"x" * 101)))
    assert layer.entries[0].kept == ""


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (b"no archive at all" * 100, "cannot be read"),
        (archive(file("a", b"x" * 3000))[:1200], "cannot be read"),
        (gzip.compress(PLAIN)[:-30], "cannot be read"),
        (zstandard.compress(PLAIN)[:40], "cannot be read"),
        (b"\x1f\x8bgarbage", "cannot be read"),
    ],
)
def test_what_is_no_layer(tmp_path: Path, blob: bytes, message: str) -> None:
    with pytest.raises(LayerError, match=message):
        read(tmp_path, blob)
    assert list(tmp_path.iterdir()) == []


def test_other_bytes_than_the_digest_says(tmp_path: Path) -> None:
    with pytest.raises(LayerError, match="other bytes came than those of the layer sha256:0000"):
        read(tmp_path, PLAIN, Digest("sha256:" + "0" * 64))
    assert list(tmp_path.iterdir()) == []


NAMED = (
    (1000, 6, 1, b"bash\0"), (1001, 6, 1, b"5.2\0"), (1002, 6, 1, b"3\0"),
)  # fmt: skip


def test_a_header() -> None:
    found = parse_header(header(*NAMED, (1003, 4, 1, struct.pack(">I", 2)), (1022, 6, 1, b"x\0")))
    assert found.nevra == "bash-2:5.2-3.x"
    assert not found.is_key
    key = (1000, 6, 1, b"gpg-pubkey\0")
    assert parse_header(header(key, *NAMED[1:], (1022, 6, 1, b"(none)\0"))).is_key


def test_the_files_of_a_header() -> None:
    lists = (
        (1116, 4, 3, struct.pack(">III", 0, 1, 0)),
        (1117, 8, 3, b"a\0b\0c\0"),
        (1118, 8, 2, b"/etc/\0/usr/bin/\0"),
    )
    assert header_files(header(*NAMED, *lists)) == ("/etc/a", "/usr/bin/b", "/etc/c")
    assert header_files(header(*NAMED)) == ()


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\0" * 8,
        header(*NAMED[:2]),
        header(*NAMED)[:-3],
        struct.pack(">II", 2**31, 5),
        struct.pack(">II", 1, 4) + struct.pack(">IIiI", 1000, 6, 99, 1) + b"abc\0",
        struct.pack(">II", 1, 4) + struct.pack(">IIiI", 1000, 6, -4, 1) + b"abc\0",
        struct.pack(">II", 1, 4) + struct.pack(">IIiI", 1000, 6, 0, 1) + b"abcd",
    ],
)
def test_what_is_no_header(blob: bytes) -> None:
    with pytest.raises(HeaderError):
        parse_header(blob)


def test_a_database(tmp_path: Path) -> None:
    other = header((1000, 6, 1, b"awk\0"), *NAMED[1:])
    found = read_packages(database(tmp_path / "rpmdb.sqlite", [header(*NAMED), other]))
    assert [one.name for one in found.packages] == ["awk", "bash"]


def test_what_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "rpmdb.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(RpmDatabaseError, match="the image's RPM database cannot be read: file is"):
        read_packages(tmp_path / "rpmdb.sqlite")
