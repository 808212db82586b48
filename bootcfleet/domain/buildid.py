"""What an image is made of, the id that follows from it, and what changed since the last build.

The build id is a hash over everything that decides what podman makes: equal ids
mean that nothing has to be built.  Values of secrets are never in it, only the
versions that people give them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from bootcfleet.domain.project import ImageSpec, Project
from bootcfleet.domain.template import CONTAINERFILE, RenderedImage

#: The version of how podman is called for a build. It is raised when the same inputs would give
#: another image, and so builds everything anew; an edit here without that is a defect.
RECIPE = 1

#: Labels of every image.
ID_LABEL = "io.bootcfleet.build-id"
NAME_LABEL = "io.bootcfleet.image"

#: Stands for the base in the hash of a Containerfile: the base is an input of its own.
_BASE = "\0base\0"


@dataclass(frozen=True)
class BuildInputs:
    """Everything that decides what an image becomes, as hashes (SHA-256, hexadecimal).

    `base` is the digest (or local image id) that it is built FROM; `files` has
    the mode and hash of each context file. `sources` (template files) and
    `variables` explain a change and are not in the id: what they decide is in
    the rendered files.
    """

    base: str
    containerfile: str
    files: Mapping[str, str] = field(default_factory=dict)
    build_args: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    platforms: tuple[str, ...] = ()
    rebuild: str = ""
    recipe: int = RECIPE
    sources: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def build_id(self) -> str:
        """The build id: 64 hexadecimal digits."""
        body = self.to_json()
        del body["sources"], body["variables"]
        return _sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())

    def to_json(self) -> dict[str, Any]:
        """The inputs as JSON-ready data."""
        return {
            "base": self.base,
            "containerfile": self.containerfile,
            "files": dict(self.files),
            "build_args": dict(self.build_args),
            "secrets": dict(self.secrets),
            "platforms": list(self.platforms),
            "rebuild": self.rebuild,
            "recipe": self.recipe,
            "sources": dict(self.sources),
            "variables": dict(self.variables),
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote.  Raises `TypeError`."""
        known = {key: value for key, value in body.items() if key in cls.__dataclass_fields__}
        return cls(**{**known, "platforms": tuple(known.get("platforms") or ())})


def inputs_of(
    project: Project,
    image: ImageSpec,
    rendered: RenderedImage,
    base: str,
    *,
    platforms: tuple[str, ...],
    sources: Mapping[str, str] | None = None,
) -> BuildInputs:
    """The inputs of an image rendered FROM `base` (NAME@DIGEST or a local image id)."""
    return BuildInputs(
        base=digest_of(base),
        containerfile=_sha256(rendered.containerfile.replace(base, _BASE).encode()),
        files={
            path: f"{file.mode:04o} {_sha256(file.data)}"
            for path, file in sorted(rendered.files.items())
        },
        build_args={name: _hash(value) for name, value in sorted(image.build_args.items())},
        secrets={secret.id: secret.version for secret in image.secrets},
        platforms=platforms,
        rebuild="/".join(word for word in (project.rebuild, image.rebuild) if word),
        sources=dict(sources or {}),
        variables={name: _hash(value) for name, value in sorted(image.vars.items())},
    )


def digest_of(reference: str) -> str:
    """The digest in NAME@DIGEST; a reference without one (a local image id) as it is."""
    return reference.rpartition("@")[2]


def id_tag(build_id: str) -> str:
    """The immutable tag under which a registry keeps the image of a build id."""
    return f"bf-{build_id[:32]}"


def explain(before: BuildInputs | None, now: BuildInputs) -> str | None:
    """Why an image has to be built, in a few words; None when nothing changed."""
    if before is None:
        return "never built"
    if before.build_id == now.build_id:
        return None
    if before.base != now.base:
        return f"base moved {short(before.base)} → {short(now.base)}"
    found = [
        *_containerfile(before, now),
        *_files(before, now),
        *_changed("build argument", before.build_args, now.build_args),
        *_versions(before, now),
    ]
    if found:
        return found[0] if len(found) == 1 else f"{found[0]}, and {len(found) - 1} more"
    if before.platforms != now.platforms:
        return f"platforms {_words(before.platforms)} → {_words(now.platforms)}"
    if before.rebuild != now.rebuild:
        return f"rebuild {before.rebuild or 'none'} → {now.rebuild or 'none'}"
    return f"bootcfleet builds otherwise now (recipe {before.recipe} → {now.recipe})"


def short(digest: str) -> str:
    """A digest for people: ``sha256:1a2b3c4d5e6f…``."""
    algorithm, colon, value = digest.rpartition(":")
    return f"{algorithm}{colon}{value[:12]}…" if len(value) > 12 else digest


def _files(before: BuildInputs, now: BuildInputs) -> list[str]:
    found = []
    for path in sorted(before.files.keys() | now.files.keys()):
        old, new = before.files.get(path), now.files.get(path)
        name = path.removeprefix("files/")
        if old is None or new is None:
            found.append(f"context file {name} {'added' if old is None else 'removed'}")
        elif old != new:
            modes = old[:4], new[:4]
            same = old[4:] == new[4:]
            found.append(
                f"mode of context file {name} {modes[0]} → {modes[1]}"
                if same
                else f"context file {name} changed"
            )
    return found


def _containerfile(before: BuildInputs, now: BuildInputs) -> list[str]:
    """What made the Containerfile another one: a partial, the template, a variable, a fact."""
    if before.containerfile == now.containerfile:
        return []
    found = []
    for path in sorted(before.sources.keys() | now.sources.keys()):
        if before.sources.get(path) != now.sources.get(path):
            name = path.partition("/")[2]
            what = "template" if name == CONTAINERFILE else "template partial"
            found.append(f"{what} {name} changed")
    return (
        found
        or _changed("variable", before.variables, now.variables)
        or ["Containerfile renders otherwise (project, version or git)"]
    )


def _changed(what: str, before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    names = sorted(before.keys() | now.keys())
    return [f"{what} {n} changed" for n in names if before.get(n) != now.get(n)]


def _versions(before: BuildInputs, now: BuildInputs) -> list[str]:
    found = []
    for name in sorted(before.secrets.keys() | now.secrets.keys()):
        old, new = before.secrets.get(name), now.secrets.get(name)
        if old is None or new is None:
            found.append(f"secret {name} {'added' if old is None else 'removed'}")
        elif old != new:
            found.append(f"secret {name} version {old or 'none'} → {new or 'none'}")
    return found


def _words(platforms: tuple[str, ...]) -> str:
    return ", ".join(platforms) or "this machine's"


def _hash(value: object) -> str:
    return _sha256(json.dumps(value, sort_keys=True, default=str).encode())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
