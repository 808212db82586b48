"""Image references, digests, platforms and names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.reference import (
    Digest,
    ImageRef,
    InvalidReferenceError,
    Platform,
    valid_name,
)

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("text", "name", "manifest", "pinned"),
    [
        ("r.example/acme/soe", "r.example/acme/soe", "latest", False),
        ("r.example/acme/soe:1.0", "r.example/acme/soe", "1.0", False),
        (f"r.example:5000/soe@{DIGEST}", "r.example:5000/soe", DIGEST, True),
        (f"localhost/soe:1@{DIGEST}", "localhost/soe", DIGEST, True),
        ("docker://quay.io/a/b__c/d-e.f:X_1", "quay.io/a/b__c/d-e.f", "X_1", False),
        ("127.0.0.1:5000/x", "127.0.0.1:5000/x", "latest", False),
    ],
)
def test_references(text: str, name: str, manifest: str, pinned: bool) -> None:
    ref = ImageRef.parse(text)
    assert (ref.name, ref.manifest, ref.pinned) == (name, manifest, pinned)
    assert str(ref) == text.removeprefix("docker://")
    assert ImageRef.parse(str(ref)) == ref


@pytest.mark.parametrize(
    "text",
    [
        "", "soe", "acme/soe", "soe:1.0", "r.example/", "r.example/ACME", "r.example/a//b",
        "r.example/a:", "r.example/a:-x", "r.example/a:" + "x" * 129, "r.example:0/a",
        "r.example:99999/a", "r.example/a@sha256:12", f"r.example/a@sha512:{HEX}",
        f"r.example/a@sha256:{HEX.upper()}", "r.example/../etc", "r.example/a b", "r.example/a;id",
        "r.example/$(id)", "-r.example/a", "r.example/" + "a" * 260, "oci:/tmp/x",
        f"r.example/a@{DIGEST}@{DIGEST}",
    ],
)  # fmt: skip
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(InvalidReferenceError):
        ImageRef.parse(text)


parts = st.from_regex(r"[a-z0-9]{1,8}([._-][a-z0-9]{1,4}){0,2}", fullmatch=True)
tags = st.none() | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True)


@given(
    st.lists(parts, min_size=1, max_size=4), tags, st.booleans(), st.none() | st.integers(1, 65535)
)
def test_what_is_written_is_read_again(
    path: list[str], tag: str | None, pinned: bool, port: int | None
) -> None:
    registry = "r.example" + (f":{port}" if port else "")
    ref = ImageRef(registry, "/".join(path), tag, Digest(DIGEST) if pinned else None)
    assert ImageRef.parse(str(ref)) == ref


@given(st.text(max_size=60))
def test_any_text_is_a_reference_that_is_harmless_or_a_clear_error(text: str) -> None:
    try:
        ref = ImageRef.parse(text)
    except InvalidReferenceError as error:
        assert error.message  # noqa: PT017 - either outcome is right, and says so
        return
    assert not set(str(ref)) & set(" \t\n'\"`$;|&<>()*?\\")
    assert not str(ref).startswith("-")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("linux/amd64", "linux/amd64"), ("x86_64", "linux/amd64"), ("aarch64", "linux/arm64")],
)
def test_platforms(text: str, expected: str) -> None:
    assert str(Platform.parse(text)) == expected


@pytest.mark.parametrize("text", ["", "windows/amd64", "linux/", "mips", "linux/amd64/v2"])
def test_what_is_no_platform(text: str) -> None:
    with pytest.raises(InvalidReferenceError, match="not a platform"):
        Platform.parse(text)


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("soe", True), ("container-host", True), ("a.b_c", True), ("", False), ("..", False),
        ("../x", False), ("a/b", False), ("Web", False), ("a;b", False), ("-a", False),
        ("a-", False),
        ("a" * 65, False), ("a..b", False), ("$(id)", False), ("a b", False), ("ä", False),
    ],
)  # fmt: skip
def test_names(name: str, good: bool) -> None:
    assert valid_name(name) is good
