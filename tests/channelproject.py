"""A project with channels, and a registry to move its tags in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bootcfleet.domain.event import Event
from bootcfleet.domain.evidence import EvidenceKind, EvidenceOutcome
from bootcfleet.drivers.labimage import push_image
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.ops.channel import Channels, open_channels
from bootcfleet.ops.evidence import record_evidence
from bootcfleet.ops.project import load_project

START = datetime(2026, 11, 21, 3, 1, tzinfo=UTC)
#: A new client looks first whether a loopback registry speaks TLS: one is enough.
_PUSHER = RegistryClient()
CHANNELS = "  dev: {}\n  test: {from: dev}\n  prod: {from: test}\n"


@dataclass
class ChannelProject:
    """A project in a folder of its own; `channels` opens it, `now` is its time."""

    folder: Path
    address: str
    now: datetime = START
    events: list[Event] = field(default_factory=list)
    client: RegistryClient = field(default_factory=RegistryClient)

    @classmethod
    def make(
        cls, folder: Path, address: str, channels: str = CHANNELS, images: str = "soe,web,db"
    ) -> ChannelProject:
        """Write bootcfleet.yaml."""
        folder.mkdir(parents=True, exist_ok=True)
        names = "".join(
            f"  {name}: {{base: 'registry.invalid/base:1'}}\n" for name in images.split(",")
        )
        (folder / "bootcfleet.yaml").write_text(
            f"version: 1\nname: acme\nregistry: {address}/acme\nimages:\n{names}"
            f"channels:\n{channels}"
        )
        return cls(folder, address)

    @contextmanager
    def open(self, registry: RegistryClient | None = None) -> Iterator[Channels]:
        """The project's channels; each look at the clock is a second later."""
        with open_channels(
            load_project(self.folder),
            registry=registry or self.client,
            clock=self._tick,
            emit=self.events.append,
        ) as channels:
            yield channels

    def _tick(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    def push(self, image: str, version: str, *, tag: str | None = None) -> str:
        """Push an image that is like no other; its digest."""
        return str(
            push_image(
                _PUSHER,
                f"{self.address}/acme/{image}",
                tag or f"v{version}",
                version=version,
                files={"etc/version": f"{image} {version}".encode()},
                created=START,
            )
        )

    def build(self, image: str, version: str) -> str:
        """Push an image and say in the ledger that it was built; its digest."""
        digest = self.push(image, version)
        with self.open() as channels:
            channels.record("image.build", image, "built", digests={"image": digest}, details={})
        return digest

    def prove(self, kind: EvidenceKind, image: str, digest: str, outcome: EvidenceOutcome) -> None:
        """Record evidence; it is dated by the machine's clock."""
        with self.open() as channels:
            record_evidence(channels.record, kind, image, digest, outcome, {})
