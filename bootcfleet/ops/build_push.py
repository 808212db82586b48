"""Push what was built: once, then the same manifest under every other tag."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from bootcfleet.domain.buildid import ID_LABEL, id_tag
from bootcfleet.domain.event import Emit, Event
from bootcfleet.domain.image import Config, Manifest
from bootcfleet.domain.labels import image_index
from bootcfleet.domain.plan import Known
from bootcfleet.domain.reference import Digest, ImageRef, Platform
from bootcfleet.drivers.podman import Podman
from bootcfleet.drivers.registryconf import is_loopback
from bootcfleet.errors import FleetError
from bootcfleet.ops.plan import find_built

#: Takes a stream's name and a line.
Said = Callable[[str, str], None]


class Registry(Protocol):
    """What a build needs of a registry; `drivers.registry.RegistryClient` has it."""

    def manifest(self, ref: ImageRef) -> Manifest:
        """The manifest as the registry's bytes."""
        ...

    def put_manifest(self, ref: ImageRef, manifest: Manifest) -> Digest:
        """Write the same bytes under another tag of the repository."""
        ...

    def config(self, ref: ImageRef, platform: Platform | None = None) -> Config:
        """The configuration of an image."""
        ...

    def exists(self, ref: ImageRef) -> bool:
        """Whether the registry has the reference."""
        ...


@dataclass
class Pusher:
    """Pushes images under `tags`, most specific last in it; safe in several threads."""

    podman: Podman
    registry: Registry
    tags: tuple[str, ...]
    emit: Emit

    def push(
        self,
        name: str,
        repository: ImageRef,
        build_id: str,
        image_ids: Mapping[str, str],
        said: Said,
    ) -> Known:
        """Push an image (its image of each platform), and give it its tags.

        The immutable tag of the build id comes first: when somebody else pushed an
        image of that id meanwhile, theirs is taken and ours forgotten. Pushing an
        image a second time may compress it anew and change its digest
        (podman#27796), so that its other tags are copies of the manifest. The tags
        that people follow move last and only to something that is complete.
        """
        theirs = self._pushed_by_another(name, repository, build_id)
        if theirs is not None:
            return self.retag(name, repository, theirs)
        if len(image_ids) == 1:
            (image_id,) = image_ids.values()
            tag = repository.with_tag(id_tag(build_id))
            digest = self._push(image_id, tag, said)
            manifest: Manifest | None = None
            variants: dict[str, str] = {}
        else:
            manifest, variants = self._push_index(repository, build_id, image_ids, said)
            digest = manifest.digest
        self._tag(name, repository, digest, manifest, next(iter(image_ids.values())), said)
        pinned = repository.with_digest(digest)
        self._say_pushed(name, repository, pinned)
        return Known(str(pinned), build_id, digest=str(digest), variants=variants)

    def retag(self, name: str, repository: ImageRef, known: Known) -> Known:
        """Give an image that the registry has the tags of this build."""
        pinned = ImageRef.parse(known.reference)
        manifest = self.registry.manifest(pinned)
        for tag in reversed(self.tags):
            self.registry.put_manifest(repository.with_tag(tag), manifest)
        self._say_pushed(name, repository, pinned)
        return known

    def _pushed_by_another(self, name: str, repository: ImageRef, build_id: str) -> Known | None:
        try:
            found = find_built(self.registry, repository, build_id)
        except FleetError:
            # The push will say what is wrong with the registry.
            return None
        if found is not None:
            message = f"somebody else has pushed this build meanwhile; taking {found.reference}"
            self._say(name, message, {"digest": found.digest})
        return found

    def _push_index(
        self, repository: ImageRef, build_id: str, image_ids: Mapping[str, str], said: Said
    ) -> tuple[Manifest, dict[str, str]]:
        manifests, variants = {}, {}
        for platform, image_id in image_ids.items():
            architecture = platform.rpartition("/")[2]
            tag = repository.with_tag(f"{id_tag(build_id)}-{architecture}")
            pinned = repository.with_digest(self._push(image_id, tag, said))
            manifests[platform] = self.registry.manifest(pinned)
            variants[platform] = str(pinned)
        index = image_index(manifests, {ID_LABEL: build_id})
        self.registry.put_manifest(repository.with_tag(id_tag(build_id)), index)
        return index, variants

    def _push(self, image_id: str, target: ImageRef, said: Said) -> Digest:
        verify = tls_verify(target)
        return self.podman.push(image_id, str(target), tls_verify=verify, on_line=said)

    def _tag(
        self,
        name: str,
        repository: ImageRef,
        digest: Digest,
        manifest: Manifest | None,
        image_id: str,
        said: Said,
    ) -> None:
        for tag in reversed(self.tags):
            target = repository.with_tag(tag)
            try:
                manifest = manifest or self.registry.manifest(repository.with_digest(digest))
                self.registry.put_manifest(target, manifest)
            except FleetError as error:
                if manifest is not None and manifest.is_index:
                    raise
                again = self._push(image_id, target, said)
                same = "the same digest" if again == digest else f"another digest, {again}"
                self._say(
                    name,
                    f"the registry did not take the tag {tag} as a copy ({error.message}); "
                    f"pushed it again, with {same}",
                    {"tag": tag, "digest": str(again)},
                )

    def _say_pushed(self, name: str, repository: ImageRef, pinned: ImageRef) -> None:
        tags = [str(repository.with_tag(tag)) for tag in self.tags]
        data = {"digest": str(pinned.digest), "tags": tags}
        self.emit(Event("image.build.pushed", name, f"pushed {pinned}", data))

    def _say(self, name: str, message: str, data: Mapping[str, object]) -> None:
        self.emit(Event("image.build.output", name, message, {"stream": "bootcfleet", **data}))


def tls_verify(ref: ImageRef) -> bool | None:
    """Loopback registries speak plain http (as `RegistryClient` does); else registries.conf."""
    return False if is_loopback(ref.registry) else None
