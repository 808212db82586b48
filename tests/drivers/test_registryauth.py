"""Credentials from files and helpers, and challenges."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.drivers.registryauth import Challenge, Credentials, Keyring, parse_challenges
from bootcfleet.errors import ConfigError, FleetError, ToolMissingError

SECRET = "s3cr:et-Wörd"


def encoded(user: str, password: str = SECRET) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def user_of(name: str, *, helpers: tuple[str, ...] = ()) -> str | None:
    found = Keyring(LocalExecutor(), helpers).find(name)
    return found.user if found else None


@pytest.mark.parametrize(
    ("name", "user"),
    [
        ("r.example.com/a/b/c", "abc"),
        ("r.example.com/a/b", "ab"),
        ("r.example.com/a/b/other", "ab"),
        ("r.example.com/a/bc", "host"),
        ("r.example.com/x", "host"),
        ("r.example.com:5000/a/b", None),
        ("s.example.com/x", None),
        ("legacy.example.com/x", "legacy"),
        ("docker.io/library/fedora", "hub"),
    ],
)
def test_the_longest_key_that_a_repository_is_under(
    containers_home: Path, name: str, user: str | None
) -> None:
    write(
        containers_home / "run/containers/auth.json",
        {
            "auths": {
                "r.example.com": encoded("host"),
                "r.example.com/a/b": encoded("ab"),
                "r.example.com/a/b/c": encoded("abc"),
                "s.example.com": {},
                "https://legacy.example.com/v1/": encoded("legacy"),
                "https://index.docker.io/v1/": encoded("hub"),
            }
        },
    )
    assert user_of(name) == user


def test_the_files_in_their_order(containers_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, found = "r.example.com/a", []
    for path, user in (
        (containers_home / ".docker/config.json", "docker"),
        (containers_home / ".config/containers/auth.json", "config"),
        (containers_home / "run/containers/auth.json", "runtime"),
    ):
        write(path, {"auths": {"r.example.com": encoded(user)}})
        found.append(user_of(name))
    named = write(containers_home / "named.json", {"auths": {"s.example.com": encoded("named")}})
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(named))
    # It alone counts then.
    assert (user_of(name), user_of("s.example.com/a")) == (None, "named")
    assert found == ["docker", "config", "runtime"]


def test_a_password_with_a_colon_and_an_identity_token(containers_home: Path) -> None:
    file = containers_home / "run/containers/auth.json"
    write(file, {"auths": {"r.example.com": encoded("me")}})
    found = Keyring(LocalExecutor()).find("r.example.com/a")
    assert found == Credentials("me", SECRET)
    assert base64.b64decode(found.basic.removeprefix("Basic ")).decode() == f"me:{SECRET}"
    assert SECRET not in repr(found)

    write(file, {"auths": {"r.example.com": {"identitytoken": "tok3n"}}})
    token = Keyring(LocalExecutor()).find("r.example.com/a")
    assert token == Credentials("", "", "tok3n")
    assert "tok3n" not in repr(token)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f'{{"auths": {SECRET}', "not valid JSON"),
        ("[]", "not a JSON object"),
        ('{"auths": []}', None),
        ('{"auths": [1]}', "auths: is not a JSON object"),
        ('{"auths": {"r.example.com": {"auth": "***s3cr"}}}', "not base64"),
        ('{"auths": {"r.example.com": {"auth": "czNjcmV0"}}}', "not user:password"),
        ('{"auths": {"r.example.com": {"auth": 7}}}', None),
        ('{"auths": {"r.example.com": "x"}}', None),
    ],
)
def test_a_broken_file_is_named_and_not_quoted(
    containers_home: Path, text: str, why: str | None
) -> None:
    file = containers_home / "run/containers/auth.json"
    file.parent.mkdir()
    file.write_text(text)
    if why is None:
        assert user_of("r.example.com/a") is None
        return
    with pytest.raises(ConfigError, match=why) as caught:
        user_of("r.example.com/a")
    assert str(file) in caught.value.message
    assert "s3cr" not in caught.value.message + str(caught.value.details)


def test_a_named_file_that_is_not_there(
    containers_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(containers_home / "none.json"))
    with pytest.raises(ConfigError, match=r"none\.json.*REGISTRY_AUTH_FILE"):
        user_of("r.example.com/a")


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """docker-credential-fake: writes down how it was called, answers from a file."""
    program = tmp_path / "bin/docker-credential-fake"
    program.parent.mkdir()
    program.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >>{tmp_path}/argv\ncat >>{tmp_path}/stdin\n'
        f"cat {tmp_path}/answer\nexit $(cat {tmp_path}/code)\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    says(tmp_path, {"Username": "helped", "Secret": SECRET})
    return tmp_path


def says(folder: Path, answer: object, code: int = 0) -> None:
    (folder / "answer").write_text(answer if isinstance(answer, str) else json.dumps(answer))
    (folder / "code").write_text(str(code))


def test_a_helper_goes_before_what_stands_in_the_file(containers_home: Path, helper: Path) -> None:
    write(
        containers_home / "run/containers/auth.json",
        {
            "auths": {"r.example.com": encoded("old"), "s.example.com": encoded("plain")},
            "credHelpers": {"r.example.com": "fake"},
        },
    )
    found = Keyring(LocalExecutor()).find("r.example.com/a")
    assert found == Credentials("helped", SECRET)
    assert (helper / "argv").read_text() == "get\n"
    assert (helper / "stdin").read_text() == "r.example.com"
    assert user_of("s.example.com/a") == "plain"


def test_a_helper_with_an_identity_token(containers_home: Path, helper: Path) -> None:
    write(containers_home / "run/containers/auth.json", {"credHelpers": {"r.example.com": "fake"}})
    says(helper, {"Username": "<token>", "Secret": "tok3n"})
    assert Keyring(LocalExecutor()).find("r.example.com/a") == Credentials("", "", "tok3n")


def test_a_helper_that_knows_nothing(containers_home: Path, helper: Path) -> None:
    write(containers_home / "run/containers/auth.json", {"credHelpers": {"r.example.com": "fake"}})
    says(helper, "credentials not found in native keychain", 1)
    assert user_of("r.example.com/a") is None


@pytest.mark.parametrize(
    ("answer", "code", "why"),
    [
        (f"cannot open: {SECRET}", 2, r"failed for r\.example\.com \(exit code 2\)"),
        (f"[{SECRET}", 0, "gave no credentials"),
        ({"Username": SECRET}, 0, "gave no credentials"),
    ],
)
def test_a_helper_that_fails_is_said_without_its_output(
    containers_home: Path, helper: Path, answer: object, code: int, why: str
) -> None:
    write(containers_home / "run/containers/auth.json", {"credHelpers": {"r.example.com": "fake"}})
    says(helper, answer, code)
    with pytest.raises(FleetError, match=why) as caught:
        user_of("r.example.com/a")
    shown = f"{caught.value.message}{caught.value.hint}{caught.value.details}"
    assert SECRET not in shown
    assert "echo r.example.com | docker-credential-fake get" in shown


def test_a_helper_that_is_not_installed(containers_home: Path) -> None:
    write(containers_home / "run/containers/auth.json", {"credHelpers": {"r.example.com": "none"}})
    with pytest.raises(ToolMissingError, match=r"docker-credential-none for r\.example\.com"):
        user_of("r.example.com/a")


@pytest.mark.parametrize("name", ["../evil", "a b", "", "x;y"])
def test_the_name_of_a_helper_is_no_path(containers_home: Path, name: str) -> None:
    write(containers_home / "run/containers/auth.json", {"credHelpers": {"r.example.com": name}})
    if not name:
        assert user_of("r.example.com/a") is None
        return
    with pytest.raises(ConfigError, match="cannot be the name of a credential helper"):
        user_of("r.example.com/a")


def test_dockers_default_store(containers_home: Path, helper: Path) -> None:
    file = containers_home / ".docker/config.json"
    write(file, {"auths": {"r.example.com": {}}, "credsStore": "fake"})
    assert user_of("r.example.com/a") == "helped"
    assert user_of("docker.io/library/fedora") == "helped"
    assert (helper / "stdin").read_text() == "r.example.comhttps://index.docker.io/v1/"
    # Left over from a desktop program that is gone: podman does not look at it either.
    write(file, {"credsStore": "none"})
    assert user_of("r.example.com/a") is None


def test_the_helpers_of_registries_conf(containers_home: Path, helper: Path) -> None:
    write(
        containers_home / "run/containers/auth.json", {"auths": {"r.example.com": encoded("file")}}
    )
    assert user_of("r.example.com/a", helpers=("containers-auth.json", "fake")) == "file"
    assert user_of("r.example.com/a", helpers=("fake", "containers-auth.json")) == "helped"
    assert user_of("s.example.com/a", helpers=("containers-auth.json", "fake")) == "helped"


BEARER = {"realm": "https://auth.example.com/token", "service": "r", "scope": "repository:a:pull"}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", []),
        ("Basic", [("basic", {})]),
        ('Basic realm="a, b"', [("basic", {"realm": "a, b"})]),
        ("BASIC Realm=plain", [("basic", {"realm": "plain"})]),
        (
            'Bearer realm="https://auth.example.com/token",service="r",scope="repository:a:pull"',
            [("bearer", BEARER)],
        ),
        (
            'Bearer realm="https://auth.example.com/token" , service=r ,scope="repository:a:pull"',
            [("bearer", BEARER)],
        ),
        ('Bearer scope="r:a:pull,push"', [("bearer", {"scope": "r:a:pull,push"})]),
        (r'Basic realm="say \"hi\" \\"', [("basic", {"realm": 'say "hi" \\'})]),
        (
            'Negotiate, Basic realm="x", Bearer realm="y", error="z"',
            [
                ("negotiate", {}),
                ("basic", {"realm": "x"}),
                ("bearer", {"realm": "y", "error": "z"}),
            ],
        ),
        ('Negotiate YII/x==, Basic realm="x"', [("negotiate", {}), ("basic", {"realm": "x"})]),
        ('Bearer realm="x", realm="evil"', [("bearer", {"realm": "x"})]),
        ('Bearer realm="never closed', [("bearer", {})]),
        ('realm="without a scheme"', []),
        ("@@@, Basic realm=x", [("basic", {"realm": "x"})]),
    ],
)  # fmt: skip
def test_challenges(header: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert [(c.scheme, c.parameters) for c in parse_challenges(header)] == expected


WORD = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,8}", fullmatch=True)
CHALLENGE = st.tuples(
    WORD,
    st.dictionaries(
        WORD.map(str.lower), st.text(st.characters(codec="latin-1", exclude_categories=["C"])),
        max_size=3,
    ),
)  # fmt: skip


@given(st.lists(CHALLENGE, max_size=3), st.sampled_from([", ", ",", " ,\t"]))
def test_challenges_are_read_as_they_were_written(
    challenges: list[tuple[str, dict[str, str]]], comma: str
) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    header = comma.join(
        f"{scheme} " + comma.join(f"{key}={quoted(value)}" for key, value in parameters.items())
        for scheme, parameters in challenges
    )
    expected = [Challenge(scheme.lower(), parameters) for scheme, parameters in challenges]
    assert parse_challenges(header) == expected


@given(st.text(max_size=200) | st.text('Basic realm="\\=, \t', max_size=60))
def test_any_header_is_read_to_its_end(header: str) -> None:
    for challenge in parse_challenges(header):
        assert challenge.scheme == challenge.scheme.lower() != ""


def test_a_long_header_costs_little() -> None:
    for piece in ('a="', ",", " ", "a", 'a="\\"', "é"):
        parse_challenges(piece * 1_000_000)
