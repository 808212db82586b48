"""Which kind of inventory a file is, and executables that answer, hang, and talk rubbish."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from bootcfleet.domain.inventory import Inventory
from bootcfleet.drivers import inventoryfile
from bootcfleet.drivers.command import CommandResult, CommandTimeoutError, LocalExecutor, OnLine
from bootcfleet.drivers.inventoryfile import load_inventory
from bootcfleet.errors import ConfigError


def write(path: Path, text: str, *, mode: int = 0o644) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def load(path: Path) -> Inventory:
    return load_inventory(path, LocalExecutor())


def names(path: Path) -> list[str]:
    return [host.name for host in load(path).hosts]


OURS = "version: 1\nhosts: {ours: {}}\n"
TREE = "all: {hosts: {tree: {}}}\n"
INI = "[web]\nini\n"
LIST = json.dumps({"web": {"hosts": ["list"]}, "_meta": {"hostvars": {"list": {"a": 1}}}})


@pytest.mark.parametrize(
    ("name", "text", "host"),
    [
        ("inventory.yaml", OURS, "ours"),
        ("inventory.yml", OURS, "ours"),
        ("hosts.yaml", TREE, "tree"),
        ("hosts", INI, "ini"),
        ("hosts.ini", INI, "ini"),
        ("hosts.example.com", INI, "ini"),
        ("inventory.json", LIST, "list"),
        ("tree.json", json.dumps({"all": {"hosts": {"tree": None}}}), "tree"),
        ("windows.ini", "\ufeff[web]\r\nini\r\n", "ini"),
    ],
)
@pytest.mark.parametrize("mode", [0o644, 0o755], ids=["plain", "executable by accident"])
def test_every_kind_is_recognised(
    tmp_path: Path, name: str, text: str, host: str, mode: int
) -> None:
    assert names(write(tmp_path / name, text, mode=mode)) == [host]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("inventory.yaml", "- a\n", "a mapping is expected"),
        ("inventory.yaml", "hosts: {a: {}}\n", "version: is required"),
        ("inventory.yaml", "", "version: is required"),
        ("hosts.yaml", "all: {hosts: [a]}\n", "hosts.yaml:1: all.hosts: must be a mapping"),
        ("inventory.json", '{"_meta": []}', "_meta: must be an object"),
        ("hosts", "[web\n", "hosts:1: "),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path / name, text))
    assert words in caught.value.message
    assert caught.value.message.startswith(str(tmp_path / name))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, words in [
        (tmp_path / "none.yaml", "does not exist"),
        (tmp_path, "is a directory"),
        (write(tmp_path / "file", INI) / "below", "cannot be read: Not a directory"),
    ]:
        with pytest.raises(ConfigError, match=words):
            load(path)
    latin = tmp_path / "hosts"
    latin.write_bytes(b"[web]\nw x=\xfc\n")
    with pytest.raises(ConfigError, match="hosts:2: is not UTF-8"):
        load(latin)


def script(path: Path, body: str) -> Path:
    return write(path, "#!/bin/sh\n" + body, mode=0o755)


def test_an_executable_answers_list(tmp_path: Path) -> None:
    path = script(tmp_path / "inv.yaml", f"test \"$*\" = --list && echo '{LIST}'\n")
    (host,) = load(path).hosts
    assert (host.name, host.labels) == ("list", {"a": "1"})


def test_an_executable_without_meta_is_asked_for_each_host(tmp_path: Path) -> None:
    path = script(
        tmp_path / "inv",
        'case "$*" in\n'
        '--list) echo \'{"web": ["b", "a"], "all": {"hosts": ["a"]}}\';;\n'
        '"--host a") echo \'{"ansible_host": "192.0.2.1"}\';;\n'
        '"--host b") echo "{}";;\n'
        "esac\n",
    )
    hosts = {host.name: host for host in load(path).hosts}
    assert hosts["a"].connection.address == "192.0.2.1"
    assert hosts["b"].groups == {"web"}


@pytest.mark.parametrize(
    ("body", "words", "detail"),
    [
        ("echo no such region >&2; exit 3", "its --list ended with exit code 3", "no such region"),
        ("echo rubbish", "its --list is not JSON", "it begins with 'rubbish'"),
        ("printf '\\377\\376'", "its --list is not JSON", "it begins with "),
        (":", "its --list is not JSON", "it begins with ''"),
        ("echo '[]'", "is not a list of groups", None),
        ("echo '{\"web\": 1}'", "web: must be an object", None),
        ('echo \'{"web": ["x;reboot"]}\'', "cannot be a host name", None),
        ('echo \'{"web": ["--list"]}\'', "cannot be a host name", None),
        ('case "$1" in --list) echo \'{"w": ["a"]}\';; *) echo 1;; esac', "its --host a is", None),
        ("printf '%0100000d' 0 | tr 0 '['", "its --list is not JSON", None),
    ],
)
def test_an_executable_that_fails(
    tmp_path: Path, body: str, words: str, detail: str | None
) -> None:
    path = script(tmp_path / "inv", body + "\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert caught.value.message.startswith(f"{path}: ")
    assert words in caught.value.message
    if detail is not None:
        assert detail in caught.value.details[0]
        assert str(path) in (caught.value.hint or "")


def test_an_executable_that_cannot_start(tmp_path: Path) -> None:
    path = write(tmp_path / "inv", "#!/nonexistent/python\n", mode=0o755)
    with pytest.raises(ConfigError, match="its interpreter"):
        load(path)
    broken = tmp_path / "program"
    broken.write_bytes(b"\x7fELF" + b"\0" * 60)
    broken.chmod(0o755)
    with pytest.raises(ConfigError, match="cannot be run"):
        load(broken)


class Hangs(LocalExecutor):
    """Never ends within its limit."""

    limit: float | None = None

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float | None = None,
        stdin: bytes | None = None,
        as_root: bool = False,
        on_line: OnLine | None = None,
    ) -> CommandResult:
        self.limit = timeout
        raise CommandTimeoutError("late")


def test_an_executable_that_hangs(tmp_path: Path) -> None:
    executor = Hangs()
    with pytest.raises(ConfigError, match=r"its --list did not end within 120 s"):
        load_inventory(script(tmp_path / "inv", "sleep 1"), executor)
    assert executor.limit == inventoryfile._TIMEOUT
