"""Which image a word of the command line means."""

from __future__ import annotations

from dataclasses import dataclass

from bootcfleet.domain.document import did_you_mean
from bootcfleet.domain.reference import Digest, ImageRef
from bootcfleet.drivers.buildfiles import BuildFiles
from bootcfleet.errors import UsageError
from bootcfleet.ops.audit import open_ledger
from bootcfleet.ops.project import LoadedProject, state_dir


@dataclass(frozen=True)
class NamedImage:
    """An image that was named: `ref` in a registry, or `local` (an id) in podman's storage.

    `image` is its name in the project, empty when it is none of its.
    """

    text: str
    image: str
    ref: ImageRef | None
    local: str | None = None

    def pushed(self) -> ImageRef:
        """Its reference in a registry.  Raises `UsageError` when it has none."""
        if self.ref is None:
            raise UsageError(
                f"the last build of {self.image} was not pushed",
                hint=f"bootcfleet image build {self.image} --push",
            )
        return self.ref


def name_image(loaded: LoadedProject | None, text: str) -> NamedImage:
    """Read NAME (its last build), NAME:CHANNEL, NAME@DIGEST, a digest, or a full reference.

    Raises `UsageError` for what is none of these.
    """
    if text.startswith("sha256:"):
        return _by_digest(loaded, Digest(text))
    if "/" in text:
        ref = ImageRef.parse(text)
        return NamedImage(text, _own_name(loaded, ref), ref)
    name, _, rest = text.partition("@")
    name, _, tag = name.partition(":")
    images = loaded.project.images if loaded else {}
    if loaded is None or name not in images:
        raise UsageError(
            f"{text!r} is not an image of the project, nor a full reference",
            hint=did_you_mean(name, images)
            or "write a reference in full: registry.example.com/acme/soe:1.0",
        )
    # A channel may have its images in a repository of its own.
    channel = loaded.project.channels.get(tag)
    prefix = (channel.repository if channel else None) or loaded.project.registry
    ref = ImageRef.parse(f"{prefix}/{text}")
    if tag or rest:
        return NamedImage(text, name, ref)
    built = BuildFiles(state_dir(loaded)).last_builds().get(name)
    if built is None:
        raise UsageError(
            f"{name} was not built here yet", hint=f"bootcfleet image build {name} --push"
        )
    if built.digest is None:
        return NamedImage(text, name, None, built.image_id)
    return NamedImage(text, name, ref.with_digest(Digest(built.digest)))


def _own_name(loaded: LoadedProject | None, ref: ImageRef) -> str:
    if loaded is None:
        return ""
    project = loaded.project
    own, _, name = ref.name.rpartition("/")
    prefixes = {project.registry, *(spec.repository for spec in project.channels.values())}
    return name if own in prefixes and name in project.images else ""


def _by_digest(loaded: LoadedProject | None, digest: Digest) -> NamedImage:
    """A digest alone: the ledger knows whose it is."""
    if loaded is not None:
        ledger = open_ledger(loaded)
        try:
            entries = ledger.entries(action="image.build")
        finally:
            ledger.close()
        for entry in reversed(entries):
            if entry.digests.get("image") == str(digest) and entry.subject in loaded.project.images:
                ref = ImageRef.parse(f"{loaded.project.registry}/{entry.subject}")
                return NamedImage(str(digest), entry.subject, ref.with_digest(digest))
    raise UsageError(
        f"no build of this project has the digest {digest}",
        hint=f"say where it is: registry.example.com/acme/soe@{digest}",
    )
