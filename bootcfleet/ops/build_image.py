"""Build one image: its context, its base, podman, and the push under all its tags."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from bootcfleet.domain.build import ImageOutcome, ImageResult, LastBuild, tagged
from bootcfleet.domain.buildid import BuildInputs, id_tag
from bootcfleet.domain.cachekey import with_cache_keys
from bootcfleet.domain.event import Emit, Event
from bootcfleet.domain.labels import image_labels, label_instruction
from bootcfleet.domain.lifecycle import end_of_life_labels
from bootcfleet.domain.plan import BuildStep, Known, kept
from bootcfleet.domain.reference import ImageRef
from bootcfleet.domain.template import RenderedImage
from bootcfleet.drivers.buildfiles import CONTAINERFILE, ImageLog
from bootcfleet.drivers.podman import TAIL, Podman
from bootcfleet.errors import ChecksFailedError, FleetError
from bootcfleet.ops.bootclint import BootcLinter
from bootcfleet.ops.build_push import Pusher, Registry, Said, tls_verify
from bootcfleet.ops.plan import build_secrets, find_built, image_graph, image_inputs, this_platform
from bootcfleet.ops.render import ProjectImages

#: Is told of every image before its children start, with what it was built from when it is new;
#: an error that it raises fails the image.
Proof = Callable[[ImageResult, RenderedImage | None], None]


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
    timestamp: int | None = None
    no_cache: bool = False
    proof: Proof | None = None
    bootc: BootcLinter | None = None
    _bases: dict[str, threading.Lock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def pusher(self) -> Pusher:
        """What pushes for this run."""
        return Pusher(self.podman, self.registry, self.tags, self.emit)

    def build(self, step: BuildStep, parent: ImageResult | None) -> ImageResult:
        """Build (and push) one image; a failure is a result and not an error.

        An image that turns out to be there already is not built: a skipped step's,
        or one whose parent came out as it was before.
        """
        name, started = step.image, self.clock()
        tail: deque[str] = deque(maxlen=TAIL)
        path: Path | None = None
        made: ImageResult | None = None
        base = parent.reference if parent else step.base
        try:
            if step.known is not None and self._there(step.known):
                return self._unchanged(step, step.known, started)
            with self.images.files.log(self.stamp, name) as log:
                path = log.path
                said = self._say(name, log, tail)
                if parent is None:
                    base = self._exact_base(name, base or "", said)
                inputs, rendered = image_inputs(self.images, name, base or "")
                known = self._elsewhere(step, inputs)
                if known is not None:
                    return self._unchanged(step, known, started, inputs)
                variants = parent.variants if parent else step.bases
                made = self._build(name, base or "", variants, inputs, rendered, path, said)
            self._remember(made, rendered, inputs, started)
            if self.proof is not None:
                self.proof(made, rendered)
        except (FleetError, OSError) as error:
            message = error.message if isinstance(error, FleetError) else str(error)
            details = error.details if isinstance(error, FleetError) else ()
            # A check says itself what is wrong; what podman said before was no failure.
            checked = isinstance(error, ChecksFailedError)
            # An image that its checks condemn was made all the same, and is to be found again.
            return replace(
                made or ImageResult(name, ImageOutcome.FAILED, base=base),
                outcome=ImageOutcome.FAILED,
                log=str(path) if path else None,
                seconds=self._since(started),
                message=message,
                hint=error.hint if isinstance(error, FleetError) else None,
                tail=tuple(details) if checked else _ending(tail, details),
            )
        return replace(made, seconds=self._since(started))

    def _there(self, known: Known) -> bool:
        """Whether an image that the plan knows of is still where it was."""
        if known.digest is not None:
            return self.registry.exists(ImageRef.parse(known.reference))
        return self.podman.exists(known.image_id or known.reference)

    def _elsewhere(self, step: BuildStep, inputs: BuildInputs) -> Known | None:
        """An image of these inputs that is there by now; the plan could not know its base."""
        if step.build_id is not None:
            return None
        last = self.images.files.last_builds().get(step.image)
        known = kept(last, inputs, self.images.repository(step.image), push=self.push)
        if known is None and self.push:
            repository = ImageRef.parse(self.images.repository(step.image))
            known = find_built(self.registry, repository, inputs.build_id)
        return known if known is not None and self._there(known) else None

    def _unchanged(
        self,
        step: BuildStep,
        known: Known,
        started: datetime,
        inputs: BuildInputs | None = None,
    ) -> ImageResult:
        """Take what is there; it gets this build's tags where it was built elsewhere."""
        name = step.image
        repository = ImageRef.parse(self.images.repository(name))
        result = ImageResult(
            name,
            ImageOutcome.UNCHANGED,
            reference=known.reference,
            image_id=known.image_id,
            digest=known.digest,
            base=step.base,
            message=step.reason if step.known else "its parent came out as it was",
            build_id=known.build_id,
            variants=known.variants,
        )
        if known.retag:
            if self.push:
                self.pusher.retag(name, repository, known)
                result = replace(result, tags=tagged(str(repository), self.tags))
            if step.base and inputs is None:
                inputs, rendered = image_inputs(self.images, name, step.base)
                self.images.files.keep_rendered(name, rendered)
            self._write(result, known.built_at, inputs)
        if self.proof is not None:
            self.proof(result, None)
        return replace(result, seconds=self._since(started))

    def _build(
        self,
        name: str,
        base: str,
        variants: Mapping[str, str],
        inputs: BuildInputs,
        rendered: RenderedImage,
        path: Path,
        said: Said,
    ) -> ImageResult:
        repository = self.images.repository(name)
        self.emit(
            Event(
                "image.build.started",
                name,
                f"building FROM {base}",
                {"base": base, "log": str(path), "build_id": inputs.build_id},
            )
        )
        ids = {}
        for platform in inputs.platforms:
            own = variants.get(platform, base)
            part = rendered if own == base else self.images.render(name, own)
            ids[platform] = self._build_one(name, platform, own, base, part, inputs, said)
        names = tagged(repository, self.tags)
        first = ids.get(this_platform()) or next(iter(ids.values()))
        if self.bootc is not None:
            policy = self.images.loaded.project.images[name].bootc_lint
            own = variants.get(this_platform(), base)
            self.bootc.judge(name, first, own, rendered, policy)
        result = ImageResult(
            name,
            ImageOutcome.BUILT,
            reference=first,
            image_id=first,
            tags=names,
            base=base,
            log=str(path),
            build_id=inputs.build_id,
            variants=ids if len(ids) > 1 else {},
        )
        if not self.push:
            return result
        known = self.pusher.push(name, ImageRef.parse(repository), inputs.build_id, ids, said)
        # A child is built FROM this very reference; its layers are here already.
        for reference in known.variants.values() or [known.reference]:
            self._have(reference, said)
        return replace(
            result, reference=known.reference, digest=known.digest, variants=known.variants
        )

    def _build_one(
        self,
        name: str,
        platform: str,
        own: str,
        base: str,
        rendered: RenderedImage,
        inputs: BuildInputs,
        said: Said,
    ) -> str:
        """Build the image of one platform FROM `own`, its part of `base`; return its id."""
        loaded = self.images.loaded
        image = loaded.project.images[name]
        several = len(inputs.platforms) > 1
        wanted = platform if several or platform != this_platform() else None
        text = with_cache_keys(rendered, inputs.secrets, wanted)
        labels = label_instruction(self._labels(name, inputs, base))
        context = self.images.files.write_context(
            name, replace(rendered, containerfile=text + labels)
        )
        if f"FROM {own}" in rendered.containerfile and not own.startswith("sha256:"):
            self._have(own, said)
        suffix = f"-{platform.rpartition('/')[2]}" if several else ""
        tags = (*self.tags, id_tag(inputs.build_id))
        return self.podman.build(
            context,
            context / CONTAINERFILE,
            tags=tagged(self.images.repository(name), tuple(f"{tag}{suffix}" for tag in tags)),
            build_args=image.build_args,
            secrets=build_secrets(loaded.root, image),
            platform=wanted,
            timestamp=self.timestamp,
            no_cache=self.no_cache,
            on_line=said,
        )

    def _labels(self, name: str, inputs: BuildInputs, base: str) -> dict[str, str]:
        loaded = self.images.loaded
        image = loaded.project.images[name]
        declared = self.images.repository(image.from_) if image.from_ else image.base or ""
        own = image_labels(
            name,
            inputs.build_id,
            base,
            declared=declared,
            revision=self.images.git.revision,
            source=self.images.git.url,
            timestamp=self.timestamp,
        )
        return own | end_of_life_labels(loaded.project, image_graph(loaded), name)

    def _remember(
        self,
        result: ImageResult,
        rendered: RenderedImage,
        inputs: BuildInputs,
        started: datetime,
    ) -> None:
        done = replace(result, seconds=self._since(started))
        self.images.files.keep_rendered(done.image, rendered)
        self._write(done, self.clock().astimezone(UTC).isoformat(timespec="seconds"), inputs)

    def _write(self, done: ImageResult, built_at: str | None, inputs: BuildInputs | None) -> None:
        image = self.images.loaded.project.images[done.image]
        self.images.files.remember(
            done.image,
            LastBuild(
                image_id=done.image_id or "",
                reference=done.reference or "",
                base=done.base or "",
                built_at=built_at or "",
                declared=image.base,
                digest=done.digest,
                tags=done.tags,
                git_commit=self.images.git.commit,
                log=done.log,
                seconds=round(done.seconds, 3),
                inputs=inputs,
                variants=done.variants,
            ),
        )

    def _exact_base(self, name: str, base: str, said: Said) -> str:
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

    def _have(self, reference: str, said: Said, *, always: bool = False) -> None:
        """Make sure that a base is in the storage; images that share one wait for one pull."""
        with self._lock:
            lock = self._bases.setdefault(reference, threading.Lock())
        with lock:
            if always or not self.podman.exists(reference):
                verify = tls_verify(ImageRef.parse(reference))
                self.podman.pull(reference, tls_verify=verify, on_line=said)

    def _say(self, name: str, log: ImageLog, tail: deque[str]) -> Said:
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
