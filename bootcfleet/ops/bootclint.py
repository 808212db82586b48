"""Run `bootc container lint` in an image and in its parent, and judge what is new.

It is run in a container of the finished image and not read from the build's log:
a RUN that podman takes from its cache says nothing.  Image and parent are looked
at in the same way, so that what the container engine itself leaves in /run or
/etc is in both.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bootcfleet.domain.bootclint import (
    BootcFinding,
    BootcLint,
    BootcLintPolicy,
    new_warnings,
    parse_bootc_lint,
)
from bootcfleet.domain.event import Emit, Event
from bootcfleet.domain.lint.model import Subject
from bootcfleet.domain.template import RenderedImage
from bootcfleet.drivers.command import CommandTimeoutError, Executor
from bootcfleet.errors import ChecksFailedError

#: Seconds for one image: the lint walks over every file.
_TIMEOUT = 300.0


@dataclass(frozen=True)
class BootcVerdict:
    """What an image's lint said, and what of it is new; `note` where it could not be told."""

    found: BootcLint | None = None
    new: tuple[BootcFinding, ...] = ()
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """For evidence."""
        found = self.found or BootcLint()
        return {
            "warnings": sorted({one.lint for one in found.warnings}),
            "errors": sorted({one.lint for one in found.errors}),
            "new": [str(one) for one in self.new],
            **({"note": self.note} if self.note else {}),
        }


@dataclass
class BootcLinter:
    """Lints the images of one run; each image once.  Safe in threads."""

    executor: Executor
    emit: Emit
    verdicts: dict[str, BootcVerdict] = field(default_factory=dict)
    _found: dict[str, BootcLint | None] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def judge(
        self,
        name: str,
        image: str,
        parent: str,
        rendered: RenderedImage,
        policy: BootcLintPolicy,
    ) -> None:
        """Look at a new image (by id) and at what it is FROM.

        Raises `ChecksFailedError` for an error of bootc, and for warnings as the
        policy says.
        """
        skip = skipped_lints(rendered)
        found = self._lint(image)
        before = self._lint(parent) if found and found.warnings else BootcLint()
        verdict = _verdict(found, before, skip)
        self.verdicts[image] = verdict
        self._say(name, verdict)
        if verdict.found is None:
            return
        if verdict.found.errors:
            raise ChecksFailedError(
                f"bootc container lint fails: {_names(verdict.found.errors)}",
                details=[str(one) for one in verdict.found.errors],
                hint="correct the template; each line says what bootc found",
            )
        bad = {
            BootcLintPolicy.NEW: verdict.new,
            BootcLintPolicy.ALL: verdict.found.warnings,
            BootcLintPolicy.ERRORS: (),
        }[policy]
        if bad:
            whose = "of what its parent does not have" if policy is BootcLintPolicy.NEW else "of"
            raise ChecksFailedError(
                f"bootc container lint warns {whose}: {_names(bad)}",
                details=[str(one) for one in bad],
                hint="correct the template, name the lint in its lint(skip=[…]), or set "
                "`bootc_lint: errors` for this image",
            )

    def _lint(self, image: str) -> BootcLint | None:
        with self._lock:
            if image in self._found:
                return self._found[image]
        found = run_bootc_lint(self.executor, image)
        with self._lock:
            self._found[image] = found
        return found

    def _say(self, name: str, verdict: BootcVerdict) -> None:
        message = verdict.note
        if verdict.found is not None and verdict.found.warnings and not message:
            new = f"new: {_names(verdict.new)}" if verdict.new else "so it does in its parent"
            message = f"bootc container lint warns: {_names(verdict.found.warnings)}; {new}"
        if message:
            data = {"stream": "bootcfleet", "bootc_lint": verdict.to_json()}
            self.emit(Event("image.build.output", name, message, data))


def _verdict(
    found: BootcLint | None, before: BootcLint | None, skip: Sequence[str]
) -> BootcVerdict:
    if found is None:
        return BootcVerdict(note="bootc container lint could not be run in this image")
    found = found.without(skip)
    if before is None:
        note = (
            "bootc container lint could not be run in its parent: its warnings are not compared"
            if found.warnings
            else ""
        )
        return BootcVerdict(found, (), note)
    return BootcVerdict(found, new_warnings(found, before))


def run_bootc_lint(executor: Executor, image: str) -> BootcLint | None:
    """Run the lint in a container of `image`; None when there is no bootc, or it did not end."""
    argv = ["podman", "run", "--rm", "--network=none", "--pull=never", "--entrypoint", "bootc"]
    argv += [image, "container", "lint"]
    # Older bootc names five items of each lint and has no option for more.
    for more in (["--no-truncate"], []):
        try:
            result = executor.run([*argv, *more], timeout=_TIMEOUT)
        except CommandTimeoutError:
            return None
        found = parse_bootc_lint(f"{result.stderr}\n{result.stdout}")
        if found is not None:
            return found
    return None


def skipped_lints(rendered: RenderedImage) -> tuple[str, ...]:
    """The lints that the image's own `bootc container lint` skips."""
    found: list[str] = []
    for step in Subject("", rendered).final_steps:
        command = step.command
        if step.name == "bootc" and command.operands[:2] == ("container", "lint"):
            words = command.arguments
            found += [words[n + 1] for n, word in enumerate(words[:-1]) if word == "--skip"]
            found += [word[7:] for word in words if word.startswith("--skip=")]
    return tuple(found)


def _names(findings: Sequence[BootcFinding]) -> str:
    return ", ".join(sorted({one.lint for one in findings}))
