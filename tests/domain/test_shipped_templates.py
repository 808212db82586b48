"""The rules of the shipped templates that rendered text can show, over every set of variables.

Field note image-build, section 2.2; the number of the rule is in each test. What only a
built image can show is in tests/integration/test_templates_build.py.
"""

from __future__ import annotations

import base64
import json
import re
import tomllib
import xml.etree.ElementTree as ET
from typing import Any

import pytest
import yaml

from bootcfleet.domain.labels import image_labels
from bootcfleet.errors import ConfigError
from tests.shippedtemplates import (
    DIGEST,
    FULL,
    KEY,
    MINIMAL,
    NAMES,
    SHIPPED,
    Rendered,
    info,
    render,
    variable_sets,
)

_SETS = variable_sets()

OCI_LABELS = (
    "title", "description", "version", "revision", "source", "url", "vendor", "authors",
    "documentation", "licenses", "ref.name", "created", "base.name", "base.digest",
)  # fmt: skip


@pytest.fixture(scope="module", params=_SETS, ids=[f"{n}-{label}" for n, label, _ in _SETS])
def case(request: pytest.FixtureRequest) -> tuple[str, Rendered]:
    name, _, variables = request.param
    return name, render(name, variables)


def instructions(rendered: Rendered) -> list[tuple[str, str]]:
    """(instruction, arguments) of a Containerfile, continuations joined, comments left out."""
    lines = [x for x in rendered.containerfile.splitlines() if not x.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(word, rest) for word, rest in found]


def runs(rendered: Rendered) -> list[str]:
    return [text for word, text in instructions(rendered) if word == "RUN"]


def test_only_known_instructions(case: tuple[str, Rendered]) -> None:
    """A continuation that broke would show as a new instruction."""
    known = {"FROM", "RUN", "COPY", "LABEL", "CMD", "STOPSIGNAL"}
    assert {word for word, _ in instructions(case[1])} <= known


def test_from_is_the_base_and_never_a_floating_tag(case: tuple[str, Rendered]) -> None:
    """Rule 1."""
    name, rendered = case
    bases = [text for word, text in instructions(rendered) if word == "FROM"]
    assert [b.removesuffix(" AS kmod") for b in bases] == [
        f"registry.example.com/acme/parent@{DIGEST}"
    ] * (2 if name == "gpu" else 1)
    assert ":latest" not in rendered.containerfile


def test_no_update_no_heredoc_no_useradd(case: tuple[str, Rendered]) -> None:
    """Rules 1, 4, 7, 13, 18 of the structure."""
    text = case[1].containerfile
    assert not re.search(r"dnf[^\n]*\b(update|upgrade|distro-sync)\b", text)
    assert "<<" not in text
    assert not re.search(r"\b(useradd|adduser|chpasswd|passwd|usermod)\b", text)
    assert not re.search(r"\benable --now\b|\bchcon\b|/usr/etc", text)


def test_clean_in_the_layer_that_installs(case: tuple[str, Rendered]) -> None:
    """Rule 3."""
    for run in runs(case[1]):
        if "dnf -y install" in run:
            assert "--setopt=install_weak_deps=0" in run
            assert "--setopt=tsflags=nodocs" in run
            _, after = run.split("dnf -y install", 1)
            assert "&& dnf clean all && rm -rf /var/cache/* /var/log/* /var/lib/dnf" in after
            assert "/var/tmp" not in after
            assert "/var/lib/rpm-state" not in after


def test_bind_mounts_come_after_a_copy_that_keys_the_cache(case: tuple[str, Rendered]) -> None:
    """Rule 5."""
    all_of_them = instructions(case[1])
    for place, (word, text) in enumerate(all_of_them):
        if word == "RUN" and "type=bind" in text:
            stage = re.search(r"from=(\w+)", text)
            assert stage
            assert all_of_them[place - 1][1].startswith(f"--from={stage[1]} ")


def test_lint_is_the_last_instruction_and_labels_stand_before_it(
    case: tuple[str, Rendered],
) -> None:
    """Rule 2."""
    last = instructions(case[1])[-2:]
    assert last[1] == ("RUN", "bootc container lint")
    assert last[0][0] == "LABEL"


def test_every_label_is_set_once(case: tuple[str, Rendered]) -> None:
    """Rule 26: what is not set would be the parent's. Facts of the moment are the build's."""
    (label,) = [text for word, text in instructions(case[1]) if word == "LABEL"]
    names = re.findall(r'([a-z.A-Z]+)="(?:[^"\\]|\\.)*"', label)
    assert len(names) == len(set(names))
    of_build = image_labels(
        "x", "0" * 64, "x", declared="x", revision=None, source=None, timestamp=None
    )
    assert not set(names) & set(of_build)
    every = {f"org.opencontainers.image.{n}" for n in OCI_LABELS} | {"containers.bootc"}
    assert every <= set(names) | set(of_build)
    assert 'containers.bootc="1"' in label


