"""known_hosts: every form of a line, on text."""

from __future__ import annotations

import base64
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.drivers.knownhosts import KnownHosts, Marker, fingerprint, lookup_name


def key(seed: int, kind: str = "ssh-ed25519") -> bytes:
    """The public key of a file's line: its own type, then 32 bytes."""
    name = kind.encode()
    return len(name).to_bytes(4, "big") + name + (32).to_bytes(4, "big") + bytes([seed]) * 32


def line(names: str, seed: int, kind: str = "ssh-ed25519") -> str:
    return f"{names} {kind} {base64.b64encode(key(seed, kind)).decode()} a comment\n"


def hashed(name: str, salt: bytes = b"0123456789abcdefghij") -> str:
    made = hmac.digest(salt, name.encode(), "sha1")
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(made).decode()}"


def parse(*lines: str) -> KnownHosts:
    known = KnownHosts()
    known.parse("".join(lines), "known_hosts")
    return known


@pytest.mark.parametrize(
    ("names", "name", "expected"),
    [
        ("web1", "web1", True),
        ("web1", "web10", False),
        ("Web1.Example", "web1.example", True),
        ("web1", "WEB1", True),
        ("web1,10.0.0.1", "10.0.0.1", True),
        ("[web1]:2222", "[web1]:2222", True),
        ("[web1]:2222", "web1", False),
        ("web1", "[web1]:2222", False),
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "[a.example.com]:2222", False),
        ("[*.example.com]:*", "[a.example.com]:2222", True),
        ("web?", "web1", True),
        ("web?", "web", False),
        ("web?", "web10", False),
        ("*,!web2", "web1", True),
        ("*,!web2", "web2", False),
        ("!web2,*", "web2", False),
        ("!web2", "web1", False),
        ("[web]:22*", "[web]:2222", True),
        ("a.b", "axb", False),
        ("2001:db8::1", "2001:db8::1", True),
        (hashed("web1"), "web1", True),
        (hashed("[web1]:2222"), "[web1]:2222", True),
        (hashed("web1"), "WEB1", True),
        (hashed("web1"), "web2", False),
    ],
)
def test_names(names: str, name: str, expected: bool) -> None:
    found = parse(line(names, 1)).find(name)
    assert [k.key for k in found] == ([key(1)] if expected else [])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# web1 ssh-ed25519 AAAA",
        "web1",
        "web1 ssh-ed25519",
        "web1 ssh-ed25519 ?not-base64?",
        "web1 ssh-ed25519 AAAA",
        line("web1", 1).replace("ssh-ed25519", "ssh-rsa"),
        "@unknown-marker " + line("web1", 1),
        line("|1|only", 1),
        line("|2|" + hashed("web1")[3:], 1),
        line("|1|!!|!!", 1),
    ],
)
def test_lines_that_say_nothing_are_passed_over(text: str) -> None:
    known = parse(text, "\n", line("web1", 7))
    found = known.find("web1")
    assert [k.key for k in found] == [key(7)]


def test_markers_places_and_order() -> None:
    known = parse(
        "\n",
        line("*", 1),
        line(hashed("web1"), 2),
        line("web1,web1", 3, "ssh-rsa"),
        "@cert-authority " + line("*", 4),
        "@revoked " + line("web1", 5),
    )
    found = known.find("web1")
    assert [(k.line, k.marker, k.key_type) for k in found] == [
        (2, Marker.NONE, "ssh-ed25519"),
        (3, Marker.NONE, "ssh-ed25519"),
        (4, Marker.NONE, "ssh-rsa"),
        (5, Marker.AUTHORITY, "ssh-ed25519"),
        (6, Marker.REVOKED, "ssh-ed25519"),
    ]
    assert found[0].where == "known_hosts:2"
    assert known.find("web1") is found, "a name is looked up once"


def test_lookup_name() -> None:
    assert lookup_name("Web1", 22) == "web1"
    assert lookup_name("Web1", 2222) == "[web1]:2222"


def test_fingerprint_has_the_form_of_ssh_keygen() -> None:
    # The digest of nothing is well known.
    assert fingerprint(b"") == "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"


@given(st.text(max_size=300))
def test_no_text_breaks_it(text: str) -> None:
    known = parse(text, "\n", line("web1", 7))
    assert key(7) in [k.key for k in known.find("web1")]


@given(
    st.lists(st.tuples(st.booleans(), st.text("abc.*?", min_size=1, max_size=5)), max_size=4),
    st.text("abc.", min_size=1, max_size=5),
)
def test_a_negated_match_always_wins(patterns: list[tuple[bool, str]], name: str) -> None:
    written = ",".join(("!" if negated else "") + pattern for negated, pattern in patterns)
    found = parse(line(f"{written},!{name}" if written else f"!{name}", 1)).find(name)
    assert found == ()
