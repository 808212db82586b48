"""From ``checks.yaml`` files and an image's variables to the checks of that image.

A file is YAML first and Jinja in its values: so it keeps its lines for
messages, a value cannot break out of its place, and a value that is one
``{{ expression }}`` keeps its type (a list stays a list).
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError, Undefined

from bootcfleet.domain.check import WITHIN, Check, split_units
from bootcfleet.domain.checkkinds import KINDS, CheckSpec, Without
from bootcfleet.domain.document import Document, Path, did_you_mean, validate
from bootcfleet.domain.template_language import Environment, UndefinedNameError
from bootcfleet.errors import ConfigError

#: The most checks of one image: beyond it is a loop over something endless.
MAX_CHECKS = 5000

_WHOLE = re.compile(r"\s*\{\{((?:(?!\{\{|\}\}).)*)\}\}\s*", re.DOTALL)
_MISTAKES = (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError)


@dataclass(frozen=True)
class CheckSource:
    """A document with checks at `at` (a list), of `image`, and the names its values may use."""

    image: str
    document: Document
    context: Mapping[str, Any]
    at: Path = ("checks",)

    @property
    def inline(self) -> bool:
        """Whether it is a list in the project's file, and no file of its own."""
        return self.at != ("checks",)


def checks_of(chain: Sequence[Sequence[CheckSource]]) -> tuple[Check, ...]:
    """The checks of an image: `chain` has the sources of its first parent first, its own last.

    A check that says the same as an earlier one is kept once. Raises
    `ConfigError` with file, line and field.
    """
    found: dict[str, Check] = {}
    for depth, sources in enumerate(chain, start=1):
        own = depth == len(chain)
        for source in sources:
            if not source.inline:
                _shape(source.document)
                before = {check.name for check in found.values()}
                for without in _LANGUAGE.without(source, before):
                    found = {k: c for k, c in found.items() if c.name != without}
            for check in _LANGUAGE.checks(source):
                if not (own or check.spec.inherit):
                    continue
                key = json.dumps(check.meaning(), sort_keys=True)
                found.setdefault(key, check)
                if len(found) > MAX_CHECKS:
                    raise source.document.error(source.at, f"makes more than {MAX_CHECKS} checks")
    return tuple(found.values())


def checks_hash(checks: Iterable[Check]) -> str:
    """SHA-256 over what is checked: moved lines change nothing, a changed value does."""
    body = json.dumps([check.meaning() for check in checks], sort_keys=True)
    return hashlib.sha256(body.encode()).hexdigest()


