"""Render an image of a project, and compare it with what its last build was made of."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from bootcfleet.domain.build import LastBuild
from bootcfleet.domain.document import did_you_mean
from bootcfleet.domain.render import Renderer, RenderRequest
from bootcfleet.domain.template import ContextFile, RenderedImage
from bootcfleet.drivers.buildfiles import CONTAINERFILE, BuildFiles, write_tree
from bootcfleet.drivers.command import Executor
from bootcfleet.drivers.git import GitFacts, GitRepo
from bootcfleet.drivers.templatefiles import load_templates, shipped_templates
from bootcfleet.errors import ConfigError, UsageError
from bootcfleet.ops.project import LoadedProject, state_dir
from bootcfleet.ops.trustpolicy import trust_context


@dataclass(frozen=True)
class ProjectImages:
    """The images of a project, ready to be rendered: its templates are read and parsed once."""

    loaded: LoadedProject
    renderer: Renderer
    git: GitFacts
    files: BuildFiles

    @classmethod
    def open(cls, loaded: LoadedProject, executor: Executor) -> ProjectImages:
        """Read the templates (the project's over the shipped ones) and the state of git."""
        folders = [loaded.root / loaded.project.templates, shipped_templates()]
        facts = GitRepo(executor, loaded.root).facts()
        return cls(loaded, Renderer(load_templates(folders)), facts, BuildFiles(state_dir(loaded)))

    def repository(self, name: str) -> str:
        """Where an image is pushed to: REGISTRY/NAME."""
        return f"{self.loaded.project.registry}/{name}"

    def render(self, name: str, base: str) -> RenderedImage:
        """Render an image as it is built FROM `base`.  Raises `ConfigError`."""
        return self.renderer.render(self.request(name, base))

    def request(self, name: str, base: str) -> RenderRequest:
        """What rendering an image built FROM `base` needs."""
        project = self.loaded.project
        image = project.images[name]

        def complain(key: str | None, message: str, *, hint: str | None = None) -> ConfigError:
            path = ("images", name, "vars", key) if key is not None else ("images", name)
            return self.loaded.document.error(path, message, hint=hint)

        return RenderRequest(
            template=image.template or name,
            base=base,
            image={
                "name": name,
                "version": project.image_version,
                "description": image.description,
            },
            project={
                "name": project.name,
                "registry": project.registry,
                "signing": trust_context(self.loaded),
            },
            git=asdict(self.git),
            variables=image.vars,
            error=complain,
        )

    def likely_base(self, name: str, last: Mapping[str, LastBuild]) -> str:
        """What an image would be built FROM, without asking anybody.

        The exact reference of the parent's last build; of an external base what
        the last build resolved it to, as long as the project declares the same;
        else the reference as it is declared.
        """
        image = self.loaded.project.images[name]
        if image.from_ is not None:
            built = last.get(image.from_)
            version = self.loaded.project.image_version
            return built.reference if built else f"{self.repository(image.from_)}:{version}"
        before = last.get(name)
        if before is not None and before.declared == image.base:
            return before.base
        return image.base or ""


def render_one(images: ProjectImages, name: str) -> RenderedImage:
    """Render one image without building anything.

    Raises `UsageError` for a name that is not an image, `ConfigError` for a
    template or variable that is wrong.
    """
    known = images.loaded.project.images
    if name not in known:
        raise UsageError(f"the project has no image {name!r}", hint=did_you_mean(name, known))
    return images.render(name, images.likely_base(name, images.files.last_builds()))


def diff_last(images: ProjectImages, name: str, rendered: RenderedImage) -> str:
    """A unified diff from what the last build was made of to `rendered`; empty when alike."""
    before = images.files.last_rendered(name)
    return diff(before or RenderedImage("", {}), rendered)


def diff(before: RenderedImage, after: RenderedImage) -> str:
    """A unified diff of two rendered images, Containerfile first, then files by path."""
    old, new = _tree(before), _tree(after)
    lines: list[str] = []
    for path in [CONTAINERFILE, *sorted((old.keys() | new.keys()) - {CONTAINERFILE})]:
        lines += _diff_file(path, old.get(path), new.get(path))
    return "".join(lines)


def write_rendered(rendered: RenderedImage, folder: Path) -> None:
    """Write a rendered image into a new or empty folder.  Raises `UsageError` for another."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{folder} is not an empty folder", hint="name a folder that does not exist yet"
        )
    write_tree(folder, rendered)


def _tree(rendered: RenderedImage) -> dict[str, ContextFile]:
    first = {CONTAINERFILE: ContextFile(rendered.containerfile.encode())}
    return {**(first if rendered.containerfile else {}), **rendered.files}


def _diff_file(path: str, old: ContextFile | None, new: ContextFile | None) -> list[str]:
    if old == new:
        return []
    lines: list[str] = []
    if old and new and old.mode != new.mode:
        lines.append(f"mode of {path}: {old.mode:04o} → {new.mode:04o}\n")
    if old and new and old.data == new.data:
        return lines
    try:
        before, after = ((one.data.decode() if one else "").splitlines(True) for one in (old, new))
    except UnicodeDecodeError:
        return [*lines, f"binary files differ: {path}\n"]
    source = f"a/{path}" if old else "/dev/null"
    target = f"b/{path}" if new else "/dev/null"
    for line in difflib.unified_diff(before, after, source, target):
        lines.append(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
    return lines
