"""A project of three images in a registry, for tests of the command line."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bootcfleet.cli.app import run
from bootcfleet.domain.image import OCI_MANIFEST, Manifest, sha256
from bootcfleet.domain.reference import ImageRef
from bootcfleet.drivers.labregistry import LabRegistry
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.drivers.registry import RegistryClient

AT = datetime(2026, 11, 1, 12, tzinfo=UTC)


def push(address: str, name: str, tag: str, layers: list[bytes], labels: dict[str, str]) -> str:
    """An image of these layers; its digest."""
    with RegistryClient() as client:
        ref = ImageRef.parse(f"{address}/{name}:{tag}")
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "created": AT.isoformat(),
                "config": {"Labels": {"containers.bootc": "1", **labels}},
                "rootfs": {"type": "layers", "diff_ids": [str(sha256(one)) for one in layers]},
            }
        ).encode()
        packed = [gzip.compress(one, mtime=0) for one in layers]
        raw = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": {
                    "mediaType": "application/vnd.oci.image.config.v1+json",
                    "digest": str(client.put_blob(ref, config)),
                    "size": len(config),
                },
                "layers": [
                    {
                        "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                        "digest": str(client.put_blob(ref, one)),
                        "size": len(one),
                    }
                    for one in packed
                ],
            }
        ).encode()
        return str(client.put_manifest(ref, Manifest(sha256(raw), OCI_MANIFEST, raw)))


@dataclass
class Acme:
    """A project with soe, web and shop in a registry; the ledger built none of them yet."""

    root: Path
    registry: LabRegistry
    capsys: pytest.CaptureFixture[str]
    digests: dict[str, str] = field(default_factory=dict)

    def __call__(self, *words: str, ends: int = 0) -> tuple[str, str]:
        self.capsys.readouterr()
        code = run(list(words))
        said = self.capsys.readouterr()
        assert code == ends, f"{words}: {code}\n{said.out}\n{said.err}"
        return said.out, said.err

    def outside(self, *words: str) -> tuple[str, str]:
        """The same from another directory: a project's own checks do not count there."""
        os.chdir(self.root.parent)
        try:
            return self(*words)
        finally:
            os.chdir(self.root)

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "--json")[0])

    def ledger(self) -> Ledger:
        return Ledger.open("sqlite:///.bootcfleet/ledger.db", base=self.root)

    def record_build(self, name: str, base: str, hour: int = 1) -> None:
        ledger = self.ledger()
        ledger.record(
            "image.build", name, "built", actor="me@here", now=AT + timedelta(hours=hour),
            git_commit="c" * 40, digests={"image": self.digests[name], "base": base},
            details={"log": f".bootcfleet/logs/{name}.log", "tags": ["0.1"]},
        )  # fmt: skip
        ledger.close()

    def record_all(self) -> None:
        """As `image build --push` does."""
        self.record_build("soe", f"quay.io/fedora/fedora-bootc@sha256:{'9' * 64}", 1)
        for name, parent, hour in (("web", "soe", 2), ("shop", "web", 3)):
            repo = f"{self.registry.address}/acme/{parent}"
            self.record_build(name, f"{repo}@{self.digests[parent]}", hour)


@contextmanager
def acme_project(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    more: str = "",
    without: tuple[str, ...] = (),
) -> Iterator[Acme]:
    """The project, its registry running; `more` is added to its file."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    root = tmp_path / "acme"
    root.mkdir()
    monkeypatch.chdir(root)
    with LabRegistry(without=without) as registry:
        prefix = f"{registry.address}/acme"
        (root / "bootcfleet.yaml").write_text(
            f"version: 1\nname: acme\nregistry: {prefix}\nimages:\n"
            "  soe: {base: quay.io/fedora/fedora-bootc:42}\n"
            f"  web: {{from: soe}}\n  shop: {{from: web}}\n{more}"
        )
        acme = Acme(root, registry, capsys)
        below = ""
        for number, name in enumerate(("soe", "web", "shop")):
            labels = {"io.bootcfleet.image": name, "org.opencontainers.image.revision": "d" * 40}
            if below:
                labels["org.opencontainers.image.base.name"] = f"{prefix}/{below}:0.1"
                labels["org.opencontainers.image.base.digest"] = acme.digests[below]
            layers = [f"layer {n}".encode() for n in range(number + 1)]
            acme.digests[name] = push(registry.address, f"acme/{name}", "0.1", layers, labels)
            below = name
        yield acme
