"""What `disk backends`, `disk list` and `disk verify` do once their options are read."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from bootcfleet.cli.output import Output
from bootcfleet.domain.disk_spec import DEFAULT_BUILDER, DEFAULT_IMAGE_BUILDER
from bootcfleet.domain.diskobserved import human
from bootcfleet.domain.diskpreflight import backend_problems
from bootcfleet.domain.diskrequest import DiskRequest
from bootcfleet.domain.disktype import SUPPORTED, Backend, DiskType
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.drivers.diskfacts import observe
from bootcfleet.errors import ChecksFailedError
from bootcfleet.ops.audit import open_ledger
from bootcfleet.ops.disklist import list_disks, verify_disk
from bootcfleet.ops.plan import this_platform
from bootcfleet.ops.project import find_project

_BUILDERS = {
    Backend.BOOTC_IMAGE_BUILDER: DEFAULT_BUILDER,
    Backend.IMAGE_BUILDER: DEFAULT_IMAGE_BUILDER,
}


def show_backends(*, as_json: bool) -> None:
    """Print every backend with what it makes, and why it cannot be used where it cannot."""
    output, executor, here = Output(as_json=as_json), LocalExecutor(), Path.cwd()
    request = DiskRequest(
        "", "localhost/none", (), Backend.BOOTC_IMAGE_BUILDER, "", this_platform()
    )
    facts = observe(request, executor, here)
    rows = []
    lines: list[list[str]] = []
    notes: list[str] = []
    for backend in Backend:
        # An installed image-builder needs no container.
        native = backend is Backend.IMAGE_BUILDER and facts.native is not None
        problems = backend_problems(backend, facts, native=native)
        types = [one.value for one in DiskType if one in SUPPORTED[backend]]
        if backend is Backend.BOOTC_INSTALL and not facts.qemu_img:
            types = [DiskType.RAW.value]
        builder = facts.native if native else _BUILDERS.get(backend)
        usable = "no" if problems else "yes"
        lines.append([backend.value, usable, builder or "the image itself", " ".join(types)])
        rows.append(
            {
                "backend": backend.value,
                "usable": not problems,
                "builder": builder,
                "types": types,
                "problems": [one.to_json() for one in problems],
            }
        )
        notes += [f"{backend}: {one.message} ({one.remedy})" for one in problems]
    if as_json:
        output.json(rows)
        return
    output.table(["BACKEND", "USABLE", "BUILDER", "TYPES"], lines)
    for note in notes:
        output.line(note)


def show_disks(name: str | None, *, as_json: bool) -> None:
    """Print the files of builds that the ledger knows."""
    output = Output(as_json=as_json)
    with closing(open_ledger(find_project())) as ledger:
        disks = list_disks(ledger, name)
    if as_json:
        output.json([one.to_json() for one in disks])
        return
    if not disks:
        output.line("no disks were built yet: bootcfleet disk build IMAGE --type qcow2")
        return
    output.table(
        ["DISK", "TYPE", "SIZE", "BUILT", "STATE", "IMAGE", "PATH"],
        [
            [
                one.name,
                one.artifact.type.value,
                human(one.artifact.size),
                f"{one.result.built_at:%Y-%m-%dT%H:%M:%SZ}",
                one.state,
                one.result.image,
                str(one.path),
            ]
            for one in disks
        ],
    )


def run_verify(place: Path, *, as_json: bool) -> None:
    """Compare files with artifacts.json.  Raises `ChecksFailedError` when one is another."""
    output = Output(as_json=as_json)
    verdicts = verify_disk(place.absolute())
    if as_json:
        output.json([one.to_json() for one in verdicts])
    else:
        for one in verdicts:
            output.line(f"{one.path}: {one.problem or 'ok'}")
    bad = [one for one in verdicts if one.problem]
    if bad:
        raise ChecksFailedError(
            f"{len(bad)} of {len(verdicts)} files are not what was built",
            hint="build them again: bootcfleet disk build",
        )
