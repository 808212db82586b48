"""The disks of a project: their configuration as it is handed over, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bootcfleet.domain.disk_spec import DiskSpec
from bootcfleet.domain.diskconfig import DiskConfig
from bootcfleet.domain.disklint.engine import (
    customizations_at,
    lint_config,
    ordered,
    subject_of,
)
from bootcfleet.domain.disklint.installer import wipes_disks
from bootcfleet.domain.disklint.model import DiskFinding, InImage, part
from bootcfleet.domain.disklint.specrules import lint_spec
from bootcfleet.domain.document import Document, did_you_mean, validate
from bootcfleet.domain.document import Path as ValuePath
from bootcfleet.domain.lint.model import Severity, Subject
from bootcfleet.drivers import blueprintfile, yamlfile
from bootcfleet.drivers.command import Executor
from bootcfleet.errors import ChecksFailedError, ConfigError, FleetError, UsageError
from bootcfleet.ops.project import FILE, LoadedProject, find_root, load_project
from bootcfleet.ops.render import ProjectImages

_CONFIG = ("usr/lib/bootc-image-builder/config.toml", "usr/lib/bootc-image-builder/config.json")
#: The first that is there counts.
_DISK_YAML = (
    "usr/lib/image-builder/bootc/disk.yaml",
    "usr/lib/bootc-image-builder/disk.yaml",
)


@dataclass(frozen=True)
class DiskSettings:
    """A disk with its configuration: `document` has the customizations at `at`.

    `at` is None where the document is a blueprint of the user's own.
    """

    name: str
    spec: DiskSpec
    document: Document
    at: ValuePath | None

    def blueprint(self) -> dict[str, Any]:
        """What is handed to the builder, as data; without the wrapper of old JSON."""
        if self.at is not None:
            inline = part(self.document.data, self.at)
            return DiskConfig.model_validate(inline or {}).blueprint()
        path = customizations_at(self.document)
        found = part(self.document.data, path[:-1])
        return dict(found) if isinstance(found, Mapping) else {}

    def findings(self, in_image: InImage | None = None) -> tuple[DiskFinding, ...]:
        """What a builder would refuse, ignore or do to one's surprise."""
        spec = self.spec
        return lint_config(
            self.document,
            spec.types,
            spec.backend,
            at=self.at,
            rootfs=spec.rootfs or "",
            in_image=in_image,
        )

    def wipes(self) -> str:
        """Why what is made wipes every disk of a machine, unasked; empty where it does not."""
        spec = self.spec
        return wipes_disks(subject_of(self.document, spec.types, spec.backend, at=self.at))


@dataclass(frozen=True)
class DiskReport:
    """What was found in one disk's configuration; `notes` say what was not looked at."""

    disk: str
    findings: tuple[DiskFinding, ...]
    notes: tuple[str, ...] = ()

    def count(self, level: Severity) -> int:
        """How many findings there are of one severity."""
        return sum(1 for one in self.findings if one.level is level)

    def ok(self, *, strict: bool = False) -> bool:
        """Whether there is no error, and with `strict` no warning."""
        return not self.count(Severity.ERROR) and not (strict and self.count(Severity.WARNING))

    def to_json(self) -> dict[str, Any]:
        """The report as JSON-ready data."""
        return {
            "disk": self.disk,
            "ok": self.ok(),
            "errors": self.count(Severity.ERROR),
            "warnings": self.count(Severity.WARNING),
            "info": self.count(Severity.INFO),
            "findings": [one.to_json() for one in self.findings],
            "notes": list(self.notes),
        }


def open_disk(loaded: LoadedProject, name: str) -> DiskSettings:
    """A disk of a project, with its configuration read.

    Raises `UsageError` for a name that is none, `ConfigError` for a file that cannot be read.
    """
    return _settings(loaded.root, loaded.document, name)


def _settings(root: Path, document: Document, name: str) -> DiskSettings:
    disks = part(document.data, ("disks",))
    known = disks if isinstance(disks, Mapping) else {}
    if name not in known:
        hint = did_you_mean(name, known) or "name it under disks: in bootcfleet.yaml"
        raise UsageError(f"the project has no disk {name!r}", hint=hint)
    raw = known[name]
    at: ValuePath = ("disks", name)
    inline = isinstance(raw, Mapping) and raw.get("config") is not None
    if inline and "config_file" not in raw:
        # The rest alone: of the configuration, lint says everything at once and not the first.
        rest = {key: value for key, value in raw.items() if key != "config"}
        rest_of = Document(document.file, {"disks": {name: rest}}, document.lines)
        return DiskSettings(name, validate(rest_of, DiskSpec, at=at), document, (*at, "config"))
    spec = validate(document, DiskSpec, at=at)
    if spec.config_file is None:
        return DiskSettings(name, spec, document, (*at, "config"))
    return DiskSettings(name, spec, _own_file(root, document, at, spec.config_file), None)


