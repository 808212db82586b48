"""The JSON Schema of ``checks.yaml``, for editors: what is written, before Jinja and after."""

from __future__ import annotations

from typing import Any

from bootcfleet.domain.checkkinds import KINDS, CheckFile

#: A value with Jinja in it may become anything.
_JINJA = {"type": "string", "pattern": r"\{[{%]"}
#: What Jinja has no say in.
_PLAIN = {"name", "when", "each"}


def checks_schema() -> dict[str, Any]:
    """The schema; every key takes Jinja, and what takes a list takes one value as well."""
    body = CheckFile.model_json_schema(by_alias=True)
    for kind in KINDS.values():
        definition = body["$defs"][kind.__name__]
        for name, value in definition["properties"].items():
            if name not in _PLAIN:
                definition["properties"][name] = _written(value)
    return body


def _written(value: dict[str, Any]) -> dict[str, Any]:
    about: dict[str, Any] = {k: value[k] for k in ("description", "default", "title") if k in value}
    bare = {key: one for key, one in value.items() if key not in about}
    choices = [bare, _JINJA]
    if bare.get("type") == "array":
        choices.insert(1, bare["items"])
    return {**about, "anyOf": choices}
