"""`channels:` in bootcfleet.yaml: what is read, and file, line and field of every mistake."""

from __future__ import annotations

from datetime import timedelta

import pytest
from jsonschema import Draft202012Validator

from bootcfleet.domain.channel_spec import ChannelSpec
from bootcfleet.domain.project import Project, parse_project
from bootcfleet.drivers import yamlfile
from bootcfleet.errors import ConfigError
from bootcfleet.ops.init import schema

HEAD = (
    "version: 1\nname: acme\nregistry: r.example/acme\nimage_version: '1'\n"
    "images:\n  web: {base: r.example/b:1}\nchannels:\n"
)


def read(text: str) -> Project:
    return parse_project(yamlfile.parse(HEAD + text, "bootcfleet.yaml"))


def test_a_way_to_prod() -> None:
    text = (
        "  dev: {}\n"
        "  test: {from: dev, checks: true, soak: 30m, max_download: 500MiB}\n"
        "  prod: {from: test, checks: 7d, lint: false, soak: 2w, max_download: 1024,\n"
        "    images: [web], repository: other.example/prod/}\n"
    )
    channels = read(text).channels
    assert channels["dev"] == ChannelSpec()
    test, prod = channels["test"], channels["prod"]
    assert (test.from_, test.checks, test.lint) == ("dev", True, False)
    assert (test.soak, test.max_download) == (timedelta(minutes=30), 500 * 2**20)
    assert (prod.checks, prod.soak) == (timedelta(days=7), timedelta(days=14))
    assert (prod.max_download, prod.repository) == (1024, "other.example/prod")
    assert (prod.takes("web"), prod.takes("db"), test.takes("db")) == (True, False, True)
    Draft202012Validator(schema("project")).validate(yamlfile.parse(HEAD + text, "x").data)


BAD = [
    ("  dev: {form: test}", 8, "channels.dev.form: unknown key", "did you mean 'from'?"),
    ("  dev: {}\n  test: {from: dve}", 9, "there is no channel 'dve'", "did you mean 'dev'?"),
    ("  dev: {from: dev}", 8, "these channels come from each other: dev → dev", None),
    (
        "  dev: {from: prod}\n  test: {from: dev}\n  prod: {from: test}",
        8,
        "these channels come from each other: dev → prod → test → dev",
        None,
    ),
    ("  dev: {soak: 1h}", 8, "there is no channel before this one", "name it: from: dev"),
    ("  dev: {}\n  t: {from: dev, soak: 1}", 9, "1 is not a length of time; write 30m", None),
    ("  dev: {checks: weekly}", 8, "'weekly' is not a length of time", None),
    ("  dev: {max_download: lots}", 8, "'lots' is not a size; write 500MiB", None),
    ("  dev: {max_download: true}", 8, "True is not a size", None),
    ("  dev: {images: [wbe]}", 8, "there is no image 'wbe'", "did you mean 'web'?"),
    ("  dev: {repository: nowhere}", 8, "does not name its registry", "write it in full"),
    ("  build: {}", 8, "'build' stands for an image's last build", None),
    ("  bf-1: {}", 8, "cannot be the name of a channel", None),
    ("  Prod: {}", 8, "cannot be the name of a channel", None),
    ("  '20261121': {}", 8, "cannot be the name of a channel", None),
]


@pytest.mark.parametrize(("text", "line", "message", "hint"), BAD)
def test_what_is_wrong(text: str, line: int, message: str, hint: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert caught.value.message.startswith(f"bootcfleet.yaml:{line}: channels"), caught.value
    assert message in caught.value.message
    if hint:
        assert hint in (caught.value.hint or "")


def test_a_version_that_is_a_channel() -> None:
    with pytest.raises(ConfigError, match="'v1' is image_version: every build would move it"):
        parse_project(yamlfile.parse(HEAD.replace("'1'", "v1") + "  v1: {}", "bootcfleet.yaml"))
