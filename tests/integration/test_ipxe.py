"""iPXE itself (the ROM of qemu's network card) boots from the server."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from bootcfleet.domain.boothost import BootHost
from tests.bootmachines import Machines, boot_tree, serving
from tests.tools import need

pytestmark = pytest.mark.integration

#: Software emulation on a busy machine; on an idle one it takes four seconds.
PATIENCE = 180


def test_ipxe_fetches_its_menu_and_what_the_menu_names(tmp_path: Path) -> None:
    qemu = need("qemu-system-x86_64")
    source = Machines(BootHost("web1", ("52:54:00:0a:0b:0c",), None, "web1"))
    console = tmp_path / "console"
    with serving(tmp_path / "s", boot=boot_tree(tmp_path / "iso"), source=source) as served:
        words = "-machine pc,accel=tcg -m 256 -display none -nodefaults -no-reboot -boot n"
        # qemu's own network: 10.0.2.2 is this machine, and its DHCP names the bootfile.
        network = (
            f"user,model=e1000,mac=52:54:00:0a:0b:0c,bootfile=http://10.0.2.2:{served.port}/ipxe"
        )
        process = subprocess.Popen(
            [qemu, *words.split(), "-nic", network, "-serial", f"file:{console}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            wanted = {"menu", "kernel", "initrd"}
            seen: set[object] = set()
            deadline = time.monotonic() + PATIENCE
            while not wanted <= seen and time.monotonic() < deadline:
                assert process.poll() is None, process.stderr and process.stderr.read()
                time.sleep(0.2)
                seen = {one.get("what") for one in served.log() if one["status"] == 200}
        finally:
            process.kill()
            process.wait()
            if process.stderr is not None:
                process.stderr.close()
        log = [one for one in served.log() if one["agent"].startswith("iPXE")]
        with served.state() as state:
            row = state.row("web1")
    paths = [one["path"] for one in log]
    assert paths[:4] == [
        "/ipxe",
        "/ipxe/52-54-00-0a-0b-0c",
        "/host/web1/boot/x86_64/images/pxeboot/vmlinuz",
        "/host/web1/boot/x86_64/images/pxeboot/initrd.img",
    ]
    assert row is not None
    assert row.state == "initrd"
