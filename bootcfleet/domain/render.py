"""From a template and an image's variables to a Containerfile and a build context."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bootcfleet.domain.document import Document, did_you_mean
from bootcfleet.domain.template import (
    CONTAINERFILE,
    METADATA,
    SHARED,
    SUFFIX,
    ContextFile,
    RenderedImage,
    SourceFile,
    TemplateInfo,
    TemplateSet,
    VarsError,
    choose_variables,
    path_problem,
)
from bootcfleet.domain.template_text import TextRenderer
from bootcfleet.errors import ConfigError


@dataclass(frozen=True)
class RenderRequest:
    """One image to render.

    `base` is the FROM reference; `image`, `project` and `git` are what the
    templates see under these names; `variables` is the image's ``vars:``;
    `error` makes complaints about it (see `choose_variables`).
    """

    template: str
    base: str
    image: Mapping[str, Any]
    project: Mapping[str, Any]
    git: Mapping[str, Any]
    variables: Mapping[str, Any] = field(default_factory=dict)
    error: VarsError | None = None


class Renderer:
    """Renders images from one template set; parsed templates are kept.  Safe in threads."""

    def __init__(self, templates: TemplateSet) -> None:
        self._templates = templates
        self._texts = TextRenderer(templates.files, METADATA)
        self._infos: dict[str, TemplateInfo] = {}
        self._context_files: dict[str, Mapping[str, SourceFile]] = {}
        self._sources: dict[str, Mapping[str, str]] = {}

    def origin(self, template: str, file: str) -> tuple[str, str, bool] | None:
        """The source of a rendered file (``Containerfile``, ``files/…``): path, text, whether it
        is rendered; None when it has none, or is not text."""
        for path, rendered in ((f"{template}/{file}{SUFFIX}", True), (f"{template}/{file}", False)):
            source = self._templates.files.get(path)
            if source is not None and source.origin:
                return source.origin, source.data.decode("utf-8", "replace"), rendered
        return None

    def render(self, request: RenderRequest) -> RenderedImage:
        """The Containerfile and context files of one image.  Raises `ConfigError`."""
        context = self.context(request)
        containerfile = self._texts.render(f"{request.template}/{CONTAINERFILE}", context)
        return RenderedImage(containerfile, self._files(request.template, context))

    def checks(self, template: str) -> tuple[Document, ...]:
        """The files of checks that a template has, as they are read."""
        return self._templates.checks.get(template, ())

    def context(self, request: RenderRequest) -> dict[str, Any]:
        """The names that the templates of one image see.  Raises `ConfigError`."""
        name, error = request.template, request.error or _plain_error(request)
        if f"{name}/{CONTAINERFILE}" not in self._templates.files or name == SHARED:
            known = self._templates.names
            raise error(
                None,
                f"there is no template {name!r}",
                hint=did_you_mean(name, known) or f"a template is a folder with a {CONTAINERFILE}",
            )
        info = self._infos.get(name) or self._infos.setdefault(name, self._templates.info(name))
        chosen = choose_variables(info, request.variables, name, error)
        return {
            # A copy, so that nothing a template does can reach another image.
            **copy.deepcopy(chosen),
            "base": request.base,
            "image": dict(request.image),
            "project": dict(request.project),
            "git": dict(request.git),
        }

    def sources(self, template: str) -> Mapping[str, str]:
        """The template files that a Containerfile is made of, with their SHA-256.

        Partials are followed where they are named by a plain string; they only explain
        a change, so one that is chosen by a variable may be missing.
        """
        if template not in self._sources:
            found: dict[str, str] = {}
            waiting = [f"{template}/{CONTAINERFILE}"]
            while waiting:
                path = waiting.pop()
                file = self._templates.files.get(path)
                if file is None or path in found:
                    continue
                found[path] = hashlib.sha256(file.data).hexdigest()
                waiting += self._texts.referenced(path)
            self._sources[template] = dict(sorted(found.items()))
        return self._sources[template]

    def _files(self, name: str, context: Mapping[str, Any]) -> dict[str, ContextFile]:
        if name not in self._context_files:
            self._context_files[name] = self._templates.context_files(name)
        rendered: dict[str, ContextFile] = {}
        origins: dict[str, str] = {}
        for path, file in self._context_files[name].items():
            data, target = file.data, path
            if path.endswith(SUFFIX):
                target = path.removesuffix(SUFFIX)
                text = self._texts.render(f"{name}/{path}", context)
                if not text.strip():
                    continue
                data = text.encode()
            problem = path_problem(target)
            if problem:
                raise ConfigError(f"the path {target!r} {problem}", file=file.origin or path)
            if target in rendered:
                raise ConfigError(
                    f"makes the same file as {origins[target]}",
                    file=file.origin or path,
                    hint="remove or rename one of the two",
                )
            rendered[target] = ContextFile(data, 0o755 if file.executable else 0o644)
            origins[target] = file.origin or path
        return rendered


def render_image(templates: TemplateSet, request: RenderRequest) -> RenderedImage:
    """Render one image of a template set.  For many images keep a `Renderer`."""
    return Renderer(templates).render(request)


def _plain_error(request: RenderRequest) -> VarsError:
    """Complaints about variables where no project file is there to point at."""

    def make(key: str | None, message: str, *, hint: str | None = None) -> ConfigError:
        name = request.image.get("name", request.template)
        field = f"images.{name}" + (f".vars.{key}" if key is not None else "")
        return ConfigError(message, field=field, hint=hint)

    return make
