"""What a host can tell of its last boots: why it is not what it should be.

Gathered by `drivers/hostevidence.py` in one round trip, made safe to show, and small enough for a
journal (`MAX_SIZE`).  Every part may be missing: a journal that is not kept, a host without
greenboot, a command that failed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from bootcfleet.domain.bootc import StatusError, parse_status
from bootcfleet.domain.plaintext import one_line

#: Characters of all that is kept of one host.
MAX_SIZE = 16 * 1024
_MAX_LINE = 300
#: Of these, for the lines; the rest is for names, digests and marks.
_BUDGET = MAX_SIZE - 4096


class GreenbootVerdict(StrEnum):
    """What greenboot, which checks a host at each boot, says of it."""

    #: Not installed, or it has not said anything.
    ABSENT = "absent"
    GREEN = "green"
    #: Its required checks failed in the boot that runs.
    RED = "red"
    #: It gave a deployment up and went back to this one.
    ROLLED_BACK = "rolled-back"


class Source(StrEnum):
    """Where lines of a journal come from."""

    #: ostree-finalize-staged.service at the end of the boot before: it makes a staged deployment
    #: bootable.  With the composefs backend that is bootc-finalize-staged.service.
    FINALIZE = "finalize"
    #: ostree-boot-complete.service of this boot, which says again what failed there.
    BOOT_COMPLETE = "boot-complete"
    GREENBOOT = "greenboot"
    GREENBOOT_BEFORE = "greenboot-before"
    FAILED_UNITS = "failed-units"
    WARNINGS = "warnings"


@dataclass(frozen=True)
class HostEvidence:
    """What one host told.

    `boots` are lines of ``journalctl --list-boots``, the newest last; `reboots` of ``last -x``;
    `slots` the digests by slot; `boot_counters` the variables of the boot loader's environment
    that count boots; `journal` the lines by `Source`; `notes` say what could not be found out.
    """

    host: str
    boot_id: str | None = None
    system_state: str | None = None
    failed_units: tuple[str, ...] = ()
    greenboot: GreenbootVerdict = GreenbootVerdict.ABSENT
    slots: Mapping[str, str] = field(default_factory=dict)
    boots: tuple[str, ...] = ()
    reboots: tuple[str, ...] = ()
    boot_counters: Mapping[str, str] = field(default_factory=dict)
    journal: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def lines(self, source: Source) -> tuple[str, ...]:
        """The journal's lines of one source."""
        return self.journal.get(source, ())

    @property
    def finalize_failure(self) -> str | None:
        """Why what was staged could not be made bootable, in ostree's words, or None."""
        for line in self.lines(Source.BOOT_COMPLETE):
            if found := _FAILED_BEFORE.search(line):
                return found.group(1)
        for line in self.lines(Source.FINALIZE):
            if found := _ERROR.search(line):
                return found.group(1)
        failed = (_UNIT_FAILED.search(line) for line in self.lines(Source.FINALIZE))
        return next((f"{found.group(1)} failed" for found in failed if found), None)

    @property
    def greenboot_reason(self) -> str | None:
        """The check that greenboot says failed, or None."""
        for source in (Source.GREENBOOT_BEFORE, Source.GREENBOOT):
            for line in self.lines(source):
                if found := _SCRIPT_FAILED.search(line):
                    return found.group(1) or found.group(2)
        return None

    def summary(self) -> tuple[str, ...]:
        """The most telling lines, for a table or a `HostState`; the most useful first."""
        told = []
        if self.finalize_failure:
            told.append(f"finalisation failed: {self.finalize_failure}")
        if self.greenboot is not GreenbootVerdict.ABSENT:
            reason = f": {self.greenboot_reason} failed" if self.greenboot_reason else ""
            told.append(f"greenboot: {self.greenboot}{reason}")
        if self.failed_units:
            told.append(f"failed units: {', '.join(self.failed_units)}")
        told += self.lines(Source.FAILED_UNITS)[:5]
        told += self.lines(Source.WARNINGS)[-5:]
        return (*told, *self.notes)

    def to_json(self) -> dict[str, Any]:
        """Everything, for a journal entry; `from_json` reads it back."""
        return {
            "host": self.host,
            "boot_id": self.boot_id,
            "system_state": self.system_state,
            "failed_units": list(self.failed_units),
            "greenboot": str(self.greenboot),
            "slots": dict(self.slots),
            "boots": list(self.boots),
            "reboots": list(self.reboots),
            "boot_counters": dict(self.boot_counters),
            "journal": {source: list(lines) for source, lines in self.journal.items()},
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Self:
        """What `to_json` made; keys that an older version did not write may be missing.

        Raises `ValueError`, `KeyError` or `TypeError` for anything else.
        """
        return cls(
            host=str(body["host"]),
            boot_id=body.get("boot_id"),
            system_state=body.get("system_state"),
            failed_units=tuple(body.get("failed_units", ())),
            greenboot=GreenbootVerdict(body.get("greenboot", GreenbootVerdict.ABSENT)),
            slots=dict(body.get("slots", {})),
            boots=tuple(body.get("boots", ())),
            reboots=tuple(body.get("reboots", ())),
            boot_counters=dict(body.get("boot_counters", {})),
            journal={
                source: tuple(lines) for source, lines in body.get("journal", {}).items()
            },
            notes=tuple(body.get("notes", ())),
        )  # fmt: skip


# ostree's own words (its ostree-boot-complete.service), and systemd's of a unit that failed.
_FAILED_BEFORE = re.compile(r"ostree-finalize-staged\.service failed on previous boot: (.+)")
_ERROR = re.compile(r"\berror: (.+)")
_UNIT_FAILED = re.compile(r"((?:ostree|bootc)-finalize-staged\.service): Failed with result")
# greenboot's: its shell version ("Script 'x.sh' FAILURE"), and the one in Rust.
_SCRIPT_FAILED = re.compile(
    r"Script '([^']+)' FAILURE|required script (\S+) failed"
)  # fmt: skip
_ROLLED_BACK = re.compile(r"FALLBACK BOOT DETECTED|Rollback successful")
_RED = re.compile(r"status is red|boot status is red", re.IGNORECASE)
_GREEN = re.compile(r"status is green|boot status is green", re.IGNORECASE)
_COUNTER = re.compile(
    r"(boot_counter|boot_success|boot_indeterminate|\w*rollback_trigger)=(\S{1,20})"
)


def read_evidence(host: str, boot_id: str | None, parts: Mapping[str, str]) -> HostEvidence:
    """The evidence in what the host's script printed, by part (`drivers/hostevidence.py`)."""
    journal = {}
    names = (line.split()[:1] for line in parts.get("failed", "").splitlines()[:20])
    units, left = _keep([one_line(name[0], 100) for name in names if name], _BUDGET)
    for source in Source:
        # In the order of `Source`: what tells most is kept first.  The end of a log tells more.
        lines, left = _keep(parts.get(source, "").splitlines(), left)
        if lines:
            journal[str(source)] = lines
    boots, left = _keep(parts.get("boots", "").splitlines()[-5:], left)
    reboots, left = _keep(parts.get("last", "").splitlines()[:8], left)
    counters = dict(_COUNTER.findall(parts.get("grubenv", "")))
    slots, note = _slots(parts.get("status", ""))
    notes = [note] if note else []
    if parts.get("previous") == "1" and len(boots) < 2:
        notes.append(
            "its journal keeps no earlier boot: Storage=persistent in journald.conf would"
        )  # fmt: skip
    state = one_line(parts.get("state", ""), 40)
    said = "\n".join(parts.get(name, "") for name in ("motd", Source.GREENBOOT))
    before = parts.get(Source.GREENBOOT_BEFORE, "")
    return HostEvidence(
        host=host,
        boot_id=boot_id,
        system_state=state or None,
        failed_units=units,
        greenboot=_verdict(said, before),
        slots=slots,
        boots=boots,
        reboots=reboots,
        boot_counters=counters,
        journal=journal,
        notes=tuple(notes),
    )


def _keep(lines: Iterable[str], left: int) -> tuple[tuple[str, ...], int]:
    """The last of the lines that find room, made safe to show; and the room that is left."""
    kept: list[str] = []
    for line in reversed(list(lines)):
        plain = one_line(line, _MAX_LINE)
        # As JSON writes it: what is not ASCII takes six characters or twelve.
        size = len(json.dumps(plain)) + 2
        if plain and size <= left:
            kept.append(plain)
            left -= size
    return tuple(reversed(kept)), left


def _verdict(now: str, before: str) -> GreenbootVerdict:
    if _ROLLED_BACK.search(now) or _ROLLED_BACK.search(before):
        return GreenbootVerdict.ROLLED_BACK
    if _RED.search(now):
        return GreenbootVerdict.RED
    return GreenbootVerdict.GREEN if _GREEN.search(now) else GreenbootVerdict.ABSENT


def _slots(text: str) -> tuple[dict[str, str], str | None]:
    if not text.strip():
        return {}, "bootc status did not answer"
    try:
        status = parse_status(text)
    except StatusError as error:
        return {}, error.message
    slots = {"booted": status.booted, "staged": status.staged, "rollback": status.rollback}
    found = {name: entry.digest for name, entry in slots.items() if entry and entry.digest}
    if status.rollback_queued:
        found["next"] = "rollback"
    return found, None
