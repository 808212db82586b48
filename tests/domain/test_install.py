"""Values of an installation: networks as Anaconda's parser reads them, and what is refused."""

from __future__ import annotations

import ipaddress
import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pykickstart.parser import KickstartParser
from pykickstart.version import makeVersion

from bootcfleet.domain.install_host import HostInstall, InstallSettings
from bootcfleet.domain.install_network import NetworkModel, network_line
from bootcfleet.domain.install_spec import InstallSecret, InstallSpec

_HANDLER = "RHEL9"


def line_of(mac: str | None = None, hostname: str | None = None, **keys: Any) -> str:
    network = NetworkModel.model_validate(keys)
    assert network.problem() is None
    return network_line(network, mac=mac, hostname=hostname)


def parsed(line: str) -> Any:
    parser = KickstartParser(makeVersion(_HANDLER))
    parser.readKickstartFromString(line + "\n")
    (one,) = parser.handler.network.network
    return one


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({}, "--device=link --bootproto=dhcp --ipv6=auto"),
        ({"device": "eno1", "ipv6": "off"}, "--device=eno1 --bootproto=dhcp --noipv6"),
        ({"device": "52-54-00-AB-CD-EF", "ipv6": "dhcp"},
         "--device=52:54:00:ab:cd:ef --bootproto=dhcp --ipv6=dhcp"),
        ({"address": "192.0.2.12/23"},
         "--device=link --bootproto=static --ip=192.0.2.12 --netmask=255.255.254.0 --ipv6=auto"),
        ({"ipv6_address": "2001:db8::12/64", "ipv6_gateway": "fe80::1"},
         "--device=link --noipv4 --ipv6=2001:db8::12/64 --ipv6gateway=fe80::1"),
        ({"device": "bond0", "bond": ["eno1", "eno2"], "bond_options": "mode=802.3ad,miimon=100"},
         "--device=bond0 --bootproto=dhcp --ipv6=auto --bondslaves=eno1,eno2 "
         "--bondopts=mode=802.3ad,miimon=100"),
        ({"device": "eno1", "vlan": 12, "mtu": 9000},
         "--device=eno1 --bootproto=dhcp --ipv6=auto --mtu=9000 --vlanid=12"),
    ],
)  # fmt: skip
def test_the_line_of_a_network(keys: Any, words: str) -> None:
    line = line_of(**keys)
    assert line == f"network {words} --activate --onboot=yes"
    assert parsed(line).activate


def test_the_mac_address_is_the_device_unless_one_is_named() -> None:
    mac = "52:54:00:12:34:56"
    assert parsed(line_of(mac)).device == mac
    assert parsed(line_of(mac, device="eno1")).device == "eno1"
    assert parsed(line_of(mac, device="bond0", bond=["eno1"])).device == "bond0"
    assert parsed(line_of(hostname="web1")).hostname == "web1"


@given(
    address=st.ip_addresses(v=4),
    prefix=st.integers(1, 30),
    servers=st.lists(st.ip_addresses(), max_size=3),
    six=st.ip_addresses(v=6),
)
def test_what_is_given_is_what_the_installer_reads(
    address: Any, prefix: int, servers: Any, six: Any
) -> None:
    interface = ipaddress.ip_interface(f"{address}/{prefix}")
    gateway = next(iter(interface.network))
    one = parsed(
        line_of(
            address=str(interface),
            gateway=str(gateway),
            nameservers=[str(server) for server in servers],
            ipv6_address=f"{six}/64",
        )
    )
    assert ipaddress.ip_interface(f"{one.ip}/{one.netmask}") == interface
    assert ipaddress.ip_address(one.gateway) == gateway
    assert one.nameserver.split(",") == [str(server) for server in servers] or not servers
    assert ipaddress.ip_interface(one.ipv6) == ipaddress.ip_interface(f"{six}/64")


