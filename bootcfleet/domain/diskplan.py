"""A build of disks as steps: each one command, and the files that are there after it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from bootcfleet.domain.diskargv import (
    KNOWN_FLAGS,
    Places,
    builder_argv,
    convert_argv,
    truncate_argv,
)
from bootcfleet.domain.diskobserved import DiskFacts, Level, PreflightFinding, space_json
from bootcfleet.domain.diskrequest import DiskRequest, disk_bytes
from bootcfleet.domain.disktype import OLDER_OUTPUT, Backend, DiskType


@dataclass(frozen=True)
class MadeFile:
    """A file that a step makes: `path` relative to the work folder, `older` what others call it.

    `final` is where it goes below the output folder.
    """

    type: DiskType
    path: str
    final: str
    older: str | None = None


@dataclass(frozen=True)
class DiskStep:
    """One command, run as root: `container` is its container's name where it has one."""

    what: str
    argv: tuple[str, ...]
    makes: tuple[MadeFile, ...] = ()
    container: str | None = None
    folders: tuple[str, ...] = ()


@dataclass(frozen=True)
class DiskPlan:
    """What will be done, what was found before, and where the result goes."""

    request: DiskRequest
    facts: DiskFacts
    findings: tuple[PreflightFinding, ...]
    steps: tuple[DiskStep, ...]
    places: Places
    output: str

    @property
    def errors(self) -> tuple[PreflightFinding, ...]:
        """What stops the build."""
        return tuple(one for one in self.findings if one.level is Level.ERROR)

    @property
    def questions(self) -> tuple[PreflightFinding, ...]:
        """What somebody has to agree to."""
        return tuple(one for one in self.findings if one.level is Level.CONFIRM)

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON-ready data."""
        request = self.request
        return {
            "name": request.name,
            "image": request.image,
            "types": [one.value for one in request.types],
            "backend": request.backend.value,
            "builder": request.builder or None,
            "platform": request.platform,
            "output": self.output,
            "config_hash": request.config_hash,
            "space": space_json(request, self.facts),
            "findings": [one.to_json() for one in self.findings],
            "steps": [{"what": one.what, "argv": list(one.argv)} for one in self.steps],
        }


def disk_steps(
    request: DiskRequest,
    places: Places,
    *,
    container: int = 0,
    flags: Collection[str] = KNOWN_FLAGS,
) -> tuple[DiskStep, ...]:
    """The steps of a build; `container` is the image's size in bytes.

    Each run of a builder has a folder of its own below ``places.work``: two installers would
    both be bootiso/install.iso.  Raises `UsageError` for a type that the backend does not make.
    """
    if request.backend is Backend.BOOTC_INSTALL:
        return _install_steps(request, places, container)
    steps = []
    taken: set[str] = set()
    for number, run in enumerate(request.runs, 1):
        name = f"run-{number}"
        own = replace(
            places, work=f"{places.work}/{name}", container=f"{places.container}-{number}"
        )
        made = []
        for one in run.makes:
            path = one.output(request.backend)
            final = path if path not in taken else f"{one.value}/{path.rpartition('/')[2]}"
            older = OLDER_OUTPUT.get(one)
            made.append(
                MadeFile(one, f"{name}/{path}", final, f"{name}/{older}" if older else None)
            )
        taken |= {one.final for one in made}
        argv = builder_argv(request, run, own, flags)
        what = f"{request.backend} makes {', '.join(run.makes)}"
        held = None if request.native else own.container
        steps.append(DiskStep(what, argv, tuple(made), held, (name,)))
    return tuple(steps)


def _install_steps(request: DiskRequest, places: Places, container: int) -> tuple[DiskStep, ...]:
    raw = DiskType.RAW.output(Backend.BOOTC_INSTALL)
    size = disk_bytes(request, container)
    wanted = (MadeFile(DiskType.RAW, raw, raw),) if DiskType.RAW in request.types else ()
    run = request.runs[0]
    steps = [
        DiskStep("an empty disk", truncate_argv(places, size), folders=(raw.rpartition("/")[0],)),
        DiskStep(
            f"{request.image} installs itself",
            builder_argv(request, run, places),
            wanted,
            places.container,
        ),
    ]
    for one in request.types:
        if one is not DiskType.RAW:
            path = one.output(Backend.BOOTC_INSTALL)
            folder = path.rpartition("/")[0]
            steps.append(
                DiskStep(
                    f"qemu-img converts it to {one}",
                    convert_argv(one, places),
                    (MadeFile(one, path, path),),
                    folders=(folder,),
                )
            )
    return tuple(steps)
