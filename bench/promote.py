"""`bootcfleet channel promote` against `skopeo copy` of the same image, tag to tag.

    python bench/promote.py [--layers N] [--mib SIZE] [--runs N]

A registry of our own holds an image of N layers of SIZE MiB. Each round moves one to another tag
with `skopeo copy --all --preserve-digests`, and one through a channel: gates, intent, the tag that
keeps the digest, the channel's tag, history, ledger, and the history's copy in the registry. The
third row is the same promotion without Python's start. Bytes and requests are counted by a proxy on
the way: both directions, HTTP included. With --across, the image goes into another registry, which
is skopeo's work in both cases.

Needs skopeo.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bootcfleet.domain.image import OCI_MANIFEST, Manifest, sha256
from bootcfleet.domain.reference import ImageRef
from bootcfleet.drivers.labregistry import LabRegistry
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.ops.channel import open_channels
from bootcfleet.ops.project import load_project
from bootcfleet.ops.promote import promote_now

sys.path.insert(0, str(Path(__file__).parent.parent))


class CountingProxy:
    """Passes TCP on to an address, and counts bytes and requests."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._lock = threading.Lock()
        self.bytes = self.requests = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def reset(self) -> None:
        """Count from nothing."""
        with self._lock:
            self.bytes = self.requests = 0

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            for source, sink, asks in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._pass, args=(source, sink, asks), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, asks: bool) -> None:
        verbs = (b"GET /v2", b"HEAD /v2", b"PUT /v2", b"POST /v2", b"PATCH /v2", b"DELETE /v2")
        try:
            while data := source.recv(1 << 16):
                with self._lock:
                    self.bytes += len(data)
                    self.requests += asks and data.startswith(verbs)
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


def push(client: RegistryClient, ref: ImageRef, layers: int, size: int) -> None:
    """An image of random bytes, which no compression makes smaller."""
    config = b'{"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"diff_ids": []}}'
    entries = []
    for _ in range(layers):
        data = os.urandom(size)
        entries.append(
            {
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": str(client.put_blob(ref, data)),
                "size": size,
            }
        )
    body = json.loads(config)
    body["rootfs"] = {"type": "layers", "diff_ids": [entry["digest"] for entry in entries]}
    config = json.dumps(body).encode()
    raw = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": str(client.put_blob(ref, config)),
                "size": len(config),
            },
            "layers": entries,
        }
    ).encode()
    client.put_manifest(ref, Manifest(sha256(raw), OCI_MANIFEST, raw))


def measure(proxy: CountingProxy, act: Callable[[], None]) -> tuple[float, int, int]:
    """Seconds, bytes and requests of one act."""
    proxy.reset()
    started = time.perf_counter()
    act()
    return time.perf_counter() - started, proxy.bytes, proxy.requests


def run(argv: list[str], folder: Path) -> None:
    """Run a command that must succeed."""
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(argv)}\n{done.stdout}\n{done.stderr}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--layers", type=int, default=20)
    parser.add_argument("--mib", type=float, default=4)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--across", action="store_true")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="bootcfleet-bench-") as name,
        LabRegistry(Path(name) / "registry") as lab,
        LabRegistry(Path(name) / "other") as other,
    ):
        folder = Path(name)
        proxy = CountingProxy(lab.address)
        beyond = CountingProxy(other.address)
        counted = beyond if options.across else proxy
        web = f"{proxy.address}/acme/web"
        there = f"{beyond.address}/released" if options.across else f"{proxy.address}/acme"
        client = RegistryClient()
        size = int(options.mib * 2**20)
        figures: dict[str, list[tuple[float, int, int]]] = {}
        rows = ("skopeo copy", "bootcfleet channel promote", "the same, without Python's start")
        (folder / "bootcfleet.yaml").write_text(
            f"version: 1\nname: bench\nregistry: {proxy.address}/acme\n"
            f"images:\n  web: {{base: '{proxy.address}/base:1'}}\n"
            f"channels:\n  one: {{repository: '{there}'}}\n  two: {{repository: '{there}'}}\n"
        )
        for number in range(options.runs):
            push(client, ImageRef.parse(f"{web}:v{number}"), options.layers, size)
            # Each row moves an image of its own, so that nothing is there already.
            push(client, ImageRef.parse(f"{web}:w{number}"), options.layers, size)
            push(client, ImageRef.parse(f"{web}:x{number}"), options.layers, size)
            copy = ["skopeo", "copy", "--all", "--preserve-digests", "--src-tls-verify=false",
                    "--dest-tls-verify=false", f"docker://{web}:v{number}",
                    f"docker://{there}/web:skopeo"]  # fmt: skip
            ours = [sys.executable, "-m", "bootcfleet", "channel", "promote", "web", f"w{number}",
                    "one", "--yes"]  # fmt: skip

            def inside(tag: str = f"x{number}") -> None:
                with open_channels(load_project(folder)) as channels:
                    promote_now(channels, ["web"], tag, "two")

            acts = (partial(run, copy, folder), partial(run, ours, folder), inside)
            for row, act in zip(rows, acts, strict=True):
                figures.setdefault(row, []).append(measure(counted, act))
        where = "into another registry" if options.across else "within a repository"
        print(f"an image of {options.layers} × {options.mib:g} MiB, {where}, {options.runs} rounds")
        medians = {
            row: tuple(statistics.median(one[part] for one in found) for part in range(3))
            for row, found in figures.items()
        }
        base = medians[rows[0]]
        for row, (seconds, count, requests) in medians.items():
            print(
                f"{row:<34} {seconds:6.2f} s {seconds / base[0]:5.2f}×  "
                f"{count / 2**10:10,.1f} KiB {count / base[1]:5.2f}×  {requests:4.0f} requests"
            )
        proxy.close()
        beyond.close()


if __name__ == "__main__":
    main()