def _own_file(root: Path, document: Document, at: ValuePath, file: str) -> Document:
    path = root / file
    if not path.is_file():
        raise document.error((*at, "config_file"), f"{file} is not a file")
    found = blueprintfile.load(path)
    return Document(file, found.data, found.lines)


def lint_disks(
    names: Sequence[str], executor: Executor, start: Path | None = None
) -> tuple[DiskReport, ...]:
    """Lint `names` (all disks for none) of the project around `start`.

    A project that is wrong only in its disks' configuration is linted all the same.
    Raises `UsageError`, and `ConfigError` for what else is wrong with the project.
    """
    root = find_root(start) or load_project(start).root
    document = yamlfile.load(root / FILE)
    disks = part(document.data, ("disks",))
    known = list(disks) if isinstance(disks, Mapping) else []
    wanted = list(dict.fromkeys(names)) or known
    settings = [_settings(root, document, name) for name in wanted]
    try:
        loaded: LoadedProject | None = load_project(start)
    except ConfigError:
        every = (_settings(root, document, name) for name in known)
        if not any(_errors(one.findings()) for one in every):
            raise
        loaded = None
    insides = _Insides(loaded, executor)
    reports = []
    for one in settings:
        in_image, notes = insides.of(one.spec.image)
        found = [*lint_spec(document, ("disks", one.name), one.spec), *one.findings(in_image)]
        findings = tuple(_relative(root, finding) for finding in ordered(found))
        reports.append(DiskReport(one.name, findings, notes))
    return tuple(reports)


def _relative(root: Path, finding: DiskFinding) -> DiskFinding:
    path = Path(finding.file)
    if path.is_absolute() and path.is_relative_to(root):
        return replace(finding, file=path.relative_to(root).as_posix())
    return finding


def _errors(findings: Sequence[DiskFinding]) -> int:
    return sum(1 for one in findings if one.level is Severity.ERROR)


class _Insides:
    """What images of the project have about their disks, from their templates alone."""

    def __init__(self, loaded: LoadedProject | None, executor: Executor) -> None:
        self._loaded = loaded
        self._executor = executor
        self._images: ProjectImages | None = None

    def of(self, image: str) -> tuple[InImage, tuple[str, ...]]:
        """The files of an image and its parents in the project; a note where that fails."""
        if self._loaded is None or image not in self._loaded.project.images:
            return InImage(), ()
        try:
            files = self._files(self._loaded, image)
            return InImage(_first(files, _CONFIG), _first(files, _DISK_YAML)), ()
        except FleetError as error:
            return InImage(), (f"what {image} says of its disks is not known: {error.message}",)

    def _files(self, loaded: LoadedProject, image: str) -> dict[str, bytes]:
        if self._images is None:
            self._images = ProjectImages.open(loaded, self._executor)
        last = self._images.files.last_builds()
        found: dict[str, bytes] = {}
        name: str | None = image
        while name is not None:
            rendered = self._images.render(name, self._images.likely_base(name, last))
            for one in Subject(name, rendered).placed:
                # A child's file lies over its parent's.
                found.setdefault(one.path.removeprefix("/"), one.file.data)
            name = loaded.project.images[name].from_
        return found


def _first(files: Mapping[str, bytes], paths: Sequence[str]) -> Document | None:
    for path in paths:
        if path in files:
            text = files[path].decode("utf-8", "replace")
            if path.endswith(".toml"):
                return blueprintfile.parse_toml(text, f"/{path}")
            if path.endswith(".json"):
                return blueprintfile.parse_json(text, f"/{path}")
            return yamlfile.parse(text, f"/{path}")
    return None


def require_clean(reports: Sequence[DiskReport], *, strict: bool = False) -> None:
    """Raise `ChecksFailedError` when a disk has an error (with `strict`: or a warning)."""
    bad = [one for one in reports if not one.ok(strict=strict)]
    if not bad:
        return
    errors = sum(one.count(Severity.ERROR) for one in bad)
    warnings = sum(one.count(Severity.WARNING) for one in bad) if strict else 0
    parts = [_count(errors, "error")] if errors else []
    parts += [_count(warnings, "warning")] if warnings else []
    raise ChecksFailedError(
        f"lint found {' and '.join(parts)} in {', '.join(one.disk for one in bad)}",
        hint="each finding names its remedy; docs/disk-config.md explains the rules",
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
