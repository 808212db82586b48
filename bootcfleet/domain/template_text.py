"""Renders one template file, and says where in which file a mistake is.

Every mistake in a template becomes a `ConfigError` with the template's file
and line, whether it shows while parsing or while rendering.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import TemplateError, TemplateNotFound, TemplateSyntaxError
from jinja2.exceptions import SecurityError
from jinja2.meta import find_referenced_templates

from bootcfleet.domain.document import did_you_mean
from bootcfleet.domain.template import SUFFIX, SourceFile
from bootcfleet.domain.template_language import MAX_OUTPUT, Environment, UndefinedNameError
from bootcfleet.errors import ConfigError

#: What a wrong template may raise while it is rendered, besides Jinja's own errors.
_MISTAKES = (
    TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
    MemoryError,
)


class TextRenderer:
    """Renders files of one set, by their path; parsed ones are kept.  Safe in threads.

    `metadata` is the name of the file that declares variables, for hints.
    """

    def __init__(self, files: Mapping[str, SourceFile], metadata: str) -> None:
        self._files = files
        self._metadata = metadata
        self._environment = Environment(self._load)
        self._origins = {
            file.origin or path: path for path, file in files.items() if path.endswith(SUFFIX)
        }

    def referenced(self, path: str) -> list[str]:
        """The files that a file includes or imports by a plain name."""
        tree = self._environment.parse(self._files[path].text())
        return [name for name in find_referenced_templates(tree) if name]

    def render(self, path: str, context: Mapping[str, Any]) -> str:
        """One rendered file, made piece by piece so that an endless one stops.

        Raises `ConfigError`.
        """
        pieces, size = [], 0
        try:
            for piece in self._environment.get_template(path).generate(context):
                size += len(piece)
                if size > MAX_OUTPUT:
                    raise ConfigError(
                        f"renders to more than {MAX_OUTPUT // 2**20} MiB", file=self._origin(path)
                    )
                pieces.append(piece)
        except _MISTAKES as error:
            raise self._explain(error, path, context) from error
        return "".join(pieces)

    def _load(self, path: str) -> tuple[str, str | None, Callable[[], bool] | None] | None:
        file = self._files.get(path)
        return None if file is None else (file.text(), self._origin(path), None)

    def _origin(self, path: str) -> str:
        return self._files[path].origin or path

    def _explain(self, error: Exception, path: str, context: Mapping[str, Any]) -> ConfigError:
        """Turn what Jinja or Python said into a message with the template's file and line."""
        frames = [
            (frame.filename, frame.lineno)
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename in self._origins
        ]
        file, line = frames[-1] if frames else (self._origin(path), None)
        callers = [f"used by {name}:{at}" for name, at in reversed(frames[:-1])]
        hint: str | None = None
        match error:
            case TemplateSyntaxError():
                file, line = error.filename or file, error.lineno
                message = f"is not a valid template: {error.message}"
            case TemplateNotFound():
                message = f"there is no template file {str(error.name)!r}"
                hint = did_you_mean(str(error.name), self._origins.values())
            case UndefinedNameError():
                message, hint = str(error), error.hint or self._undefined_hint(str(error), context)
            case SecurityError():
                message = f"does what a template may not: {error}"
                hint = "values are not changed in place: make a new one, as {% set x = x + [y] %}"
            case RecursionError():
                message, callers = "includes or calls itself without end", []
            case _:
                message = f"cannot be rendered: {error}"
        return ConfigError(message, file=file, line=line, hint=hint, details=_few(callers))

    def _undefined_hint(self, message: str, context: Mapping[str, Any]) -> str | None:
        found = re.fullmatch(r"'([^']+)' is undefined", message)
        if found is None:
            return None
        close = did_you_mean(found[1], context)
        return close if close and close.startswith("did") else f"declare it in {self._metadata}"


def _few(lines: list[str]) -> list[str]:
    return lines if len(lines) <= 6 else [*lines[:5], f"and {len(lines) - 5} more"]
