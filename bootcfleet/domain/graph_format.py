"""The image graph as a tree, in Graphviz' dot, in Mermaid and as JSON-ready data."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from typing import Any, assert_never

from bootcfleet.domain.graph import ImageGraph


class GraphFormat(StrEnum):
    """How to draw the graph."""

    TREE = "tree"
    DOT = "dot"
    MERMAID = "mermaid"
    JSON = "json"


def draw(graph: ImageGraph, how: GraphFormat) -> str:
    """The graph as text, without a newline at its end."""
    match how:
        case GraphFormat.TREE:
            return tree(graph)
        case GraphFormat.DOT:
            return dot(graph)
        case GraphFormat.MERMAID:
            return mermaid(graph)
        case GraphFormat.JSON:
            return json.dumps(data(graph), indent=2)
        case _:
            assert_never(how)


def tree(graph: ImageGraph, label: Callable[[str], str] = str) -> str:
    """Bases at the left edge, images below what they are built from; `label` names an image."""
    children = graph.children()
    lines: list[str] = []
    for base, roots in _by_base(graph).items():
        lines.append(base)
        # (image, the bars left of it, whether it is the last of its siblings); last in, first out.
        stack = [(name, "", name == roots[-1]) for name in reversed(roots)]
        while stack:
            name, bars, last = stack.pop()
            lines.append(f"{bars}{'└── ' if last else '├── '}{label(name)}")
            below = children[name]
            inner = bars + ("    " if last else "│   ")
            stack += [(child, inner, child == below[-1]) for child in reversed(below)]
    return "\n".join(lines)


def dot(graph: ImageGraph) -> str:
    """For ``dot -Tsvg``: images are boxes, bases are ellipses."""
    lines = ["digraph images {", "  rankdir=LR;", "  node [shape=box];"]
    lines += [f"  {_quoted(base)} [shape=ellipse];" for base in _by_base(graph)]
    lines += [f"  {_quoted(name)};" for name in graph.names]
    lines += [f"  {_quoted(source)} -> {_quoted(name)};" for source, name in _edges(graph)]
    return "\n".join([*lines, "}"])


def mermaid(graph: ImageGraph) -> str:
    """For Markdown that renders Mermaid; nodes are numbered, as names may not be node ids."""
    ids = {name: f"n{number}" for number, name in enumerate(graph.names)}
    bases = {base: f"b{number}" for number, base in enumerate(_by_base(graph))}
    lines = ["flowchart LR"]
    lines += [f'  {node}(["{base}"])' for base, node in bases.items()]
    lines += [f'  {node}["{name}"]' for name, node in ids.items()]
    for name, parent in graph.parents.items():
        source = bases[graph.bases.get(name, "")] if parent is None else ids[parent]
        lines.append(f"  {source} --> {ids[name]}")
    return "\n".join(lines)


def data(graph: ImageGraph) -> dict[str, Any]:
    """Every image with its base or parent and its children, parents first."""
    children = graph.children()
    return {
        "images": [
            {
                "name": name,
                "base": graph.bases.get(name),
                "from": parent,
                "children": children[name],
            }
            for name, parent in graph.parents.items()
        ]
    }


def _by_base(graph: ImageGraph) -> dict[str, list[str]]:
    """The images that stand on an external base, by that base."""
    found: dict[str, list[str]] = {}
    for name, parent in graph.parents.items():
        if parent is None:
            found.setdefault(graph.bases.get(name, ""), []).append(name)
    return found


def _edges(graph: ImageGraph) -> list[tuple[str, str]]:
    return [(parent or graph.bases.get(name, ""), name) for name, parent in graph.parents.items()]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
