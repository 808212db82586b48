"""A configuration file as parsed data that still knows its lines.

The reading of YAML is the drivers' work (`drivers/yamlfile.py`); this is what
they hand over.  `validate` turns data into a pydantic model and every complaint
into a `ConfigError` with file, line, field and remedy.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from bootcfleet.errors import ConfigError

#: Where a value stands: keys and list indexes from the top of the document.
Path = tuple[str | int, ...]

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Document:
    """Parsed data, the name of the file it came from, and the line (1-based) of each value."""

    file: str
    data: Any
    lines: Mapping[Path, int] = field(default_factory=dict)

    def line(self, path: Path) -> int | None:
        """The line of the value at `path`, or of the nearest value that contains it."""
        while path:
            if path in self.lines:
                return self.lines[path]
            path = path[:-1]
        return self.lines.get(())

    def error(
        self,
        path: Path,
        message: str,
        *,
        hint: str | None = None,
        details: Iterable[str] = (),
    ) -> ConfigError:
        """A `ConfigError` that points at `path`."""
        return ConfigError(
            message,
            file=self.file,
            line=self.line(path),
            field=dotted(path) or None,
            hint=hint,
            details=tuple(details),
        )


def dotted(path: Path) -> str:
    """``images.web.vars`` or ``hosts[2].name``, for people."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A hint that names the closest known word, or all of them when there are few."""
    words = sorted(str(one) for one in known)
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    if words and len(words) <= 12:
        return "known: " + ", ".join(words)
    return None


@dataclass(frozen=True)
class Problem:
    """What is wrong with one value; `kind` is pydantic's word for it."""

    path: Path
    kind: str
    message: str
    hint: str | None = None


def validate(document: Document, model: type[Model], *, at: Path = ()) -> Model:
    """Make a `model` of the document's data (or of the part at `at`).

    Raises `ConfigError` for the first problem, with the others in its details.
    """
    try:
        return model.model_validate(_part(document, at))
    except ValidationError as error:
        problems = [
            document.error(one.path, one.message, hint=one.hint)
            for one in (_problem(document, model, at, item) for item in error.errors())
        ]
    first, *others = problems
    if others:
        first.details = (*first.details, *(f"also: {other.message}" for other in others))
    raise first


def all_problems(
    document: Document, model: type[BaseModel], *, at: Path = ()
) -> tuple[Problem, ...]:
    """Everything that keeps the data (or the part at `at`) from being a `model`."""
    try:
        model.model_validate(_part(document, at))
    except ValidationError as error:
        return tuple(_problem(document, model, at, item) for item in error.errors())
    return ()


def _part(document: Document, at: Path) -> Any:
    data = document.data
    for part in at:
        data = data[part]
    return data


def _problem(document: Document, model: type[BaseModel], at: Path, item: Any) -> Problem:
    path: Path = (*at, *_real_path(document, at, item["loc"]))
    kind, message = item["type"], item["msg"].removeprefix("Value error, ")
    if kind == "extra_forbidden":
        parent = item["loc"][:-1]
        hint = did_you_mean(str(path[-1]), _keys_at(model, parent))
        return Problem(path, kind, "unknown key", hint)
    if kind == "missing":
        return Problem(path, kind, "is required and is not there")
    if kind == "string_type" and item["loc"][-1] == "[key]":
        hint = f"put it in quotes: '{path[-1]}'"
        return Problem(path, kind, "is a number where a name is needed", hint)
    cause = item.get("ctx", {}).get("error")
    # The names of our classes mean nothing to who writes the file.
    text = message.partition(" or instance of ")[0]
    return Problem(path, kind, text, getattr(cause, "hint", None))


def _real_path(document: Document, at: Path, location: tuple[Any, ...]) -> Path:
    """Drop the parts of a pydantic location that name a union's branch and no key of the file."""
    data, path = _part(document, at), []
    last = len(location) - 1
    for position, part in enumerate(location):
        inside = (isinstance(data, Mapping) and part in data) or (
            isinstance(data, list) and isinstance(part, int) and part < len(data)
        )
        if inside:
            data = data[part]
            path.append(part)
        elif position == last and isinstance(data, Mapping) and isinstance(part, str):
            # pydantic marks a key that is wrong itself with this word.
            path += [part] if part != "[key]" else []
    return tuple(path)


def _keys_at(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """The keys that the model knows at a pydantic location."""
    current: list[type[BaseModel]] = [model]
    for part in location:
        found: list[type[BaseModel]] = []
        for one in current:
            for name, info in one.model_fields.items():
                if part in (name, info.alias):
                    found += _models_in(info.annotation)
        current = found or current
    return [info.alias or name for one in current for name, info in one.model_fields.items()]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [one for part in typing.get_args(annotation) for one in _models_in(part)]
