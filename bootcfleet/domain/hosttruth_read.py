"""Reads what the probe of a host printed (`drivers/hostprobe.py`), section by section.

A section that is not there, or is none that can be read, is a part that is not known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from bootcfleet.domain.bootc import BootcStatus
from bootcfleet.domain.hostlock import read_lock
from bootcfleet.domain.hostpolicy import HostPolicy
from bootcfleet.domain.hosttruth import (
    Clock,
    HostTruth,
    RegistryAnswer,
    Space,
    StagedBy,
    UnitState,
)

#: What ostree keeps free where its configuration says nothing (ostree.repo-config(5)), in percent.
_RESERVED = 3
_SIZE = re.compile(r"^\s*min-free-space-size\s*=\s*(\d{1,9})([MGT])B\s*$", re.MULTILINE)
_PERCENT = re.compile(r"^\s*min-free-space-percent\s*=\s*(\d{1,2})\s*$", re.MULTILINE)
_UNITS = {"M": 2**20, "G": 2**30, "T": 2**40}
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,2}")
#: The last moment that can be a date, in seconds.
_LATEST = 253_402_300_799


def read_truth(
    truth: HostTruth, sections: Mapping[str, str], *, before: float, after: float
) -> HostTruth:
    """`truth` with all that the sections tell.

    `before` and `after` are the controller's clock (seconds since the epoch) around the round trip.
    """
    os_release = _assignments(sections.get("os", ""))
    uname = _lines(sections.get("uname", ""))
    now = _number(sections.get("clock", ""))
    system = _lines(sections.get("system", ""))
    return replace(
        truth,
        os_id=os_release.get("ID"),
        os_version=os_release.get("VERSION_ID"),
        os_name=os_release.get("PRETTY_NAME"),
        kernel=uname[0] if uname else None,
        machine=uname[1] if len(uname) > 1 else None,
        uptime=_number(sections.get("uptime", "").partition(" ")[0]),
        zone=read_zone(sections.get("zone", "")),
        clock=clock_of(before, after, now, _number(sections.get("clock_end", ""))),
        space=read_space(sections.get("space", ""), sections.get("repo", "")),
        policy=HostPolicy.parse(sections.get("policy", "")),
        registry=read_registry(sections.get("registry", "")),
        usr=read_usr(sections.get("mounts"), truth.status),
        staged_by=read_staged(sections.get("staged", "")),
        units=read_units(sections.get("units", "")),
        system_state=system[-1] if system else "unknown",
        failed_units=tuple(
            line.split()[0] for line in _lines(sections.get("failed", "")) if line.split()
        ),
        bound_images=tuple(
            dict.fromkeys(
                line.partition("=")[2].strip() for line in _lines(sections.get("bound", ""))
            )
        ),
        pull=bool(sections.get("pull", "").strip()),
        lock=read_lock(text, int(now or 0)) if (text := sections.get("lock", "").strip()) else None,
    )


def clock_of(before: float, after: float, first: float | None, last: float | None) -> Clock | None:
    """How far the host's clock is off, from its time at the start and the end of the script.

    It read `first` at some moment after `before`, and `last` at some moment before `after`, so its
    offset is at most ``first - before`` and at least ``last - after``.
    """
    if first is None:
        return None
    ends = last if last is not None and last >= first else first
    # Whole seconds (busybox has no %N) may be up to one second more.
    fine = not (first.is_integer() and ends.is_integer())
    return Clock(ends - after, first - before + (0.0 if fine else 1.0))


def read_space(df: str, config: str) -> Space | None:
    """``df -Pk`` of one filesystem, and the lines of ostree's configuration about free space.

    `config` is empty where there is no repository of ostree, which keeps nothing free then.
    """
    fields = next((line.split() for line in df.splitlines()[1:] if len(line.split()) >= 6), [])
    numbers = fields[1:4]
    if len(numbers) < 3 or not all(one.isascii() and one.isdecimal() for one in numbers):
        return None
    total, free = int(numbers[0]) * 1024, int(numbers[2]) * 1024
    if not config.strip():
        return Space(free, total)
    size = _SIZE.search(config)
    if size and int(size[1]):
        return Space(free, total, int(size[1]) * _UNITS[size[2]])
    percent = _PERCENT.search(config)
    return Space(free, total, total * (int(percent[1]) if percent else _RESERVED) // 100)


def read_zone(text: str) -> str | None:
    """A time zone from its name, or from where ``/etc/localtime`` points."""
    line = text.strip()
    _, found, name = line.partition("zoneinfo/")
    zone = (name if found else line).removeprefix("posix/").removeprefix("right/")
    return zone if _ZONE.fullmatch(zone) else None


def read_usr(mounts: str | None, status: BootcStatus | None) -> str | None:
    """Whether somebody may write to ``/usr``: bootc's word (since 1.14), else the mount.

    An overlay of systemd-sysext is none that anybody opened.
    """
    if status is not None and status.usr_overlay:
        writes = status.usr_overlay.startswith("readWrite")
        return "unlocked" if writes else "read-only overlay"
    if mounts is None:
        return None
    for fields in (line.split() for line in mounts.splitlines()):
        if len(fields) < 4 or fields[1:3] != ["/usr", "overlay"] or fields[0] == "sysext":
            continue
        return "unlocked" if "rw" in fields[3].split(",") else "read-only overlay"
    return "locked"


def read_registry(text: str) -> RegistryAnswer | None:
    """What the host's own question to the registry came to."""
    lines = _lines(text)
    if not lines:
        return None
    said = dict(line[1:].partition("=")[::2] for line in lines[1:] if line.startswith("="))
    words = [line for line in lines[1:] if not line.startswith("=")]
    tool, code = said.get("tool") or None, said.get("code", "")
    if tool is None:
        return RegistryAnswer(lines[0], None, None, message="it has neither skopeo nor curl")
    if tool == "curl":
        # Whether this host may have the image only its credentials say.
        ok = said.get("http") in {"200", "401"}
        message = words[-1] if words else f"HTTP {said.get('http', '?')}"
        return RegistryAnswer(lines[0], tool, ok, message="" if ok else message)
    digest = said.get("sha256", "")
    ok = code == "0"
    return RegistryAnswer(
        lines[0],
        tool,
        ok,
        f"sha256:{digest}" if ok and re.fullmatch(r"[0-9a-f]{64}", digest) else None,
        "" if ok else _cause(words, code),
    )


