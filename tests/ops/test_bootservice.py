"""What machines are answered, over real HTTP."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bootcfleet.domain.boothost import BootHost
from bootcfleet.errors import UsageError
from bootcfleet.ops.bootservice import ServeSettings
from bootcfleet.ops.kickstart_source import ServedKickstart
from tests.bootmachines import ED25519, Machines, Served, boot_tree, serving

WEB1_MAC = "52-54-00-00-00-01"
VAULT_MAC = "52-54-00-00-00-02"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("serve")
    (folder / "secret").write_text("not yours")
    tree = boot_tree(folder / "iso", stage2=bytes(range(256)) * 4096)
    (tree / "out").symlink_to(folder / "secret")
    (tree / "kernel").symlink_to("images/pxeboot/vmlinuz")
    with serving(folder / "state", boot=tree) as one:
        yield one


def token_of(served: Served, mac: str) -> str:
    menu = served.get(f"/ipxe/{mac}?arch=x86_64").data.decode()
    found = re.search(r"inst\.ks=(\S+)", menu)
    assert found
    return found.group(1).removeprefix(served.url)


def test_the_kickstart_is_found_by_name_mac_serial_and_anacondas_headers(served: Served) -> None:
    for path in ("/ks/web1", "/ks/WEB1", f"/ks/{WEB1_MAC}", "/ks/52:54:00:00:00:01", "/ks/SN-1"):
        assert served.get(path).data.startswith(b"# web1\n"), path
    first, second = "X-RHN-Provisioning-MAC-0", "x-rhn-provisioning-mac-1"
    for headers in (
        {first: "eth0 aa:aa:aa:aa:aa:aa", second: "eth1 52:54:00:00:00:01"},
        {"X-System-Serial-Number": "SN-1"},
    ):
        assert served.get("/ks", headers).data.startswith(b"# web1\n"), headers


def test_nobody_knows_a_machine_is_404_with_a_hint_and_one_line_in_the_messages(
    served: Served,
) -> None:
    for _ in range(3):
        answer = served.get("/ks", {"X-RHN-Provisioning-Mac-0": "eth0 52:54:00:ff:ff:ff"})
        assert answer.status == 404
        assert answer.data.decode() == (
            "no machine with MAC 52:54:00:ff:ff:ff is in the inventory\n"
            "hint: add it: hosts: NAME: install: {mac: '52:54:00:ff:ff:ff'}\n"
        )
    assert (
        served.said("kickstart.unknown").count(
            "127.0.0.1: no machine with MAC 52:54:00:ff:ff:ff is in the inventory; "
            "add it: hosts: NAME: install: {mac: '52:54:00:ff:ff:ff'}"
        )
        == 1
    )
    with served.state() as state:
        row = state.row("52:54:00:ff:ff:ff")
    assert row is not None
    assert row.state == "unknown"


def test_a_kickstart_with_secrets_is_given_once_for_each_token(served: Served) -> None:
    without = served.get("/ks/vault")
    assert without.status == 403
    assert b"hunter2" not in without.data
    path = token_of(served, VAULT_MAC)
    assert served.get(path.replace("/ks/vault/", "/ks/web1/")).status == 200  # needs none
    assert served.http.request("HEAD", served.url + path).status == 200
    assert b"hunter2" in served.get(path).data
    again = served.get(path)
    assert again.status == 403
    assert again.data.startswith(b"it was used at ")
    other = token_of(served, VAULT_MAC)
    assert other != path
    assert served.get(other).status == 200
    assert path.rpartition("/")[2] not in served.plan.access_log.read_text()


def test_a_token_is_good_for_one_of_many_that_come_at_once(served: Served) -> None:
    path = token_of(served, VAULT_MAC)
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: served.get(path).status, range(16)))
    assert sorted(found) == [200] + [403] * 15


def test_menus_name_the_servers_own_url_and_the_machine(served: Served) -> None:
    first = served.get("/ipxe").data.decode()
    assert f"chain --replace {served.url}/ipxe/${{netX/mac:hexhyp}}?arch=${{buildarch}}" in first
    menu = served.get(f"/ipxe/{WEB1_MAC}?arch=i386").data.decode()
    assert menu.startswith("#!ipxe\n")
    assert f"kernel {served.url}/host/web1/boot/x86_64/images/pxeboot/vmlinuz " in menu
    assert "BOOTIF=01-52-54-00-00-00-01 ip=dhcp" in menu
    arm = served.get(f"/ipxe/{WEB1_MAC}?arch=arm64")
    assert (arm.status, arm.data) == (404, b"no boot directory for aarch64, only for x86_64\n")
    for place in ("/grub", "/boot/x86_64/EFI/BOOT", "/host/web1/boot/x86_64/EFI/BOOT"):
        assert b"$net_default_mac" in served.get(f"{place}/grub.cfg").data
        grub = served.get(f"{place}/grub.cfg-01-{WEB1_MAC}").data.decode()
        assert "linux ($root)/host/web1/boot/x86_64/images/pxeboot/vmlinuz 'inst.stage2=" in grub
    assert served.get("/grub/grub.cfg-7F000001").status == 404


def test_a_forged_host_header_never_reaches_a_menu(served: Served) -> None:
    menu = served.get(f"/ipxe/{WEB1_MAC}", {"Host": "x; reboot"}).data.decode()
    assert "reboot" not in menu
    assert "inst.stage2=http://127.0.0.1:" in menu


def test_files_come_whole_in_ranges_and_only_when_changed(served: Served) -> None:
    path = "/boot/x86_64/images/install.img"
    whole = served.get(path)
    assert whole.data == bytes(range(256)) * 4096
    part = served.get(path, {"Range": "bytes=1000-1999"})
    assert (part.status, part.data) == (206, whole.data[1000:2000])
    assert part.headers["Content-Range"] == f"bytes 1000-1999/{len(whole.data)}"
    assert served.get(path, {"Range": "bytes=-10"}).data == whole.data[-10:]
    assert served.get(path, {"Range": "bytes=99999999-"}).status == 416
    assert served.get(path, {"If-Modified-Since": whole.headers["Last-Modified"]}).status == 304
    head = served.http.request("HEAD", served.url + path)
    assert head.headers["Content-Length"] == str(len(whole.data))
    entry = next(one for one in served.log() if one["path"] == path and one["status"] == 200)
    assert (entry["bytes"], entry["complete"], entry["what"]) == (len(whole.data), True, "stage2")


@pytest.mark.parametrize(
    "path",
    [
        "/boot/x86_64/out",  # a link to outside of the tree
        "/boot/x86_64/images",
        "/boot/x86_64/nothing",
        "/boot/aarch64/images/pxeboot/vmlinuz",
        "/etc/passwd",
        "/ipxe/nonsense",
    ],
)
def test_what_is_not_served_is_not_there(served: Served, path: str) -> None:
    assert served.get(path).status == 404


def test_a_link_within_the_tree_is_followed(served: Served) -> None:
    assert served.get("/boot/x86_64/kernel").data == b"kernel of x86_64"


def test_what_a_machine_fetched_is_in_the_table(served: Served) -> None:
    for name in ("images/pxeboot/vmlinuz", "images/pxeboot/initrd.img", "images/install.img"):
        assert served.get(f"/host/web1/boot/x86_64/{name}").status == 200
    with served.state() as state:
        row = state.row("web1")
    assert row is not None
    assert {"kernel", "initrd", "stage2"} <= {str(step) for step in row.steps}
    assert row.address == "127.0.0.1"


def test_methods_that_change_nothing_here_are_refused(served: Served) -> None:
    for method, path in (("PUT", "/ks/web1"), ("POST", "/ks/web1"), ("GET", "/installed")):
        answer = served.http.request(method, served.url + path)
        assert answer.status == 405, (method, path)
        assert "Allow" in answer.headers


def callback(served: Served, path: str) -> str:
    found = re.search(r"# (http\S+/installed/\S+)", served.get(path).data.decode())
    assert found
    return found.group(1)


def test_a_callback_is_believed_once_and_then_the_machine_boots_its_disk(tmp_path: Path) -> None:
    with serving(tmp_path, boot=boot_tree(tmp_path / "iso")) as served:
        assert served.post(f"{served.url}/installed", b"").status == 403
        assert served.post(f"{served.url}/installed/guess", b"").status == 403
        url = callback(served, "/ks/web1")
        assert served.post(url, b"what is this").status == 400
        body = f"hostname web1\nmac 52:54:00:00:00:01\n{ED25519} root@web1\n".encode()
        assert served.post(url, body).data == b"thank you\n"
        assert served.post(url, body).status == 403
        assert [one.host.name for one in served.called] == ["web1"]
        assert served.called[0].callback.keys == (ED25519,)
        with served.state() as state:
            row = state.row("web1")
            assert row is not None
            assert (row.state, row.keys) == ("installed", (ED25519,))
            assert b"sanboot" in served.get(f"/ipxe/{WEB1_MAC}").data
            assert b"linux" not in served.get(f"/grub/grub.cfg-01-{WEB1_MAC}").data
            assert state.again("web1")
        assert b"kernel http" in served.get(f"/ipxe/{WEB1_MAC}").data
        assert served.said("host.installed") == ["127.0.0.1 is installed"]


def test_a_token_ends_in_time(tmp_path: Path) -> None:
    settings = ServeSettings(token_seconds=0.0, callback_seconds=0.0)
    with serving(tmp_path, boot=boot_tree(tmp_path / "iso"), settings=settings) as served:
        late = served.get(token_of(served, VAULT_MAC))
        assert late.status == 403
        assert late.data.startswith(b"it expired at ")
        assert served.post(callback(served, "/ks/web1"), b"").status == 403


class Troubled(Machines):
    """Renders nothing."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def render(self, host: BootHost, callback_url: str) -> ServedKickstart:
        raise self.error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (UsageError("no install", hint="give it one"), "no install (give it one)"),
        (ZeroDivisionError("a defect"), "ZeroDivisionError: a defect"),
    ],
)
def test_what_cannot_be_rendered_is_said_here_and_not_to_the_machine(
    tmp_path: Path, error: Exception, message: str
) -> None:
    with serving(tmp_path, source=Troubled(error)) as served:
        answer = served.get("/ks/web1")
        assert answer.status == 500
        assert answer.data == b"this cannot be made now; see the server's messages\n"
        assert served.get("/ks/web1").status == 500
        assert served.said("kickstart.failed") == [f"127.0.0.1, /ks/web1: {message}"]


def test_whoever_watches_may_go_away(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        served.deaf.set()
        assert served.get("/ks/web1").status == 200
        assert served.get("/ks/nobody").status == 404


def test_a_boot_directory_that_is_gone_costs_its_files_only(tmp_path: Path) -> None:
    tree = boot_tree(tmp_path / "iso")
    with serving(tmp_path, boot=tree) as served:
        shutil.rmtree(tree)
        assert served.get("/boot/x86_64/images/pxeboot/vmlinuz").status == 404
        assert served.get("/ks/web1").status == 200