def test_files_only_where_images_may_have_them(case: tuple[str, Rendered]) -> None:
    """Rules 7, 10: nothing in /var, /run, /tmp, /boot, /opt, /usr/local, no /usr/etc."""
    for path in case[1].files:
        assert path.startswith(("files/usr/", "files/etc/", "files/kmod/")), path
        assert not path.startswith(("files/usr/etc/", "files/usr/local/")), path


def test_main_files_of_packages_are_left_alone(case: tuple[str, Rendered]) -> None:
    """Rule 8: drop-ins. The two exceptions have no drop-in folder."""
    for path in case[1].files:
        name = path.removeprefix("files")
        if name.startswith("/etc/"):
            assert re.search(
                r"\.d/|/conf\.d/|/zones/|/anchors/|^/etc/pki/containers/|^/etc/postgresql/", name
            ) or name in (
                "/etc/subuid",
                "/etc/subgid",
                "/etc/locale.conf",
                "/etc/containers/policy.json",
            ), name
        else:
            assert "sed -i" not in case[1].containerfile


def test_tmpfiles_lines_have_no_age(case: tuple[str, Rendered]) -> None:
    """Rule 7 of the database: type, path, mode, user, group, and never an age."""
    for path, (content, _) in case[1].files.items():
        if "/tmpfiles.d/" not in path:
            continue
        for line in content.decode().splitlines():
            if line.strip() and not line.startswith("#"):
                words = line.split(maxsplit=6)
                assert len(words) >= 6, line
                assert words[0] in ("d", "f", "f+~"), line
                assert words[5] == "-", line
                assert (len(words) == 7) == (words[0] == "f+~"), line


def test_no_secrets(case: tuple[str, Rendered]) -> None:
    """Rule 13: no passwords, hashes or private keys."""
    everything = case[1].containerfile + "".join(
        content.decode(errors="replace") for content, _ in case[1].files.values()
    )
    assert not re.search(r"PRIVATE KEY|\$[156y]\$|(?i:password\s*=|psk\s*=|passwd\s*=)", everything)


def test_what_bootc_ignores_is_not_there(case: tuple[str, Rendered]) -> None:
    """Rule 19."""
    words = {word for word, _ in instructions(case[1])}
    assert not words & {"EXPOSE", "ENV", "USER", "HEALTHCHECK", "ENTRYPOINT", "VOLUME", "WORKDIR"}


def test_rendered_files_are_well_formed(case: tuple[str, Rendered]) -> None:
    for path, (content, mode) in case[1].files.items():
        text = content.decode()
        if path.endswith(".toml") or "registries.conf.d" in path:
            tomllib.loads(text)
        if path.endswith(".xml"):
            ET.fromstring(text)
        assert text.endswith("\n"), path
        assert "{{" not in text, path
        assert "{%" not in text, path
        assert (mode == 0o755) == text.startswith("#!"), path


def test_kernel_arguments_survive_toml() -> None:
    """Rule 18."""
    loaded = tomllib.loads(render("soe", FULL["soe"]).text("/usr/lib/bootc/kargs.d/50-soe.toml"))
    assert loaded == {"kargs": FULL["soe"]["kernel_arguments"]}


def test_registries_are_what_was_asked_for() -> None:
    """Rule 16."""
    path = "/etc/containers/registries.conf.d/50-soe.conf"
    loaded = tomllib.loads(render("soe", FULL["soe"]).text(path))["registry"]
    assert loaded[0] == {"location": "127.0.0.1:5000", "insecure": True}
    assert loaded[1]["mirror"] == [{"location": "mirror.site:5000/acme", "insecure": True}]


def test_ssh_keys_are_base64_in_tmpfiles() -> None:
    """Rule 14."""
    text = render("soe", FULL["soe"]).text("/usr/lib/tmpfiles.d/50-soe-users.conf")
    lines = [line.split() for line in text.splitlines() if line.startswith("f+~")]
    assert [line[1] for line in lines] == [
        "/var/home/ops/.ssh/authorized_keys",
        "/var/roothome/.ssh/authorized_keys",
    ]
    assert base64.b64decode(lines[1][-1]).decode() == f"{KEY}\n"


def test_the_updates_timer_is_off_unless_asked_for() -> None:
    """Rule 17."""
    mask = "systemctl mask bootc-fetch-apply-updates.timer"
    assert mask in runs(render("soe", {}))
    assert mask not in runs(render("soe", {"automatic_updates": True}))


def test_a_role_adds_only_its_delta() -> None:
    for name in NAMES:
        text = render(name, MINIMAL[name]).containerfile
        assert ("bootc-fetch-apply-updates" in text) == (name == "soe")
        assert ("zoneinfo" in text) == (name == "soe")


