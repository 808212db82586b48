"""What every channel command works with: the project, the ledger, the histories, the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bootcfleet.domain.channel import Pair
from bootcfleet.domain.channel_spec import ChannelSpec
from bootcfleet.domain.document import did_you_mean
from bootcfleet.domain.event import Emit, ignore
from bootcfleet.domain.image import Manifest
from bootcfleet.domain.reference import ImageRef
from bootcfleet.drivers.channelstore import ChannelStore
from bootcfleet.drivers.command import Executor, LocalExecutor
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.drivers.registryartifact import Artifacts
from bootcfleet.errors import UsageError
from bootcfleet.ops.audit import Record, current_actor, open_ledger, project_commit, recorder_into
from bootcfleet.ops.project import LoadedProject


def _now() -> datetime:
    return datetime.now(UTC)


def open_store(loaded: LoadedProject) -> ChannelStore:
    """The histories alone, in the project's ledger.  Raises `FleetError`."""
    return ChannelStore.open_url(loaded.project.ledger, base=loaded.root)


@dataclass(frozen=True)
class Channels:
    """A project's channels.  `record` writes into the same database as `store`."""

    loaded: LoadedProject
    ledger: Ledger
    store: ChannelStore
    registry: RegistryClient
    artifacts: Artifacts
    executor: Executor
    record: Record
    actor: str
    clock: Callable[[], datetime] = _now
    emit: Emit = ignore
    _manifests: dict[str, Manifest] = field(default_factory=dict, repr=False, compare=False)

    def manifest(self, ref: ImageRef) -> Manifest:
        """The manifest of a digest, asked for once: its bytes cannot change.

        Says nothing about whether the registry has it still.  Raises `RegistryError`.
        """
        known = self._manifests.get(str(ref.digest))
        if known is None:
            known = self.registry.manifest(ref)
            if ref.digest is not None:
                self._manifests[str(ref.digest)] = known
        return known

    def spec(self, channel: str) -> ChannelSpec:
        """What the project says of a channel.  Raises `UsageError`."""
        known = self.loaded.project.channels
        if channel not in known:
            raise UsageError(
                f"the project has no channel {channel!r}",
                hint=did_you_mean(channel, known)
                or "declare channels: in bootcfleet.yaml, for example `channels: {dev: {}}`",
            )
        return known[channel]

    def require_image(self, image: str) -> None:
        """Raise `UsageError` for an image that the project has not."""
        known = self.loaded.project.images
        if image not in known:
            raise UsageError(f"the project has no image {image!r}", hint=did_you_mean(image, known))

    def repository(self, image: str, channel: str | None = None) -> ImageRef:
        """Where an image is, in a channel or as it is built."""
        prefix = self.loaded.project.registry
        spec = self.loaded.project.channels.get(channel) if channel else None
        if spec is not None and spec.repository:
            prefix = spec.repository
        return ImageRef.parse(f"{prefix}/{image}")

    def tag(self, image: str, channel: str) -> ImageRef:
        """A channel's tag of an image."""
        return self.repository(image, channel).with_tag(channel)

    def pairs(self, image: str | None = None, channel: str | None = None) -> list[Pair]:
        """The images in the channels that are declared or have a history; of these alone."""
        project = self.loaded.project
        declared = [
            (one, name)
            for one in project.images
            for name, spec in project.channels.items()
            if spec.takes(one)
        ]
        found = dict.fromkeys([*declared, *sorted(self.store.all())])
        return [pair for pair in found if image in (None, pair[0]) and channel in (None, pair[1])]

    def found(self, ref: ImageRef) -> str | None:
        """The digest that a tag points at now, None where it is not there.

        Asks the registry itself, no mirror.  Raises `RegistryError`.
        """
        found = self.registry.find(ref)
        return None if found is None else str(found)


@contextmanager
def open_channels(
    loaded: LoadedProject,
    *,
    registry: RegistryClient | None = None,
    executor: Executor | None = None,
    clock: Callable[[], datetime] = _now,
    emit: Emit = ignore,
) -> Iterator[Channels]:
    """The channels of a project, with its ledger open as long.  Raises `FleetError`."""
    commit = project_commit(loaded)
    executor = executor or LocalExecutor()
    ledger = open_ledger(loaded)
    client = registry or RegistryClient(executor=executor)
    try:
        yield Channels(
            loaded,
            ledger,
            ChannelStore.of(ledger.db),
            client,
            Artifacts(client),
            executor,
            recorder_into(ledger, commit),
            current_actor(),
            clock,
            emit,
        )
    finally:
        ledger.close()
        if registry is None:
            client.close()
