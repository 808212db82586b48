"""What a rule about a disk's configuration sees, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from bootcfleet.domain.disktype import Backend, DiskType
from bootcfleet.domain.document import Document, Path, dotted
from bootcfleet.domain.lint.model import Rule, Severity


class Format(StrEnum):
    """How the configuration is written; the builders do not read all alike."""

    TOML = "toml"
    JSON = "json"
    PROJECT = "project"


@dataclass(frozen=True)
class DiskFinding:
    """One finding: the rule, how bad it is, and where (`path` in the file, line from 1)."""

    rule: str
    level: Severity
    file: str
    line: int | None
    path: Path
    message: str
    remedy: str
    source: str

    @property
    def where(self) -> str:
        """The place in words: file, line and field."""
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        name = dotted(self.path)
        return f"{place}: {name}" if name else place

    def to_json(self) -> dict[str, Any]:
        """The finding as JSON-ready data."""
        return {
            "rule": self.rule,
            "severity": self.level.value,
            "file": self.file,
            "line": self.line,
            "field": dotted(self.path),
            "message": self.message,
            "remedy": self.remedy,
            "source": self.source,
        }


@dataclass(frozen=True)
class At:
    """What a rule says about one place; `path` begins at the customizations.

    `level` and `remedy` replace the rule's own; `from_top` makes the path begin at
    the document's top.
    """

    path: Path
    message: str
    level: Severity | None = None
    remedy: str | None = None
    from_top: bool = False


@dataclass(frozen=True)
class InImage:
    """What the image itself says of its disks: files under /usr/lib of the image.

    `config` is its config.toml or config.json, `disk_yaml` its disk.yaml.
    """

    config: Document | None = None
    disk_yaml: Document | None = None


@dataclass(frozen=True)
class Subject:
    """A configuration, what is made with it, and by what.

    `at` is where the customizations are in the document.  `rootfs` is empty where
    only the image knows it.
    """

    document: Document
    at: Path
    format: Format
    types: tuple[DiskType, ...]
    backend: Backend
    rootfs: str = ""
    in_image: InImage = field(default_factory=InImage)

    @cached_property
    def data(self) -> Mapping[str, Any]:
        """The customizations; empty where the document has something else there."""
        return mapping(part(self.document.data, self.at))

    @property
    def disks(self) -> tuple[DiskType, ...]:
        """The types that are disks."""
        return tuple(one for one in self.types if one.is_disk)

    @property
    def isos(self) -> tuple[DiskType, ...]:
        """The types that are installers."""
        return tuple(one for one in self.types if one.is_iso)

    def tables(self, *path: str) -> Iterator[tuple[Path, Mapping[str, Any]]]:
        """Each table of the list at `path`, with its own path."""
        yield from tables(self.data, path)

    def table(self, *path: str) -> Mapping[str, Any]:
        """The table at `path`; empty where there is none."""
        return mapping(part(self.data, path))

    def has(self, *path: str) -> bool:
        """Whether something that is not empty stands at `path`."""
        found = part(self.data, path)
        return found is not None and found != {} and found != []


def part(data: Any, path: Sequence[str | int]) -> Any:
    """The value at `path`; None where there is none."""
    for one in path:
        if isinstance(data, Mapping):
            data = data.get(one)
        elif isinstance(data, list) and isinstance(one, int) and one < len(data):
            data = data[one]
        else:
            return None
    return data


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is a table, else an empty one: its kind is told by another rule."""
    return value if isinstance(value, Mapping) else {}


def tables(data: Any, path: Sequence[str | int]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Each table of the list at `path` of `data`, with its own path."""
    found = part(data, path)
    if isinstance(found, list):
        for number, one in enumerate(found):
            if isinstance(one, Mapping):
                yield (*path, number), one


def text(table: Mapping[str, Any], key: str) -> str:
    """The text under `key`; empty where there is none."""
    value = table.get(key)
    return value if isinstance(value, str) else ""


def words(table: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """The texts of the list under `key`."""
    value = table.get(key)
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()


def named(types: Iterable[DiskType]) -> str:
    """Types in a sentence: ``qcow2, ami and raw``."""
    *rest, last = [one.value for one in types]
    return f"{', '.join(rest)} and {last}" if rest else last


#: Looks at a configuration and says where it breaks the rule.
Check = Callable[[Subject], Iterable[At]]


@dataclass(frozen=True)
class DiskRules:
    """Rules with their checks, by theme."""

    rules: dict[str, tuple[Rule, Check]] = field(default_factory=dict)

    def add(
        self, id: str, severity: Severity, title: str, *, reason: str, source: str, remedy: str
    ) -> Callable[[Check], Check]:
        """A decorator that makes a check a rule.  Ids are never used again for another rule."""

        def register(check: Check) -> Check:
            if id in self.rules:
                raise ValueError(f"two rules have the id {id}")
            self.rules[id] = (Rule(id, severity, title, reason, source, remedy), check)
            return check

        return register
