"""Ansible's inventories, in all three forms."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.ansible import expand, to_inventory
from bootcfleet.domain.ansible_ini import read_ini
from bootcfleet.domain.ansible_tree import is_list, read_list, read_tree
from bootcfleet.domain.ansible_vars import proxy_jump
from bootcfleet.domain.document import Document
from bootcfleet.domain.inventory import Host, Inventory
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
        to_inventory(read_tree(yamlfile.parse(YAML, "hosts.yaml"))),
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


def ini(text: str) -> dict[str, Host]:
    return {host.name: host for host in to_inventory(read_ini("hosts", text)).hosts}


def tree(text: str) -> dict[str, Host]:
    found = to_inventory(read_tree(yamlfile.parse(text, "hosts.yaml")))
    return {host.name: host for host in found.hosts}


def test_values_and_comments_of_ini() -> None:
    web = ini(
        "[web] ; the front\n"
        "web1:2222 a=\"it's me\" b=[1,2] c=012 d=7 e=True f='x y' g= # h=1\n"
        "; another comment\n"
        "[web:vars]\n"
        "url=http://x/?a=b\n"
        "n = 12 # as Python reads it\n"
        "odd='a\\d'\n"
        "dict={[]: 1}\n"
    )["web1"]
    assert web.connection.port == 2222
    assert web.vars == {
        "a": "it's me", "b": [1, 2], "c": "012", "d": 7, "e": True, "f": "x y", "g": "",
        "url": "http://x/?a=b", "n": 12, "odd": "a\\d", "dict": "{[]: 1}",
    }  # fmt: skip
    # A label is what its text can be: no quotes, no question marks, no lists.
    assert web.labels == {"c": "012", "d": "7", "e": "true", "f": "x y", "g": "", "n": "12"}


def test_a_host_that_stands_twice_keeps_the_later_value() -> None:
    hosts = ini("web1 a=1 b=1\n[web]\nweb1 b=2 c=2\n[web]\nweb1 c=3\n[ungrouped:vars]\nu=1\n")
    assert hosts["web1"].labels == {"a": "1", "b": "2", "c": "3"}
    assert hosts["web1"].groups == {"web"}


PRECEDENCE = [
    ("[all:vars]\nv=all\n[a]\nh\n[a:vars]\nw=1", "all"),
    ("[all:vars]\nv=all\n[a]\nh\n[a:vars]\nv=a", "a"),
    ("[a]\nh\n[b]\nh\n[a:vars]\nv=a\n[b:vars]\nv=b", "b"),
    ("[b]\nh\n[a]\nh\n[b:vars]\nv=b\n[a:vars]\nv=a", "b"),
    ("[a]\nh\n[b]\nh\n[a:vars]\nv=a\nansible_group_priority=10\n[b:vars]\nv=b", "a"),
    ("[a]\nh\n[z:children]\na\n[z:vars]\nv=z\n[a:vars]\nv=a", "a"),
    ("[a]\nh v=h\n[a:vars]\nv=a", "h"),
    # A group under all is no deeper than one beside it.
    ("[all:children]\na\n[a]\nh\n[b]\nh\n[a:vars]\nv=a\n[b:vars]\nv=b", "b"),
    ("h\n[ungrouped:vars]\nv=u", "u"),
]


@pytest.mark.parametrize(("text", "value"), PRECEDENCE)
def test_whose_word_counts(text: str, value: str) -> None:
    assert ini(text)["h"].labels["v"] == value


def test_connection_variables() -> None:
    host = ini(
        "h ansible_ssh_host=192.0.2.1 ansible_ssh_port='22' ansible_ssh_user=me "
        "ansible_private_key_file=~/.ssh/k ansible_become=no ansible_timeout=7 "
        "ansible_password=hunter2 ansible_connection=ssh"
    )["h"]
    c = host.connection
    assert (c.address, c.port, c.user, c.become) == ("192.0.2.1", 22, "me", False)
    assert (c.identity_file, c.connect_timeout) == ("~/.ssh/k", 7.0)
    assert "hunter2" not in repr(host)


@pytest.mark.parametrize(
    ("arguments", "jump"),
    [
        ("-J jump", "jump"),
        ("-Jme@jump:2222,second", "me@jump:2222,second"),
        ("-o StrictHostKeyChecking=no -o ProxyJump=me@jump", "me@jump"),
        ("-oProxyJump=jump", "jump"),
        ("-o 'proxyjump jump'", "jump"),
        ('-o ProxyCommand="ssh -W %h:%p -q me@jump"', "me@jump"),
        ('-o ProxyCommand="ssh -p 2222 -i ~/k -W %h:%p -l me jump"', "me@jump:2222"),
        ('-o ProxyCommand="/usr/bin/ssh me@jump -W %h:%p"', "me@jump"),
        ('-o ProxyCommand="nc -x proxy %h %p"', None),
        ('-o ProxyCommand="ssh jump nc %h %p"', None),
        ("-o ControlMaster=auto", None),
        ("-J", None),
        ("'", None),
        ("", None),
    ],
)
def test_the_way_through(arguments: str, jump: str | None) -> None:
    assert (proxy_jump(arguments) or None) == jump


@pytest.mark.parametrize(
    "key",
    ["db_password", "admin_pass", "PASSWD", "vault_token", "aws_secret", "api_key", "apikey",
     "tls_private_key", "credentials"],
)  # fmt: skip
def test_what_sounds_like_a_secret_is_no_label(key: str) -> None:
    host = ini(f"h {key}=hunter2 bypass=1 compass=2")["h"]
    assert host.labels == {"bypass": "1", "compass": "2"}
    assert host.vars[key] == "hunter2"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[web\nx", 1, "is not a section"),
        ("[web:kids]\nx", 1, "is not a section"),
        ("[web:vars]\nnonsense", 2, "is not key=value"),
        ("web1 nonsense", 1, "is not key=value"),
        ("web1 x='", 1, "cannot be read"),
        ("''", 1, "there is no name"),
        ("[a]\n[b:children]\na c", 3, "'c' after the group 'a'"),
        ("[web]\n[x:children]\nwbe", 3, "there is no group 'wbe'"),
        ("[web]\n[wbe:vars]\nx=1", 2, "there is no group 'wbe'"),
        ("web[5:1]", 1, "is empty"),
        ("web[a:99]", 1, "is empty"),
        ("web[1:5:0]", 1, "is empty"),
        ("web[1:999999999]", 1, "is more than"),
        ("r[1:1000]n[1:1000]", 1, "is more than"),
        ("\nx;reboot y=z", 2, "cannot be a host name"),
        ("../../etc y=z", 1, "cannot be a host name"),
        ("-oProxyCommand=x", 1, "cannot be a host name"),
        ("\nx ansible_port=ssh", 2, "x.ansible_port: 'ssh' is not a port"),
        ("x ansible_port=0", 1, "is not a port"),
        ("x ansible_timeout=soon", 1, "is not a number of seconds"),
        ("x ansible_host='a;b'", 1, "shell reads"),
        ("x ansible_host='-oX'", 1, "shell reads"),
        ("x ansible_host='{{ ip }}'", 1, "is a Jinja expression"),
        ("x ansible_ssh_common_args='-J $(id)'", 1, "shell reads"),
        ("x bootcfleet_image=web", 1, "does not name its registry"),
    ],
)
def test_mistakes_of_ini_have_a_line(text: str, line: int, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ini(text)
    assert caught.value.message.startswith(f"hosts:{line}: ")
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[a:children]\nb\n[b:children]\na", "go in a circle"),
        ("[a:children]\na", "go in a circle: a is inside a"),
        ("[a:children]\nall", "go in a circle: all is inside a"),
    ],
)
def test_groups_in_a_circle(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        ini(text)
    assert caught.value.message.startswith("hosts: ")


def test_many_levels_and_many_ways_up() -> None:
    """Diamond upon diamond: 2^40 ways from the bottom to the top."""
    text = "".join(f"[g{n}:children]\nx{n}\ny{n}\n[x{n}:children]\ng{n + 1}\n" for n in range(40))
    text += "".join(f"[y{n}:children]\ng{n + 1}\n" for n in range(40)) + "[g40]\nh\n"
    assert len(ini(text)["h"].groups) == 121
    chain = "".join(f"[g{n}:children]\ng{n + 1}\n" for n in range(3000)) + "[g3000]\nh\n"
    assert len(ini(chain)["h"].groups) == 3001


def test_one_word_for_hosts_and_children_of_yaml() -> None:
    hosts = tree("all:\n  hosts: a\n  children: web\nweb:\n  hosts: w[1:2]\n  vars:\n")
    assert {name: sorted(host.groups) for name, host in hosts.items()} == {
        "a": [], "w1": ["web"], "w2": ["web"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "words", "hint"),
    [
        ("- a", 1, "is not an inventory", None),
        ("web: 1", 1, "web: a group has hosts, children and vars", None),
        ("web:\n  host: {a: {}}", 2, "web.host: unknown key", "did you mean 'hosts'?"),
        ("all:\n  children:\n    web: [a]", 3, "all.children.web: a group has", None),
        ("web:\n  hosts: [a]", 2, "web.hosts: must be a mapping", None),
        ("web:\n  vars: x", 2, "web.vars: must be a mapping", None),
        ("web:\n  hosts:\n    a: 1", 3, "web.hosts.a: a host's variables", None),
        ("web:\n  hosts:\n    a[9:1]:", 3, "is empty", None),
        ("web:\n  hosts:\n    'a b':", 3, "cannot be a host name", None),
        (
            "web:\n  hosts:\n    a: {ansible_port: [1]}",
            3,
            "a.ansible_port: [1] is not a port",
            None,
        ),
        ("plugin: amazon.aws.aws_ec2\nregions: [x]", 1, "plugin of Ansible", "ansible-inventory"),
    ],
)
def test_mistakes_of_yaml_have_a_line(text: str, line: int, words: str, hint: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        tree(text)
    assert caught.value.message.startswith(f"hosts.yaml:{line}: ")
    assert words in caught.value.message
    assert hint is None or hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "is not a list of groups"),
        ({"a": 1}, "a: must be an object"),
        ({"a": {"hosts": "x"}}, "a.hosts: must be a list of names"),
        ({"a": {"hosts": [{}]}}, "a.hosts: must be a list of names"),
        ({"a": {"children": {"b": 1}}}, "a.children: must be a list of names"),
        ({"a": {"vars": [1]}}, "a.vars: must be an object"),
        ({"_meta": 1}, "_meta: must be an object"),
        ({"_meta": {"hostvars": []}}, "_meta.hostvars: must be an object"),
        ({"_meta": {"hostvars": {"x": [1]}}, "a": ["x"]}, "_meta.hostvars.x: must be an object"),
        ({"a": ["x;y"]}, "cannot be a host name"),
        ({"a": {"children": ["b"]}, "b": {"children": ["a"]}}, "go in a circle"),
    ],
)
def test_lists_that_are_none(data: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        to_inventory(read_list("hosts.sh", data))
    assert words in caught.value.message
    assert caught.value.message.startswith("hosts.sh: ")


def test_what_is_the_answer_to_list() -> None:
    assert is_list(LIST)
    assert not is_list({"all": {}})
    assert not is_list([])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["hosts", "children", "vars", "_meta", "hostvars", "a", "b"]), inner
        )
    ),
    max_leaves=15,
)


@given(json_values)
def test_any_data_is_an_inventory_or_a_clear_error(data: Any) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(to_inventory(read_list("f", data)), Inventory)
    with contextlib.suppress(ConfigError):
        assert isinstance(to_inventory(read_tree(Document("f", data, {(): 1}))), Inventory)


@given(st.text(alphabet="ab[]:0123=' #\"\n{}²", max_size=40))
def test_any_text_is_an_ini_or_a_clear_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(to_inventory(read_ini("f", text)), Inventory)


def test_checks_of_images_can_be_left_out() -> None:
    found = ini("a\nb bootcfleet_image_checks=false\nc bootcfleet_image_checks=yes\n")
    assert [host.image_checks for host in found.values()] == [True, False, True]
    assert all(not host.labels for host in found.values())
