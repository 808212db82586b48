"""Where and as whom to connect: the inventory over ssh's configuration."""

from __future__ import annotations

import getpass
import os
from pathlib import Path
from typing import Any

import pytest

from bootcfleet.domain.inventory import Connection
from bootcfleet.drivers.sshconfig import parse_config
from bootcfleet.drivers.sshtarget import Jump, Target, join, parse_jump, parse_jumps
from bootcfleet.errors import ConfigError


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    monkeypatch.setenv("KEYS", "/keys")


def target(text: str = "", name: str = "web", **connection: Any) -> Target:
    return join(name, Connection(**connection), parse_config(text))


@pytest.mark.parametrize(
    ("text", "connection", "expected"),
    [
        ("", {}, {"address": "web", "port": 22, "user": getpass.getuser(),
                  "known_as": ("web",), "jumps": (), "proxy_command": None,
                  "identities": (), "only_identities": False, "agent": "/run/agent"}),
        ("Host web\n HostName 10.0.0.1\n Port 2222\n User admin", {},
         {"address": "10.0.0.1", "port": 2222, "user": "admin",
          "known_as": ("[10.0.0.1]:2222", "10.0.0.1"), "certified_as": "10.0.0.1"}),
        # The inventory's address is what ssh would be given.
        ("Host web\n User wrong\nHost 10.0.0.1\n User right", {"address": "10.0.0.1"},
         {"user": "right", "asked": "10.0.0.1"}),
        ("User a\nPort 1", {"user": "b", "port": 2}, {"user": "b", "port": 2}),
        ("HostKeyAlias Rack-7\nPort 2222", {},
         {"known_as": ("rack-7",), "certified_as": "rack-7"}),
        ("HostName %h.example", {}, {"address": "web.example"}),
        ("IdentityFile ~/.ssh/%r-%h\nUser bob", {}, {"identities": ("/home/me/.ssh/bob-web",)}),
        ("IdentityFile ${KEYS}/a", {}, {"identities": ("/keys/a",)}),
        ("IdentityFile none", {}, {"identities": ()}),
        ("IdentityFile a\nIdentitiesOnly no", {"identity_file": "~/k"},
         {"identities": ("/home/me/k",), "only_identities": True, "named_key": True}),
        ("IdentityFile a\nIdentitiesOnly yes", {}, {"only_identities": True, "named_key": False}),
        ("CertificateFile ~/c1\nCertificateFile %d/c2", {},
         {"certificates": ("/home/me/c1", "/home/me/c2")}),
        ("IdentityAgent none", {}, {"agent": None}),
        ("IdentityAgent SSH_AUTH_SOCK", {}, {"agent": "/run/agent"}),
        ("IdentityAgent $KEYS", {}, {"agent": "/keys"}),
        ("IdentityAgent ~/sock", {}, {"agent": "/home/me/sock"}),
        ("UserKnownHostsFile ~/a /b\nGlobalKnownHostsFile /c", {},
         {"known_hosts": ("/home/me/a", "/b", "/c")}),
        ("UserKnownHostsFile none\nGlobalKnownHostsFile /c", {}, {"known_hosts": ("/c",)}),
        ("UserKnownHostsFile ~/a", {"known_hosts": "~/lab"}, {"known_hosts": ("/home/me/lab",)}),
        ("ConnectTimeout 7\nServerAliveInterval 3\nServerAliveCountMax 2", {},
         {"connect_timeout": 7.0, "keepalive": 3, "keepalive_count": 2}),
        ("ConnectTimeout none\nServerAliveInterval 0", {},
         {"connect_timeout": 15.0, "keepalive": 0}),
        ("ConnectTimeout 7", {"connect_timeout": 2.5}, {"connect_timeout": 2.5}),
        ("ProxyJump bob@hop:22022,second", {},
         {"jumps": (Jump("hop", "bob", 22022), Jump("second"))}),
        ("ProxyJump none\nProxyCommand nc %h", {}, {"jumps": (), "proxy_command": None}),
        ("ProxyCommand nc %h %p", {}, {"proxy_command": "nc web 22"}),
        ("ProxyCommand none\nProxyJump hop", {}, {"jumps": (), "proxy_command": None}),
        ("ProxyCommand nc %h\nProxyJump hop", {}, {"jumps": (), "proxy_command": "nc web"}),
        ("ProxyJump hop\nProxyCommand nc %h", {}, {"jumps": (Jump("hop"),), "proxy_command": None}),
        ("ProxyCommand nc %h", {"proxy_jump": "a,b"},
         {"jumps": (Jump("a"), Jump("b")), "proxy_command": None}),
        ("ProxyJump hop", {"proxy_jump": "none"}, {"jumps": ()}),
        # `Host *` with a jump host takes the jump host too: it is not behind itself.
        ("Host *\n ProxyJump web", {}, {"jumps": ()}),
        ("Host *\n HostName 10.0.0.1\n ProxyJump 10.0.0.1", {}, {"jumps": ()}),
        # Strictness is not for a file to give up.
        ("StrictHostKeyChecking no\nUserKnownHostsFile /dev/null", {},
         {"known_hosts": ("/dev/null", "/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")}),
    ],
)  # fmt: skip
def test_join(text: str, connection: dict[str, Any], expected: dict[str, object]) -> None:
    found = target(text, **connection)
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Port ssh", "not a number"),
        ("Port 0", "between 1 and 65535"),
        ("Port 70000", "between 1 and 65535"),
        ("ConnectTimeout -1", "not a number"),
        ("ProxyJump a b@", "jump host"),
        ("ProxyJump -oProxyCommand=evil", "jump host"),
        ("IdentityFile ${NO_SUCH_VARIABLE_HERE}/a", "is not set"),
        ("IdentityFile %T", "%T"),
    ],
)
def test_values_that_cannot_be_used(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        target(text.replace("a b@", '"a b@"'))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hop", Jump("hop")),
        ("bob@hop", Jump("hop", "bob")),
        ("bob@hop:99", Jump("hop", "bob", 99)),
        ("ssh://bob@hop:99", Jump("hop", "bob", 99)),
        ("ssh://hop/", Jump("hop")),
        ("[2001:db8::1]:99", Jump("2001:db8::1", None, 99)),
        ("bob@[::1]", Jump("::1", "bob")),
    ],
)
def test_jumps(text: str, expected: Jump) -> None:
    assert parse_jump(text) == expected
    assert parse_jump(str(expected)) == expected


@pytest.mark.parametrize("text", ["", "@hop", "hop:", "hop:x", "hop:70000", "a/b", "-hop", "a b"])
def test_jumps_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ConfigError, match=r"user@\]host|jump host"):
        parse_jumps(text)


def test_hints_show_a_command_that_goes_there() -> None:
    found = target("ProxyJump hop:99", user="bob", port=2222, identity_file=str(Path("/a key")))
    assert found.ssh_command("-v") == "ssh -v -J hop:99 -p 2222 -i '/a key' bob@web"


def test_a_process_whose_user_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_name(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("pwd.getpwuid", no_name)
    text = "Match localuser nobody\n Port 2222\n"
    found = target(text, user="core")
    assert (found.user, found.port) == ("core", 22)
    assert target(text).user == str(os.getuid())
