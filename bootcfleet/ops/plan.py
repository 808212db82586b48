"""Plan a build: what has to be built, and why, image by image; the rest is skipped.

The plan knows what was built here (``builds.json``) and asks the registry for
what it cannot know: where an external base is now, and whether an image was
already built elsewhere.  podman is never asked.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

from bootcfleet.domain.build import LastBuild, image_tags, tagged
from bootcfleet.domain.buildid import ID_LABEL, BuildInputs, id_tag, inputs_of
from bootcfleet.domain.graph import ImageGraph
from bootcfleet.domain.image import Config, Manifest
from bootcfleet.domain.plan import (
    BuildAction,
    BuildPlan,
    BuildStep,
    Known,
    kept,
    why_build,
    why_skip,
)
from bootcfleet.domain.project import ImageSpec
from bootcfleet.domain.reference import ImageRef, Platform
from bootcfleet.domain.template import RenderedImage
from bootcfleet.drivers.podman import BuildSecret
from bootcfleet.drivers.registry import RegistryError
from bootcfleet.errors import ConfigError, FleetError
from bootcfleet.ops.bases import Base, Bases
from bootcfleet.ops.project import LoadedProject
from bootcfleet.ops.render import ProjectImages

#: Questions to registries at the same time.
_ASKING = 16


class Asked(Protocol):
    """What a plan asks of a registry; `drivers.registry.RegistryClient` has it."""

    def manifest(self, ref: ImageRef) -> Manifest:
        """The manifest as the registry's bytes."""
        ...

    def config(self, ref: ImageRef, platform: Platform | None = None) -> Config:
        """The configuration of an image."""
        ...


def image_graph(loaded: LoadedProject) -> ImageGraph:
    """The project's images as a graph.  Raises `ConfigError` for cycles and missing parents."""
    return ImageGraph.of(loaded.project, loaded.document)


def platforms_of(loaded: LoadedProject, name: str) -> tuple[str, ...]:
    """The platforms that an image is built for: its own, the project's, or this machine's."""
    image = loaded.project.images[name]
    return image.platforms or loaded.project.platforms or (this_platform(),)


def this_platform() -> str:
    """The platform of this machine.  Raises `InvalidReferenceError` for one without bootc."""
    return str(Platform.parse(platform.machine()))


def image_inputs(images: ProjectImages, name: str, base: str) -> tuple[BuildInputs, RenderedImage]:
    """What an image built FROM `base` is made of, and how it renders.  Raises `ConfigError`."""
    loaded = images.loaded
    image = loaded.project.images[name]
    rendered = images.render(name, base)
    inputs = inputs_of(
        loaded.project,
        image,
        rendered,
        base,
        platforms=platforms_of(loaded, name),
        sources=images.renderer.sources(image.template or name),
    )
    return inputs, rendered


def plan_build(
    images: ProjectImages,
    names: Sequence[str] = (),
    *,
    now: datetime,
    push: bool = False,
    bases: Bases | None = None,
    registry: Asked | None = None,
) -> BuildPlan:
    """What building `names` (all images for none) would do, and why.

    `bases` says where external bases are; without it they are where the last
    build found them. `registry` is asked, by build id, for images that were not
    built here; without it nobody is asked. Every image is rendered and its
    secrets are looked for, so that a mistake is known before anything starts.
    Raises `ConfigError` and `UsageError`.
    """
    loaded = images.loaded
    graph = image_graph(loaded).subset(names)
    tags = image_tags(loaded.project.image_version, now, images.git.commit, dirty=images.git.dirty)
    for name in graph.names:
        tagged(images.repository(name), tags)
        _check_secrets(loaded, name)
        _check_platforms(loaded, name)
    last = images.files.last_builds()
    planner = _Planner(images, graph, last, now, push, bases or Bases(last), registry)
    return BuildPlan(planner.steps(), tags, push)


