"""The shipped kickstarts: golden renders, pykickstart's verdict on them, and what they keep to."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pykickstart.parser import KickstartParser
from pykickstart.version import makeVersion

from bootcfleet.domain.install_host import HostInstall
from bootcfleet.domain.install_spec import InstallSpec, choose_verb
from bootcfleet.domain.inventory import Host
from bootcfleet.domain.kickstart import (
    OWN_NAMES,
    KickstartRenderer,
    KickstartRequest,
    KickstartSet,
    SecretValue,
)
from bootcfleet.domain.release import InvalidReleaseError, Release, Verb
from bootcfleet.domain.template import SourceFile
from bootcfleet.drivers.kickstartfiles import load_kickstarts
from bootcfleet.errors import ConfigError
from tests.shippedkickstarts import (
    ALL,
    CASES,
    GOLDEN,
    HOST,
    NAMES,
    REFERENCE,
    SHIPPED,
    UPDATE,
    render_case,
    renderer,
)


def spec(template: str = "baremetal", release: str = "rhel9", **more: Any) -> InstallSpec:
    body = {"template": template, "release": release, "image": str(REFERENCE), **more}
    return InstallSpec.model_validate(body)


def render(one: InstallSpec, host: Host | None = None, **more: Any) -> str:
    return (
        renderer()
        .render(KickstartRequest("web", one, one.release, REFERENCE, host=host, **more))
        .text
    )


def parsed(text: str, release: str) -> Any:
    """The kickstart as Anaconda's own parser reads it.  Raises for one that it refuses."""
    parser = KickstartParser(
        makeVersion(Release.parse(release).handler), missingIncludeIsFatal=False
    )
    parser.readKickstartFromString(text)
    return parser.handler


@pytest.mark.parametrize(("name", "release", "case"), ALL)
def test_golden(name: str, release: str, case: str) -> None:
    text = render_case(name, release, case).text
    path = GOLDEN / f"{name}-{release}-{case}.ks"
    if UPDATE:
        path.write_text(text)
    assert text == path.read_text(), f"UPDATE_GOLDEN=1 writes {path.name} anew"
    handler = parsed(text, release)
    container, bootc = handler.ostreecontainer, getattr(handler, "bootc", None)
    assert [container.seen, bool(bootc and bootc.seen)].count(True) == 1
    if container.seen:
        offline = case == "offline"
        assert container.transport == ("oci" if offline else "registry")
        assert container.url == ("/run/install/repo/container" if offline else str(REFERENCE))
        switch = f"bootc switch --mutate-in-place --transport registry {REFERENCE}"
        assert (switch in text) == offline
    else:
        assert bootc.targetImgRef == str(REFERENCE)
        assert ":" in bootc.sourceImgRef
        assert "bootc switch" not in text
    named = set(handler.clearpart.drives)
    assert named == set(handler.ignoredisk.onlyuse)
    assert {part.disk for part in handler.partition.partitions} <= named
    assert handler.rootpw.lock
    assert not handler.packages.seen
    assert handler.reboot.eject


def test_every_golden_file_is_of_something() -> None:
    expected = {f"{name}-{release}-{case}.ks" for name, release, case in ALL}
    assert {path.name for path in GOLDEN.iterdir()} == expected
    assert renderer().templates.names == NAMES
    assert len(ALL) == len(NAMES) * 6 * len(CASES)


def test_the_network_of_a_host_arrives() -> None:
    (one,) = parsed(render_case("baremetal", "rhel9", "full").text, "rhel9").network.network
    assert (one.device, one.ip, one.netmask) == (
        "52:54:00:12:34:56",
        "192.0.2.12",
        "255.255.255.0",
    )
    assert (one.gateway, one.hostname) == ("192.0.2.1", "web1.example.com")
    assert (one.ipv6, one.ipv6gateway, one.mtu) == ("2001:db8::12/64", "2001:db8::1", "9000")
    assert one.nameserver == "192.0.2.53,2001:db8::53"


