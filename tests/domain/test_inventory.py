"""inventory.yaml: what is read from it, and file, line and field of every mistake."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from bootcfleet.domain.inventory import Inventory, host_name_problem, label_problem
from bootcfleet.domain.inventory_native import INVENTORY_MODEL, parse_inventory
from bootcfleet.drivers import yamlfile
from bootcfleet.errors import ConfigError


def read(text: str) -> Inventory:
    return parse_inventory(yamlfile.parse(text, "inventory.yaml"))


FULL = """\
version: 1
defaults:
  connection: {user: admin, port: 22}
  image: r.example/acme/soe:1
  labels: {env: prod}
  checks: [{command: systemctl is-active sshd}]
groups:
  web:
    image: r.example/acme/web:1
    labels: {role: web, env: web-prod}
    connection: {port: 2222}
    checks: [{name: http, command: [curl, -fsS, "http://localhost/a b"], retries: 2}]
  ams:
    labels: {site: ams, rack: 12, gpu: true, since: 2026-01-31}
    connection: {proxy_jump: "jump.example:2200"}
hosts:
  web1:
    groups: [web, ams]
    connection: {address: 192.0.2.1}
  bare:
"""


def test_a_hosts_word_goes_over_its_groups_and_the_defaults() -> None:
    web1, bare = read(FULL).hosts
    assert web1.labels == {
        "env": "web-prod", "role": "web", "site": "ams", "rack": "12", "gpu": "true",
        "since": "2026-01-31",
    }  # fmt: skip
    connection = web1.connection
    assert (connection.address, connection.port, connection.user) == ("192.0.2.1", 2222, "admin")
    assert connection.proxy_jump == "jump.example:2200"
    assert str(web1.image) == "r.example/acme/web:1"
    assert [check.name for check in web1.checks] == ["systemctl is-active sshd", "http"]
    assert web1.checks[1].argv == ("curl", "-fsS", "http://localhost/a b")
    assert (bare.groups, str(bare.image)) == (frozenset(), "r.example/acme/soe:1")


BAD = [
    ("version: 1\nhosts: {a: {lables: {}}}", 2, "hosts.a.lables", "did you mean 'labels'?"),
    ("version: 2\nhosts: {}", 1, "version", None),
    ("hosts: {}", 1, "version", None),
    ("version: 1\nhosts:\n  web1: {}\n  web1: {}", 4, "twice", None),
    ("version: 1\nhosts:\n  web1: {}\n  WEB1: {}", 4, "is the same host as 'web1'", None),
    ("version: 1\nhosts:\n  'a;reboot': {}", 3, "cannot be a host name", None),
    ("version: 1\nhosts:\n  ../../etc: {}", 3, "cannot be a host name", None),
    ("version: 1\nhosts:\n  -oProxyCommand=x: {}", 3, "cannot be a host name", None),
    ("version: 1\nhosts:\n  10: {}", 3, "hosts[10]: is a number", "quotes: '10'"),
    ("version: 1\nhosts: {'" + "a" * 254 + "': {}}", 2, "cannot be a host name", None),
    ("version: 1\ngroups:\n  'a b': {}", 3, "cannot be a group name", None),
    ("version: 1\ngroups:\n  all: {}", 3, "every host already", None),
    ("version: 1\ngroups: {web: {}}\nhosts:\n  a: {groups: [wbe]}", 4, "no group 'wbe'", "'web'"),
    ("version: 1\nhosts: {a: {image: web}}", 2, "hosts.a.image", "write it in full"),
    ("version: 1\nhosts: {a: {labels: {'a b': c}}}", 2, "cannot be a label's key", None),
    ("version: 1\nhosts: {a: {labels: {a: '$(id)'}}}", 2, "shells read", None),
    ("version: 1\nhosts: {a: {connection: {port: 70000}}}", 2, "hosts.a.connection.port", None),
    ("version: 1\nhosts: {a: {connection: {address: '-oX'}}}", 2, "shell reads", None),
    ("version: 1\nhosts: {a: {connection: {user: 'a;b'}}}", 2, "shell reads", None),
    ("version: 1\nhosts: {a: {connection: {proxy_jump: 'a b'}}}", 2, "has a space", None),
    ("version: 1\nhosts: {a: {connection: {proxy: b}}}", 2, "unknown key", "'proxy_jump'"),
    ('version: 1\nhosts: {a: {checks: [{command: "a \'b"}]}}', 2, "split into words", None),
    ("version: 1\nhosts: {a: {checks: [{command: ''}]}}", 2, "is empty", None),
    ("version: 1\nhosts: {a: {labels: {v: 1.10}}}", 2, "labels.v: is read as the number 1.1", None),
    ("version: 1\nhosts: {a: {labels: {on: x}}}", 2, "the key on is read as true", "'on'"),
    ("version: 1\nhosts: {a: {connection: {address: ''}}}", 2, "address: is empty", None),
    ("version: 1\nhosts: {a: {connection: {connect_timeout: .inf}}}", 2, "connect_timeout", None),
    ("version: 1\nhosts: {a: {checks: [{command: x, timeout: .inf}]}}", 2, "timeout", None),
    ("version: 1\nhosts: {a: {checks: [{command: x, interval: .nan}]}}", 2, "interval", None),
    ('version: 1\nhosts: {a: {checks: [{command: "a\\0b"}]}}', 2, "has a NUL", None),
    ("version: 1\nhosts: [a]", 2, "hosts", None),
    ("- a\n- b", 1, "", None),
]


@pytest.mark.parametrize(("text", "line", "words", "hint"), BAD)
def test_a_mistake_has_file_line_and_field(
    text: str, line: int, words: str, hint: str | None
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert caught.value.message.startswith(f"inventory.yaml:{line}: ")
    assert words in caught.value.message
    if hint:
        assert hint in (caught.value.hint or "")


@given(st.text(max_size=40))
def test_a_host_name_is_harmless_in_a_shell_and_a_path(name: str) -> None:
    if host_name_problem(name) is None:
        assert name.isascii()
        assert not set(name) & set(" \t\n/\\'\"`$;|&<>()*?[]{}!#~:@")
        assert not name.startswith(("-", "."))
        assert ".." not in name


def test_sections_that_are_commented_out() -> None:
    inventory = read("version: 1\ndefaults:\ngroups:\n  web:\nhosts:\n  a:\n  b: {groups: [web]}\n")
    assert [host.name for host in inventory.hosts] == ["a", "b"]
    assert read("version: 1\ndefaults:\ngroups:\nhosts:\n") == Inventory(())


@pytest.mark.parametrize("text", ["hosts: {a: 1}", "hosts: {a: {checks: [x]}}", "defaults: []"])
def test_messages_name_no_classes(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(f"version: 1\n{text}\n")
    assert "Model" not in f"{caught.value.message} {caught.value.details}"


def test_later_groups_count_more_and_a_host_most() -> None:
    text = """\
