"""`kickstart serve` beside nginx: machines that all fetch a menu, a kickstart and a large file.

    python bench/kickstart_serve.py [--machines 500] [--megabytes 100] [--rounds 2] [--wrk]

Ours is the real program on a project with that many hosts: each menu and kickstart is made for its
machine, with a token, and written down. nginx (one process, sendfile) serves the same bytes
as files that lie there. Both run by turns; the client throws away what it gets. Processor time is
the servers' own, read from /proc; memory is the highest that was resident.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import selectors
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = """\
version: 1
name: bench
registry: registry.example.com/bench
images: {soe: {base: quay.io/centos-bootc/centos-bootc:stream9}}
installs: {metal: {release: rhel9, image: soe, disk: sda}}
"""
COMMAND = [
    sys.executable,
    *["-m", "bootcfleet", "kickstart", "serve", "--json", "--listen", "127.0.0.1:0"],
]
NGINX = """\
worker_processes 1; worker_rlimit_nofile 8192; daemon off; pid nginx.pid; error_log error.log;
events { worker_connections 4096; }
http { access_log access.log; sendfile on; keepalive_timeout 20;
  server { listen 127.0.0.1:%d backlog=2048; root %s; } }
"""


def mac(number: int) -> str:
    return f"52-54-00-00-{number // 256:02x}-{number % 256:02x}"


@dataclass
class Server:
    """A running server: where, and the process that does the work."""

    port: int
    pid: int

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak(self) -> float:
        """MiB that were resident at most."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+)", text)
        return int(found.group(1)) / 1024 if found else 0.0


def prepare(folder: Path, machines: int, megabytes: int) -> None:
    """A project with its boot directory, and the same as plain files for nginx."""
    (folder / "bootcfleet.yaml").write_text(PROJECT)
    hosts = "".join(f"  m{n}: {{install: {{mac: {mac(n)}}}}}\n" for n in range(machines))
    (folder / "inventory.yaml").write_text(f"version: 1\nhosts:\n{hosts}")
    for name in ("images/pxeboot/vmlinuz", "images/pxeboot/initrd.img", "images/install.img"):
        path = folder / "www/boot/x86_64" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    with (folder / "www/boot/x86_64/images/install.img").open("wb") as stream:
        for _ in range(megabytes):
            stream.write(os.urandom(1_000_000))


@contextmanager
def ours(folder: Path) -> Iterator[Server]:
    """The program itself."""
    process = subprocess.Popen(
        [*COMMAND, "--boot", str(folder / "www/boot/x86_64")],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    )
    assert process.stdout is not None
    port = json.loads(process.stdout.readline())["data"]["port"]
    # Its events are read, as by whoever watches it; else the pipe would be full.
    sink = subprocess.Popen(["cat"], stdin=process.stdout, stdout=subprocess.DEVNULL)
    try:
        yield Server(port, process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
        process.stdout.close()
        sink.wait()


@contextmanager
def nginx(folder: Path) -> Iterator[Server]:
    """nginx with one worker."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        sys.exit("nginx is not installed (apt install nginx-light)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "nginx.conf").write_text(NGINX % (port, folder / "www"))
    process = subprocess.Popen(
        [program, "-p", str(folder), "-c", "nginx.conf"], stderr=subprocess.DEVNULL
    )
    try:
        while True:
            time.sleep(0.1)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            with socket.socket() as probe:
                if children and probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
        yield Server(port, int(children[0]))
    finally:
        process.terminate()
        process.wait()


def get(port: int, path: str) -> bytes:
    """One request of its own."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        data = b""
        while piece := sock.recv(1 << 16):
            data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    assert b" 200 " in head.split(b"\r\n")[0], head
    return body


def fetch(port: int, paths: list[str]) -> tuple[float, int]:
    """All paths at once, one connection each: seconds, and bytes that came."""
    buffer = bytearray(1 << 20)
    total = 0
    started = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        for path in paths:
            sock = socket.create_connection(("127.0.0.1", port))
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            sock.setblocking(False)
            selector.register(sock, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                count = sock.recv_into(buffer)
                total += count
                if not count:
                    selector.unregister(sock)
                    sock.close()
    return time.perf_counter() - started, total


def wrk(port: int, path: str) -> float:
    """Requests a second for one kickstart, by 100 connections."""
    found = subprocess.run(
        ["wrk", "-t1", "-c100", "-d5", f"http://127.0.0.1:{port}{path}"],
        capture_output=True,
        text=True,
        check=True,
    )
    match = re.search(r"Requests/sec:\s+([\d.]+)", found.stdout)
    return float(match.group(1)) if match else 0.0


def measure(server: Server, machines: int, *, with_wrk: bool) -> dict[str, float]:
    """One round against one server."""
    result = {}
    file = "/boot/x86_64/images/install.img"
    steps = {
        "menus": [f"/ipxe/{mac(n)}" for n in range(machines)],
        "kickstarts": [f"/ks/m{n}" for n in range(machines)],
        "files": [file] * machines,
    }
    for name, paths in steps.items():
        before = server.cpu()
        seconds, count = fetch(server.port, paths)
        result[f"{name}: seconds"] = seconds
        result[f"{name}: processor seconds"] = server.cpu() - before
        if name == "files":
            assert count > machines * Path(f"www{file}").stat().st_size, "not all came"
            result["files: processor ms for a GB"] = (server.cpu() - before) * 1e12 / count
    if with_wrk:
        result["kickstarts: requests/s (wrk)"] = wrk(server.port, "/ks/m0")
    result["memory at most, MiB"] = server.peak()
    return result


def main() -> None:
    """Prepare, measure by turns, print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machines", type=int, default=500)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--wrk", action="store_true", help="requests/s by wrk as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-kickstart-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        os.chdir(folder)
        prepare(folder, options.machines, options.megabytes)
        with ours(folder) as server:  # the bytes that nginx serves
            for number in range(options.machines):
                for path in (f"ipxe/{mac(number)}", f"ks/m{number}"):
                    file = folder / "www" / path
                    file.parent.mkdir(exist_ok=True)
                    file.write_bytes(get(server.port, f"/{path}"))
        found: dict[str, list[dict[str, float]]] = {"ours": [], "nginx": []}
        for _ in range(options.rounds):
            for who, start in (("ours", ours), ("nginx", nginx)):
                with start(folder) as server:
                    found[who].append(measure(server, options.machines, with_wrk=options.wrk))
    print(
        f"{options.machines} machines, a file of {options.megabytes} MB, one core for each server"
    )
    print(f"{'':<34} {'ours':>10} {'nginx':>10} {'ratio':>8}")
    for key in found["ours"][0]:
        mine, theirs = (statistics.median(one[key] for one in found[who]) for who in found)
        print(f"{key:<34} {mine:>10.2f} {theirs:>10.2f} {mine / max(theirs, 0.01):>7.2f}×")


if __name__ == "__main__":
    main()
