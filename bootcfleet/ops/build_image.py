"""Build one image: its context, its base, podman, and the push under all its tags."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from bootcfleet.domain.build import ImageOutcome, ImageResult, LastBuild, tagged
from bootcfleet.domain.event import Emit, Event
from bootcfleet.domain.graph import BuildStep
from bootcfleet.domain.image import Manifest
from bootcfleet.domain.project import ImageSpec
from bootcfleet.domain.reference import Digest, ImageRef
from bootcfleet.domain.template import RenderedImage
from bootcfleet.drivers.buildfiles import CONTAINERFILE, ImageLog
from bootcfleet.drivers.podman import TAIL, BuildSecret, Podman
from bootcfleet.drivers.registryconf import is_loopback
from bootcfleet.errors import FleetError
from bootcfleet.ops.render import ProjectImages


class Registry(Protocol):
    """What a build needs of a registry; `drivers.registry.RegistryClient` has it."""

    def manifest(self, ref: ImageRef) -> Manifest:
        """The manifest as the registry's bytes."""
        ...

    def put_manifest(self, ref: ImageRef, manifest: Manifest) -> Digest:
        """Write the same bytes under another tag of the repository."""
        ...


@dataclass
class ImageBuilder:
    """Builds the images of one run; `build` may run in several threads.

    `stamp` names the run's folder of logs; `tags` are given to every image;
    `clock` says the time (aware).
    """

    images: ProjectImages
    podman: Podman
    registry: Registry
    tags: tuple[str, ...]
    push: bool
    stamp: str
    emit: Emit
    clock: Callable[[], datetime]
    _bases: dict[str, threading.Lock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def build(self, step: BuildStep, parent: ImageResult | None) -> ImageResult:
        """Build (and push) one image; a failure is a result and not an error."""
        name, started = step.image, self.clock()
        tail: deque[str] = deque(maxlen=TAIL)
        path: Path | None = None
        base = parent.reference if parent else step.base
        try:
            with self.images.files.log(self.stamp, name) as log:
                path = log.path
                said = self._say(name, log, tail)
                base = base or ""
                if parent is None:
                    base = self._exact_base(name, base, said)
                result, rendered = self._build(name, base, path, said)
        except (FleetError, OSError) as error:
            message = error.message if isinstance(error, FleetError) else str(error)
            details = error.details if isinstance(error, FleetError) else ()
            return ImageResult(
                name,
                ImageOutcome.FAILED,
                base=base,
                log=str(path) if path else None,
                seconds=self._since(started),
                message=message,
                hint=error.hint if isinstance(error, FleetError) else None,
                tail=_ending(tail, details),
            )
        return self._remember(result, rendered, started)

    def _build(
        self, name: str, base: str, path: Path, said: Callable[[str, str], None]
    ) -> tuple[ImageResult, RenderedImage]:
        image = self.images.loaded.project.images[name]
        rendered = self.images.render(name, base)
        context = self.images.files.write_context(name, rendered)
        self.emit(
            Event(
                "image.build.started",
                name,
                f"building FROM {base}",
                {"base": base, "log": str(path)},
            )
        )
        if f"FROM {base}" in rendered.containerfile and not base.startswith("sha256:"):
            self._have(base, said)
        repository = self.images.repository(name)
        names = tagged(repository, self.tags)
        image_id = self.podman.build(
            context,
            context / CONTAINERFILE,
            tags=names,
            build_args=image.build_args,
            secrets=build_secrets(self.images.loaded.root, image),
            on_line=said,
        )
        digest, reference = None, image_id
        if self.push:
            digest = str(self._push(name, image_id, ImageRef.parse(repository), said))
            reference = f"{repository}@{digest}"
            # The child is built FROM this very reference; its layers are here already.
            self._have(reference, said)
        result = ImageResult(
            name,
            ImageOutcome.BUILT,
            reference=reference,
            image_id=image_id,
            digest=digest,
            tags=names,
            base=base,
            log=str(path),
        )
        return result, rendered

    def _remember(
        self, result: ImageResult, rendered: RenderedImage, started: datetime
    ) -> ImageResult:
        done = replace(result, seconds=self._since(started))
        files, image = self.images.files, self.images.loaded.project.images[done.image]
        files.keep_rendered(done.image, rendered)
        files.remember(
            done.image,
            LastBuild(
                image_id=done.image_id or "",
                reference=done.reference or "",
                base=done.base or "",
                built_at=self.clock().astimezone(UTC).isoformat(timespec="seconds"),
                declared=image.base,
                digest=done.digest,
                tags=done.tags,
                git_commit=self.images.git.commit,
                log=done.log,
                seconds=round(done.seconds, 3),
            ),
        )
        return done

    def _push(
        self, name: str, image_id: str, repository: ImageRef, said: Callable[[str, str], None]
    ) -> Digest:
        """Push once, then give the same manifest its other tags.

        Pushing an image a second time may compress it anew and change its
        digest (podman#27796). The most specific tag is pushed, so that those
        that people follow move last and only to something that is complete.
        """
        first, *others = reversed(self.tags)
        tls = tls_verify(repository)
        target = repository.with_tag(first)
        digest = self.podman.push(image_id, str(target), tls_verify=tls, on_line=said)
        pinned = repository.with_digest(digest)
        manifest: Manifest | None = None
        for tag in others:
            target = repository.with_tag(tag)
            try:
                manifest = manifest or self.registry.manifest(pinned)
                self.registry.put_manifest(target, manifest)
            except FleetError as error:
                again = self.podman.push(image_id, str(target), tls_verify=tls, on_line=said)
                same = "the same digest" if again == digest else f"another digest, {again}"
                self.emit(
                    Event(
                        "image.build.output",
                        name,
                        f"the registry did not take the tag {tag} as a copy ({error.message}); "
                        f"pushed it again, with {same}",
                        {"stream": "bootcfleet", "tag": tag, "digest": str(again)},
                    )
                )
        self.emit(
            Event(
                "image.build.pushed",
                name,
                f"pushed {pinned}",
                {"digest": str(digest), "tags": [str(repository.with_tag(t)) for t in self.tags]},
            )
        )
        return digest

    def _exact_base(self, name: str, base: str, said: Callable[[str, str], None]) -> str:
        """The exact reference of an external base that the plan could not resolve.

        An image in podman's storage alone (``localhost/…``, or the registry is
        out of reach) stands by its id; that is said.
        """
        ref = ImageRef.parse(base)
        if ref.digest is not None:
            return base
        if ref.registry != "localhost":
            try:
                self._have(base, said, always=True)
            except FleetError:
                if not self.podman.exists(base):
                    raise
        found = self.podman.inspect(base)
        digests = [one for one in found.digests if one.startswith(f"{ref.name}@")]
        if len(digests) == 1 and ref.registry != "localhost":
            return digests[0]
        self.emit(
            Event(
                "image.build.output",
                name,
                f"the base {base} is known only to this machine; building FROM its id {found.id}",
                {"stream": "bootcfleet", "base": found.id},
            )
        )
        return found.id

    def _have(
        self, reference: str, said: Callable[[str, str], None], *, always: bool = False
    ) -> None:
        """Make sure that a base is in the storage; images that share one wait for one pull."""
        with self._lock:
            lock = self._bases.setdefault(reference, threading.Lock())
        with lock:
            if always or not self.podman.exists(reference):
                verify = tls_verify(ImageRef.parse(reference))
                self.podman.pull(reference, tls_verify=verify, on_line=said)

    def _say(self, name: str, log: ImageLog, tail: deque[str]) -> Callable[[str, str], None]:
        def said(stream: str, line: str) -> None:
            log.line(line)
            if line.strip():
                tail.append(line)
                self.emit(Event("image.build.output", name, line, {"stream": stream}))

        return said

    def _since(self, started: datetime) -> float:
        return (self.clock() - started).total_seconds()


def _ending(said: Iterable[str], details: Sequence[str]) -> tuple[str, ...]:
    """The last lines that podman said, with its error at the end.

    The two streams arrive by threads of their own, so the error of one may
    stand before lines of the other that were written earlier.
    """
    if not details:
        return tuple(said)
    last = details[-1]
    return (*[line for line in said if line != last][1 - TAIL :], last)


def tls_verify(ref: ImageRef) -> bool | None:
    """Loopback registries speak plain http (as `RegistryClient` does); else registries.conf."""
    return False if is_loopback(ref.registry) else None


def build_secrets(root: Path, image: ImageSpec) -> list[BuildSecret]:
    """The secrets of an image for podman; paths are relative to the project, ``~`` is home."""
    found = []
    for secret in image.secrets:
        path = None if secret.file is None else root / Path(secret.file).expanduser()
        found.append(BuildSecret(secret.id, path, secret.env))
    return found
