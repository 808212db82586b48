"""registries.conf and certs.d as containers-registries.conf(5) has them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from bootcfleet.domain.reference import ImageRef
from bootcfleet.drivers.registryconf import RegistriesConf, has_own_ca, is_loopback, tls_context
from bootcfleet.errors import ConfigError, FleetError
from tests.drivers.certificates import PrivateCa

DIGEST = "sha256:" + "a" * 64


def conf(folder: Path, *texts: str) -> RegistriesConf:
    files = []
    for position, text in enumerate(texts):
        files.append(folder / f"{position}.conf")
        files[-1].write_text(text)
    return RegistriesConf(files)


def pulls(read: RegistriesConf, ref: str) -> list[tuple[str, bool]]:
    return [(str(e.ref), e.insecure) for e in read.pull_endpoints(ImageRef.parse(ref))]


@pytest.mark.parametrize(
    ("registry", "loopback"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1", True),
        ("127.9.9.9:5000", True),
        ("[::1]", True),
        ("[::1]:5000", True),
        ("[2001:db8::1]:5000", False),
        ("10.0.0.1:5000", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
        ("registry.example.com", False),
    ],
)
def test_is_loopback(registry: str, loopback: bool) -> None:
    assert is_loopback(registry) is loopback


@pytest.mark.parametrize(
    ("text", "ref", "expected"),
    [
        ("", "r.example.com/a:1", [("r.example.com/a:1", False)]),
        ("", "localhost:5000/a:1", [("localhost:5000/a:1", True)]),
        # insecure, said and unsaid
        ('location = "r.example.com"\ninsecure = true', "r.example.com/a:1",
         [("r.example.com/a:1", True)]),
        ('location = "localhost:5000"\ninsecure = false', "localhost:5000/a:1",
         [("localhost:5000/a:1", False)]),
        # a prefix is a beginning, at a separator
        ('location = "r.example"\ninsecure = true', "r.example.com/a:1",
         [("r.example.com/a:1", False)]),
        ('location = "r.example.com/a"\ninsecure = true', "r.example.com/ab:1",
         [("r.example.com/ab:1", False)]),
        ('location = "127.0.0.2"\ninsecure = true', "127.0.0.2:5000/ab:1",
         [("127.0.0.2:5000/ab:1", True)]),
        # the manual's example
        ('prefix = "example.com/foo"\nlocation = "internal.example.net/bar"',
         "example.com/foo/myimage:latest", [("internal.example.net/bar/myimage:latest", False)]),
        # a location of one tag
        ('prefix = "example.com/foo:1"\nlocation = "other.example.net/bar:2"',
         "example.com/foo:1", [("other.example.net/bar:2", False)]),
        ('prefix = "example.com/foo:1"\nlocation = "other.example.net/bar"',
         "example.com/foo:1", [("other.example.net/bar:1", False)]),
        # wildcards: as it is, or moved
        ('prefix = "*.example.com"\ninsecure = true', "a.b.example.com/x:1",
         [("a.b.example.com/x:1", True)]),
        ('prefix = "*.example.com"\ninsecure = true', "example.com/x:1",
         [("example.com/x:1", False)]),
        ('prefix = "*.example.com"\nlocation = "m.example.net"', "a.example.com/x:1",
         [("m.example.net/x:1", False)]),
        # mirrors come first
        ('location = "r.example.com"\n[[registry.mirror]]\nlocation = "m1:5000/r"\n'
         'insecure = true\n[[registry.mirror]]\nlocation = "m2.example.com"',
         "r.example.com/a:1",
         [("m1:5000/r/a:1", True), ("m2.example.com/a:1", False), ("r.example.com/a:1", False)]),
        # mirrors for digests, for tags
        ('location = "r.example.com"\nmirror-by-digest-only = true\n'
         '[[registry.mirror]]\nlocation = "m.example.com"',
         "r.example.com/a:1", [("r.example.com/a:1", False)]),
        ('location = "r.example.com"\nmirror-by-digest-only = true\n'
         '[[registry.mirror]]\nlocation = "m.example.com"',
         f"r.example.com/a@{DIGEST}",
         [(f"m.example.com/a@{DIGEST}", False), (f"r.example.com/a@{DIGEST}", False)]),
        ('location = "r.example.com"\n'
         '[[registry.mirror]]\nlocation = "d.example.com"\npull-from-mirror = "digest-only"\n'
         '[[registry.mirror]]\nlocation = "t.example.com"\npull-from-mirror = "tag-only"',
         "r.example.com/a:1", [("t.example.com/a:1", False), ("r.example.com/a:1", False)]),
        # keys that a later version of the format may have
        ('location = "r.example.com"\nsomething-new = 7', "r.example.com/a:1",
         [("r.example.com/a:1", False)]),
    ],
)  # fmt: skip
def test_where_a_reference_is_read(
    tmp_path: Path, text: str, ref: str, expected: list[tuple[str, bool]]
) -> None:
    assert pulls(conf(tmp_path, f"[[registry]]\n{text}" if text else ""), ref) == expected


def test_the_longest_prefix_and_the_later_file_decide(tmp_path: Path) -> None:
    read = conf(
        tmp_path,
        '[[registry]]\nlocation = "r.example.com"\ninsecure = true\n'
        '[[registry]]\nprefix = "r.example.com/a"\nlocation = "one.example.com"',
        '[[registry]]\nprefix = "r.example.com/a"\nlocation = "two.example.com"',
    )
    assert pulls(read, "r.example.com/a/x:1") == [("two.example.com/x:1", False)]
    assert pulls(read, "r.example.com/b:1") == [("r.example.com/b:1", True)]


def test_a_push_goes_to_the_name_itself(tmp_path: Path) -> None:
    read = conf(
        tmp_path,
        '[[registry]]\nprefix = "r.example.com"\nlocation = "l.example.com"\ninsecure = true\n'
        '[[registry.mirror]]\nlocation = "m.example.com"',
    )
    endpoint = read.push_endpoint(ImageRef.parse("r.example.com/a:1"))
    assert (str(endpoint.ref), endpoint.insecure) == ("r.example.com/a:1", True)


def test_a_blocked_registry(tmp_path: Path) -> None:
    read = conf(tmp_path, '[[registry]]\nprefix = "r.example.com/a"\nblocked = true')
    for look in (read.pull_endpoints, read.push_endpoint):
        with pytest.raises(ConfigError, match=r"0\.conf: .*r\.example\.com/a is blocked"):
            look(ImageRef.parse("r.example.com/a/b:1"))
    assert pulls(read, "r.example.com/b:1") == [("r.example.com/b:1", False)]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[[registry", "not valid TOML"),
        ('registry = "x"', "registry"),
        ('[[registry]]\nlocation = 7', "location"),
        ('[[registry]]\nlocation = "r"\nmirror = ["m"]', "mirror"),
        ('[[registry]]\nlocation = "r"\nblocked = "maybe"', "blocked"),
    ],
)  # fmt: skip
def test_a_broken_file_is_named(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        conf(tmp_path, text)
    assert caught.value.file == str(tmp_path / "0.conf")


def test_a_location_that_cannot_be_used(tmp_path: Path) -> None:
    read = conf(tmp_path, '[[registry]]\nprefix = "r.example.com"\nlocation = "NO SUCH/x"')
    with pytest.raises(FleetError, match=r"the location 'NO SUCH/x' for r\.example\.com"):
        pulls(read, "r.example.com/a:1")


def test_the_default_files(containers_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = containers_home / ".config/containers"
    (user / "registries.conf.d").mkdir(parents=True)
    (user / "registries.conf.d/b.conf").write_text(
        '[[registry]]\nprefix = "x.example.com"\nlocation = "from-b.example.com"'
    )
    (user / "registries.conf.d/a.conf").write_text(
        '[[registry]]\nprefix = "x.example.com"\nlocation = "from-a.example.com"'
    )
    (user / "registries.conf.d/c.txt").write_text("not read")
    assert pulls(RegistriesConf(), "x.example.com/a:1") == [("from-b.example.com/a:1", False)]

    (user / "registries.conf").write_text(
        '[[registry]]\nprefix = "y.example.com"\nlocation = "user.example.com"'
    )
    assert pulls(RegistriesConf(), "y.example.com/a:1") == [("user.example.com/a:1", False)]

    named = containers_home / "named.conf"
    named.write_text('[[registry]]\nprefix = "y.example.com"\nlocation = "named.example.com"')
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(named))
    assert pulls(RegistriesConf(), "y.example.com/a:1") == [("named.example.com/a:1", False)]
    assert pulls(RegistriesConf(), "x.example.com/a:1") == [("from-b.example.com/a:1", False)]


@pytest.mark.skipif(shutil.which("podman") is None, reason="podman is not installed")
def test_podman_reads_the_same(containers_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """podman's own list of registries, from the environment's file and a user's drop-in."""
    drop = containers_home / ".config/containers/registries.conf.d/x.conf"
    drop.parent.mkdir(parents=True)
    drop.write_text('[[registry]]\nprefix = "x.example.com"\nlocation = "dropped.example.com"')
    named = containers_home / "named.conf"
    named.write_text('[[registry]]\nprefix = "y.example.com"\nlocation = "named.example.com"')
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(named))
    done = subprocess.run(
        ["podman", "info", "--format", "{{json .Registries}}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode != 0:
        pytest.skip(f"podman does not work here: {done.stderr[-200:]}")
    for name, location in (("x.example.com", "dropped"), ("y.example.com", "named")):
        assert f'"Location":"{location}.example.com"' in done.stdout.replace(" ", "")
        assert pulls(RegistriesConf(), f"{name}/a:1") == [(f"{location}.example.com/a:1", False)]


def certs_d(home: Path, registry: str) -> Path:
    folder = home / ".config/containers/certs.d" / registry
    folder.mkdir(parents=True)
    return folder


def test_certs_d(containers_home: Path, tmp_path: Path) -> None:
    folder = certs_d(containers_home, "r.example.com:5000")
    before = len(tls_context("r.example.com:5000", verify=True).get_ca_certs())
    assert not has_own_ca("r.example.com:5000")
    ca = PrivateCa(tmp_path / "ca")
    shutil.copy(ca.path, folder / "own.crt")
    signed = ca.sign("client")
    shutil.copy(signed.certificate, folder / "client.cert")
    shutil.copy(signed.key, folder / "client.key")
    (folder / "notes.txt").write_text("not read")
    assert has_own_ca("r.example.com:5000")
    assert not has_own_ca("r.example.com")
    # Beside the machine's own CAs, not in their place.
    assert len(tls_context("r.example.com:5000", verify=True).get_ca_certs()) == before + 1


def test_certs_d_with_a_certificate_without_its_key(containers_home: Path, tmp_path: Path) -> None:
    folder = certs_d(containers_home, "r.example.com")
    shutil.copy(PrivateCa(tmp_path / "ca").sign("client").certificate, folder / "client.cert")
    with pytest.raises(ConfigError, match=r"client\.cert: has no key beside it: .*client\.key"):
        tls_context("r.example.com", verify=True)


def test_certs_d_with_something_else(containers_home: Path) -> None:
    folder = certs_d(containers_home, "r.example.com")
    (folder / "ca.crt").write_text("no certificate")
    with pytest.raises(ConfigError, match=r"ca\.crt: cannot be used"):
        tls_context("r.example.com", verify=True)
