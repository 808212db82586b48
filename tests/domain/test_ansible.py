"""Ansible's inventories, in all three forms."""

from __future__ import annotations

import json

import pytest

from bootcfleet.domain.ansible import expand, read_list, read_tree, to_inventory
from bootcfleet.domain.ansible_ini import read_ini
from bootcfleet.domain.inventory import Inventory
from bootcfleet.drivers import yamlfile
from bootcfleet.errors import ConfigError

INI = """\
# a comment
lonely ansible_host=192.0.2.9
[web]
web[01:03].example.com  http_port=80  # comment
[db]
db-[a:b] ansible_port=2222 ansible_user=dba
[ams:children]
web
db
[ams:vars]
site=ams
rack=12
ansible_ssh_common_args='-o ProxyJump=jump.example'
[web:vars]
rack=13
role=web
bootcfleet_image=r.example/acme/web:1
"""

YAML = """\
all:
  hosts:
    lonely: {ansible_host: 192.0.2.9}
  children:
    ams:
      vars: {site: ams, rack: 12, ansible_ssh_common_args: -J jump.example}
      children:
        web:
          hosts:
            web[01:03].example.com: {http_port: 80}
          vars: {rack: 13, role: web, bootcfleet_image: "r.example/acme/web:1"}
        db:
          hosts:
            db-[a:b]: {ansible_port: 2222, ansible_user: dba}
"""

LIST = {
    "all": {"children": ["ams", "ungrouped"]},
    "ungrouped": {"hosts": ["lonely"]},
    "ams": {
        "children": ["web", "db"],
        "vars": {"site": "ams", "rack": 12, "ansible_ssh_common_args": "-o ProxyJump=jump.example"},
    },
    "web": {
        "hosts": [f"web0{n}.example.com" for n in (1, 2, 3)],
        "vars": {"rack": 13, "role": "web", "bootcfleet_image": "r.example/acme/web:1"},
    },
    "db": ["db-a", "db-b"],
    "_meta": {
        "hostvars": {
            "lonely": {"ansible_host": "192.0.2.9"},
            **{f"web0{n}.example.com": {"http_port": 80} for n in (1, 2, 3)},
            **{f"db-{n}": {"ansible_port": 2222, "ansible_user": "dba"} for n in "ab"},
        }
    },
}


def forms() -> list[Inventory]:
    return [
        to_inventory(read_ini("hosts", INI)),
        to_inventory(read_tree("hosts.yaml", yamlfile.parse(YAML, "hosts.yaml").data)),
        to_inventory(read_list("hosts.sh", json.loads(json.dumps(LIST)))),
    ]


@pytest.mark.parametrize("inventory", forms(), ids=["ini", "yaml", "list"])
def test_all_forms_say_the_same(inventory: Inventory) -> None:
    hosts = {host.name: host for host in inventory.hosts}
    assert sorted(hosts) == [
        "db-a", "db-b", "lonely", "web01.example.com", "web02.example.com", "web03.example.com",
    ]  # fmt: skip
    web = hosts["web01.example.com"]
    assert web.groups == {"web", "ams"}
    assert web.labels["rack"] == "13"
    assert web.labels["site"] == "ams"
    assert web.labels["http_port"] == "80"
    assert web.connection.proxy_jump == "jump.example"
    assert str(web.image) == "r.example/acme/web:1"
    assert (hosts["db-a"].connection.port, hosts["db-a"].connection.user) == (2222, "dba")
    assert hosts["db-a"].labels["rack"] == "12"
    assert hosts["lonely"].connection.address == "192.0.2.9"
    assert hosts["lonely"].groups == frozenset()


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a", ["a"]),
        ("a[1:3]", ["a1", "a2", "a3"]),
        ("a[08:10]", ["a08", "a09", "a10"]),
        ("a[1:10:4]", ["a1", "a5", "a9"]),
        ("[a:c]x", ["ax", "bx", "cx"]),
        ("r[1:2]n[1:2]", ["r1n1", "r1n2", "r2n1", "r2n2"]),
    ],
)
def test_ranges(pattern: str, expected: list[str]) -> None:
    assert expand("f", pattern) == expected


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[web\nx", 1, "is not a section"),
        ("[web:kids]\nx", 1, "is not a section"),
        ("[web:vars]\nnonsense", 2, "is not key=value"),
        ("web1 nonsense", 1, "is not key=value"),
        ("web1 x='", 1, "cannot be read"),
        ("web[5:1]", 1, "is empty"),
        ("web[1:999999999]", 1, "is more than"),
    ],
)
def test_mistakes_have_a_line(text: str, line: int, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_ini("hosts", text)
    assert caught.value.message.startswith(f"hosts:{line}: ")
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[a:children]\nb\n[b:children]\na\n[a]\nx", "go in a circle"),
        ("x;reboot y=z", "cannot be a host name"),
        ("x ansible_port=ssh", "is not a number"),
        ("x bootcfleet_image=web", "does not name its registry"),
    ],
)
def test_mistakes_of_the_whole(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        to_inventory(read_ini("hosts", text))


@pytest.mark.parametrize("data", [[], "x", {"a": 1}, {"a": {"hosts": "x", "kids": {}}}])
def test_trees_that_are_none(data: object) -> None:
    with pytest.raises(ConfigError):
        read_tree("hosts.yaml", data)
