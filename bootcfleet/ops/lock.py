"""Pin the bases of a project, and read the pins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bootcfleet.domain.disktype import Backend
from bootcfleet.domain.graph import ImageGraph
from bootcfleet.domain.image import Resolved
from bootcfleet.domain.lock import Lock, LockChange, Pin, compare, parse_lock, render_lock
from bootcfleet.domain.reference import ImageRef
from bootcfleet.drivers import yamlfile
from bootcfleet.drivers.command import write_atomic
from bootcfleet.errors import ConfigError, FleetError
from bootcfleet.ops.fanout import gather
from bootcfleet.ops.project import LoadedProject

FILE = "bootcfleet.lock"
#: Bases asked about at the same time; more only makes registries limit us.
PARALLEL = 8

#: Asks a registry what a reference is now; `RegistryClient.resolve` does.
Resolve = Callable[[ImageRef], Resolved]


def load_lock(root: Path) -> Lock | None:
    """The lock of the project in `root`, or None where there is none.

    Raises `ConfigError` with file and line.
    """
    text = _read(root)
    return None if text is None else _parse(root, text)


@dataclass(frozen=True)
class LockUpdate:
    """A new lock before it is written.

    `failed` has each base that no digest could be had for, and why: it keeps the
    pin that it had. `images` has the images that stand on each base, parents
    first.
    """

    root: Path
    before: str | None
    lock: Lock
    change: LockChange
    failed: dict[str, FleetError]
    images: dict[str, tuple[str, ...]]

    @property
    def text(self) -> str:
        """What the file will hold."""
        return render_lock(self.lock)

    @property
    def writes(self) -> bool:
        """Whether the file will be another one."""
        return self.text != self.before and not (self.before is None and not self.lock.pins)

    def require_all(self) -> None:
        """Raise `FleetError` that names every base that was not pinned, if there is one."""
        if not self.failed:
            return
        details = []
        for base, error in self.failed.items():
            kept = "keeps its pin" if base in self.lock.pins else "has no pin"
            details.append(f"{base} {kept}: {error.message}")
            if error.hint:
                details.append(f"  {error.hint}")
        count = len(self.failed)
        raise FleetError(
            f"{count} {'base was' if count == 1 else 'bases were'} not resolved",
            details=details,
            hint="when that is mended, run it again: bootcfleet lock update",
        )


def plan_lock_update(
    loaded: LoadedProject, names: Sequence[str], *, resolve: Resolve, now: datetime
) -> LockUpdate:
    """Ask the registries for the bases of `names`, or for all, and make the new lock of it.

    The base of an image that stands on another of the project is that one's. Pins of the
    other bases stay as they are, but for those that no image declares: they go. A base that
    cannot be resolved is in `failed`, and the others are pinned. Raises `ConfigError` and
    `UsageError`.
    """
    graph = ImageGraph.of(loaded.project, loaded.document)
    text = _read(loaded.root)
    old = None if text is None else _parse(loaded.root, text)
    images = {**builders_of(loaded), **bases_of(graph)}
    roots = [name for name in graph.subset(names).names if graph.parents[name] is None]
    wanted = list(dict.fromkeys(graph.bases[root] for root in roots))
    # With names only the bases of those images are asked for.
    wanted += [] if names else [one for one in images if one not in wanted]
    answers = gather(wanted, lambda base: _resolve(base, resolve), parallel=PARALLEL)
    pins = {name: pin for name, pin in (old.pins if old else {}).items() if name in images}
    failed = {}
    for base, answer in answers.items():
        if isinstance(answer, FleetError):
            failed[base] = answer
            continue
        pin = Pin.of(base, answer, now)
        before = pins.get(base)
        # What says the same keeps its time: an update that moves nothing changes no byte.
        pins[base] = before if before is not None and before.same(pin) else pin
    new = Lock(pins)
    return LockUpdate(loaded.root, text, new, compare(old, new), failed, images)


def write_lock(update: LockUpdate) -> None:
    """Write the new lock, whole, if it is another one.

    Raises `FleetError` when the file is no longer what the plan was made from, or
    cannot be written.
    """
    if _read(update.root) != update.before:
        raise FleetError(
            f"{FILE} was changed by somebody else meanwhile; it was left as it is",
            hint="run it again: bootcfleet lock update",
        )
    if not update.writes:
        return
    path = update.root / FILE
    try:
        # A link keeps being one.
        write_atomic(path.resolve(), update.text.encode())
    except OSError as error:
        raise FleetError(f"{path} cannot be written: {error.strerror}") from error


def bases_of(graph: ImageGraph) -> dict[str, tuple[str, ...]]:
    """Every external base, in order, with the images that stand on it, parents first."""
    base: dict[str, str] = {}
    found: dict[str, list[str]] = {}
    for name, parent in graph.parents.items():
        base[name] = graph.bases[name] if parent is None else base[parent]
        found.setdefault(base[name], []).append(name)
    return {name: tuple(images) for name, images in sorted(found.items())}


def builders_of(loaded: LoadedProject) -> dict[str, tuple[str, ...]]:
    """Every builder of disks, in order, with the disks that it makes: pinned as bases are."""
    found: dict[str, list[str]] = {}
    for name, disk in loaded.project.disks.items():
        if disk.backend is not Backend.BOOTC_INSTALL:
            found.setdefault(disk.builder_image, []).append(name)
    return {builder: tuple(disks) for builder, disks in sorted(found.items())}


def _resolve(base: str, resolve: Resolve) -> Resolved:
    ref = ImageRef.parse(base)
    if ref.registry == "localhost":
        raise FleetError(
            "it is in podman's storage alone, so that another machine has none or another one",
            hint="push it to a registry, and declare it from there",
        )
    resolved = resolve(ref)
    if not resolved.platforms:
        raise FleetError("it has no image for a platform that bootc runs on")
    return resolved


def _read(root: Path) -> str | None:
    path = root / FILE
    # A link that leads nowhere is a mistake, and no missing lock.
    return yamlfile.read_text(path) if path.exists() or path.is_symlink() else None


def _parse(root: Path, text: str) -> Lock:
    path = root / FILE
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(("<<<<<<< ", ">>>>>>> ")):
            raise ConfigError(
                "has a conflict of git in it",
                file=str(path),
                line=number,
                hint=f"git checkout --ours {FILE}, then bootcfleet lock update",
            )
    return parse_lock(yamlfile.parse(text, str(path)))
