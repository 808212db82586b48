"""iPXE itself (the ROM of qemu's network card) and GRUB itself boot from the server."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bootcfleet.domain import dnsmasq
from bootcfleet.domain.boothost import BootHost
from tests.bootmachines import Machines, Served, boot_tree, serving
from tests.tools import need

pytestmark = pytest.mark.integration

#: Software emulation on a busy machine; on an idle one it takes some seconds.
PATIENCE = 180
SOURCE = Machines(BootHost("web1", ("52:54:00:0a:0b:0c",), None, "web1"))
TREE = "/host/web1/boot/x86_64/images/pxeboot"


@contextmanager
def booted(network: str) -> Iterator[None]:
    """A machine that boots from its network card, in qemu's own network.

    There 10.0.2.2 is this machine, and qemu's DHCP names the boot file.
    """
    words = "-machine pc,accel=tcg -m 256 -display none -nodefaults -no-reboot -boot n".split()
    nic = f"user,model=e1000,mac=52:54:00:0a:0b:0c,{network}"
    process = subprocess.Popen(
        [need("qemu-system-x86_64"), *words, "-nic", nic],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def fetched(served: Served, last: str) -> list[str]:
    """What was fetched, once `last` was."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        paths = [one["path"] for one in served.log() if one["status"] == 200]
        if last in paths:
            return paths
        time.sleep(0.2)
    pytest.fail(f"{last} was not fetched: {served.log()}")


def test_ipxe_fetches_its_menu_and_what_the_menu_names(tmp_path: Path) -> None:
    with serving(tmp_path / "s", boot=boot_tree(tmp_path / "iso"), source=SOURCE) as served:
        with booted(f"bootfile=http://10.0.2.2:{served.port}/ipxe"):
            paths = fetched(served, f"{TREE}/initrd.img")
        assert {one["agent"].partition("/")[0] for one in served.log()} == {"iPXE"}
        with served.state() as state:
            row = state.row("web1")
    assert paths[:4] == [
        "/ipxe",
        "/ipxe/52-54-00-0a-0b-0c",
        f"{TREE}/vmlinuz",
        f"{TREE}/initrd.img",
    ]
    assert row is not None
    assert row.state == "initrd"


def test_grub_goes_from_tftp_to_the_server_and_reads_its_menu(tmp_path: Path) -> None:
    """dnsmasq's TFTP folder holds GRUB and two lines that send it to the server."""
    tftp = tmp_path / "tftp"
    made = [need("grub-mknetdir"), "--net-directory", tftp, "--subdir", "grub"]
    with serving(tmp_path / "s", boot=boot_tree(tmp_path / "iso"), source=SOURCE) as served:
        made += ["--directory", "/usr/lib/grub/i386-pc"]
        subprocess.run(made, check=True, capture_output=True)
        url = f"http://10.0.2.2:{served.port}"
        (tftp / "grub/grub.cfg").write_text(dnsmasq.tftp_grub(url))
        with booted(f"tftp={tftp},bootfile=/grub/i386-pc/core.0"):
            # This kernel is none, so GRUB goes no further.
            paths = fetched(served, f"{TREE}/vmlinuz")
        assert {one["agent"].partition(" ")[0] for one in served.log()} == {"GRUB"}
    assert paths[:3] == [
        "/grub/grub.cfg",
        "/grub/grub.cfg-01-52:54:00:0a:0b:0c",
        f"{TREE}/vmlinuz",
    ]
