"""A host is added to an inventory, and nothing else in it changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.drivers import yamlfile
from bootcfleet.drivers.inventoryedit import add_host, with_host
from bootcfleet.errors import ConfigError, FleetError

HOST: dict[str, Any] = {
    "connection": {"address": "192.0.2.9"},
    "install": {"mac": "52:54:00:12:34:56"},
}
ADDED = [
    "  new:",
    "    # why",
    "    connection:",
    '      address: "192.0.2.9"',
    "    install:",
    '      mac: "52:54:00:12:34:56"',
]


def added(text: str) -> list[str]:
    """The lines that are in the new text only; nothing may have gone."""
    made = with_host(text, "new", HOST, "why", file="inventory.yaml")
    before, after = text.splitlines(), made.splitlines()
    rest = iter(after)
    assert all(line in rest for line in before), "a line of the user's is gone or moved"
    return [line for line in after if line not in before]


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\nhosts:\n  a:\n    labels: {}\n    # about a\n  # about nobody\ngroups: {}\n",
        "version: 1\nhosts:\n  a:\n  b:\n    vars:\n      text: |\n        one\n\n        two\n",
        "version: 1\nhosts:\n  a:\n    groups:\n    - x\n    - y\n\n\n# end\n",
        "version: 1\nhosts:   # all of them\n  a: {labels: {x: y}}   # one line",
        "version: 1\nhosts:\n  a: &one\n    labels: {x: y}\n  b: *one\n",
    ],
)
def test_lines_are_put_in_after_the_last_host(text: str) -> None:
    assert added(text) == ADDED
    made = with_host(text, "new", HOST, "why", file="f")
    if "# about a\n" in text:
        assert made.index("# about a\n") < made.index("new:") < made.index("# about nobody")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "version: 1\n",
        "version: 1\nhosts:\n",
        "version: 1\nhosts: {}\n",
        "version: 1\nhosts: {}   # none\ngroups:\n  g: {}\n",
        "version: 1\nhosts: null\n",
        "# nothing yet",
    ],
)
def test_the_first_host(text: str) -> None:
    made = with_host(text, "new", HOST, "why", file="f")
    assert yamlfile.parse(made, "f").data["hosts"] == {"new": HOST}
    assert made.count("#") == text.count("#") + 1


def test_hosts_in_braces_stay_in_braces() -> None:
    text = "version: 1\nhosts: {a: {labels: {x: y}}, }  # all\n"
    made = with_host(text, "new", HOST, "why", file="f")
    assert yamlfile.parse(made, "f").data["hosts"]["new"] == HOST
    assert made.endswith("}  # all\n")


def test_line_ends_of_windows_stay() -> None:
    made = with_host("version: 1\r\nhosts:\r\n  a:\r\n", "new", HOST, "why", file="f")
    assert made.count("\n") == made.count("\r\n")


def test_a_host_that_is_there_is_not_added_twice() -> None:
    with pytest.raises(ConfigError, match="has a host 'a' already"):
        with_host("hosts: {a: }\n", "a", HOST, "why", file="f")


@pytest.mark.parametrize("name", ["10", "no", "1e3", "0x1f", "2026-01-01", "web-1.example.com"])
def test_names_that_yaml_reads_as_something_else(name: str) -> None:
    made = with_host("version: 1\n", name, HOST, "why", file="f")
    assert list(yamlfile.parse(made, "f").data["hosts"]) == [name]


KEYS = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=12)
HOSTS = st.dictionaries(
    KEYS,
    st.dictionaries(KEYS, st.one_of(TEXTS, st.integers(), st.lists(TEXTS, max_size=3)), max_size=3),
    max_size=4,
)


@given(HOSTS, st.booleans(), st.sampled_from([2, 3, 4]), st.booleans())
def test_whatever_stands_there_is_there_afterwards(
    hosts: dict[str, Any], flow: bool, indent: int, more: bool
) -> None:
    import yaml

    data = {"version": 1, "hosts": hosts, **({"groups": {"g": {}}} if more else {})}
    text = yaml.safe_dump(
        data, sort_keys=False, default_flow_style=flow, indent=indent, allow_unicode=True
    )
    hosts.pop("new", None)
    try:
        made = with_host(text, "new", HOST, "why", file="f")
    except ConfigError:
        return  # it had a host of that name
    except FleetError:
        # All on one line in braces of braces: told, never guessed.
        assert flow
        return
    assert yamlfile.parse(made, "f").data["hosts"]["new"] == HOST


def test_the_files_mode_and_its_link_stay(tmp_path: Path) -> None:
    real = tmp_path / "real.yaml"
    real.write_text("version: 1\n")
    real.chmod(0o640)
    link = tmp_path / "inventory.yaml"
    link.symlink_to(real)
    add_host(link, "new", HOST, "why")
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert "new:" in real.read_text()