@given(st.text(max_size=20), st.sampled_from(["device", "bond_options", "address", "gateway"]))
def test_no_text_is_more_than_one_word(text: str, key: str) -> None:
    try:
        line = network_line(NetworkModel.model_validate({key: text}), mac=None, hostname=None)
    except ValidationError:
        return
    assert "\n" not in line
    assert all(word.startswith("--") for word in shlex.split(line)[1:])


@pytest.mark.parametrize(
    "keys",
    [
        {"address": "192.0.2.12"},
        {"address": "2001:db8::1/64"},
        {"ipv6_address": "192.0.2.1/24"},
        {"gateway": "router"},
        {"gateway": "2001:db8::1"},
        {"nameservers": ["dns"]},
        {"search": ["a b"]},
        {"device": "-x"},
        {"device": "52:54:00"},
        {"device": "a" * 16},
        {"bond": ["eno 1"]},
        {"bond_options": "mode"},
        {"mtu": 100},
        {"vlan": 4095},
        {"colour": "red"},
    ],
)
def test_what_is_no_network(keys: Any) -> None:
    with pytest.raises(ValidationError):
        NetworkModel.model_validate(keys)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"gateway": "192.0.2.1"}, "a gateway without an address: DHCP brings its own"),
        ({"address": "192.0.2.9/24", "gateway": "198.51.100.1"},
         "the gateway 198.51.100.1 is not in the network of 192.0.2.9/24"),
        ({"bond": ["eno1"]}, "a bond needs a name: device: bond0"),
        ({"bond_options": "mode=1"}, "bond_options without bond"),
        ({"vlan": 5}, "a VLAN needs the interface that it is on: device: eno1"),
        ({"vlan": 5, "device": "link"}, "a VLAN needs the interface that it is on: device: eno1"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together(keys: Any, problem: str) -> None:
    assert NetworkModel.model_validate(keys).problem() == problem


def test_layers() -> None:
    below = InstallSettings.model_validate(
        {"disk": "sda", "network": {"mtu": 9000, "ipv6": "off"}, "vars": {"a": 1, "b": 1}}
    )
    host = HostInstall.model_validate(
        {"mac": "52-54-00-12-34-56", "network": {"ipv6": "auto"}, "vars": {"b": 2}}
    )
    joined = host.over(below)
    assert (joined.disk, joined.mac) == ("sda", "52:54:00:12:34:56")
    assert (joined.network.mtu, joined.network.ipv6.value) == (9000, "auto")
    assert joined.vars == {"a": 1, "b": 2}
    assert HostInstall(disk="sdb").over(below).disk == "sdb"


@pytest.mark.parametrize(
    "keys",
    [
        {"disk": "sda*"},
        {"disk": "../sda"},
        {"disk": "sda,sdb"},
        {"disk": ""},
        {"serial": ""},
        {"hostname": "a b"},
        {"hostname": "-a"},
    ],
)
def test_what_no_host_can_say(keys: Any) -> None:
    with pytest.raises(ValidationError):
        HostInstall.model_validate(keys)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"template": "../x"}, "cannot be the name of a template"),
        ({"release": 9}, "9 is not a release"),
        ({"secrets": {"Pull": {"env": "A"}}}, "cannot be a secret's name"),
        ({"secrets": {"pull_secret": {"env": "A B"}}}, "cannot be an environment variable's"),
        ({"secrets": {"pull_secret": {}}}, "exactly one of file and env"),
        ({"payload_path": "container"}, "is not an absolute path"),
        ({"payload_path": "/a/../b"}, "is not an absolute path"),
        ({"insecure_registries": ["a b"]}, "is not a registry"),
        ({"selector": "=x"}, "is not a condition"),
    ],
)
def test_what_no_install_can_say(keys: Any, message: str) -> None:
    body = {"release": "rhel9", "image": "a.example/b:1", **keys}
    with pytest.raises(ValidationError, match=message):
        InstallSpec.model_validate(body)
    assert InstallSecret(file="a").env is None
