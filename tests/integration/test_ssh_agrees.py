"""Our reading of ssh's files beside that of OpenSSH's own programs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bootcfleet.domain.inventory import Connection
from bootcfleet.drivers.knownhosts import KnownHosts
from bootcfleet.drivers.sshconfig import SshConfig, read_config
from bootcfleet.drivers.sshtarget import join
from tests.integration.opensshd import keygen
from tests.tools import need

pytestmark = pytest.mark.integration

CONFIGS = [
    "Host web\n  HostName 10.0.0.1\n  Port 2222\n  User admin\nHost *\n  User other\n",
    "Host web* !web2\n  User a\nHost web2\n  User b\n  Port=77\n",
    "User early\nMatch final all\n  User late\n  Port 5\n",
    "Host *\n  HostName %h.example.com\nMatch host *.example.com\n  User matched\n",
    "Match originalhost web,db user root\n  Port 1\nMatch !originalhost web\n  Port 2\n",
    "Match exec true\n  Port 11\nMatch exec false\n  Port 12\n  User no\n",
    'Match exec "test %n = web"\n  Port 11\n',
    'User "two words" # comment\nHost "a b" db\n  Port 9\n',
    "Host web\n  Include INC/*\n  Port 7\nHost *\n  Port 8\n",
    "Include INC/10\nUser last\n",
    "Match canonical all\n  User canonical\n",
    "ProxyJump first,bob@second:99\nProxyCommand never\n",
    "ProxyCommand nc %h %p\nProxyJump never\n",
    "ProxyJump none\nProxyCommand never\n",
    "CertificateFile /a/one\nCertificateFile /a/two\nIdentityFile /a/%r\nIdentityFile /b\n",
    "HostKeyAlias Rack\nUserKnownHostsFile /a /b\nConnectTimeout 9\nServerAliveInterval 4\n",
]
INCLUDED = {
    "10": "User included\nHost db\n  Port 44\nHost *\n  ConnectTimeout 3\n",
    "20": "Host other\n  User never\nMatch all\n  ServerAliveInterval 6\n",
}


@pytest.mark.parametrize("host", ["web", "web2", "db", "other"])
@pytest.mark.parametrize("number", range(len(CONFIGS)))
def test_configuration(number: int, host: str, tmp_path: Path) -> None:
    (tmp_path / "inc").mkdir()
    for name, text in INCLUDED.items():
        (tmp_path / "inc" / name).write_text(text)
    path = tmp_path / "config"
    path.write_text(CONFIGS[number].replace("INC", str(tmp_path / "inc")))

    said = subprocess.run(
        [need("ssh"), "-G", "-F", str(path), host], capture_output=True, text=True, check=True
    ).stdout
    theirs: dict[str, list[str]] = {}
    for line in said.splitlines():
        keyword, _, value = line.partition(" ")
        theirs.setdefault(keyword, []).append(value)

    config = SshConfig((read_config(path, folder=tmp_path),))
    ours = join(
        host,
        Connection(),
        config,
        execute=lambda command: subprocess.run(["sh", "-c", command], check=False).returncode == 0,
    )
    assert ours.address == theirs["hostname"][0]
    assert str(ours.port) == theirs["port"][0]
    assert ours.user == theirs["user"][0]
    assert ",".join(map(str, ours.jumps)) == theirs.get("proxyjump", [""])[0].replace("none", "")
    assert ours.proxy_command is None or theirs["proxycommand"][0] == config.lookup(host).first(
        "proxycommand"
    )
    assert list(ours.certificates) == theirs.get("certificatefile", [])
    if "connecttimeout" in theirs and theirs["connecttimeout"][0] != "none":
        assert ours.connect_timeout == float(theirs["connecttimeout"][0])
    if theirs["serveraliveinterval"][0] != "0":
        assert ours.keepalive == int(theirs["serveraliveinterval"][0])
    if "HostKeyAlias" in CONFIGS[number]:
        assert ours.known_as == (theirs["hostkeyalias"][0].lower(),)
        assert ours.known_hosts[:2] == tuple(theirs["userknownhostsfile"][0].split())


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> str:
    key = keygen(tmp_path_factory.mktemp("key") / "key")
    return " ".join(key.with_suffix(".pub").read_text().split()[:2])


NAMES = ["web", "Web.example", "a.b", "10.0.0.1", "[web]:2222", "[a.b]:22", "webx"]
PATTERN = st.one_of(
    st.sampled_from([*NAMES, "*", "web*", "*.example", "[*]:2222", "[web]:*", "w?b", "[web]*"]),
    st.text("web.*?[]:2", min_size=1, max_size=8),
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    patterns=st.lists(st.tuples(st.booleans(), PATTERN), min_size=1, max_size=4),
    name=st.sampled_from(NAMES),
)
def test_known_hosts_patterns(
    patterns: list[tuple[bool, str]], name: str, public: str, tmp_path: Path
) -> None:
    written = ",".join(("!" if negated else "") + pattern for negated, pattern in patterns)
    path = tmp_path / "known_hosts"
    path.write_text(f"{written} {public}\n")
    found = subprocess.run(
        [need("ssh-keygen"), "-F", name, "-f", str(path)], capture_output=True, check=False
    )
    theirs = found.returncode == 0 and bool(found.stdout)
    assert bool(KnownHosts.load([path]).find(name)) is theirs


@pytest.mark.parametrize("name", ["web", "[web]:2222", "10.0.0.1"])
def test_hashed_names(name: str, public: str, tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    path.write_text(f"{name} {public}\nother {public}\n")
    subprocess.run([need("ssh-keygen"), "-q", "-H", "-f", str(path)], check=True)
    assert name not in path.read_text()
    assert [key.line for key in KnownHosts.load([path]).find(name)] == [1]
