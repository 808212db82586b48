"""The catalogue of a project's images: what they are, what is in them, and where they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bootcfleet.domain.template_language import Environment

#: The digits of a digest that a reader is shown.
_SHORT = 12


@dataclass(frozen=True)
class CatalogImage:
    """One image.

    `channels` maps a channel to its digest, time and mover; `hosts` has host, slot
    and digest; `evidence` maps an examination to how it ended; `packages` are names
    and versions, None where they are not known (`note` says why).
    """

    name: str
    description: str
    template: str
    parent: str | None
    base: str | None
    digest: str | None = None
    built_at: str | None = None
    end_of_life: str | None = None
    evidence: Mapping[str, str] = field(default_factory=dict)
    channels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    hosts: tuple[Mapping[str, str], ...] = ()
    packages: tuple[tuple[str, str], ...] | None = None
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """The image as JSON-ready data."""
        packages = self.packages
        return {
            "name": self.name,
            "description": self.description,
            "template": self.template,
            "parent": self.parent,
            "base": self.base,
            "digest": self.digest,
            "built_at": self.built_at,
            "end_of_life": self.end_of_life,
            "evidence": dict(self.evidence),
            "channels": {name: dict(one) for name, one in self.channels.items()},
            "hosts": [dict(one) for one in self.hosts],
            "packages": None
            if packages is None
            else [{"name": name, "version": version} for name, version in packages],
            "note": self.note,
        }


@dataclass(frozen=True)
class Catalog:
    """All images of a project at one time (`made_at`, UTC); `notes` say what is not in it."""

    project: str
    registry: str
    made_at: str
    tree: str
    mermaid: str
    images: tuple[CatalogImage, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The catalogue as JSON-ready data."""
        return {
            "project": self.project,
            "registry": self.registry,
            "made_at": self.made_at,
            "images": [image.to_json() for image in self.images],
            "notes": list(self.notes),
        }


def markdown(catalog: Catalog) -> str:
    """The catalogue as Markdown; forges draw its graph (Mermaid)."""
    lines = [
        f"# Images of {_cell(catalog.project)}",
        "",
        f"Made at {catalog.made_at} for `{_cell(catalog.registry)}`.",
        "",
        "```mermaid",
        catalog.mermaid,
        "```",
        "",
        *_table(
            ["image", "what it is", "built on", "last build", "channels", "hosts"],
            [
                [
                    f"[{image.name}](#{image.name})",
                    image.description,
                    image.parent or image.base or "",
                    _short(image.digest),
                    ", ".join(image.channels),
                    str(len({host["host"] for host in image.hosts})),
                ]
                for image in catalog.images
            ],
        ),
        "",
    ]
    for image in catalog.images:
        lines += _section(image)
    if catalog.notes:
        lines += ["## Notes", "", *(f"- {_cell(note)}" for note in catalog.notes), ""]
    return "\n".join(lines)


def _section(image: CatalogImage) -> list[str]:
    facts = [
        ("description", image.description),
        ("template", image.template),
        ("built on", image.parent or image.base or ""),
        ("digest", image.digest or "not pushed"),
        ("built at", image.built_at or "never"),
        ("end of life", image.end_of_life or ""),
        *((name, said) for name, said in image.evidence.items()),
    ]
    lines = [f"## {image.name}", ""]
    lines += [f"- {name}: {_cell(value)}" for name, value in facts if value]
    lines.append("")
    if image.channels:
        rows = [
            [name, one["digest"], one["since"], one["who"]] for name, one in image.channels.items()
        ]
        lines += [*_table(["channel", "digest", "since", "who"], rows), ""]
    if image.hosts:
        hosts = [[one["host"], one["slot"], one["digest"]] for one in image.hosts]
        lines += [*_table(["host", "slot", "digest"], hosts), ""]
    if image.packages is not None:
        lines += [f"<details><summary>{len(image.packages)} packages</summary>", ""]
        lines += _table(["package", "version"], [list(one) for one in image.packages])
        lines += ["", "</details>", ""]
    elif image.note:
        lines += [f"Packages: {_cell(image.note)}", ""]
    return lines


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
        *("| " + " | ".join(map(_cell, row)) + " |" for row in rows),
    ]


def _cell(text: str) -> str:
    """Text that ends no cell and is no markup: it comes from files, labels and hosts."""
    flat = " ".join(text.split())
    return flat.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _short(digest: str | None) -> str:
    return digest.removeprefix("sha256:")[:_SHORT] if digest else ""


def html(catalog: Catalog) -> str:
    """The catalogue as one page that needs nothing else; all text in it is escaped."""
    environment = Environment(lambda _: None).overlay(autoescape=True)
    return environment.from_string(_PAGE).render(catalog=catalog)


_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Images of {{ catalog.project }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 } td, th { border: 1px solid #ccc;
padding: .2rem .6rem; text-align: left; vertical-align: top } code, pre { font-size: .9em }
td code { overflow-wrap: anywhere }
</style>
</head>
<body>
<h1>Images of {{ catalog.project }}</h1>
<p>Made at {{ catalog.made_at }} for <code>{{ catalog.registry }}</code>.</p>
<pre>{{ catalog.tree }}</pre>
{% for image in catalog.images %}
<h2 id="{{ image.name }}">{{ image.name }}</h2>
{% if image.description %}<p>{{ image.description }}</p>{% endif %}
<table>
<tr><th>template</th><td>{{ image.template }}</td></tr>
<tr><th>built on</th><td>{% if image.parent %}<a href="#{{ image.parent }}">{{ image.parent }}</a>\
{% else %}<code>{{ image.base }}</code>{% endif %}</td></tr>
<tr><th>digest</th><td><code>{{ image.digest or "not pushed" }}</code></td></tr>
<tr><th>built at</th><td>{{ image.built_at or "never" }}</td></tr>
{% if image.end_of_life %}<tr><th>end of life</th><td>{{ image.end_of_life }}</td></tr>{% endif %}
{% for name, said in image.evidence.items() %}
<tr><th>{{ name }}</th><td>{{ said }}</td></tr>
{% endfor %}
</table>
{% if image.channels %}
<table><tr><th>channel</th><th>digest</th><th>since</th><th>who</th></tr>
{% for name, one in image.channels.items() %}
<tr><td>{{ name }}</td><td><code>{{ one.digest }}</code></td><td>{{ one.since }}</td>\
<td>{{ one.who }}</td></tr>
{% endfor %}
</table>
{% endif %}
{% if image.hosts %}
<table><tr><th>host</th><th>slot</th><th>digest</th></tr>
{% for one in image.hosts %}
<tr><td>{{ one.host }}</td><td>{{ one.slot }}</td><td><code>{{ one.digest }}</code></td></tr>
{% endfor %}
</table>
{% endif %}
{% if image.packages is not none %}
<details><summary>{{ image.packages | length }} packages</summary>
<table><tr><th>package</th><th>version</th></tr>
{% for name, version in image.packages %}
<tr><td>{{ name }}</td><td>{{ version }}</td></tr>
{% endfor %}
</table></details>
{% elif image.note %}<p>Packages: {{ image.note }}</p>{% endif %}
{% endfor %}
{% if catalog.notes %}<h2>Notes</h2><ul>{% for note in catalog.notes %}<li>{{ note }}</li>\
{% endfor %}</ul>{% endif %}
</body>
</html>
"""