@pytest.mark.parametrize(
    ("text", "verb"),
    [
        ("rhel9", Verb.OSTREECONTAINER),
        ("rhel9.6", Verb.OSTREECONTAINER),
        ("rhel10", Verb.OSTREECONTAINER),
        ("rhel10.2", Verb.OSTREECONTAINER),
        ("rhel11", Verb.BOOTC),
        ("centos-stream10", Verb.OSTREECONTAINER),
        ("fedora43", Verb.OSTREECONTAINER),
        ("fedora44", Verb.BOOTC),
    ],
)
def test_the_verb_of_a_release_is_one_that_its_media_know(text: str, verb: Verb) -> None:
    release = Release.parse(text)
    assert str(release) == text
    assert release.default_verb is verb
    assert choose_verb(spec(release=text), release, tuple(Verb)) is verb


def test_the_newer_verb_gives_way_to_what_it_cannot_do() -> None:
    release = Release.parse("fedora44")
    secrets = {"pull_secret": {"env": "X"}}
    for one in (spec(verify_signature=True), spec(secrets=secrets)):
        assert choose_verb(one, release, tuple(Verb)) is Verb.OSTREECONTAINER
    assert choose_verb(spec(), release, (Verb.OSTREECONTAINER,)) is Verb.OSTREECONTAINER


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"release": "rhel9"}, "the installer of rhel9 does not know the command bootc"),
        ({"release": "rhel10.1"}, "the installer of rhel10.1 does not know the command bootc"),
        ({"release": "fedora44", "verify_signature": True}, "cannot verify signatures"),
        ({"release": "rhel10", "secrets": {"pull_secret": {"env": "X"}}}, "asks for a login"),
    ],
)
def test_the_newer_verb_is_refused_where_it_cannot_work(more: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spec(verb="bootc", **more)
    assert spec(release="rhel10.2", verb="bootc").verb is Verb.BOOTC


@pytest.mark.parametrize("text", ["rhel8", "fedora37", "rhel", "debian12", "centos-stream9.1", ""])
def test_what_is_no_release(text: str) -> None:
    with pytest.raises(InvalidReleaseError):
        Release.parse(text)


@pytest.mark.parametrize(
    ("one", "host", "message"),
    [
        (spec(), None, "the template 'baremetal' needs the variable 'disk'"),
        (spec("luks", disk="sda"), None, "the template 'luks' needs the secret 'luks_passphrase'"),
        (spec("barmetal"), None, "there is no kickstart template 'barmetal'"),
        (spec("edge", "fedora44", verb="bootc", disk="sda"), None, "cannot use the verb bootc"),
        (spec(disk="sda", vars={"colour": 1}), None, "has no such variable"),
        (spec(data_disks=["sdb"], disk="sda"), None, "has no such variable"),
        (spec(disk="sda", network={"gateway": "192.0.2.1"}), None, "gateway without an address"),
        (spec(disk="sda", vars={"finish": "reboot\nuser --name=x"}), None, "line break"),
        (spec(disk="sda", vars={"root_size_mib": "10 GiB"}), None, "must be a number"),
    ],
)
def test_what_is_missing_or_wrong_is_an_error(
    one: InstallSpec, host: Host | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        render(one, host)


@pytest.mark.parametrize(
    ("install", "variables", "message"),
    [
        ({"vars": {"colour": 1}}, {}, "a.install.vars.colour: the template 'baremetal' has no"),
        ({"data_disks": ["sdb"]}, {}, "a.install.data_disks: the template 'baremetal' has no"),
        ({}, {"root_size_mib": "x"}, "a.vars.root_size_mib: must be a number"),
    ],
)
def test_what_the_inventory_says_wrongly_is_the_inventorys(
    install: Any, variables: Any, message: str
) -> None:
    host = Host("a", vars=variables, install=HostInstall.model_validate(install))
    with pytest.raises(ConfigError) as error:
        render(spec(disk="sda"), host)
    assert error.value.message.startswith(message)


def test_values_of_host_and_install_in_their_order() -> None:
    host = Host("a", vars={"timezone": "B/host", "unknown": 1}, install=HOST.install)
    assert "timezone B/host" in render(spec(vars={"timezone": "A/install"}), host)
    install = HOST.install.model_copy(update={"vars": {"timezone": "C/install"}})
    text = render(spec(disk="sdz"), Host("a", vars={"timezone": "B/host"}, install=install))
    assert "timezone C/install" in text
    assert "sdz" not in text
    assert "--hostname=a " in text


@pytest.mark.parametrize("name", NAMES)
def test_variables_are_documented_and_used(name: str) -> None:
    info = renderer().templates.info(name)
    assert info.description.endswith(".")
    source = "".join(p.read_text() for p in [SHIPPED / f"{name}.ks.j2", *SHIPPED.glob("_shared/*")])
    for variable, entry in info.variables.items():
        assert len(entry.help) > 20, variable
        assert entry.help.strip().endswith("."), variable
        assert variable in source, variable
    required = {v for v, entry in info.variables.items() if entry.required}
    assert required == (set() if name == "vm" else {"disk"})


HOSTILE = ["$(touch /tmp/x)", "a; id", "`id`", "it's", "a b", '"', "--erroronfail", "%end", "#x"]


@pytest.mark.parametrize("word", HOSTILE)
def test_words_stay_words(word: str) -> None:
    text = render(spec(disk="sda", vars={"timezone": word, "kernel_arguments": [word, "b"]}))
    lines = [shlex.split(line, comments=True) for line in text.splitlines()]
    assert ["timezone", word, "--utc"] in lines
    assert ["bootloader", "--boot-drive=sda", f"--append={word} b"] in lines


@given(st.text(max_size=30))
def test_no_value_begins_a_line_of_its_own(word: str) -> None:
    plain = render(spec(disk="sda")).splitlines()
    try:
        text = render(spec(disk="sda", vars={"timezone": word, "keyboard": word}))
    except ConfigError as error:
        assert "line break" in error.message
        return
    assert len(text.splitlines()) == len(plain)


def test_secrets_are_in_base64_and_in_no_argument() -> None:
    secret = b'{"auths": {}}\n%end\nBOOTCFLEET\n'
    one = spec(disk="sda", secrets={"pull_secret": {"env": "X"}})
    request = KickstartRequest(
        "web", one, one.release, REFERENCE, secrets={"pull_secret": SecretValue(secret)}
    )
    rendered = renderer().render(request)
    assert rendered.secret
    assert "auths" not in rendered.text
    assert "auths" not in repr(request)
    assert "auths" not in repr(rendered)
    url = "https://a.example/secret/T0KEN"
    text = render(one, secrets={"pull_secret": SecretValue(url=url)})
    assert [line for line in text.splitlines() if "T0KEN" in line] == [f'url = "{url}"']


def run_pre(text: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run the %pre scripts below another root; programs of the installer are stand-ins."""
    body = text.replace("/run/", f"{tmp_path}/run/").replace("/etc/", f"{tmp_path}/etc/")
    body = body.replace("/tmp/NOSAVE", f"{tmp_path}/NOSAVE")
    scripts, inside = [], False
    for line in body.splitlines():
        if line.startswith("%pre"):
            inside = True
        elif line == "%end":
            inside = False
        elif inside:
            scripts.append(line)
    for folder in ("etc/pki/ca-trust/source/anchors", "run"):
        (tmp_path / folder).mkdir(parents=True)
    # As in an installer, where lorax has taken these away.
    stubs = "".join(f"{name}() {{ return 127; }}\n" for name in ("base64", "install", "stat"))
    stubs += "update-ca-trust() { touch " + f"{tmp_path}/trusted" + "; }\n"
    return subprocess.run(
        ["/bin/bash"], input=stubs + "\n".join(scripts), text=True, capture_output=True, check=False
    )


def test_pre_delivers_what_the_installer_needs(tmp_path: Path) -> None:
    one = spec(
        disk="sda",
        secrets={"pull_secret": {"env": "X"}},
        insecure_registries=["registry.example.com:5000"],
    )
    secret = b'{"auths": {}}\n%end\nBOOTCFLEET\n' + b"x" * 200
    text = render(
        one,
        secrets={"pull_secret": SecretValue(secret)},
        certificates={"a": b"one\n", "b": b"two\n"},
    )
    ran = run_pre(text, tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    auth = tmp_path / "run/ostree/auth.json"
    assert auth.read_bytes() == secret
    secrets = [p for p in (tmp_path / "run").rglob("*") if p.is_file()]
    assert {p.stat().st_mode & 0o077 for p in secrets} == {0}
    anchors = sorted((tmp_path / "etc/pki/ca-trust/source/anchors").iterdir())
    assert [p.read_text() for p in anchors] == ["one\n", "two\n"]
    public = [tmp_path / "trusted", *(p for p in (tmp_path / "etc").rglob("*"))]
    assert {p.stat().st_mode & 0o055 for p in public if p.is_dir()} == {0o055}
    assert {p.stat().st_mode & 0o044 for p in public} == {0o044}
    assert (tmp_path / "NOSAVE_INPUT_KS").exists()
    conf = tmp_path / "etc/containers/registries.conf.d/50-bootcfleet.conf"
    assert conf.read_text() == (
        '[[registry]]\nlocation = "registry.example.com:5000"\ninsecure = true\n'
    )


def test_the_host_gets_the_login_for_its_updates(tmp_path: Path) -> None:
    one = spec(disk="sda", secrets={"pull_secret": {"env": "X"}})
    text = render(one, secrets={"pull_secret": SecretValue(b"{}")})
    script = text.partition("%post --nochroot --erroronfail --interpreter=/usr/bin/bash\n")[2]
    script = script.partition("%end")[0].replace("/run/", f"{tmp_path}/run/")
    assert "/mnt/sysroot" in script
    (tmp_path / "run/ostree").mkdir(parents=True)
    (tmp_path / "run/ostree/auth.json").write_text("{}")
    script = script.replace("/mnt/sysroot", f"{tmp_path}/sysroot")
    subprocess.run(["/bin/bash"], input=f"umask 022\n{script}", text=True, check=True)
    auth = tmp_path / "sysroot/etc/ostree/auth.json"
    assert auth.read_text() == "{}"
    assert auth.stat().st_mode & 0o777 == 0o600
    assert auth.parent.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("passphrase", ["plain", "it's", "a b 'c' \"d\" \\ $e `f` %s #g", "'"])
def test_the_passphrase_reaches_anaconda_as_it_is(passphrase: str, tmp_path: Path) -> None:
    one = spec("luks", disk="sda", secrets={"luks_passphrase": {"env": "X"}})
    text = render(one, secrets={"luks_passphrase": SecretValue(f"{passphrase}\n".encode())})
    ran = run_pre(text, tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    included = tmp_path / "run/bootcfleet/encrypted.ks"
    assert included.stat().st_mode & 0o077 == 0
    whole = text.replace("%include /run/bootcfleet/encrypted.ks", included.read_text())
    (part,) = parsed(whole, "rhel9").partition.partitions
    assert (part.passphrase, part.encrypted, part.mountpoint) == (passphrase, True, "/")


@pytest.mark.parametrize("passphrase", ["", "\n", "a\nb\n"])
def test_a_passphrase_of_no_or_two_lines_stops_the_installation(
    passphrase: str, tmp_path: Path
) -> None:
    one = spec("luks", disk="sda", secrets={"luks_passphrase": {"env": "X"}})
    text = render(one, secrets={"luks_passphrase": SecretValue(passphrase.encode())})
    assert run_pre(text, tmp_path).returncode == 1


def test_a_template_of_the_project_goes_over_the_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "vm.ks.j2").write_text("# {{ host.name }} {{ colour }}\n")
    (tmp_path / "_shared").mkdir()
    (tmp_path / "_shared/head.ks.j2").write_text("# mine\n")
    templates = load_kickstarts([tmp_path, SHIPPED])
    assert templates.names == NAMES
    one = spec("vm", vars={})
    request = KickstartRequest("web", one, one.release, REFERENCE)
    with pytest.raises(ConfigError, match="'colour' is undefined"):
        KickstartRenderer(templates).render(request)
    one = spec(disk="sda")
    text = KickstartRenderer(templates).render(KickstartRequest("web", one, one.release, REFERENCE))
    assert "# mine" in text.text


def test_our_own_names_are_no_variables() -> None:
    from bootcfleet.drivers import yamlfile

    for name in OWN_NAMES:
        document = yamlfile.parse(f"variables: {{{name}: {{default: 1}}}}", "a.yaml")
        templates = KickstartSet({"a.ks.j2": SourceFile(b"")}, {"a": document})
        with pytest.raises(ConfigError, match="is defined by bootcfleet itself"):
            templates.info("a")
