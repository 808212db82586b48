"""`bootc container lint` during builds: what fails an image, and what is only said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from bootcfleet.domain.bootclint import BootcLintPolicy
from bootcfleet.domain.event import Event
from bootcfleet.domain.template import RenderedImage
from bootcfleet.drivers.command import CommandResult, LocalExecutor
from bootcfleet.errors import ChecksFailedError
from bootcfleet.ops.bootclint import BootcLinter

CLEAN = "Checks passed: 12\n"
LOG = "Lint warning: var-log: Found non-empty logfiles:\n  /var/log/a\n\nChecks passed: 11\n"
TWO = LOG.replace("/var/log/a\n", "/var/log/a\n  /var/log/b\n")
ERROR = "Failed lint: kernel: two kernels\n\nChecks passed: 11\nerror: Linting: Checks failed: 1\n"
FROM = RenderedImage("FROM a.example/b:1\nRUN bootc container lint\n")


class Images(LocalExecutor):
    """Answers `podman run IMAGE container lint` by image; None: there is no bootc in it."""

    def __init__(self, outputs: Mapping[str, str | None], *, old: bool = False) -> None:
        super().__init__()
        self.outputs, self.old = outputs, old
        self.asked: list[str] = []

    def run(self, argv: Sequence[str], **_: Any) -> CommandResult:
        words = list(argv)
        assert words[:6] == [
            "podman", "run", "--rm", "--network=none", "--pull=never", "--entrypoint",
        ]  # fmt: skip
        image, rest = words[7], words[8:]
        self.asked.append(image)
        output = self.outputs[image]
        if output is None:
            return CommandResult(tuple(words), 127, "", "executable file not found", 0.1)
        if self.old and "--no-truncate" in rest:
            said = "error: unexpected argument '--no-truncate' found"
            return CommandResult(tuple(words), 2, "", said, 0.1)
        return CommandResult(tuple(words), 0, output, "", 0.1)


Judge = Callable[..., tuple[list[Event], BootcLinter]]


def judge(
    image: str | None,
    parent: str | None,
    policy: BootcLintPolicy = BootcLintPolicy.NEW,
    rendered: RenderedImage = FROM,
    **options: Any,
) -> tuple[list[str], BootcLinter]:
    events: list[Event] = []
    executor = Images({"child": image, "parent": parent}, **options)
    linter = BootcLinter(executor, events.append)
    linter.judge("web", "child", "parent", rendered, policy)
    return [event.message for event in events], linter


def test_a_clean_image_says_nothing_and_its_parent_is_not_asked() -> None:
    said, linter = judge(CLEAN, None)
    assert said == []
    assert isinstance(linter.executor, Images)
    assert linter.executor.asked == ["child"]
    assert linter.verdicts["child"].to_json() == {"warnings": [], "errors": [], "new": []}


def test_what_the_parent_has_does_not_fail_the_child() -> None:
    said, linter = judge(LOG, LOG)
    assert said == ["bootc container lint warns: var-log; so it does in its parent"]
    assert linter.verdicts["child"].to_json()["warnings"] == ["var-log"]


def test_what_is_new_fails() -> None:
    with pytest.raises(ChecksFailedError) as caught:
        judge(TWO, LOG)
    assert caught.value.message == (
        "bootc container lint warns of what its parent does not have: var-log"
    )
    assert caught.value.details == ("var-log: Found non-empty logfiles /var/log/b",)
    assert "`bootc_lint: errors`" in (caught.value.hint or "")


def test_errors_fail_whatever_the_policy_and_the_parent() -> None:
    with pytest.raises(ChecksFailedError, match="bootc container lint fails: kernel"):
        judge(ERROR, ERROR, BootcLintPolicy.ERRORS)


def test_policies() -> None:
    with pytest.raises(ChecksFailedError, match="bootc container lint warns of: var-log"):
        judge(LOG, LOG, BootcLintPolicy.ALL)
    said, _ = judge(TWO, LOG, BootcLintPolicy.ERRORS)
    assert said == ["bootc container lint warns: var-log; new: var-log"]


@pytest.mark.parametrize("option", ["--skip var-log", "--skip=var-log"])
def test_what_the_template_skips_is_not_new(option: str) -> None:
    rendered = RenderedImage(f"FROM a.example/b:1\nRUN bootc container lint {option}\n")
    said, linter = judge(TWO, LOG, rendered=rendered)
    assert said == []
    assert linter.verdicts["child"].new == ()


def test_an_older_bootc_has_no_option_for_everything() -> None:
    with pytest.raises(ChecksFailedError, match="var-log"):
        judge(TWO, LOG, old=True)


def test_without_bootc_nothing_is_claimed() -> None:
    said, linter = judge(None, LOG)
    assert said == ["bootc container lint could not be run in this image"]
    assert linter.verdicts["child"].to_json()["note"] == said[0]
    said, _ = judge(LOG, None)
    assert said == [
        "bootc container lint could not be run in its parent: its warnings are not compared"
    ]


def test_each_image_is_looked_at_once() -> None:
    executor = Images({"soe": LOG, "web": LOG, "base": LOG})
    linter = BootcLinter(executor, lambda _: None)
    linter.judge("soe", "soe", "base", FROM, BootcLintPolicy.NEW)
    linter.judge("web", "web", "soe", FROM, BootcLintPolicy.NEW)
    assert executor.asked == ["soe", "base", "web"]
