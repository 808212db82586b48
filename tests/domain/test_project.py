"""bootcfleet.yaml: what is read from it, and file, line and field of every mistake."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator

from bootcfleet.domain.project import Project, parse_project
from bootcfleet.drivers import yamlfile
from bootcfleet.errors import ConfigError

HEAD = "version: 1\nname: acme\nregistry: r.example/acme\n"


def read(text: str) -> Project:
    return parse_project(yamlfile.parse(text, "bootcfleet.yaml"))


def test_a_project() -> None:
    project = read(
        HEAD
        + "image_version: '1.10'\nimages:\n  soe:\n    base: quay.io/fedora/fedora-bootc:42\n"
        + "    vars: {timezone: UTC}\n    build_args: {N: 3}\n"
        + "    secrets: [{id: rhsm, file: ~/x}, {id: token, env: TOKEN}]\n  web: {from: soe}\n"
    )
    assert project.image_version == "1.10"
    assert project.images["web"].from_ == "soe"
    assert project.images["soe"].build_args == {"N": "3"}
    assert [secret.id for secret in project.images["soe"].secrets] == ["rhsm", "token"]
    assert project.inventory == "inventory.yaml"


BASE = "base: r.example/b:1"
BAD = [
    ("name: acme\nregistry: r.example/a", 1, "version: is required", None),
    ("version: 3\nname: acme\nregistry: r.example/a", 1, "version: ", None),
    (HEAD + "imagess: {}", 4, "imagess: unknown key", "did you mean 'images'?"),
    (HEAD + "images:\n  web:\n    form: soe", 6, "images.web.form: unknown key", "'from'"),
    (HEAD + "images:\n  web: {}", 5, "exactly one of base", None),
    (HEAD + f"images:\n  web: {{{BASE}, from: soe}}", 5, "exactly one of base", None),
    (HEAD + f"images:\n  ../etc: {{{BASE}}}", 5, "cannot be the name of an image", None),
    (HEAD + f"images:\n  'a;b': {{{BASE}}}", 5, "cannot be the name of an image", None),
    (HEAD + f"images:\n  a: {{{BASE}}}\n  a: {{{BASE}}}", 6, "the key 'a' stands here twice", None),
    (
        HEAD + f"images:\n  a: {{{BASE}, template: ../x}}",
        5,
        "cannot be the name of a template",
        None,
    ),
    (HEAD + "images:\n  a: {base: fedora}", 5, "does not name its registry", "write it in full"),
    (
        HEAD + f"images:\n  a: {{{BASE}, secrets: [{{id: x}}]}}",
        5,
        "exactly one of file and env",
        None,
    ),
    (HEAD + f"images:\n  a: {{{BASE}, secrets: [{{id: x, value: s}}]}}", 5, "unknown key", None),
    (HEAD + f"images:\n  a: {{{BASE}, build_args: {{a-b: 1}}}}", 5, "build argument's name", None),
    ("version: 1\nname: Acme Corp\nregistry: r.example/a", 2, "cannot be the name", None),
    ("version: 1\nname: acme\nregistry: acme", 3, "registry: ", "write it in full"),
    (HEAD + "ledger: postgresql://me:secret@db/x", 4, "BOOTCFLEET_LEDGER_PASSWORD", None),
    (HEAD + "ledger: postgresql://me:sec/secret@db/x", 4, "BOOTCFLEET_LEDGER_PASSWORD", None),
    (HEAD + "ledger: postgresql://me:se@secret@db/x", 4, "BOOTCFLEET_LEDGER_PASSWORD", None),
    (HEAD + "ledger: postgresql://db/x?password=secret@", 4, "BOOTCFLEET_LEDGER_PASSWORD", None),
    (HEAD + "ledger: postgresql://db/x?sslpassword=secret@", 4, "BOOTCFLEET_LEDGER_", None),
    (HEAD + "ledger: ledger.db", 4, "is not a database URL", None),
    (HEAD + "image_version: a b", 4, "cannot be a version", None),
    (HEAD + "image_version: 1.10", 4, "image_version: is read as the number 1.1", None),
    (
        HEAD + f"images:\n  a: {{{BASE}, build_args: {{PYTHON: 3.10}}}}",
        5,
        "build_args.PYTHON: is read as the number 3.1",
        None,
    ),
    (
        HEAD + f"images:\n  a: {{{BASE}, secrets: [{{id: x, env: A}}, {{id: x, env: B}}]}}",
        5,
        "two secrets have the id 'x'",
        None,
    ),
    (HEAD + f"images:\n  on: {{{BASE}}}", 5, "the key on is read as true", "quotes: 'on'"),
    (HEAD + "images: []", 4, "images: ", None),
    ("[]", 1, "", None),
    ("a: b: c", 1, "is not valid YAML", None),
]


@pytest.mark.parametrize(("text", "line", "words", "hint"), BAD)
def test_a_mistake_has_file_line_and_field(
    text: str, line: int, words: str, hint: str | None
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert caught.value.message.startswith(f"bootcfleet.yaml:{line}: ")
    assert words in caught.value.message
    assert "secret@" not in caught.value.message
    if hint:
        assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///.bootcfleet/ledger.db",
        "sqlite:////srv/ledger.db",
        "postgresql://bootcfleet@db.example.com:5432/bootcfleet?sslmode=verify-full",
        "postgresql:///x?host=/run/postgresql",
    ],
)
def test_a_ledger_without_a_password(url: str) -> None:
    assert read(f"{HEAD}ledger: {url}\n").ledger == url


@pytest.mark.parametrize(
    ("image", "right"),
    [
        ({"base": "r.example/b:1"}, True),
        ({"from": "soe"}, True),
        ({}, False),
        ({"base": "r.example/b:1", "from": "soe"}, False),
    ],
)
def test_the_published_schema_wants_one_parent(image: dict[str, str], right: bool) -> None:
    schema = Project.model_json_schema(by_alias=True)
    Draft202012Validator.check_schema(schema)
    body = {"version": 1, "name": "acme", "registry": "r.example/a", "images": {"web": image}}
    assert Draft202012Validator(schema).is_valid(body) is right


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        read(HEAD + "images:\n  a: {base: x}\n  b: {base: y}\n")
    assert [line[:30] for line in caught.value.details] == ["also: bootcfleet.yaml:6: images"[:30]]
