"""The language of the templates: Jinja in a sandbox, with our filters and within limits.

Templates are code of the project's own people, but a template that is wrong
must end with a message and not with a machine out of memory; and the same
input must give the same bytes, so nothing random is left in.
"""

from __future__ import annotations

import base64
import json
import math
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time
from typing import Any

from jinja2 import StrictUndefined, Undefined, UndefinedError
from jinja2.exceptions import SecurityError
from jinja2.loaders import FunctionLoader
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

from bootcfleet.domain.document import did_you_mean
from bootcfleet.domain.trustpolicy import signature_policy, sigstore_attachments

#: Characters of the longest text that one expression may make by repeating or padding.
MAX_REPEAT = 1_000_000
#: Characters of the largest rendered file.
MAX_OUTPUT = 16 * 1024 * 1024

#: Returns (source, file name for messages, is it still current) or None when there is no such file.
Load = Callable[[str], tuple[str, str | None, Callable[[], bool] | None] | None]


class UndefinedNameError(UndefinedError):
    """A template used a name that does not exist; `hint` may know which one was meant."""

    def __init__(self, message: str | None, hint: str | None) -> None:
        super().__init__(message)
        self.hint = hint


class Strict(StrictUndefined):
    """A missing name: any use of it is an error that knows what it was looked up in."""

    __slots__ = ()

    def __init__(
        self,
        hint: str | None = None,
        obj: Any = missing,
        name: str | None = None,
        exc: Any = UndefinedError,
    ) -> None:
        if exc is UndefinedError:
            known = obj if isinstance(obj, Mapping) else ()

            def exc(message: str | None = None) -> UndefinedNameError:
                words = [word for word in known if isinstance(word, str)]
                return UndefinedNameError(message, did_you_mean(name or "", words))

        super().__init__(hint, obj, name, exc)


class Environment(ImmutableSandboxedEnvironment):
    """The sandbox: no way to Python's insides, nothing that changes a value, no huge texts."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self, load: Load) -> None:
        super().__init__(
            loader=FunctionLoader(load),
            undefined=Strict,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,
            auto_reload=False,
            cache_size=-1,
        )
        self.filters.update(
            toml=toml,
            shquote=shquote,
            ksquote=ksquote,
            b64=b64,
            format=_format,
            signature_policy=signature_policy,
            sigstore_attachments=sigstore_attachments,
        )
        # Random text makes two builds of one commit differ; padding by `center` has no bound.
        for name in ("random", "center"):
            del self.filters[name]
        del self.globals["lipsum"]

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Refuse operations whose result would be far larger than what they are given."""
        if operator == "*":
            for sized, factor in ((left, right), (right, left)):
                if isinstance(sized, str | bytes | list | tuple) and isinstance(factor, int):
                    _bound(len(sized) * factor)
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            _bound(abs(left).bit_length() * right)
        elif operator == "%" and isinstance(left, str):
            _bound_format(left)
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Refuse the text methods that pad without bound; see `call_binop`."""
        if isinstance(getattr(obj, "__self__", None), str):
            for argument in args:
                if isinstance(argument, int):
                    _bound(argument)
        return super().call(context, obj, *args, **kwargs)

    def wrap_str_format(self, value: Any) -> Any:
        """Refuse huge widths in ``'…'.format()``; the sandbox asks this for its safe form."""
        wrapped = super().wrap_str_format(value)
        if wrapped is not None:
            _bound_format(str(value.__self__))
        return wrapped


def _bound(size: int) -> None:
    if size > MAX_REPEAT:
        raise SecurityError(f"this would make a value of more than {MAX_REPEAT:,} characters")


def _bound_format(text: str) -> None:
    """Widths and precisions in a format string: at most four digits, none taken from a value."""
    if re.search(r"%[-+ #0]*\*|\d{5,}|:[^{}]*\{", text):
        raise SecurityError("this format's width is too large or not written out")


def _format(value: Any, *args: Any, **kwargs: Any) -> str:
    """Jinja's filter ``format``, within bounds."""
    _bound_format(str(value))
    return str(value) % (kwargs or args)


def toml(value: Any) -> str:
    """A value as TOML 1.0 on one line: text in quotes, lists, inline tables, numbers, times."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if math.isnan(value) or math.isinf(value):
            return str(value)
        return repr(value)
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for the delete character, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Undefined):
        return str(value)  # raises with the name that is missing
    if isinstance(value, Mapping):
        pairs = (f"{_toml_key(key)} = {toml(one)}" for key, one in value.items())
        return "{ " + ", ".join(pairs) + " }" if value else "{}"
    if isinstance(value, Iterable):
        return "[" + ", ".join(map(toml, value)) + "]"
    raise TypeError(f"{value!r} cannot be written as TOML")


def _toml_key(key: Any) -> str:
    text = str(key)
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else toml(text)


def shquote(value: Any) -> str:
    """A value as one word of a shell line."""
    text = str(value)
    if "\0" in text:
        raise ValueError("a word of a shell line cannot hold the character NUL")
    return shlex.quote(text)


def ksquote(value: Any) -> str:
    """A value as one word of a kickstart's line, or of a script in one.

    A kickstart is read line by line, within quotes as well, and ``%end`` at the start of
    a line ends a script: a value with a line break would be more than a word.
    """
    text = str(value)
    if not text.isprintable():
        raise ValueError(f"{text!r} has a line break or control character, and is no single word")
    return shlex.quote(text)


def b64(value: Any) -> str:
    """Text (as UTF-8) or bytes in base64, without line breaks."""
    data = value if isinstance(value, bytes) else str(value).encode()
    return base64.b64encode(data).decode("ascii")
