"""Rules about the shape of the configuration: keys, kinds of values, sizes."""

from __future__ import annotations

from collections.abc import Iterable

from bootcfleet.domain.diskconfig import DiskConfig
from bootcfleet.domain.disklint.model import At, DiskRules, Format, Subject, mapping, part
from bootcfleet.domain.disklint.support import UNSUPPORTED_ANYWHERE
from bootcfleet.domain.disksize import parse_size
from bootcfleet.domain.document import Problem, all_problems, did_you_mean
from bootcfleet.domain.lint.model import Severity

RULES = DiskRules()

#: What a blueprint may have beside its customizations, and what it does for bootc.
_BLUEPRINT = ("name", "description", "version", "customizations", "distro")


def _problems(subject: Subject) -> Iterable[tuple[Problem, tuple[str | int, ...]]]:
    if part(subject.document.data, subject.at) is None:
        return
    for one in all_problems(subject.document, DiskConfig, at=subject.at):
        path = one.path[len(subject.at) :]
        if path[-1:] == ("minsize",) and "size" in mapping(part(subject.data, path[:-1])):
            # The model knows `size` by its newer name.
            path = (*path[:-1], "size")
        yield one, path


@RULES.add(
    "DSK101",
    Severity.ERROR,
    "unknown key",
    reason="the builders stop at a key that they do not know, and leave some out without a word",
    source='bootc-image-builder: "unknown keys found", "unknown field"',
    remedy="correct or remove the key",
)
def unknown_key(subject: Subject) -> Iterable[At]:
    """Keys that no blueprint has."""
    for one, path in _problems(subject):
        if one.kind != "extra_forbidden":
            continue
        elsewhere = UNSUPPORTED_ANYWHERE.get(str(path[0])) if len(path) == 1 else None
        if subject.format is Format.PROJECT:
            message = "no disk of a bootc image has it" if elsewhere else "unknown key"
            yield At(path, message, remedy=elsewhere or one.hint)
        elif elsewhere is None and path != ("kernel", "name"):
            yield At(path, "unknown key", remedy=one.hint)
    if subject.format is Format.PROJECT:
        return
    top, above = subject.document.data, subject.at[:-1]
    if above:  # the old wrapper of JSON
        for key in top:
            if key != "blueprint":
                yield At((key,), "unknown key beside blueprint", from_top=True)
    for key in mapping(part(top, above)):
        if key in _BLUEPRINT or key in UNSUPPORTED_ANYWHERE:
            continue
        hint = did_you_mean(key, _BLUEPRINT)
        if key in DiskConfig.model_fields:
            hint = f"it belongs under customizations, as customizations.{key}"
        yield At((*above, key), "unknown key", remedy=hint, from_top=True)


@RULES.add(
    "DSK102",
    Severity.ERROR,
    "value of the wrong kind",
    reason="the builders cannot decode it",
    source="osbuild/blueprint, the Go types of the fields",
    remedy="write the value as docs/disk-config.md has it",
)
def wrong_value(subject: Subject) -> Iterable[At]:
    """Values that the fields do not take."""
    for one, path in _problems(subject):
        if one.kind not in ("extra_forbidden", "missing") and not _is_size(path):
            yield At(path, one.message, remedy=one.hint)


@RULES.add(
    "DSK103",
    Severity.ERROR,
    "missing key",
    reason="the builders stop without it",
    source='osbuild/blueprint: "minsize is required", "path must be a string"',
    remedy="write the key",
)
def missing_key(subject: Subject) -> Iterable[At]:
    """Keys that must be there."""
    for one, path in _problems(subject):
        if one.kind == "missing":
            yield At(path, "is required and is not there")


@RULES.add(
    "DSK104",
    Severity.ERROR,
    "size that cannot be read",
    reason="a size is bytes, or a number with one of kB, KiB, MB, MiB, GB, GiB, TB and TiB; "
    "neither 10G nor 10 gb is",
    source="osbuild datasizes: the grammar of sizes",
    remedy="write it as '10 GiB'",
)
def bad_size(subject: Subject) -> Iterable[At]:
    """Sizes that do not keep to the grammar."""
    for one, path in _problems(subject):
        if _is_size(path) and one.kind not in ("extra_forbidden", "missing"):
            yield At(path, one.message)


def _is_size(path: tuple[str | int, ...]) -> bool:
    return bool(path) and path[-1] in ("minsize", "size", "start_offset")


@RULES.add(
    "DSK105",
    Severity.ERROR,
    "file system of no size",
    reason="the builders ask for a size above zero; in JSON the key is minsize, and only TOML "
    "knows the older name size",
    source="osbuild/blueprint, filesystem_customizations.go",
    remedy="write minsize, above zero",
)
def no_size(subject: Subject) -> Iterable[At]:
    """Zero sizes, and `size` where it is not known."""
    for path, table in subject.tables("filesystem"):
        for key in ("minsize", "size"):
            value = table.get(key)
            if isinstance(value, int | str) and not isinstance(value, bool):
                try:
                    zero = parse_size(value) == 0
                except ValueError:
                    continue
                if zero:
                    yield At((*path, key), "must be greater than 0")
        if "size" in table and subject.format is Format.JSON:
            yield At((*path, "size"), "is not known in JSON: there it is minsize")


@RULES.add(
    "DSK106",
    Severity.INFO,
    "older form of a blueprint",
    reason="it is still read, and new builders may stop to",
    source='bootc-image-builder buildconfig: the wrapper "blueprint"; filesystem.size',
    remedy="write it in the form of today",
)
def older_form(subject: Subject) -> Iterable[At]:
    """The wrapper of JSON, and `size` for `minsize`."""
    if subject.format is not Format.PROJECT and len(subject.at) == 2:
        yield At(
            ("blueprint",),
            "the wrapper blueprint is from before; what is handed over is without it",
            remedy="move what is in blueprint to the top",
            from_top=True,
        )
    for path, table in subject.tables("filesystem"):
        if "size" in table and "minsize" not in table and subject.format is Format.TOML:
            yield At((*path, "size"), "is the older name of minsize", remedy="write minsize")
