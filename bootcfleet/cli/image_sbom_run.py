"""What `image sbom` does once its options are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bootcfleet.cli.output import Output
from bootcfleet.domain.reference import Platform
from bootcfleet.drivers.command import LocalExecutor, write_atomic
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.ops.audit import recorder
from bootcfleet.ops.imagecontents import Reader
from bootcfleet.ops.imagename import name_image
from bootcfleet.ops.project import find_project
from bootcfleet.ops.sbom import Sbom, SbomTool, attach, choose_tool, make_sbom, sboms_to_attach


def run_sbom(name: str, file: Path | None, tool: str, platform: str, *, as_json: bool) -> None:
    """Print the document, or write it into a file; the document is JSON by itself."""
    output = Output(as_json=as_json or file is None)
    loaded = find_project()
    with RegistryClient() as client:
        reader = Reader.of(
            loaded, client, LocalExecutor(), Platform.parse(platform), output.passing
        )
        named = name_image(loaded, name)
        made = make_sbom(reader, named, choose_tool(reader, SbomTool(tool)))
    if file is None:
        output.raw(made.raw)
        return
    write_atomic(file, made.raw, mode=0o644)
    if as_json:
        output.json({**_json(made), "file": str(file)})
    else:
        output.line(f"wrote {file}: {made.packages} packages of {made.digest} by {made.tool}")


def run_attach(
    name: str, file: Path | None, tool: str, platform: str, *, dry_run: bool, as_json: bool
) -> None:
    """Attach a document to every platform's image of the name."""
    output = Output(as_json=as_json)
    loaded = find_project()
    with RegistryClient() as client:
        reader = Reader.of(
            loaded, client, LocalExecutor(), Platform.parse(platform), output.passing
        )
        named = name_image(loaded, name)
        ref = named.pushed()
        digest, made = sboms_to_attach(reader, named, choose_tool(reader, SbomTool(tool)))
        pushed: tuple[Any, ...] = ()
        if not dry_run:
            with recorder(loaded) as record:
                pushed = attach(reader, ref, digest, made, record)
    chosen = next((one for one in made if one.platform == reader.platform), made[0])
    if file is not None and not dry_run:
        write_atomic(file, chosen.raw, mode=0o644)
    if as_json:
        artifacts: list[str | None] = [str(one) for one in pushed] or [None] * len(made)
        output.json(
            [{**_json(one), "artifact": at} for one, at in zip(made, artifacts, strict=True)]
        )
        return
    for one in made:
        what = "would be attached" if dry_run else "attached"
        output.line(f"{ref.name}@{one.digest}: {what}, {one.packages} packages by {one.tool}")


def _json(one: Sbom) -> dict[str, Any]:
    return {
        "image": one.image,
        "digest": one.digest,
        "packages": one.packages,
        "tool": one.tool.value,
    }