version: 1
defaults: {connection: {user: d, port: 1, become: false}, vars: {v: d}}
groups:
  a: {connection: {user: a, port: 2}, labels: {l: a}}
  b: {connection: {user: b}, labels: {l: b}, vars: {v: b}}
hosts:
  ab: {groups: [a, b]}
  ba: {groups: [b, a]}
  own: {groups: [a, b], connection: {user: own, become: true}, labels: {l: own}}
"""
    hosts = {host.name: host for host in read(text).hosts}
    users = {name: host.connection.user for name, host in hosts.items()}
    assert users == {"ab": "b", "ba": "a", "own": "own"}
    assert hosts["ba"].labels == {"l": "a"}
    assert (hosts["own"].connection.port, hosts["own"].connection.become) == (2, True)
    assert (hosts["ab"].connection.become, hosts["ab"].vars) == (False, {"v": "b"})


def test_the_published_schema_takes_what_is_read() -> None:
    schema = INVENTORY_MODEL.model_json_schema(by_alias=True)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    # As an editor reads it: a date is a text there.
    assert (
        list(validator.iter_errors(json.loads(json.dumps(yaml.safe_load(FULL), default=str)))) == []
    )
    for text in ("version: 1\nhosts: {a: {lables: {}}}", "version: 2", "hosts: {}"):
        assert list(validator.iter_errors(yaml.safe_load(text)))


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_label_is_harmless_in_a_shell(key: str, value: str) -> None:
    if label_problem(key, value) is None:
        assert (key + value).isascii()
        assert not set(key + value) & set("\t\n\\'\"`$;|&<>()*?[]{}!#,=")


def test_checks_of_images_are_on_unless_somebody_says_no() -> None:
    inventory = read(
        "version: 1\ngroups: {lab: {image_checks: false}}\n"
        "hosts: {a: {}, b: {groups: [lab]}, c: {groups: [lab], image_checks: true}}\n"
    )
    assert [host.image_checks for host in inventory.hosts] == [True, False, True]
