"""Put a kickstart into an installer ISO.

A plan reads the medium and holds every edited menu; running it writes the new ISO beside its
final name, implants the checksum, reads everything back and only then gives it the name.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from bootcfleet.domain.event import Emit, Event
from bootcfleet.domain.isomenu import (
    KICKSTART_PATH,
    boot_lines,
    edit_menu,
    kickstart_word,
    label_problem,
)
from bootcfleet.drivers.isomd5 import implant, implanted
from bootcfleet.drivers.isotool import IsoTool, rewrite_argv
from bootcfleet.errors import FleetError, ToolMissingError, UsageError
from bootcfleet.ops.isomedium import EfiImage, Medium, Menu, fetch_image, inspect_iso


class IsoBackend(StrEnum):
    """What writes the ISO."""

    AUTO = "auto"
    MKKSISO = "mkksiso"
    XORRISO = "xorriso"


@dataclass(frozen=True)
class IsoRequest:
    """What is asked for. `secret`: the kickstart is not for everybody's eyes."""

    iso: Path
    output: Path
    kickstart: bytes = field(repr=False)
    secret: bool = False
    arguments: tuple[str, ...] = ()
    backend: IsoBackend = IsoBackend.AUTO


@dataclass(frozen=True)
class IsoPlan:
    """Everything that will be written. `menus` are the edited ones, `why` is about `backend`."""

    request: IsoRequest
    medium: Medium
    backend: IsoBackend
    why: str
    words: tuple[str, ...]
    menus: tuple[Menu, ...]
    notes: tuple[str, ...]

    @property
    def images(self) -> tuple[EfiImage, ...]:
        """The EFI system partitions that have a menu."""
        return tuple(dict.fromkeys(menu.image for menu in self.menus if menu.image))

    def argv(self, work: Path) -> list[str]:
        """The command that writes the ISO from what lies in `work`."""
        output = work / "out.iso"
        if self.backend is IsoBackend.MKKSISO:
            more = ["-c", " ".join(self.request.arguments)] if self.request.arguments else []
            kickstart = str(work / KICKSTART_PATH[1:])
            return ["mkksiso", "--ks", kickstart, *more, str(self.request.iso), str(output)]
        files = {KICKSTART_PATH: work / KICKSTART_PATH[1:]}
        files |= {
            menu.path: work / f"menu{number}"
            for number, menu in enumerate(self.menus)
            if menu.image is None
        }
        partitions = {}
        for number, image in enumerate(self.images):
            if image.path is not None:
                files[image.path] = work / f"efi{number}"
            elif image.partition is not None:
                partitions[image.partition] = work / f"efi{number}"
        return rewrite_argv(self.request.iso, output, files, partitions)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; the command has DIR for its working directory."""
        return {
            "iso": str(self.request.iso),
            "output": str(self.request.output),
            "backend": self.backend.value,
            "why": self.why,
            "volume_id": self.medium.report.volume_id,
            "arguments": list(self.words),
            "secret": self.request.secret,
            "menus": [menu.to_json() for menu in self.menus],
            "command": self.argv(Path("DIR")),
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class IsoResult:
    """The ISO that was written; `mode` is what its file may be used for, `checksum` is in it."""

    path: Path
    size: int
    mode: int
    checksum: str
    plan: IsoPlan

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        plan = self.plan.to_json()
        for key in ("command", "output"):
            del plan[key]
        return {
            "output": str(self.path),
            "size": self.size,
            "mode": f"{self.mode:04o}",
            "checksum": self.checksum,
            **plan,
        }


def plan_iso(
    request: IsoRequest, tool: IsoTool, find: Callable[[str], str | None] = shutil.which
) -> IsoPlan:
    """Read the medium and edit its menus in memory.

    Raises `UsageError` for what cannot be done, `ToolMissingError` and `FleetError`.
    """
    request = replace(request, iso=request.iso.resolve(), output=request.output.absolute())
    if os.path.lexists(request.output):
        raise UsageError(
            f"{request.output} exists already and is not overwritten",
            hint="choose another --output, or remove it",
        )
    if not request.output.parent.is_dir():
        raise UsageError(f"the directory {request.output.parent} does not exist")
    medium = inspect_iso(request.iso, tool)
    label = medium.report.volume_id
    if problem := label_problem(label):
        raise UsageError(problem, hint="give the medium another volume id (xorriso -volid)")
    if not medium.menus:
        raise UsageError(
            f"{request.iso} has no boot menu that boots a kernel",
            hint="it takes a boot or DVD ISO of the release; look with "
            f"`bootcfleet kickstart iso --inspect {shlex.quote(str(request.iso))}`",
        )
    texts = [menu.text for menu in medium.menus]
    words = (kickstart_word(label, texts), *request.arguments)
    edited = tuple(
        replace(menu, text=edit_menu(menu.text, menu.kind, words)) for menu in medium.menus
    )
    backend, why = _choose(request.backend, medium, find)
    if backend is IsoBackend.XORRISO and medium.report.unreachable_efi:
        raise UsageError(
            f"UEFI boots {request.iso} from an image that is neither a file nor a partition of it",
            hint="use mkksiso (package lorax), as root: --backend mkksiso",
        )
    return IsoPlan(request, medium, backend, why, words, edited, _notes(medium))


def _notes(medium: Medium) -> tuple[str, ...]:
    notes = []
    if medium.kickstarts:
        named = ", ".join(medium.kickstarts)
        notes.append(f"the menus name another kickstart ({named}); it is replaced")
    if KICKSTART_PATH in medium.report.files:
        notes.append(f"the ISO has a {KICKSTART_PATH} already; it is replaced")
    return tuple(notes)


def _choose(
    wanted: IsoBackend, medium: Medium, find: Callable[[str], str | None]
) -> tuple[IsoBackend, str]:
    """The backend and why: mkksiso where it can do all of it."""
    if wanted is IsoBackend.XORRISO:
        return wanted, "asked for"
    problem: FleetError | None = None
    if find("mkksiso") is None:
        problem = ToolMissingError(
            "mkksiso is not installed",
            hint="dnf install lorax isomd5sum, or --backend xorriso, which does the same",
        )
    elif os.geteuid() != 0:
        problem = UsageError(
            "mkksiso needs root for the EFI system partition",
            hint="--backend xorriso does the same without root",
        )
    elif medium.architecture not in (None, platform.machine()):
        problem = UsageError(
            f"mkksiso wants a machine of the ISO's architecture, {medium.architecture}",
            hint="--backend xorriso does the same on any machine",
        )
    elif medium.report.efi_in_files:
        # It puts the new EFI menu into partition 2 only (lorax 02561af0, RebuildEFIBoot).
        problem = UsageError(
            "mkksiso does not change the menu in the file that UEFI boots from a CD",
            hint="--backend xorriso does",
        )
    if problem is None:
        return (
            IsoBackend.MKKSISO,
            "asked for" if wanted is IsoBackend.MKKSISO else "it is installed",
        )
    if wanted is IsoBackend.MKKSISO:
        raise problem
    return IsoBackend.XORRISO, problem.message


def run_iso(plan: IsoPlan, tool: IsoTool, emit: Emit) -> IsoResult:
    """Write the ISO.  Nothing is there under its name until all of it is.

    Raises `FleetError`; on ^C the working directory goes as well.
    """
    request = plan.request
    _check_space(plan)
    with _folder_beside(request.output) as work:
        _prepare(plan, work, tool)
        output = work / "out.iso"
        _say(emit, plan, f"{plan.backend} writes the ISO ({plan.why})")
        tool.rewrite(plan.argv(work), _progress(emit, plan, "written"))
        checksum = _implant(plan, output, emit)
        _verify(plan, output, tool)
        mode = 0o600 if request.secret else 0o644
        output.chmod(mode)
        with output.open("rb") as stream:
            os.fsync(stream.fileno())
            size = os.fstat(stream.fileno()).st_size
        _give_name(output, request.output)
    return IsoResult(request.output, size, mode, checksum, plan)


def _check_space(plan: IsoPlan) -> None:
    need = plan.request.iso.stat().st_size + (64 << 20)
    free = shutil.disk_usage(plan.request.output.parent).free
    if free < need:
        raise FleetError(
            f"{plan.request.output.parent} has {free >> 20} MiB free, and {need >> 20} MiB are "
            "needed",
            hint="choose an --output on another file system",
        )


@contextmanager
def _folder_beside(output: Path) -> Iterator[Path]:
    """A working directory of the owner alone, beside the output, and gone afterwards."""
    try:
        folder = tempfile.TemporaryDirectory(dir=output.parent, prefix=".bootcfleet-iso-")
    except OSError as error:
        raise FleetError(f"{output.parent} cannot be written: {error.strerror}") from error
    with folder as name:
        yield Path(name)


def _prepare(plan: IsoPlan, work: Path, tool: IsoTool) -> None:
    (work / KICKSTART_PATH[1:]).write_bytes(plan.request.kickstart)
    if plan.backend is IsoBackend.MKKSISO:
        return
    for number, menu in enumerate(plan.menus):
        (work / f"menu{number}").write_bytes(menu.text.encode("utf-8", "surrogateescape"))
    for number, image in enumerate(plan.images):
        local = work / f"efi{number}"
        fetch_image(image, plan.request.iso, local, tool)
        for place, menu in enumerate(plan.menus):
            if menu.image == image:
                tool.fat_write(local, work / f"menu{place}", menu.path)


def _implant(plan: IsoPlan, output: Path, emit: Emit) -> str:
    """The checksum of the new medium; mkksiso has made it itself, where it could."""
    if plan.backend is IsoBackend.MKKSISO and (made := implanted(output)[0]):
        return made
    told = _progress(emit, plan, "checksum")
    return implant(output, supported=plan.medium.supported, told=told)


def _verify(plan: IsoPlan, output: Path, tool: IsoTool) -> None:
    """Read the result back: whatever wrote it, it must do what was planned."""
    made = inspect_iso(output, tool)
    problems = []
    if made.report.volume_id != plan.medium.report.volume_id:
        problems.append(f"its volume id is {made.report.volume_id!r}")
    if made.report.boots != plan.medium.report.boots:
        problems.append("it does not boot in the same ways as before")
    menus = {menu.where: menu for menu in made.menus}
    for wanted in plan.menus:
        if plan.backend is IsoBackend.MKKSISO and wanted.image and wanted.image.path:
            continue  # A copy that nothing boots: see _choose.
        menu = menus.get(wanted.where)
        lines = boot_lines(menu.text, menu.kind) if menu else ()
        for line in boot_lines(wanted.text, wanted.kind)[len(lines) :]:
            problems.append(f"{wanted.where}: the entry is gone: {line.text}")
        for line in lines:
            values = [word.value for word in line.arguments]
            missing = [word for word in plan.words if word not in values]
            if missing:
                problems.append(f"{wanted.where}: an entry has no {' '.join(missing)}")
    copy = output.with_name("read-back")
    tool.extract(output, {KICKSTART_PATH: copy})
    if copy.read_bytes() != plan.request.kickstart:
        problems.append(f"its {KICKSTART_PATH} is not the kickstart")
    if problems:
        raise FleetError(
            f"{plan.backend} wrote an ISO that is not what was planned; it is thrown away",
            details=problems[:8],
        )


def _give_name(made: Path, output: Path) -> None:
    """Give the file its name, never over another file."""
    try:
        os.link(made, output)
    except FileExistsError as error:
        raise UsageError(f"{output} has come to exist meanwhile; it is not overwritten") from error
    except OSError:
        # A file system without hard links.
        if os.path.lexists(output):
            raise UsageError(f"{output} exists already and is not overwritten") from None
        made.rename(output)
    directory = os.open(output.parent, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(directory)
    finally:
        os.close(directory)


def _say(emit: Emit, plan: IsoPlan, message: str, **data: Any) -> None:
    emit(Event("kickstart.iso", plan.request.output.name, message, data))


def _progress(emit: Emit, plan: IsoPlan, what: str) -> Callable[[float], None]:
    """Tell in steps of ten percent: a log is no place for more."""
    last = [0]

    def told(share: float) -> None:
        step = min(10, int(share * 10))
        if step > last[0]:
            last[0] = step
            data: Mapping[str, Any] = {"step": what, "percent": step * 10}
            emit(
                Event(
                    "kickstart.iso.progress",
                    plan.request.output.name,
                    f"{what} {step * 10} %",
                    data,
                )
            )

    return told
