"""All rules about a disk's configuration, and the one way to run them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bootcfleet.domain.diskconfig import DiskConfig
from bootcfleet.domain.disklint import (
    accounts,
    contents,
    inimage,
    installer,
    partitions,
    specrules,
    storage,
    structure,
    support,
)
from bootcfleet.domain.disklint.model import (
    At,
    Check,
    DiskFinding,
    Format,
    InImage,
    Subject,
    mapping,
)
from bootcfleet.domain.disktype import Backend, DiskType
from bootcfleet.domain.document import Document, Path
from bootcfleet.domain.lint.model import Rule, Severity

_THEMES = (
    ("Keys, values and sizes", structure.RULES),
    ("What types and backends support", support.RULES),
    ("File systems and mount points", storage.RULES),
    ("Partitions", partitions.RULES),
    ("Users and groups", accounts.RULES),
    ("Files, directories and services", contents.RULES),
    ("Installers", installer.RULES),
    ("What the image itself says", inimage.RULES),
)

RULES: dict[str, tuple[Rule, Check]] = dict(
    sorted(entry for _, rules in _THEMES for entry in rules.rules.items())
)

_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}


def every_rule() -> tuple[Rule, ...]:
    """All rules in the order of their ids."""
    return (*(rule for rule, _ in RULES.values()), *specrules.RULES)


def lint_config(
    source: Document | DiskConfig,
    types: Sequence[DiskType],
    backend: Backend,
    *,
    at: Path | None = None,
    rootfs: str = "",
    in_image: InImage | None = None,
) -> tuple[DiskFinding, ...]:
    """What a builder would refuse, ignore or do to one's surprise, without starting it.

    `source` is a blueprint as it was read (config.toml, config.json), or with `at` the document
    whose value there are the customizations, or a model.  In the order of the file.
    """
    subject = subject_of(source, types, backend, at=at, rootfs=rootfs, in_image=in_image)
    found = []
    for rule, check in RULES.values():
        found += [_finding(subject, rule, one) for one in check(subject)]
    return ordered(found)


def ordered(findings: Iterable[DiskFinding]) -> tuple[DiskFinding, ...]:
    """Each finding once, by file and line, errors first where they are on the same line."""
    return tuple(
        sorted(
            dict.fromkeys(findings),
            key=lambda one: (one.file, one.line or 0, _ORDER[one.level], one.rule, one.message),
        )
    )


def subject_of(
    source: Document | DiskConfig,
    types: Sequence[DiskType],
    backend: Backend,
    *,
    at: Path | None = None,
    rootfs: str = "",
    in_image: InImage | None = None,
) -> Subject:
    """What rules look at; see `lint_config`."""
    form = Format.PROJECT
    if isinstance(source, DiskConfig):
        source, at = Document("config", source.blueprint(), {}), ("customizations",)
    elif at is None:
        at = customizations_at(source)
        form = Format.JSON if source.file.endswith(".json") else Format.TOML
    return Subject(source, at, form, tuple(types), backend, rootfs, in_image or InImage())


def customizations_at(document: Document) -> Path:
    """Where a blueprint has its customizations: at the top, or in the wrapper of old JSON."""
    top = mapping(document.data)
    if document.file.endswith(".json") and isinstance(top.get("blueprint"), dict):
        return ("blueprint", "customizations")
    return ("customizations",)


def _finding(subject: Subject, rule: Rule, one: At) -> DiskFinding:
    path = one.path if one.from_top else (*subject.at, *one.path)
    return DiskFinding(
        rule.id,
        one.level or rule.severity,
        subject.document.file,
        subject.document.line(path),
        path,
        one.message,
        one.remedy or rule.remedy,
        rule.source,
    )


def table() -> str:
    """The rules as Markdown, by theme; docs/disk-config.md has it."""
    lines: list[str] = []
    for title, rules in _THEMES:
        lines += [f"### {title}", "", *_rows(rule for rule, _ in rules.rules.values()), ""]
    lines += ["### The disk as a whole", "", *_rows(specrules.RULES), ""]
    return "\n".join(lines)


def _rows(rules: Iterable[Rule]) -> Iterable[str]:
    yield "| rule | severity | what | why, and where that is said | instead |"
    yield "|---|---|---|---|---|"
    for rule in sorted(rules, key=lambda one: one.id):
        why = f"{rule.reason} ({rule.source})"
        cells = (rule.id, rule.severity.value, rule.title, why, rule.remedy)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