class _Language:
    """The templates' language for single values; see the module."""

    def __init__(self) -> None:
        environment = Environment(lambda _: None)
        # The same few expressions are met again in every image that is made from a template.
        self._template = functools.lru_cache(4096)(environment.from_string)
        self._compiled = functools.lru_cache(4096)(
            functools.partial(environment.compile_expression, undefined_to_none=False)
        )

    def checks(self, source: CheckSource) -> Iterable[Check]:
        """Every check of one source, in order."""
        items = self._items(source)
        for index, item in enumerate(items):
            path = (*source.at, index)
            yield from self._entry(source, path, item)

    def without(self, source: CheckSource, before: set[str]) -> Iterable[str]:
        """The names of checks that came before (a parent's, a shipped file's) to take out."""
        # A list whose lines are all commented out is there, and holds nothing.
        listed = source.document.data.get("without") or []
        if not isinstance(listed, list):
            raise source.document.error(("without",), "must be a list")
        for index, item in enumerate(listed):
            path: Path = ("without", index)
            data = self._render(source, path, item, source.context)
            one = validate(_nested(source.document, path, data), Without, at=path)
            if not self._wanted(source, path, one.when, source.context):
                continue
            if one.check not in before:
                raise source.document.error(
                    (*path, "check"),
                    f"no check before this file is named {one.check!r}",
                    hint=did_you_mean(one.check, before),
                )
            yield one.check

    def _items(self, source: CheckSource) -> list[Any]:
        document = source.document
        data = document.data
        for part in source.at:
            data = data.get(part, []) if isinstance(data, Mapping) else []
        if data is not None and not isinstance(data, list):
            raise document.error(source.at, "must be a list of checks")
        return data or []

    def _entry(self, source: CheckSource, path: Path, item: Any) -> Iterable[Check]:
        document = source.document
        if not isinstance(item, Mapping):
            raise document.error(path, "must be a mapping, such as {package: chrony}")
        kind = next((key for key in KINDS if key in item), None)
        if kind is None:
            keys = [str(key) for key in item]
            hint = next((h for key in keys if (h := _close(key))), None)
            raise document.error(
                path, "says nothing to check", hint=hint or f"known: {', '.join(sorted(KINDS))}"
            )
        for extra in self._each(source, path, item):
            context = {**source.context, **extra}
            if not self._wanted(source, path, item.get("when"), context):
                continue
            rest = {key: value for key, value in item.items() if key not in ("when", "each")}
            data = self._render(source, path, rest, context)
            spec = validate(_nested(document, path, data), KINDS[kind], at=path)
            yield from _made(source, path, spec, kind)

    def _each(
        self, source: CheckSource, path: Path, item: Mapping[str, Any]
    ) -> Iterable[Mapping[str, Any]]:
        if "each" not in item:
            return [{}]
        values = self._expression(source, (*path, "each"), item["each"], source.context)
        if isinstance(values, Mapping):
            values = [{"key": key, "value": value} for key, value in values.items()]
        if not isinstance(values, list | tuple):
            raise source.document.error((*path, "each"), "is no list")
        return [{"item": value} for value in values]

    def _wanted(
        self, source: CheckSource, path: Path, when: Any, context: Mapping[str, Any]
    ) -> bool:
        if when is None or isinstance(when, bool):
            return when is not False
        return bool(self._expression(source, (*path, "when"), when, context))

    def _expression(
        self, source: CheckSource, path: Path, text: Any, context: Mapping[str, Any]
    ) -> Any:
        """The value of an expression, with or without its braces."""
        if not isinstance(text, str):
            return text
        whole = _WHOLE.fullmatch(text)
        return self._evaluate(source, path, whole[1] if whole else text, context)

    def _render(
        self, source: CheckSource, path: Path, data: Any, context: Mapping[str, Any]
    ) -> Any:
        if isinstance(data, Mapping):
            return {
                key: self._render(source, (*path, key), value, context)
                for key, value in data.items()
            }
        if isinstance(data, list):
            return [
                self._render(source, (*path, index), value, context)
                for index, value in enumerate(data)
            ]
        if not isinstance(data, str) or not ("{{" in data or "{%" in data or "{#" in data):
            return data
        whole = _WHOLE.fullmatch(data)
        if whole:
            return self._evaluate(source, path, whole[1], context)
        try:
            return self._template(data).render(context)
        except _MISTAKES as error:
            raise _explain(source, path, error, context) from error

    def _evaluate(
        self, source: CheckSource, path: Path, expression: str, context: Mapping[str, Any]
    ) -> Any:
        try:
            value = self._compiled(expression)(**context)
            if isinstance(value, Undefined):
                str(value)  # raises, with the name that is missing
        except _MISTAKES as error:
            raise _explain(source, path, error, context) from error
        # What a filter such as `map` gives is read once and belongs into a list.
        return list(value) if isinstance(value, Iterator | tuple) else value


_LANGUAGE = _Language()


def _shape(document: Document) -> None:
    """Complain about a file that is none of checks."""
    data = document.data
    if not isinstance(data, Mapping):
        raise document.error((), "must be a mapping with version: and checks:")
    for key in data:
        if key not in ("version", "checks", "without"):
            raise document.error((key,), "unknown key", hint="known: checks, version, without")
    if data.get("version") != 1:
        raise document.error(("version",), "the format of this file is version: 1")


def _made(source: CheckSource, path: Path, spec: CheckSpec, kind: str) -> Iterable[Check]:
    """The checks of one entry: one for each target, and two for a unit's two states."""
    line = source.document.line(path)
    parts = split_units(spec)
    for target in spec.targets():
        for part in parts:
            single = part if kind in ("command", "system") else _single(part, kind, target)
            title = single.title(target)
            many = len(parts) > 1 or len(spec.targets()) > 1
            name = f"{spec.name}: {title}" if spec.name and many else spec.name or title
            yield Check(
                name=name,
                target=target,
                spec=single,
                needs=spec.needs,
                optional=spec.optional,
                within=WITHIN if spec.within is None else spec.within,
                image=source.image,
                file=source.document.file,
                line=line,
            )


def _single(spec: CheckSpec, kind: str, target: str) -> CheckSpec:
    """The same check of one target alone."""
    values = spec.model_dump(exclude_unset=True)
    return type(spec).model_validate({**values, kind: [target]})


def _nested(document: Document, path: Path, data: Any) -> Document:
    """A document of the same file that has `data` at `path` and nothing else."""
    for part in reversed(path):
        data = {part: data}
    return Document(document.file, data, document.lines)


def _close(key: str) -> str | None:
    hint = did_you_mean(key, KINDS)
    return hint if hint and hint.startswith("did") else None


def _explain(
    source: CheckSource, path: Path, error: Exception, context: Mapping[str, Any]
) -> ConfigError:
    hint = error.hint if isinstance(error, UndefinedNameError) else None
    found = re.match(r"'([^']+)' is undefined", str(error))
    if hint is None and found:
        close = did_you_mean(found[1], context)
        hint = close if close and close.startswith("did") else None
    return source.document.error(path, f"cannot be rendered: {error}", hint=hint)
