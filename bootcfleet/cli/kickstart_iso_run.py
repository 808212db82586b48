"""What `kickstart iso` does once its options are read."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from bootcfleet.cli.kickstart_run import kickstart_options
from bootcfleet.cli.output import Output
from bootcfleet.domain.install_spec import Payload
from bootcfleet.domain.isomenu import boot_lines, split_arguments
from bootcfleet.drivers.isotool import IsoTool, iso_executor
from bootcfleet.errors import UsageError
from bootcfleet.ops.isomedium import Medium, inspect_iso
from bootcfleet.ops.kickstart import Kickstarts
from bootcfleet.ops.kickstart_iso import (
    IsoBackend,
    IsoPlan,
    IsoRequest,
    plan_iso,
    run_iso,
)
from bootcfleet.ops.project import find_project

_FILE = re.compile(r"/|\.(ks|cfg)$")
#: Lines of a kickstart that hold a secret, also a hashed one: it can be guessed at leisure.
_SECRET = re.compile(
    r"^\s*rootpw\s(?!.*--lock\s*$)|--(?:password|passphrase|iscrypted)\b|\bauth\.json\b",
    re.MULTILINE,
)


@dataclass(frozen=True)
class IsoOptions:
    """The command line."""

    name: str | None
    iso: Path | None
    output: Path | None
    host: str | None
    append: tuple[str, ...]
    backend: str
    inventory: Path | None
    release: str | None
    image: str | None
    variables: tuple[str, ...]


@dataclass(frozen=True)
class _Source:
    """A kickstart, whether it holds secrets, and where its image lies on the medium, if there."""

    text: bytes
    secret: bool
    payload: str | None = None


def run_kickstart_iso(options: IsoOptions, *, dry_run: bool, as_json: bool) -> None:
    """Plan, show or write, and say what was done."""
    output = Output(as_json=as_json)
    if options.name is None or options.iso is None or options.output is None:
        raise UsageError(
            "NAME, --iso and --output are needed",
            hint="bootcfleet kickstart iso NAME --iso BOOT.iso --output OUT.iso",
        )
    try:
        backend = IsoBackend(options.backend)
        arguments = split_arguments(options.append)
    except ValueError as error:
        if options.backend not in list(IsoBackend):
            raise UsageError(f"--backend {options.backend}: auto, mkksiso or xorriso") from error
        raise UsageError(f"--append: {error}") from error
    source = _source(options, options.name)
    tool = IsoTool(iso_executor())
    plan = plan_iso(
        IsoRequest(
            iso=options.iso,
            output=options.output,
            kickstart=source.text,
            secret=source.secret,
            arguments=arguments,
            backend=backend,
        ),
        tool,
    )
    for note in [*plan.notes, *_payload_notes(plan, source.payload)]:
        output.line(f"note: {note}")
    if dry_run:
        _show_plan(output, plan)
        return
    result = run_iso(plan, tool, output.event)
    if as_json:
        output.json_line({"kind": "kickstart.iso.done", "data": result.to_json()})
        return
    count = sum(len(boot_lines(menu.text, menu.kind)) for menu in plan.menus)
    secret = ", for its owner alone: it holds secrets" if plan.request.secret else ""
    output.line(f"wrote {result.path} ({result.size >> 20} MiB){secret}")
    output.line(f"{count} menu entries in {len(plan.menus)} menus boot with {' '.join(plan.words)}")


def _source(options: IsoOptions, name: str) -> _Source:
    """The kickstart of a file, or of an install (template) for a host.  Raises `FleetError`."""
    if _FILE.search(name):
        if options.host or options.release or options.image or options.variables:
            raise UsageError(f"{name} is a file: it is taken as it is, for any host")
        try:
            text = Path(name).read_bytes()
            private = not Path(name).stat().st_mode & 0o004
        except OSError as error:
            raise UsageError(f"{name} cannot be read: {error.strerror}") from error
        return _Source(text, private or bool(_SECRET.search(text.decode("utf-8", "replace"))))
    chosen = kickstart_options(options.release, options.image, options.variables)
    kickstarts = Kickstarts.open(find_project(), options.inventory)
    host = kickstarts.host(options.host) if options.host else None
    spec = kickstarts.spec(name, chosen)
    rendered = kickstarts.render(name, host, options=chosen)
    secret = rendered.secret or bool(_SECRET.search(rendered.text))
    payload = spec.payload_path if spec.payload is Payload.ISO else None
    return _Source(rendered.text.encode(), secret, payload)


def _payload_notes(plan: IsoPlan, payload: str | None) -> list[str]:
    """What is missing when the image is to come from the medium."""
    prefix = "/run/install/repo/"
    if payload is None or not payload.startswith(prefix):
        return []
    folder = "/" + payload.removeprefix(prefix).rstrip("/")
    if any(path.startswith(f"{folder}/") for path in plan.medium.report.files):
        return []
    return [
        f"the install takes its image from {folder} on the medium, and this ISO has no {folder}"
    ]


def _show_plan(output: Output, plan: IsoPlan) -> None:
    if output.as_json:
        output.json(plan.to_json())
        return
    output.line(f"{plan.backend} would write {plan.request.output} ({plan.why}):")
    output.line(shlex.join(plan.argv(Path("DIR"))))
    for menu in plan.menus:
        output.line(f"{menu.where}:")
        for line in boot_lines(menu.text, menu.kind):
            output.line(f"  {line.keyword} {line.text}")
    if plan.request.secret:
        output.line("the ISO would be for its owner alone: it holds secrets")


def run_inspect(iso: Path, *, alone: bool, as_json: bool) -> None:
    """Show an ISO."""
    if not alone:
        raise UsageError("--inspect only looks at an ISO: no NAME, --iso or --output with it")
    output = Output(as_json=as_json)
    medium = inspect_iso(iso, IsoTool(iso_executor()))
    if as_json:
        output.json(medium.to_json())
    else:
        _show_medium(output, medium)


def _show_medium(output: Output, medium: Medium) -> None:
    boots = ", ".join(one.platform for one in medium.report.boot_images) or "not from a CD"
    output.line(f"label         {medium.report.volume_id}")
    output.line(f"architecture  {medium.architecture or 'unknown'}")
    output.line(f"boots         {boots}; system area: {medium.report.system_area or 'none'}")
    output.line(f"checksum      {medium.checksum or 'none: rd.live.check has nothing to compare'}")
    output.line(f"kickstart     {', '.join(medium.kickstarts) or 'none'}")
    for menu in medium.menus:
        output.line(f"{menu.where}:")
        for line in boot_lines(menu.text, menu.kind):
            output.line(f"  {line.keyword} {line.text}")
    if not medium.menus:
        output.line("no boot menu that boots a kernel")