def test_build_secrets_and_repositories_are_in_the_one_command() -> None:
    """Rules 23 and 25."""
    variables = next(v for n, label, v in _SETS if (n, label) == ("soe", "other2"))
    rendered = render("soe", variables)
    (install,) = [run for run in runs(rendered) if "dnf -y install" in run]
    assert install.startswith(
        "--mount=type=secret,id=site.repo,target=/run/site.repo,required=true "
        "--mount=type=secret,id=key,target=/etc/key.pem,required=true dnf"
    )
    assert "'--repofrompath=site,https://repo/x?a=1&b=2'" in install
    assert "--setopt=site.gpgcheck=1" in install
    assert not [path for path in rendered.files if "yum.repos.d" in path]


@pytest.mark.parametrize(
    ("name", "variables", "missing"),
    [
        ("gpu", {}, "driver_version"),
        ("web", {"server": "lighttpd"}, "lighttpd"),
        ("soe", {"users": [{"name": "ops"}]}, "uid"),
        ("container-host", {"containers": [{"name": "x"}]}, "image"),
        ("container-host", {"rootless_users": [{"name": "x", "uid": 2000}]}, "subid_start"),
        ("edge", {"connections": [{"interface": "eth0"}]}, "id"),
        ("container-host", {"containers": [{"name": "../x", "image": "x"}]}, "cannot be one"),
        ("edge", {"connections": [{"id": "a/b"}]}, "cannot be one"),
        ("soe", {"build_repositories": [{"id": "x", "url": "https://x"}]}, "gpgkey"),
    ],
)
def test_what_is_missing_is_an_error_and_not_an_empty_word(
    name: str, variables: dict[str, Any], missing: str
) -> None:
    with pytest.raises(ConfigError, match=missing):
        render(name, variables)


HOSTILE = ["$(touch /tmp/x)", "a; id", "`id`", "it's", "a b", '"', "&&", "\\"]


@pytest.mark.parametrize("word", HOSTILE)
def test_words_of_users_stay_words(word: str) -> None:
    """Everything from `vars:` reaches the shell as one quoted word."""
    import shlex

    rendered = render("soe", {"packages": [word], "timezone": word, "enable_units": [word]})
    install, zone, preset = (
        run for run in runs(rendered) if re.match(r"dnf|test -f|systemctl preset", run)
    )
    assert word in shlex.split(install)
    assert f"/usr/share/zoneinfo/{word}" in shlex.split(zone)
    assert word in shlex.split(preset)


@pytest.mark.parametrize("name", NAMES)
def test_variables_are_documented(name: str) -> None:
    """`help` is what the documentation is made of."""
    assert info(name).description.endswith(".")
    for variable, entry in info(name).variables.items():
        assert len(entry.help) > 20, variable
        assert re.search(r"[.`]$", entry.help.strip()), variable


def test_variables_that_all_templates_share_say_the_same() -> None:
    shared = ("vendor", "dnf_options", "build_repositories", "build_secrets")
    for variable in shared:
        assert len({str(info(name).variables[variable]) for name in NAMES}) == 1, variable


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_is_used(name: str) -> None:
    """A variable that changes nothing would be a promise that nobody keeps."""
    sources = [p for p in (SHIPPED / name).rglob("*") if p.is_file() and p.suffix == ".j2"]
    text = "".join(p.read_text() for p in [*sources, *(SHIPPED / "_shared").glob("*.j2")])
    for variable in info(name).variables:
        assert re.search(rf"\b{variable}\b", text), variable


def test_a_line_break_in_a_word_starts_no_instruction() -> None:
    bad = "x\nRUN touch /evil"
    variables: dict[str, dict[str, Any]] = {
        "soe": {
            "packages": [bad],
            "timezone": bad,
            "enable_units": [bad],
            "vendor": bad,
            "build_secrets": [{"id": bad}],
            "users": [{"name": "x", "uid": bad}],
        },
        "database": {"module_stream": bad, "postgresql_major": bad},
        "container-host": {"containers": [{"name": "x", "image": bad, "exec": bad}]},
        "gpu": {"driver_version": bad},
    }
    for name, chosen in variables.items():
        rendered = render(name, chosen)
        assert bad.replace("\n", " ") in rendered.containerfile or name == "container-host"
        for line in rendered.containerfile.splitlines():
            assert not line.startswith("RUN touch"), (name, line)


def test_hosts_of_the_soe_ask_for_signatures_where_there_is_a_key() -> None:
    etc = "/etc/containers"
    soe = render("soe", FULL["soe"])
    docker = json.loads(soe.text(f"{etc}/policy.json"))["transports"]["docker"]
    assert set(docker) == {"registry.example.com/acme", "quay.io/tools"}
    key = docker["registry.example.com/acme"][0]["keyPath"]
    assert soe.text(key) == FULL["soe"]["signing_public_key"]
    attachments = yaml.safe_load(soe.text(f"{etc}/registries.d/50-soe.yaml"))["docker"]
    assert set(attachments) == {"registry.example.com/acme", "mirror.site:5000/acme"}
    without = render("soe", MINIMAL["soe"])
    assert not [path for path in without.files if "policy" in path or "registries.d" in path]
    assert f"files{key}" not in without.files
