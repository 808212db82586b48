"""Menus, routes, tokens, callbacks and dnsmasq's configuration, as text."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain import bootmenu, dnsmasq
from bootcfleet.domain.boothost import BootHost, BootHosts, asked_by, normal_mac
from bootcfleet.domain.bootprogress import BootRow, Fetched, Step
from bootcfleet.domain.bootroute import FileRoute, KickstartRoute, public_path, route, split_path
from bootcfleet.domain.boottoken import Token, TokenUse, token_digest, token_problem
from bootcfleet.domain.callback import Callback, parse_callback
from tests.bootmachines import ED25519
from tests.tools import need

NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
ENTRY = bootmenu.Entry(
    "web1",
    'it\'s {a} "$title"',
    "http://192.0.2.1:8000",
    "http://192.0.2.1:8000/ks/web1/TOKEN",
    ("x86_64", "aarch64"),
    "52:54:00:00:00:01",
    ("console=ttyS0,115200", "inst.text"),
)


def test_grub_reads_every_menu(tmp_path: Path) -> None:
    check = need("grub-script-check")
    plain = replace(ENTRY, archs=("x86_64",))
    menus = [bootmenu.grub_default(), bootmenu.grub_disk("it's"), bootmenu.grub_install(ENTRY)]
    menus += [bootmenu.grub_install(plain), dnsmasq.tftp_grub("http://192.0.2.1:8000")]
    for number, menu in enumerate(menus):
        file = tmp_path / str(number)
        file.write_text(menu)
        subprocess.run([check, file], check=True)


def test_grub_chooses_the_architecture_that_it_runs_on() -> None:
    menu = bootmenu.grub_install(ENTRY)
    assert menu.index('"$grub_cpu" = x86_64') < menu.index("boot/x86_64/images")
    assert menu.index('"$grub_cpu" = arm64') < menu.index("boot/aarch64/images")
    assert "'Install it s  a    title '" in menu
    assert (
        "if [" not in bootmenu.grub_install(replace(ENTRY, archs=("x86_64",))).partition("disk")[0]
    )


def test_the_kernel_gets_its_arguments_in_both() -> None:
    words = [
        "inst.stage2=http://192.0.2.1:8000/host/web1/boot/aarch64",
        "inst.ks=http://192.0.2.1:8000/ks/web1/TOKEN",
        "BOOTIF=01-52-54-00-00-00-01",
        "ip=dhcp",
        "console=ttyS0,115200",
        "inst.text",
    ]
    assert ENTRY.words("aarch64") == words
    assert " ".join(words) in bootmenu.ipxe_install(ENTRY, "aarch64")
    assert " ".join(f"'{word}'" for word in words) in bootmenu.grub_install(ENTRY)
    own = replace(ENTRY, arguments=("ip=192.0.2.5::192.0.2.1:24::eno1:none",))
    assert "ip=dhcp" not in own.words("x86_64")


@pytest.mark.parametrize(
    "word", ["a b", "a'b", 'a"b', "$x", "a&b", "a;b", "a|b", "", "a\nb", "{x}"]
)
def test_arguments_that_a_menu_would_read_as_something_else(word: str) -> None:
    assert bootmenu.argument_problem(word) == (
        f"{word!r} cannot be a kernel argument: no spaces, quotes, $, &, ; or |"
    )


def test_ipxe_goes_to_the_next_device_after_an_installation() -> None:
    lines = bootmenu.ipxe_disk("web1").splitlines()
    assert lines[0] == "#!ipxe"
    assert lines[2:] == [
        "iseq ${platform} efi && exit ||",
        "sanboot --no-describe --drive 0x80 || exit",
    ]


@pytest.mark.parametrize(
    ("text", "mac"),
    [
        ("52:54:00:AB:cd:01", "52:54:00:ab:cd:01"),
        ("52-54-00-ab-cd-01", "52:54:00:ab:cd:01"),
        ("01-52-54-00-ab-cd-01", "52:54:00:ab:cd:01"),
        ("01-52:54:00:ab:cd:01", "52:54:00:ab:cd:01"),
        ("52:54:00:ab:cd", None),
        ("52:54:00:ab:cd:0g", None),
        ("web1", None),
    ],
)
def test_mac_addresses_as_firmware_writes_them(text: str, mac: str | None) -> None:
    assert normal_mac(text) == mac


def test_what_firmware_says_instead_of_a_serial_number_is_none() -> None:
    for text in ("", " ", "Not Specified", "None", "To Be Filled By O.E.M.", "0"):
        assert asked_by({"X-System-Serial-Number": text}).serial is None
    assert str(asked_by({})) == "no provisioning headers"
    both = asked_by(
        {"x-rhn-provisioning-mac-0": "e 52:54:00:00:00:01", "X-System-Serial-Number": "A"}
    )
    assert str(both) == "MAC 52:54:00:00:00:01 and serial number A"


def test_two_machines_with_one_address_are_told() -> None:
    hosts = BootHosts([BootHost("a", ("m",), "S"), BootHost("b", ("m",), "s")])
    assert hosts.doubles == [("MAC m", "a", "b"), ("serial number s", "a", "b")]
    assert hosts.asking(asked_by({"X-System-Serial-Number": "s"})) == hosts.named("A")


@given(st.text(max_size=40), st.booleans())
def test_no_path_has_a_part_that_leads_up_or_elsewhere(text: str, quoted: bool) -> None:
    from urllib.parse import quote

    parts = split_path("/boot/x86_64/" + (quote(text, safe="") if quoted else text))
    for part in parts or ():
        assert part not in ("", ".", "..")
        assert not set(part) & {"/", "\\", "\0", "\n"}
    if parts is not None and isinstance(found := route(parts), FileRoute):
        assert found.parts == parts[2:]


def test_a_part_is_decoded_once() -> None:
    assert split_path("/boot/x86_64/%252e%252e/a") == ("boot", "x86_64", "%2e%2e", "a")
    assert split_path("/boot/x86_64/%2e%2e/a") is None
    assert split_path("//ks///web1") == ("ks", "web1")
    assert split_path("ks") is None
    assert split_path("/" + "a" * 3000) is None


@pytest.mark.parametrize(
    "path",
    ["/ks/web1/SECRET", "//ks//web1//SECRET?x=SECRET", "/installed/SECRET", "/%6bs/a/SECRET"],
)
def test_tokens_stay_out_of_the_log(path: str) -> None:
    assert "SECRET" not in public_path(path)
    assert route(split_path(path) or ()) is not None


def test_only_what_is_known_is_a_route() -> None:
    assert route(("ks", "web1", "T")) == KickstartRoute("web1", "T")
    for path in ("ks/a/b/c", "installed/a/b", "ipxe/x", "boot", "boot/x86_64", "host/web1/ks", "x"):
        assert route(tuple(path.split("/"))) is None


TOKEN = Token(token_digest("x"), TokenUse.KICKSTART, "web1", NOW)


@pytest.mark.parametrize(
    ("token", "use", "host", "later", "problem"),
    [
        (TOKEN, TokenUse.KICKSTART, "web1", -1, None),
        (TOKEN, TokenUse.KICKSTART, None, -1, None),
        (None, TokenUse.KICKSTART, "web1", -1, "no such token was given"),
        (TOKEN, TokenUse.INSTALLED, "web1", -1, "it is a token for kickstart, not for installed"),
        (TOKEN, TokenUse.KICKSTART, "web2", -1, "it is another machine's token"),
        (TOKEN, TokenUse.KICKSTART, "web1", 0, "it expired at 2026-08-01 12:00:00 UTC"),
        (
            replace(TOKEN, used=NOW),
            TokenUse.KICKSTART,
            "web1",
            -1,
            "it was used at 2026-08-01 12:00:00 UTC; each is good for one time",
        ),
    ],
)
def test_tokens(
    token: Token | None, use: TokenUse, host: str | None, later: int, problem: str | None
) -> None:
    assert token_problem(token, use, host, NOW + timedelta(seconds=later)) == problem


def test_a_callback_is_read() -> None:
    body = f"hostname web1\nmac 52-54-00-00-00-01\nserial SN 1\n\n{ED25519} root@web1\n{ED25519}\n"
    assert parse_callback(body.encode()) == Callback(
        "web1", ("52:54:00:00:00:01",), "SN 1", (ED25519,)
    )
    assert parse_callback(b"") == Callback()


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"hello", "line 1 is no host name, MAC address or SSH host key"),
        (b"hostname -x", "line 1: '-x' cannot be a host name: "),
        (b"hostname ../../etc", "line 1: '../../etc' cannot be a host name: "),
        (b"\nssh-ed25519 AAAA", "line 2 is no ssh-ed25519 key"),
        (b"ssh-ed25519 AAAA*", "line 1 is no ssh-ed25519 key"),
        (ED25519.replace("ssh-ed", "ssh-rsa ", 1).encode(), "line 1 is no ssh-rsa key"),
        (b"ssh-dss AAAA", "line 1 is no host name, MAC address or SSH host key"),
        (b"\xff", "can't decode"),
    ],
)
def test_a_callback_that_is_none(body: bytes, problem: str) -> None:
    with pytest.raises(ValueError) as error:
        parse_callback(body)
    assert problem in str(error.value)


@given(st.binary(max_size=200))
def test_no_callback_breaks_the_reader(body: bytes) -> None:
    try:
        parse_callback(body)
    except ValueError:
        return


def test_dnsmasq_takes_its_configuration(tmp_path: Path) -> None:
    program = need("dnsmasq")
    for archs in (("x86_64",), ("x86_64", "aarch64"), ()):
        plan = dnsmasq.DnsmasqPlan("192.0.2.1", "http://192.0.2.1:8000", str(tmp_path), archs)
        file = tmp_path / "dnsmasq.conf"
        file.write_text(dnsmasq.dnsmasq_config(plan))
        subprocess.run([program, "--test", f"--conf-file={file}"], check=True, capture_output=True)


def test_each_firmware_is_sent_to_its_program() -> None:
    plan = dnsmasq.DnsmasqPlan(
        "192.0.2.1", "http://192.0.2.1:8000", "/srv/tftp", ("x86_64", "aarch64")
    )
    lines = [one for one in dnsmasq.dnsmasq_config(plan).splitlines() if one[:1] not in ("#", "")]
    title = '"Install over the network"'
    assert lines == [
        "port=0",
        "dhcp-range=192.0.2.1,proxy",
        "log-dhcp",
        "enable-tftp",
        "tftp-root=/srv/tftp",
        "dhcp-match=set:ipxe,175",
        "dhcp-boot=tag:ipxe,http://192.0.2.1:8000/ipxe",
        f"pxe-service=tag:!ipxe,x86PC,{title},undionly.kpxe",
        f"pxe-service=tag:!ipxe,BC_EFI,{title},x86_64/BOOTX64.EFI",
        f"pxe-service=tag:!ipxe,X86-64_EFI,{title},x86_64/BOOTX64.EFI",
        f"pxe-service=tag:!ipxe,ARM64_EFI,{title},aarch64/BOOTAA64.EFI",
        "dhcp-match=set:http-x86_64,option:client-arch,16",
        "dhcp-option-force=tag:http-x86_64,60,HTTPClient",
        "dhcp-boot=tag:http-x86_64,http://192.0.2.1:8000/boot/x86_64/EFI/BOOT/BOOTX64.EFI",
        "dhcp-match=set:http-aarch64,option:client-arch,19",
        "dhcp-option-force=tag:http-aarch64,60,HTTPClient",
        "dhcp-boot=tag:http-aarch64,http://192.0.2.1:8000/boot/aarch64/EFI/BOOT/BOOTAA64.EFI",
    ]


def test_how_far_a_machine_is() -> None:
    row = BootRow("web1", True, "192.0.2.5", NOW, NOW)
    assert row.state == "seen"
    steps = {Step.KICKSTART: Fetched(NOW, 1), Step.KERNEL: Fetched(NOW, 2)}
    assert replace(row, steps=steps).state == "kickstart"
    assert replace(row, steps=steps, installed=NOW).state == "installed"
    assert replace(row, known=False).state == "unknown"
    assert replace(row, steps=steps).to_json()["fetched"]["kernel"] == {
        "at": "2026-08-01T12:00:00+00:00",
        "count": 2,
    }
