"""The files of builds below a project's state folder.

``build/NAME/``           the build context that podman reads, written anew each time
``rendered/NAME/``        the context of the last good build, to compare with
``logs/build/TIME/*.log`` what podman said, one file an image
``build.lock``            held while a build runs
``builds.json``           the last good build of every image
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from bootcfleet.domain.build import LastBuild
from bootcfleet.domain.template import ContextFile, RenderedImage
from bootcfleet.drivers.command import write_atomic
from bootcfleet.errors import FleetError

#: The time of every file in a build context (seconds since 1970). A fixed one
#: keeps podman's cache of COPY valid and two builds of one commit alike.
MTIME = 0

CONTAINERFILE = "Containerfile"


class ImageLog:
    """One image's log file; lines are there as soon as they are written.  Safe in threads."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._stream: IO[str] = path.open("w", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()

    def line(self, text: str) -> None:
        """Add a line."""
        with self._lock:
            if not self._stream.closed:
                self._stream.write(text + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._stream.close()


class BuildFiles:
    """The files of builds in the state folder `state`."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._lock = threading.Lock()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the build folder: two builds at once would write each other's contexts.

        Raises `FleetError` when another process holds it. It is let go when this
        process ends, however it ends.
        """
        self._state.mkdir(parents=True, exist_ok=True)
        with (self._state / "build.lock").open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise FleetError(
                    "another build of this project is running",
                    hint="wait for it to end, or stop it with ^C where it runs",
                ) from error
            yield

    def write_context(self, name: str, rendered: RenderedImage) -> Path:
        """Write the build context of an image, without anything that an earlier one left."""
        return self._replace(self._state / "build" / name, rendered)

    def keep_rendered(self, name: str, rendered: RenderedImage) -> None:
        """Remember what the last good build of an image was made of."""
        self._replace(self._state / "rendered" / name, rendered)

    def last_rendered(self, name: str) -> RenderedImage | None:
        """What the last good build of an image was made of; None when there was none."""
        folder = self._state / "rendered" / name
        containerfile = folder / CONTAINERFILE
        if not containerfile.is_file():
            return None
        files = {
            path.relative_to(folder).as_posix(): ContextFile(
                path.read_bytes(), 0o755 if path.stat().st_mode & 0o100 else 0o644
            )
            for path in sorted((folder / "files").rglob("*"))
            if path.is_file()
        }
        return RenderedImage(containerfile.read_text(encoding="utf-8"), files)

    def log(self, stamp: str, name: str) -> ImageLog:
        """Open the log of an image in the build that began at `stamp`."""
        return ImageLog(self._state / "logs" / "build" / stamp / f"{name}.log")

    def last_builds(self) -> dict[str, LastBuild]:
        """The last good build of every image.  Raises `FleetError` when the file is damaged."""
        path = self._state / "builds.json"
        try:
            body = json.loads(path.read_text(encoding="utf-8"))
            return {name: LastBuild.from_json(entry) for name, entry in body["images"].items()}
        except FileNotFoundError:
            return {}
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise FleetError(
                f"{path} is damaged: {error}",
                hint=f"remove it (the images stay where they are): rm {path}",
            ) from error

    def remember(self, name: str, build: LastBuild) -> None:
        """Write down the last good build of an image."""
        with self._lock:
            images = {**self.last_builds(), name: build}
            body = {
                "version": 1,
                "images": {one: images[one].to_json() for one in sorted(images)},
            }
            write_atomic(self._state / "builds.json", (json.dumps(body, indent=2) + "\n").encode())

    def _replace(self, folder: Path, rendered: RenderedImage) -> Path:
        if folder.is_symlink() or folder.is_file():
            folder.unlink()
        elif folder.exists():
            shutil.rmtree(folder)
        write_tree(folder, rendered)
        return folder


def write_tree(folder: Path, rendered: RenderedImage) -> None:
    """Write a Containerfile and its context into `folder`, with fixed modes and times.

    Raises `FleetError` when something of that name is in the way.
    """
    # COPY files/ / needs the folder even when it is empty.
    (folder / "files").mkdir(parents=True, exist_ok=True)
    everything: Mapping[str, ContextFile] = {
        CONTAINERFILE: ContextFile(rendered.containerfile.encode()),
        **rendered.files,
    }
    for path, file in everything.items():
        target = folder / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.data)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise FleetError(f"{target} cannot be written: {error.strerror}") from error
        target.chmod(file.mode)
    # Deepest first: writing into a folder changes its time.
    for directory, _, leaves in os.walk(folder, topdown=False):
        here = Path(directory)
        for leaf in leaves:
            os.utime(here / leaf, (MTIME, MTIME))
        here.chmod(0o755)
        os.utime(here, (MTIME, MTIME))