@dataclass
class _Planner:
    """One plan in the making."""

    images: ProjectImages
    graph: ImageGraph
    last: Mapping[str, LastBuild]
    now: datetime
    push: bool
    bases: Bases
    registry: Asked | None

    def steps(self) -> tuple[BuildStep, ...]:
        """A step for each image, in the graph's order."""
        made: dict[str, BuildStep] = {}
        for generation in self._generations():
            found = [self._step(name, made) for name in generation]
            made |= {step.image: step for step in self._found_elsewhere(found)}
        return tuple(made[name] for name in self.graph.names)

    def _generations(self) -> Iterable[list[str]]:
        """Images by their distance from their base: none of a list depends on another of it."""
        depth: dict[str, int] = {}
        found: list[list[str]] = []
        for name, parent in self.graph.parents.items():
            depth[name] = 0 if parent is None else depth[parent] + 1
            if depth[name] == len(found):
                found.append([])
            found[depth[name]].append(name)
        return found

    def _has_platforms(self, name: str, base: Base) -> None:
        wanted = platforms_of(self.images.loaded, name)
        missing = [one for one in wanted if base.platforms and one not in base.platforms]
        if missing:
            raise self.images.loaded.document.error(
                ("images", name, "base"),
                f"{self.graph.bases[name]} has no image for {', '.join(missing)}",
                hint=f"it has: {', '.join(base.platforms)}",
            )

    def _step(self, name: str, made: Mapping[str, BuildStep]) -> BuildStep:
        parent = self.graph.parents[name]
        if parent is not None:
            known = made[parent].known
            if known is None:
                self.images.render(name, f"{self.images.repository(parent)}:planned")
                return BuildStep(name, BuildAction.BUILD, "parent is rebuilt", parent)
            base = Base(known.reference, known.variants)
        else:
            base = self.bases.find(name, self.graph.bases[name])
            self._has_platforms(name, base)
        inputs, _ = image_inputs(self.images, name, base.reference)
        last = self.last.get(name)
        where = self.images.repository(name)
        known = kept(last, inputs, where, push=self.push)
        reason = (
            why_skip(known, self.now) if known else why_build(last, inputs, where, push=self.push)
        )
        return BuildStep(
            name,
            BuildAction.SKIP if known else BuildAction.BUILD,
            reason,
            parent,
            base.reference,
            inputs.build_id,
            known,
            base.variants,
            base.notes,
        )

    def _found_elsewhere(self, steps: Sequence[BuildStep]) -> Iterable[BuildStep]:
        """The steps, without the builds of images that a registry has by their build id."""
        registry = self.registry
        if registry is None:
            return steps
        with ThreadPoolExecutor(_ASKING, thread_name_prefix="plan") as pool:
            return list(pool.map(lambda step: self._look(step, registry), steps))

    def _look(self, step: BuildStep, registry: Asked) -> BuildStep:
        # The id of an image on a base that only a name tells is not what it will be built with.
        exact = step.base is not None and ("@" in step.base or step.base.startswith("sha256:"))
        if step.action is BuildAction.SKIP or step.build_id is None or not exact:
            return step
        repository = ImageRef.parse(self.images.repository(step.image))
        try:
            known = find_built(registry, repository, step.build_id)
        except FleetError as error:
            note = f"the registry did not say whether it has it: {error.message}"
            return replace(step, notes=(*step.notes, note))
        if known is None:
            return step
        return replace(step, action=BuildAction.SKIP, reason=why_skip(known, self.now), known=known)


def find_built(registry: Asked, repository: ImageRef, build_id: str) -> Known | None:
    """The image that a registry keeps under a build id, or None.

    An image whose label says another id is none: the tag has half of it only.
    Raises `FleetError` when the registry does not answer.
    """
    tag = repository.with_tag(id_tag(build_id))
    try:
        manifest = registry.manifest(tag)
        config = registry.config(repository.with_digest(manifest.digest))
    except RegistryError as error:
        if error.status == 404:
            return None
        raise
    if config.labels.get(ID_LABEL) != build_id:
        return None
    children = manifest.children if manifest.is_index else {}
    return Known(
        str(repository.with_digest(manifest.digest)),
        build_id,
        config.created,
        digest=str(manifest.digest),
        variants={str(p): str(repository.with_digest(d)) for p, d in children.items()},
        retag=True,
    )


def build_secrets(root: Path, image: ImageSpec) -> list[BuildSecret]:
    """The secrets of an image for podman; paths are relative to the project, ``~`` is home."""
    found = []
    for secret in image.secrets:
        path = None if secret.file is None else root / Path(secret.file).expanduser()
        found.append(BuildSecret(secret.id, path, secret.env))
    return found


def _check_platforms(loaded: LoadedProject, name: str) -> None:
    """A child can be built only for platforms that its parent is built for."""
    parent = loaded.project.images[name].from_
    if parent is None:
        return
    missing = [p for p in platforms_of(loaded, name) if p not in platforms_of(loaded, parent)]
    if missing:
        at = "platforms" if loaded.project.images[name].platforms else "from"
        raise loaded.document.error(
            ("images", name, at),
            f"is for {', '.join(missing)}, and its parent {parent} is not",
            hint=f"add {', '.join(missing)} to the platforms of {parent}",
        )


def _check_secrets(loaded: LoadedProject, name: str) -> None:
    """podman builds without a secret that is not there, so it is looked for before."""
    image = loaded.project.images[name]
    for index, secret in enumerate(build_secrets(loaded.root, image)):
        at = ("images", name, "secrets", index)
        if secret.env is not None and secret.env not in os.environ:
            raise loaded.document.error(
                (*at, "env"),
                f"the environment variable {secret.env} is not set",
                hint=f"export {secret.env}=… before the build",
            )
        if secret.file is not None and not os.access(secret.file, os.R_OK):
            raise _file_error(loaded, (*at, "file"), str(secret.file))


def _file_error(loaded: LoadedProject, at: tuple[str | int, ...], path: str) -> ConfigError:
    why = "may not be read by this user" if os.path.lexists(path) else "does not exist"
    return loaded.document.error(at, f"the secret's file {path} {why}")
