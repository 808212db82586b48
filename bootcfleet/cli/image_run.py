"""What the image commands do once their options are read."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from bootcfleet.cli.output import Output
from bootcfleet.domain.build import LastBuild
from bootcfleet.domain.graph_format import GraphFormat, draw
from bootcfleet.domain.template import RenderedImage
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.ops.plan import image_graph
from bootcfleet.ops.project import load_project
from bootcfleet.ops.render import ProjectImages, diff_last, render_one, write_rendered


def show_images(*, as_json: bool) -> None:
    """List the images with their last build, parents first."""
    output = Output(as_json=as_json)
    images = ProjectImages.open(load_project(), LocalExecutor())
    project = images.loaded.project
    last = images.files.last_builds()
    rows: list[dict[str, Any]] = []
    for name in image_graph(images.loaded).names:
        image, built = project.images[name], last.get(name)
        rows.append(
            {
                "name": name,
                "template": image.template or name,
                "base": image.base,
                "from": image.from_,
                "description": image.description or "",
                "repository": images.repository(name),
                "last_build": built.to_json() if built else None,
            }
        )
    if as_json:
        output.json(rows)
        return
    output.table(
        ["IMAGE", "TEMPLATE", "FROM", "LAST BUILD", "DIGEST"],
        [
            [
                row["name"],
                row["template"],
                row["from"] or row["base"] or "",
                _when(last.get(row["name"])),
                _digest(last.get(row["name"])),
            ]
            for row in rows
        ],
    )


def _when(built: LastBuild | None) -> str:
    return built.built_at.replace("+00:00", "Z") if built else "never"


def _digest(built: LastBuild | None) -> str:
    if built is None:
        return ""
    return built.digest or "not pushed"


def show_graph(how: str) -> None:
    """Draw the graph."""
    output = Output(as_json=False)
    output.line(draw(image_graph(load_project()), GraphFormat(how)))


def show_rendered(name: str, *, show_diff: bool, folder: Path | None, as_json: bool) -> None:
    """Print, write or compare what an image is rendered to."""
    output = Output(as_json=as_json)
    images = ProjectImages.open(load_project(), LocalExecutor())
    rendered = render_one(images, name)
    difference = diff_last(images, name, rendered) if show_diff else None
    if folder is not None:
        write_rendered(rendered, folder)
    if as_json:
        body = _rendered_json(name, rendered)
        output.json({**body, "diff": difference} if show_diff else body)
    elif difference is not None:
        output.line(difference.rstrip("\n") or f"{name}: nothing differs from the last build")
    elif folder is not None:
        output.line(f"wrote {folder}: Containerfile and {len(rendered.files)} files")
    else:
        _print_rendered(output, rendered)


def _print_rendered(output: Output, rendered: RenderedImage) -> None:
    output.line("==> Containerfile")
    output.raw(f"{rendered.containerfile}\n".encode())
    for path, file in rendered.files.items():
        output.line(f"==> {path} ({file.mode:04o})")
        try:
            file.data.decode("utf-8")
        except UnicodeDecodeError:
            output.line(f"(binary, {len(file.data)} bytes)\n")
        else:
            output.raw(file.data + b"\n")


def _rendered_json(name: str, rendered: RenderedImage) -> dict[str, Any]:
    files = []
    for path, file in rendered.files.items():
        entry: dict[str, Any] = {"path": path, "mode": f"{file.mode:04o}"}
        try:
            entry["text"] = file.data.decode("utf-8")
        except UnicodeDecodeError:
            entry["base64"] = base64.b64encode(file.data).decode("ascii")
        files.append(entry)
    return {"image": name, "containerfile": rendered.containerfile, "files": files}