def _cause(words: list[str], code: str) -> str:
    if code == "124":
        return "the registry does not answer"
    if not words:
        return f"skopeo ended with exit code {code or '?'}"
    # logrus: time="…" level=fatal msg="…", the cause last in its chain.
    found = re.search(r'msg="((?:[^"\\]|\\.)*)"', words[-1])
    return (found[1].replace('\\"', '"') if found else words[-1])[:400]


def read_staged(text: str) -> StagedBy:
    """The time of the staged deployment, and sudo's or systemd's line about who staged it."""
    lines = _lines(text)
    at = _number(lines[0]) if lines else None
    who = None
    for line in lines[1:]:
        if found := re.search(r"sudo\[\d+\]: +(\S+) : .*COMMAND=", line):
            who = found[1]
        elif "bootc-fetch-apply-updates" in line:
            who = "bootc-fetch-apply-updates.service"
    moment = datetime.fromtimestamp(at, UTC) if at is not None and at <= _LATEST else None
    return StagedBy(moment, who)


def read_units(text: str) -> dict[str, UnitState]:
    """``systemctl show`` of several units: blocks of assignments with an empty line between."""
    found = {}
    for block in re.split(r"\n\s*\n", text):
        said = _assignments(block)
        if name := said.get("Id"):
            found[name] = UnitState(
                said.get("LoadState", ""),
                said.get("ActiveState", ""),
                said.get("UnitFileState", ""),
            )
    return found


def _assignments(text: str) -> dict[str, str]:
    """``KEY=VALUE`` lines, quotes taken off, without what a terminal would obey."""
    found = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not key.startswith("#"):
            found[key.strip()] = _plain(value.strip().strip("'\""))
    return found


def _lines(text: str) -> list[str]:
    return [_plain(line.strip()) for line in text.splitlines() if line.strip()]


def _plain(text: str) -> str:
    """A host's word may be wrong, but it must not command the terminal that shows it."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text[:2000])


def _number(text: str) -> float | None:
    """A number of seconds; busybox's date leaves ``%N`` as it is, or empty."""
    found = re.match(r"\s*(\d{1,12}(?:\.\d{1,9})?)", text)
    return float(found[1]) if found else None
