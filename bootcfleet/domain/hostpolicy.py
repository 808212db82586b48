"""What a host's ``policy.json`` says of an image that it is to pull.

Source: containers-policy.json(5).  The most particular scope that has the image decides, alone;
without one the transport's empty scope, then ``default``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from bootcfleet.domain.reference import ImageRef

#: What a requirement comes to, the strictest first.
REJECT, ENFORCED, ANYTHING = "reject", "enforced", "accept-anything"


@dataclass(frozen=True)
class HostPolicy:
    """The policy for images of registries.

    `default` is what holds for an image that no scope has: ``reject``, ``enforced`` (a signature is
    needed) or ``accept-anything``; `scopes` the same by scope.
    """

    default: str
    scopes: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read a ``policy.json``; None for what is none."""
        try:
            body = json.loads(text)
            default = _verdict(body["default"])
            transports = body.get("transports") or {}
            docker = transports.get("docker") or {}
            scopes = {str(scope): _verdict(rules) for scope, rules in docker.items()}
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return None
        return cls(scopes.get("", default), scopes)

    def of(self, ref: ImageRef) -> str:
        """What holds for an image."""
        found = (self.scopes[scope] for scope in _scopes(ref) if scope in self.scopes)
        return next(found, self.default)


def _scopes(ref: ImageRef) -> Iterator[str]:
    """The scopes that have an image, the most particular first."""
    if ref.digest is not None:
        yield f"{ref.name}@{ref.digest}"
    else:
        yield f"{ref.name}:{ref.tag or 'latest'}"
    name = ref.name
    while name:
        yield name
        name = name.rpartition("/")[0]
    # A host name's domains, by wildcard; a port belongs to the name.
    labels = ref.registry.split(".")
    for position in range(1, len(labels)):
        yield "*." + ".".join(labels[position:])


def _verdict(rules: Any) -> str:
    """All requirements must hold, so the strictest of them says what the list comes to."""
    kinds = {rule["type"] for rule in rules}
    if not kinds:
        raise ValueError("a list of requirements is empty")
    if "reject" in kinds:
        return REJECT
    return ANYTHING if kinds == {"insecureAcceptAnything"} else ENFORCED
