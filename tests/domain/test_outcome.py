"""What became of a host, told apart: one row for each cause."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bootcfleet.domain.hostevidence import GreenbootVerdict, HostEvidence, Source
from bootcfleet.domain.outcome import explain
from bootcfleet.domain.rollout import Observation, Target
from bootcfleet.errors import TRANSIENT, HostFault

OLD, NEW, OTHER, OWN = ("sha256:" + c * 64 for c in "abcd")
BEFORE_BOOT, AFTER_BOOT = "boot-1", "boot-2"
#: NEW is the index, OWN the manifest of the host's platform.
TARGET = Target("web1", "r.example/soe:prod", frozenset({NEW, OWN}), OLD, BEFORE_BOOT, "upgrade")
STAGED = Observation(BEFORE_BOOT, OLD, staged=OWN, rollback=OTHER)


def after(booted: str | None, rollback: str | None = None, *, queued: bool = False) -> Observation:
    return Observation(AFTER_BOOT, booted, rollback=rollback, rollback_queued=queued)


def logs(source: Source, *lines: str, **more: object) -> HostEvidence:
    return HostEvidence("web1", journal={str(source): lines}, **more)  # type: ignore[arg-type]


FINALIZE = logs(
    Source.BOOT_COMPLETE,
    "ostree[86]: error: ostree-finalize-staged.service failed on previous boot: No space left",
)
ROLLED_BACK = logs(
    Source.GREENBOOT_BEFORE,
    "greenboot[77]: Script '01-web.sh' FAILURE (exit code '1')",
    greenboot=GreenbootVerdict.ROLLED_BACK,
)
NOTHING = HostEvidence("web1")

CASES = {
    "as planned": (STAGED, after(OWN, OLD), None, None, None, "runs dddddddddddd in a new boot"),
    "as planned, by the index": (None, after(NEW, OLD), NOTHING, None, None, "in a new boot"),
    "never came back": (STAGED, None, None, None, HostFault.DID_NOT_RETURN, "console"),
    "finalisation failed": (
        STAGED, after(OLD, OTHER), FINALIZE, None, HostFault.FINALIZE_FAILED,
        "could not be made bootable at the shutdown: No space left",
    ),
    "greenboot": (
        STAGED, after(OLD, OWN), ROLLED_BACK, None, HostFault.GREENBOOT,
        "greenboot rolled dddddddddddd back: its check 01-web.sh failed",
    ),
    "an older finding of greenboot is not this one's": (
        STAGED, after(OLD, OTHER), ROLLED_BACK, None, HostFault.CAME_BACK_OLD, "none of its slots",
    ),
    "the boot loader fell back": (
        STAGED, after(OLD, OWN, queued=True), NOTHING, None, HostFault.BOOT_FELL_BACK,
        "the next reboot would try it again",
    ),
    "somebody rolled it back": (
        STAGED, after(OLD, OWN), NOTHING, None, HostFault.CAME_BACK_OLD, "something ran `bootc",
    ),
    "old, and nobody knows why": (
        STAGED, after(OLD, OTHER), None, None, HostFault.CAME_BACK_OLD, "does not say why",
    ),
    "rebooted while held back": (
        replace(STAGED, download_only=True), after(OLD, OTHER), NOTHING, None,
        HostFault.CAME_BACK_OLD, "was held back (--download-only)",
    ),
    "rebooted before it was staged": (
        replace(STAGED, staged=None), after(OLD), NOTHING, None, HostFault.CAME_BACK_OLD,
        "and not by this rollout",
    ),
    "neither": (
        STAGED, after(OTHER, OLD), NOTHING, None, HostFault.CAME_BACK_NEITHER, "somebody else",
    ),
    "another system": (
        STAGED, after(None), NOTHING, {NEW, OWN}, HostFault.CAME_BACK_NEITHER,
        "came back on something that is no image of bootc, neither the planned ",
    ),
    "neither, and the tag is where it was": (
        STAGED, after(OTHER, OLD), None, {NEW, OWN}, HostFault.CAME_BACK_NEITHER, "somebody else",
    ),
    "upgraded to what the tag is by now": (
        STAGED, after(OTHER, OLD), None, {OTHER}, HostFault.TAG_MOVED, "something upgraded",
    ),
    "staged": (None, STAGED, None, None, None, "dddddddddddd is staged"),
    "staged and held back": (
        None, replace(STAGED, download_only=True), None, None, None, "held back from a reboot",
    ),
    "staged, then replaced": (
        STAGED, replace(STAGED, staged=OTHER), None, None, HostFault.REPLACED,
        "somebody else staged cccccccccccc in place of the planned",
    ),
    "staged, then replaced, whatever the tag is": (
        STAGED, replace(STAGED, staged=OTHER), None, {OTHER}, HostFault.REPLACED, "somebody else",
    ),
    "staged another than planned, and the tag is where it was": (
        None, replace(STAGED, staged=OTHER), None, {NEW}, HostFault.REPLACED, "somebody else",
    ),
    "the tag moved": (
        None, replace(STAGED, staged=OTHER), None, {OTHER}, HostFault.TAG_MOVED,
        "the tag r.example/soe:prod moved since the plan; the host was not rebooted",
    ),
    "staged another than planned, and nobody asked the registry": (
        None, replace(STAGED, staged=OTHER), None, None, HostFault.WRONG_DIGEST,
        "the tag moved since the plan, or somebody else staged it",
    ),
    "discarded": (
        STAGED, replace(STAGED, staged=None), None, None, HostFault.REPLACED,
        "was staged and is no longer: it was discarded by somebody else",
    ),
    "discarded by a rollback": (
        STAGED, replace(STAGED, staged=None, rollback_queued=True), None, None,
        HostFault.REPLACED, "a rollback was queued by somebody else",
    ),
    "a rollback is queued": (
        None, replace(STAGED, staged=None, rollback_queued=True), None, None,
        HostFault.REPLACED, "a rollback to cccccccccccc is queued",
    ),
    "the rollback that was asked for is queued": (
        None, replace(STAGED, staged=None, rollback=NEW, rollback_queued=True), None, None,
        None, "the rollback to bbbbbbbbbbbb is queued",
    ),
    "nothing was staged": (
        None, replace(STAGED, staged=None), None, None, HostFault.WRONG_DIGEST,
        "bootc staged nothing",
    ),
    "there was nothing to do": (
        None, Observation(BEFORE_BOOT, NEW), None, None, None, "runs bbbbbbbbbbbb already",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(CASES))
def test_what_became_of_it(name: str) -> None:
    before, seen, evidence, now, fault, words = CASES[name]
    found, message = explain(TARGET, before, seen, evidence, resolved_now=now)
    assert (found, words in message) == (fault, True), message
    if fault is not None:
        assert fault not in TRANSIENT, "trying again does not help"


def test_every_cause_of_its_own_has_its_fault() -> None:
    found = {case[4] for case in CASES.values()}
    assert found == {
        None,
        HostFault.DID_NOT_RETURN,
        HostFault.FINALIZE_FAILED,
        HostFault.GREENBOOT,
        HostFault.BOOT_FELL_BACK,
        HostFault.CAME_BACK_OLD,
        HostFault.CAME_BACK_NEITHER,
        HostFault.REPLACED,
        HostFault.TAG_MOVED,
        HostFault.WRONG_DIGEST,
    }


def test_an_active_timer_is_a_suspect() -> None:
    _, message = explain(replace(TARGET, timer=True), STAGED, after(OTHER, OLD))
    assert "bootc-fetch-apply-updates.timer (active when planned)" in message


def test_a_soft_reboot_is_a_new_boot() -> None:
    seen = Observation(f"{BEFORE_BOOT}+1", OWN, rollback=OLD)
    assert explain(TARGET, STAGED, seen) == (None, "runs dddddddddddd in a new boot")
