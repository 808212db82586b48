"""Installer ISOs through xorriso, and the EFI system partitions in them through mtools."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bootcfleet.domain.isoreport import AppendedPartition, IsoReport, parse_report
from bootcfleet.drivers.command import CommandResult, Executor, LocalExecutor
from bootcfleet.errors import FleetError, ToolMissingError

#: Bytes in which a partition is copied out of an ISO.
_CHUNK = 1 << 20
_PERCENT = re.compile(r"Writing: .*?([0-9]{1,3}(?:\.[0-9]+)?)%")
#: A supplementary volume descriptor in one of Joliet's three character sets.
_JOLIET = (b"%/@", b"%/C", b"%/E")


def iso_executor() -> LocalExecutor:
    """Runs xorriso and mtools in the language that is parsed, without anybody's settings."""
    return LocalExecutor(env={"LC_ALL": "C", "MTOOLS_SKIP_CHECK": "1", "MTOOLSRC": "/dev/null"})


@dataclass(frozen=True)
class IsoTool:
    """The tools; `executor` is `iso_executor` but in tests."""

    executor: Executor

    def report(self, iso: Path) -> IsoReport:
        """What an ISO is.  Raises `FleetError` when it is none."""
        argv = [*_start(iso), "-pvd_info"]
        for form in ("plain", "cmd"):
            argv += ["-report_el_torito", form, "-report_system_area", form]
        result = self._run([*argv, "-find", "/", "-type", "f"])
        try:
            return parse_report(result.stdout)
        except ValueError as error:
            raise FleetError(
                f"{iso} is no ISO 9660 image that xorriso can read", details=_complaints(result)
            ) from error

    def extract(self, iso: Path, files: Mapping[str, Path]) -> None:
        """Copy files out of an ISO; they are writable here."""
        if not files:
            return
        argv = ["xorriso", "-no_rc", "-osirrox", "on", *_start(iso)[2:]]
        for path, target in files.items():
            argv += ["-extract", path, str(target)]
        result = self._run(argv)
        for path, target in files.items():
            if not target.is_file():
                raise FleetError(f"{path} cannot be read out of {iso}", details=_complaints(result))
            target.chmod(0o600)

    def fat_files(self, image: Path) -> tuple[str, ...]:
        """The paths in a FAT image; none when it is no FAT image."""
        result = self._run(["mdir", "-b", "-/", "-i", str(image), "::/"])
        lines = (line.removeprefix("::") for line in result.stdout.splitlines())
        return tuple(line for line in lines if line and not line.endswith("/"))

    def fat_read(self, image: Path, path: str, target: Path) -> None:
        """Copy a file out of a FAT image.  Raises `FleetError`."""
        self._done(["mcopy", "-n", "-i", str(image), f"::{path}", str(target)], f"reading {path}")

    def fat_write(self, image: Path, source: Path, path: str) -> None:
        """Replace a file in a FAT image.  Raises `FleetError`, also when it is full."""
        try:
            argv = ["mcopy", "-D", "o", "-i", str(image), str(source), f"::{path}"]
            self._done(argv, f"writing {path} into the EFI system partition")
        except ToolMissingError:
            raise
        except FleetError as error:
            raise FleetError(
                error.message,
                hint="mkksiso (package lorax) makes that partition anew; it needs root",
                details=error.details,
            ) from error

    def rewrite(self, argv: Sequence[str], told: Callable[[float], None]) -> None:
        """Run the xorriso (or mkksiso) that writes an ISO.  Raises `FleetError`."""

        def listen(_stream: str, line: str) -> None:
            if match := _PERCENT.search(line):
                told(float(match[1]) / 100)

        result = self.executor.run(argv, on_line=listen)
        if not result.ok:
            raise FleetError(
                f"{argv[0]} could not write the ISO (exit code {result.exit_code})",
                details=_complaints(result),
            )

    def _done(self, argv: Sequence[str], what: str) -> None:
        result = self._run(argv)
        if not result.ok:
            raise FleetError(f"{what} failed", details=_complaints(result))

    def _run(self, argv: Sequence[str]) -> CommandResult:
        try:
            return self.executor.run(argv)
        except ToolMissingError as error:
            package = "xorriso" if argv[0] == "xorriso" else "mtools"
            raise ToolMissingError(error.message, hint=f"install the package {package}") from error


def rewrite_argv(
    iso: Path,
    output: Path,
    files: Mapping[str, Path],
    partitions: Mapping[AppendedPartition, Path],
) -> list[str]:
    """The xorriso that copies an ISO with other files and partitions, and boots as it did."""
    argv = ["xorriso", "-no_rc", "-indev", f"stdio:{iso}", "-outdev", f"stdio:{output}"]
    argv += ["-boot_image", "any", "replay"]
    if has_joliet(iso):
        argv += ["-joliet", "on", "-compliance", "joliet_long_names"]
    for partition, source in partitions.items():
        argv += ["-append_partition", str(partition.number), partition.kind, str(source)]
    for path, source in files.items():
        argv += ["-map", str(source), path]
        # Of root and readable, as everything on a medium; not of who made it.
        argv += ["-chown", "0", path, "--", "-chgrp", "0", path, "--", "-chmod", "0444", path, "--"]
    return [*argv, "-commit"]


def is_iso(path: Path) -> bool:
    """Whether a file begins as an ISO; xorriso takes anything else for an empty medium."""
    with path.open("rb") as stream:
        stream.seek(16 * 2048)
        return stream.read(6) == b"\x01CD001"


def missing_bytes(path: Path) -> int:
    """How many bytes an ISO is shorter than it says itself; 0 when it is whole."""
    with path.open("rb") as stream:
        stream.seek(16 * 2048 + 80)
        return max(0, int.from_bytes(stream.read(4), "little") * 2048 - path.stat().st_size)


def has_joliet(iso: Path) -> bool:
    """Whether an ISO has a second tree of names, for Windows; xorriso would leave it out."""
    with iso.open("rb") as stream:
        stream.seek(16 * 2048)
        while (head := stream.read(2048))[1:6] == b"CD001" and head[0] != 255:
            if head[0] == 2 and head[88:91] in _JOLIET:
                return True
    return False


def copy_partition(iso: Path, partition: AppendedPartition, target: Path) -> None:
    """Copy a partition of an ISO into a file."""
    with iso.open("rb") as source, target.open("wb") as out:
        source.seek(partition.start)
        left = partition.size
        while left and (chunk := source.read(min(_CHUNK, left))):
            out.write(chunk)
            left -= len(chunk)


def _start(iso: Path) -> list[str]:
    return ["xorriso", "-no_rc", "-indev", f"stdio:{iso}"]


def _complaints(result: CommandResult) -> tuple[str, ...]:
    """The last lines that say what is wrong."""
    lines = [line.strip() for line in (result.stderr or result.stdout).splitlines()]
    told = [line for line in lines if re.search(r"FAILURE|FATAL|SORRY|rror|full", line)]
    return tuple((told or [line for line in lines if line])[-5:])
