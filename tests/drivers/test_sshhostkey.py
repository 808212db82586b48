"""Which host key is asked for, which one is taken, and what an error tells to do."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import paramiko
import pytest

from bootcfleet.domain.inventory import Connection
from bootcfleet.drivers.knownhosts import KnownHosts, fingerprint
from bootcfleet.drivers.sshconfig import parse_config
from bootcfleet.drivers.sshhostkey import ALGORITHMS, Trust, check
from bootcfleet.drivers.sshkeys import make_key
from bootcfleet.drivers.sshtarget import Target, join
from bootcfleet.errors import HostError, HostFault

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def public() -> paramiko.PKey:
    return paramiko.Ed25519Key(data=base64.b64decode(make_key("test")[1].split()[1]))


def line(names: str, key: paramiko.PKey) -> str:
    return f"{names} {key.get_name()} {key.get_base64()}\n"


def target(config: str = "", **connection: Any) -> Target:
    config += "\nUserKnownHostsFile /kh\nGlobalKnownHostsFile none\n"
    return join("web", Connection(**connection), parse_config(config))


def trust(text: str, wanted: Target) -> Trust:
    known = KnownHosts()
    known.parse(text, "/kh")
    return Trust.of(wanted, known)


KEY, OTHER = public(), public()


@pytest.mark.parametrize(
    ("kinds", "first"),
    [
        ([], list(ALGORITHMS)),
        (["ssh-ed25519"], ["ssh-ed25519", "ecdsa-sha2-nistp256"]),
        (["ssh-rsa"], ["rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519"]),
        (["ecdsa-sha2-nistp384"], ["ecdsa-sha2-nistp384", "ssh-ed25519"]),
        (["ssh-rsa", "ssh-ed25519"], ["ssh-ed25519", "rsa-sha2-512"]),
        (["@cert-authority", "ssh-rsa"], ["ssh-ed25519-cert-v01@openssh.com"]),
    ],
)
def test_what_is_known_is_asked_for_first(kinds: list[str], first: list[str]) -> None:
    lines = ""
    for kind in kinds:
        if kind.startswith("@"):
            lines += f"{kind} {line('web', OTHER)}"
        else:
            name = kind.encode()
            blob = len(name).to_bytes(4, "big") + name
            lines += f"web {kind} {base64.b64encode(blob).decode()}\n"
    offered = trust(lines, target()).algorithms()
    assert list(offered[: len(first)]) == first
    assert set(ALGORITHMS) <= set(offered)
    assert len(set(offered)) == len(offered)
    assert any("cert" in name for name in offered) is ("@cert-authority" in kinds)


@pytest.mark.parametrize(
    "text",
    [
        line("web", KEY),
        line("web", OTHER) + line("web", KEY),
        line("*", KEY),
    ],
    ids=["its own", "beside another", "of all hosts"],
)
def test_a_known_key_is_taken(text: str) -> None:
    check("web1", target(), KEY, trust(text, target()), NOW)


def test_the_name_without_the_port_is_a_fallback_only() -> None:
    there = target(port=2222)
    check("web1", there, KEY, trust(line("web", KEY), there), NOW)
    for text in (line("web", OTHER), ""):
        with pytest.raises(HostError) as caught:
            check("web1", there, KEY, trust(text, there), NOW)
        # Another port is another server: its key says nothing of a change.
        assert caught.value.fault is HostFault.HOST_KEY_UNKNOWN
    with pytest.raises(HostError) as caught:
        check("web1", there, KEY, trust(line("[web]:2222", OTHER), there), NOW)
    assert caught.value.fault is HostFault.HOST_KEY_CHANGED


def test_another_type_of_key_is_not_taken_for_the_known_one() -> None:
    rsa = base64.b64encode(b"\0\0\0\x07ssh-rsa").decode()
    with pytest.raises(HostError, match="of a type that is not known") as caught:
        check("web1", target(), KEY, trust(f"web ssh-rsa {rsa}\n", target()), NOW)
    assert caught.value.fault is HostFault.HOST_KEY_CHANGED


def test_a_revoked_key_is_refused_even_when_known() -> None:
    text = line("web", KEY) + "@revoked " + line("*", KEY)
    with pytest.raises(HostError, match="revoked in /kh:2"):
        check("web1", target(), KEY, trust(text, target()), NOW)


def test_an_authority_is_not_a_host_key() -> None:
    text = "@cert-authority " + line("*", KEY)
    with pytest.raises(HostError) as caught:
        check("web1", target(), KEY, trust(text, target()), NOW)
    assert caught.value.fault is HostFault.HOST_KEY_UNKNOWN


def test_a_changed_key_shows_both_and_the_way_back() -> None:
    with pytest.raises(HostError) as caught:
        check(
            "web1",
            target(port=99),
            KEY,
            trust("\n" + line("[web]:99", OTHER), target(port=99)),
            NOW,
        )
    error = caught.value
    assert fingerprint(KEY.asbytes()) in error.message
    assert error.details == (f"/kh:2 has ssh-ed25519 {fingerprint(OTHER.asbytes())}",)
    assert "ssh-keygen -f /kh -R '[web]:99' && ssh-keyscan -p 99 web >> /kh" in (error.hint or "")


@pytest.mark.parametrize(
    ("config", "command"),
    [
        ("", "ssh-keyscan -p 22 web >> /kh"),
        ("HostName 10.0.0.1", "ssh-keyscan -p 22 10.0.0.1 >> /kh"),
        ("HostKeyAlias rack", "ssh-keyscan -p 22 web | sed 's/^[^ ]*/rack/' >> /kh"),
        ("ProxyJump bob@hop:99", "ssh -p 99 bob@hop ssh-keyscan -p 22 web >> /kh"),
        ("ProxyJump a,b", "ssh -J a b ssh-keyscan -p 22 web >> /kh"),
        ("User bob\nProxyCommand nc %h %p", "ssh bob@web true, and answer its question"),
    ],
)
def test_the_command_that_trusts_a_host(config: str, command: str) -> None:
    with pytest.raises(HostError) as caught:
        check("web1", target(config), KEY, trust("", target(config)), NOW)
    assert (caught.value.hint or "").endswith(f"then trust it: {command}")
    assert caught.value.details == ("looked in /kh",)
