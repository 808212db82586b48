"""Values that checks may hold: names, paths, patterns, modes, one or many."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field


def listed(value: Any) -> Any:
    """One thing where many may stand."""
    return value if isinstance(value, list | tuple) else [value]


def plain(value: str) -> str:
    """One line of printable text: what is checked travels to the image as a line."""
    if not value or not value.isprintable():
        raise ValueError("must be a text on one line, without control characters")
    if value.startswith("-"):
        raise ValueError("must not begin with '-', which a program would read as an option")
    return value


def _absolute(value: str) -> str:
    if not value.startswith("/"):
        raise ValueError(f"{value!r} is not an absolute path")
    return plain(value)


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from error
    return value


def _octal(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError("is read as a number, and YAML changes those with zeros; put it in quotes")
    if isinstance(value, str) and not re.fullmatch(r"0?[0-7]{3,4}", value):
        raise ValueError(f'{value!r} is no mode; for example "0644"')
    return value


Plain = Annotated[str, AfterValidator(plain)]
Names = Annotated[tuple[Plain, ...], BeforeValidator(listed)]
Paths = Annotated[tuple[Annotated[str, AfterValidator(_absolute)], ...], BeforeValidator(listed)]
Texts = Annotated[tuple[str, ...], BeforeValidator(listed)]
Patterns = Annotated[tuple[Annotated[str, AfterValidator(_pattern)], ...], BeforeValidator(listed)]
Octal = Annotated[str, BeforeValidator(_octal)]
Port = Annotated[int, Field(ge=1, le=65535)]
Ports = Annotated[tuple[Port, ...], BeforeValidator(listed)]
