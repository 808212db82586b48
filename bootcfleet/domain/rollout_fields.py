"""The small values of a rollout policy, as people write them: ``30m``, ``5%``, ``22:00``, dates."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainValidator
from pydantic import WithJsonSchema as Schema

from bootcfleet.domain.document import did_you_mean
from bootcfleet.domain.inventory import label_problem
from bootcfleet.domain.limit import Limit
from bootcfleet.domain.selector import Selector
from bootcfleet.errors import UsageError

_DURATION = re.compile(r"([0-9]{1,6})(s|m|h|d|w)")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_YEAR = 366 * 86400
_CLOCK = re.compile(r"([01]?[0-9]|2[0-4]):([0-5][0-9])")
_DAYS = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:\.\.([0-9]{4}-[0-9]{2}-[0-9]{2}))?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Strict(BaseModel):
    """A part of ``bootcfleet.yaml``: unknown keys are refused."""

    # Deferred: each is built once, as a part of the project, and not by itself before.
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, defer_build=True)


class InvalidValueError(UsageError, ValueError):
    """A value of a policy that cannot be used.

    A ValueError too, so that a pydantic validator gets message and hint into the error with
    file and line.
    """


def seconds(value: Any) -> float:
    """A length of time from ``30s``, ``5m``, ``24h``, ``7d``, ``2w`` or 0.

    Raises `InvalidValueError`, also for more than a year.
    """
    text = "0s" if value in (0, "0") and value is not False else value
    match = _DURATION.fullmatch(text.strip()) if isinstance(text, str) else None
    found = int(match[1]) * _UNITS[match[2]] if match else -1
    if not 0 <= found <= _YEAR:
        raise InvalidValueError(
            f"{value!r} is not a length of time", hint="write 30s, 5m, 24h, 7d or 2w"
        )
    return float(found)


def some_seconds(value: Any) -> float:
    """The same, but not 0."""
    found = seconds(value)
    if not found:
        raise InvalidValueError("no time at all is too little", hint="write 30s, 5m or 24h")
    return found


def hosts(value: Any) -> Limit:
    """A number of hosts or a percentage, at least one.  Raises `InvalidValueError`."""
    return _limit(value, least=1)


def any_hosts(value: Any) -> Limit:
    """The same, or 0."""
    return _limit(value, least=0)


def _limit(value: Any, *, least: int) -> Limit:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InvalidValueError(f"{value!r} is not a number of hosts", hint="write 5 or 25%")
    try:
        return Limit.parse(str(value), least=least)
    except UsageError as error:
        raise InvalidValueError(error.message, hint=error.hint) from error


def percent(value: Any) -> int:
    """A percentage from ``95%`` or 95.  Raises `InvalidValueError`."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    match = re.fullmatch(r"([0-9]{1,3})%?", text.strip()) if isinstance(text, str) else None
    if match is None or not 1 <= int(match[1]) <= 100:
        raise InvalidValueError(f"{value!r} is not a percentage", hint="write 95%")
    return int(match[1])


def clock(value: Any) -> int:
    """Minutes of the day from ``22:00``; ``24:00`` is its end.  Raises `InvalidValueError`."""
    # YAML 1.1 reads 22:00 without quotes as a number of base 60.
    if isinstance(value, int) and not isinstance(value, bool) and 60 <= value <= 1440:
        return value
    match = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    minutes = int(match[1]) * 60 + int(match[2]) if match else -1
    if not 0 <= minutes <= 1440:
        raise InvalidValueError(f"{value!r} is not a time of day", hint='write "02:00" or "22:30"')
    return minutes


def days(value: Any) -> tuple[date, date]:
    """First and last day from ``2026-12-20..2027-01-03`` or one day.

    Raises `InvalidValueError`.
    """
    text = value.isoformat() if isinstance(value, date) else value
    match = _DAYS.fullmatch(text.strip()) if isinstance(text, str) else None
    try:
        if match is None:
            raise ValueError
        first = date.fromisoformat(match[1])
        last = date.fromisoformat(match[2] or match[1])
    except ValueError:
        raise InvalidValueError(
            f"{value!r} is no day and no days", hint="write 2026-12-24 or 2026-12-20..2027-01-03"
        ) from None
    if last < first:
        raise InvalidValueError(f"the last day, {last}, is before the first, {first}")
    return first, last


