"""Templates as data: the files of a template folder, its variables, and what rendering makes of it.

A template set is a mapping from a path such as ``soe/files/etc/motd.j2`` to
that file's content. Where the files come from (the project's folder over the
shipped one, file by file) is the driver's work; rendering is `domain/render.py`.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

from bootcfleet.domain.document import Document, did_you_mean, validate
from bootcfleet.errors import ConfigError

#: Folder of macros and includes that belong to no single template.
SHARED = "_shared"
CONTAINERFILE = "Containerfile.j2"
METADATA = "template.yaml"
#: Checks of the images made from a template, and a folder of further such files.
CHECKS = "checks.yaml"
CHECKS_FOLDER = "checks.d"
#: Ending of the files that are rendered; it is dropped from the file's name.
SUFFIX = ".j2"

#: Names that rendering defines itself, or that Jinja reads as something else.
RESERVED = frozenset(
    {"base", "image", "project", "git", "now", "range", "dict", "cycler", "joiner", "namespace"}
    | {"true", "false", "none", "self", "super", "loop", "caller", "varargs", "kwargs", "set"}
)

#: Makes an error that points at one key below an image's ``vars:``, or at the image (key None).
VarsError = Callable[..., ConfigError]


class Variable(BaseModel):
    """One variable of a template; without `default` every image must give it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: Any = None
    help: str = ""

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return "default" not in self.model_fields_set


class TemplateInfo(BaseModel):
    """What ``template.yaml`` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str = ""
    variables: dict[str, Variable] = {}

    @field_validator("variables")
    @classmethod
    def _names(cls, variables: dict[str, Variable]) -> dict[str, Variable]:
        for name in variables:
            if not name.isidentifier() or keyword.iskeyword(name):
                raise ValueError(
                    f"{name!r} cannot be a variable: use letters, digits and '_', and no word of "
                    "Python's own"
                )
            if name in RESERVED:
                raise ValueError(f"{name!r} is defined by bootcfleet itself; choose another name")
        return variables


@dataclass(frozen=True)
class SourceFile:
    """A file of a template: its bytes, whether it may be executed, and its path for messages."""

    data: bytes
    executable: bool = False
    origin: str = ""

    def text(self) -> str:
        """The file as text.  Raises `ConfigError` when it is not UTF-8."""
        try:
            return self.data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"is not UTF-8 (byte 0x{self.data[error.start]:02x}), so it cannot be rendered",
                file=self.origin,
                line=self.data[: error.start].count(b"\n") + 1,
                hint=f"convert it to UTF-8, or drop {SUFFIX} from its name to copy it as it is",
            ) from error


@dataclass(frozen=True)
class ContextFile:
    """A file of a build context: its bytes and its mode (0o644 or 0o755)."""

    data: bytes
    mode: int = 0o644


@dataclass(frozen=True)
class RenderedImage:
    """What podman gets: the Containerfile, and the context's files by their path (``files/…``)."""

    containerfile: str
    files: Mapping[str, ContextFile] = field(default_factory=dict)


@dataclass(frozen=True)
class TemplateSet:
    """Every file that templates may use, by its path ``TEMPLATE/…``, and what is parsed already.

    `metadata` and `checks` are by template: ``template.yaml``, and ``checks.yaml``
    with the files of ``checks.d/`` after it.

    Raises `ConfigError` for a path that would leave its folder.
    """

    files: Mapping[str, SourceFile]
    metadata: Mapping[str, Document] = field(default_factory=dict)
    checks: Mapping[str, tuple[Document, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path, file in self.files.items():
            problem = path_problem(path)
            if problem:
                raise ConfigError(
                    f"the path {path!r} of a template file {problem}", file=file.origin or None
                )

    @property
    def names(self) -> tuple[str, ...]:
        """The templates: the folders that have a ``Containerfile.j2``, sorted."""
        found = [path.split("/") for path in self.files if path.endswith(f"/{CONTAINERFILE}")]
        return tuple(sorted(parts[0] for parts in found if len(parts) == 2 and parts[0] != SHARED))

    def info(self, name: str) -> TemplateInfo:
        """The checked metadata of a template; one without ``template.yaml`` has no variables.

        Raises `ConfigError` with the file and line of what is wrong.
        """
        document = self.metadata.get(name)
        return TemplateInfo() if document is None else validate(document, TemplateInfo)

    def context_files(self, name: str) -> Mapping[str, SourceFile]:
        """The files below ``NAME/files/``, by their path in the build context."""
        start = f"{name}/"
        return {
            path.removeprefix(start): file
            for path, file in sorted(self.files.items())
            if path.startswith(f"{name}/files/")
        }


def path_problem(path: str) -> str | None:
    """Why a relative path may not be used in a template or context; None when it may."""
    if not path or path.startswith("/"):
        return "is not relative"
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "leaves or repeats its folder"
    if "\\" in path or not path.isprintable():
        return "has a backslash or a control character"
    return None


def choose_variables(
    info: TemplateInfo,
    given: Mapping[str, Any],
    template: str,
    error: VarsError,
    *,
    metadata: str | None = None,
) -> dict[str, Any]:
    """The value of every variable: the default, or what the image gives.

    `error(key, message, hint=…)` makes the complaint that points at the key of
    the image's ``vars:``. Raises it for a key that the template does not have,
    a variable without value, and a value of another kind than the default. `metadata` is the
    file that declares them, for hints.
    """
    for name, value in given.items():
        variable = info.variables.get(name)
        if variable is None:
            hint = did_you_mean(str(name), info.variables) or (
                f"declare it under variables: in {metadata or f'{template}/{METADATA}'}"
            )
            raise error(name, f"the template {template!r} has no such variable", hint=hint)
        wanted, found = _kind(variable.default), _kind(value)
        if not variable.required and wanted and found != wanted:
            remedy = "put it in quotes" if wanted == "text" and found == "a number" else None
            raise error(
                name,
                f"must be {wanted}, as its default is, and is {found or 'empty'}",
                hint=remedy or variable.help or None,
            )
    for name, variable in info.variables.items():
        if variable.required and name not in given:
            raise error(
                None,
                f"the template {template!r} needs the variable {name!r}",
                hint=f"add it under vars: — {variable.help}" if variable.help else None,
            )
    defaults = {name: variable.default for name, variable in info.variables.items()}
    return {**defaults, **given}


def _kind(value: Any) -> str | None:
    """What people call this sort of value; None for an empty one (null), which fits nothing."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    return None if value is None else "text"