def selector(value: str) -> str:
    """A selector that parses.  Raises `InvalidValueError`."""
    try:
        Selector.parse([value])
    except UsageError as error:
        raise InvalidValueError(error.message, hint=error.hint) from error
    return value


def label(value: str) -> str:
    """A label's key.  Raises `InvalidValueError`."""
    problem = label_problem(value, "")
    if problem is not None:
        raise InvalidValueError(problem)
    return value


def variable(value: str) -> str:
    """The name of an environment variable.  Raises `InvalidValueError`."""
    if not _VARIABLE.fullmatch(value):
        raise InvalidValueError(f"{value!r} cannot be the name of an environment variable")
    return value


def address(value: str) -> str:
    """An http URL without user and password.  Raises `InvalidValueError`."""
    try:
        parts = urlsplit(value)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise InvalidValueError("is not an address", hint="write https://HOST/PATH")
    if "@" in parts.netloc:
        raise InvalidValueError("a user and a password do not belong into this file")
    return value


def words(value: Any) -> Any:
    """A command's words; numbers are texts too.  Raises `InvalidValueError`."""
    if isinstance(value, str):
        raise InvalidValueError(
            "a command is a list of words, so that nothing in it is split or expanded",
            hint=f"write {_listed(value)}, or [sh, -c, {value!r}] for a shell's",
        )
    if isinstance(value, list | tuple):
        if not value:
            raise InvalidValueError("a command has one word at least")
        return [str(one) if type(one) is int else one for one in value]
    return value


def _listed(command: str) -> str:
    return "[" + ", ".join(command.split()) + "]"


def one_key(*keys: str) -> ConfigDict:
    """What tells editors that exactly one of `keys` is there."""
    return ConfigDict(json_schema_extra={"oneOf": [{"required": [key]} for key in keys]})


def one_of(given: dict[str, bool], what: str) -> str:
    """The one key of `given` that is there.  Raises `InvalidValueError` for none and several."""
    there = [key for key, is_there in given.items() if is_there]
    if len(there) != 1:
        known = ", ".join(given)
        got = " and ".join(there) or "none of them"
        raise InvalidValueError(f"{what} is exactly one of {known}; here: {got}")
    return there[0]


def each_once(names: tuple[str, ...], what: str) -> None:
    """Raises `InvalidValueError` for a name that stands there twice."""
    for name in names:
        if names.count(name) > 1:
            raise InvalidValueError(f"two {what} have the name {name!r}")


def unknown(word: str, what: str, known: list[str]) -> InvalidValueError:
    """The error for a word that is none of those known."""
    return InvalidValueError(f"there is no {what} {word!r}", hint=did_you_mean(word, known))


_LENGTH = {"anyOf": [{"type": "string", "pattern": f"^(?:0|{_DURATION.pattern})$"}, {"const": 0}]}
_NUMBER = r"^[0-9]{1,6}%?$"

Seconds = Annotated[float, PlainValidator(seconds), Schema(_LENGTH)]
SomeSeconds = Annotated[
    float,
    PlainValidator(some_seconds),
    Schema({"type": "string", "pattern": f"^{_DURATION.pattern}$"}),
]
Hosts = Annotated[
    Limit,
    PlainValidator(hosts),
    Schema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": _NUMBER}]}),
]
AnyHosts = Annotated[
    Limit,
    PlainValidator(any_hosts),
    Schema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": _NUMBER}]}),
]
Percent = Annotated[
    int,
    PlainValidator(percent),
    Schema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 100},
                {"type": "string", "pattern": r"^[0-9]{1,3}%?$"},
            ]
        }
    ),
]
Clock = Annotated[
    int,
    PlainValidator(clock),
    Schema(
        {
            "anyOf": [
                {"type": "string", "pattern": f"^(?:{_CLOCK.pattern})$"},
                {"type": "integer", "minimum": 60, "maximum": 1440},
            ]
        }
    ),
]
Days = Annotated[
    tuple[date, date],
    PlainValidator(days),
    Schema({"type": "string", "pattern": f"^{_DAYS.pattern}$"}),
]
SelectorText = Annotated[str, AfterValidator(selector)]
LabelKey = Annotated[str, AfterValidator(label)]
Variable = Annotated[str, AfterValidator(variable)]
Address = Annotated[str, AfterValidator(address)]
Words = Annotated[
    tuple[str, ...],
    BeforeValidator(words),
    Schema({"type": "array", "minItems": 1, "items": {"type": ["string", "integer"]}}),
]
