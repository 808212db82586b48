"""The difference of two images as text, as Markdown for release notes, and as JSON-ready data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bootcfleet.domain.download import Download, human
from bootcfleet.domain.imagediff import (
    ContentDiff,
    FactDiff,
    FileChange,
    FleetDownload,
    HostDownload,
    ImageDiff,
    PackageChange,
)
from bootcfleet.domain.imagetree import Entry
from bootcfleet.domain.package import Package

_TITLES = {
    "units": "systemd units",
    "users": "users",
    "groups": "groups",
    "ports": "ports",
    "kargs": "kernel arguments",
    "labels": "labels",
}

#: Lines of one section, where not everything is wanted.
LIMIT = 40

#: One line of a section: a sign (+ - ~ ^ v), a name, what it was, what it is.
Row = tuple[str, str, str, str]


def download_line(found: Download) -> str:
    """What is fetched, in a sentence."""
    count = len(found.new) + len(found.shared)
    return (
        f"{human(found.size)} ({found.size} bytes): {len(found.new)} of {count} layers new; "
        f"{human(found.kept)} are there already"
    )


def _safe(text: str) -> str:
    return "".join(one if one.isprintable() else "\ufffd" for one in text)


def _entry(entry: Entry) -> str:
    """A file as ``ls -l`` tells it."""
    link = f" -> {entry.link}" if entry.link else ""
    size = f" {human(entry.size)}" if entry.kind.value == "-" else ""
    return _safe(f"{entry.kind.value}{entry.mode:04o} {entry.uid}:{entry.gid}{size}{link}")


def _package_rows(content: ContentDiff) -> list[Row]:
    found = content.packages

    def one(sign: str, package: Package) -> Row:
        version = str(package.evr)
        texts = ("", version) if sign == "+" else (version, "")
        return (sign, f"{package.name}.{package.arch}".rstrip("."), *texts)

    def two(sign: str, change: PackageChange) -> Row:
        name = f"{change.after.name}.{change.after.arch}".rstrip(".")
        return (sign, name, str(change.before.evr), str(change.after.evr))

    rows = [one("+", package) for package in found.added]
    rows += [one("-", package) for package in found.removed]
    rows += [two("^", change) for change in found.upgraded]
    rows += [two("v", change) for change in found.downgraded]
    rows += [two("~", change) for change in found.rebuilt]
    return rows


def _file_row(sign: str, change: FileChange) -> Row:
    before = _entry(change.before) if change.before else ""
    after = _entry(change.after) if change.after else ""
    if change.before and change.after:
        before = f"{', '.join(change.what)}: {before}"
    return (sign, _safe("/" + change.path), before, after)


def _file_rows(content: ContentDiff, *, everything: bool) -> list[Row]:
    found = content.files if everything else content.files.own(content.packages.touched)
    rows = [_file_row("+", change) for change in found.added]
    rows += [_file_row("-", change) for change in found.removed]
    return rows + [_file_row("~", change) for change in found.changed]


def _fact_rows(found: FactDiff) -> list[Row]:
    rows = [("+", _safe(name), "", _safe(text)) for name, text in found.added.items()]
    rows += [("-", _safe(name), _safe(text), "") for name, text in found.removed.items()]
    return rows + [
        ("~", _safe(name), _safe(before), _safe(after))
        for name, (before, after) in found.changed.items()
    ]


def _sections(
    content: ContentDiff, sizes: Download | None, *, everything: bool
) -> list[tuple[str, list[Row]]]:
    """Title and rows of each section that has any."""
    hidden = len(content.files) - len(content.files.own(content.packages.touched))
    note = f" (and {hidden} of the packages above)" if hidden and not everything else ""
    found = [
        ("packages", _package_rows(content)),
        (f"files{note}", _file_rows(content, everything=everything)),
    ]
    found += [(_TITLES[name], _fact_rows(one)) for name, one in content.facts.items()]
    if sizes is not None:
        rows: list[Row] = [("+", str(digest), "", human(size)) for digest, size in sizes.new]
        found.append((f"layers ({len(sizes.shared)} shared)", rows))
    return [(title, rows) for title, rows in found if rows]


def _cut(rows: list[Row], everything: bool) -> tuple[list[Row], int]:
    shown = rows if everything else rows[:LIMIT]
    return shown, len(rows) - len(shown)


def text(found: ImageDiff, *, everything: bool = False) -> str:
    """The difference as lines for a terminal, without a newline at the end."""
    lines = [f"{found.a} ({found.a_digest})", f"  → {found.b} ({found.b_digest})", ""]
    if found.download:
        lines.append(f"download: {download_line(found.download)}")
    else:
        lines.append("download: not known, as one of them is in no registry")
    if found.content is not None:
        sections = _sections(found.content, found.download, everything=everything)
        if not sections:
            lines += ["", "nothing differs inside"]
        for title, rows in sections:
            shown, rest = _cut(rows, everything)
            lines += ["", f"{title}: {_counts(rows)}"]
            lines += [_line(row) for row in shown]
            if rest:
                lines.append(f"  … and {rest} more (--all shows them)")
    if found.fleet:
        lines += ["", *_fleet_lines(found.fleet)]
    return "\n".join(lines)


def _counts(rows: list[Row]) -> str:
    words = {"+": "added", "-": "removed", "^": "upgraded", "v": "downgraded", "~": "changed"}
    counts = {sign: sum(row[0] == sign for row in rows) for sign in words}
    return ", ".join(f"{count} {words[sign]}" for sign, count in counts.items() if count)


def _line(row: Row) -> str:
    sign, name, before, after = row
    if before and after:
        return f"  {sign} {name}  {before} → {after}"
    return f"  {sign} {name}  {before or after}".rstrip()


def _fleet_lines(fleet: FleetDownload) -> list[str]:
    lines = [f"fleet: {human(fleet.bytes)} ({fleet.bytes} bytes) for all hosts"]
    lines.append(f"  on A: {_hosts(fleet.on_a)}")
    lines.append(f"  on B already: {_hosts(fleet.on_b)}")
    lines.append(f"  on something else: {_hosts(fleet.elsewhere)}")
    lines += [
        f"    {one.host}  {human(one.bytes or 0)} ({one.bytes} bytes)  from {one.digest}"
        + (f"  {one.why}" if one.why else "")
        for one in fleet.elsewhere
    ]
    lines.append(f"  unknown: {_hosts(fleet.unknown)}")
    lines += [f"    {one.host}  {one.why}" for one in fleet.unknown]
    return lines


def _hosts(hosts: Sequence[HostDownload]) -> str:
    count = f"{len(hosts)} host" + ("" if len(hosts) == 1 else "s")
    sizes = sorted({one.bytes for one in hosts if one.bytes})
    if not sizes:
        return count
    total = sum(one.bytes or 0 for one in hosts)
    each = human(sizes[0]) if len(sizes) == 1 else f"{human(sizes[0])} to {human(sizes[-1])}"
    return f"{count}, {each} each, {human(total)} together"


def markdown(found: ImageDiff, *, everything: bool = False) -> str:
    """The difference as Markdown, without a newline at the end."""
    lines = [f"## {_cell(found.a)} → {_cell(found.b)}", ""]
    lines += [f"From `{found.a_digest}` to `{found.b_digest}`.", ""]
    if found.download:
        new = len(found.download.new)
        lines.append(
            f"A host on the old image downloads **{human(found.download.size)}** "
            f"({new} new layer{'' if new == 1 else 's'})."
        )
    if found.fleet:
        hosts = len(found.fleet.on_a)
        lines.append(
            f"The fleet downloads **{human(found.fleet.bytes)}**: {hosts} "
            f"host{'' if hosts == 1 else 's'} on the old image, "
            f"{len(found.fleet.elsewhere)} on another, {len(found.fleet.on_b)} on the new one."
        )
    if found.content is not None:
        sections = _sections(found.content, found.download, everything=everything)
        if not sections:
            lines += ["", "Nothing differs inside."]
        for title, rows in sections:
            shown, rest = _cut(rows, everything)
            lines += ["", f"### {title[0].upper()}{title[1:]}", "", f"{_counts(rows)}", ""]
            lines += ["| | Name | Before | After |", "|---|---|---|---|"]
            lines += [f"| {' | '.join(map(_cell, row))} |" for row in shown]
            if rest:
                lines += ["", f"… and {rest} more."]
    return "\n".join(lines)


def _cell(value: str) -> str:
    for mark in "\\|`<*_[":
        value = value.replace(mark, f"\\{mark}")
    return value


def data(found: ImageDiff) -> dict[str, Any]:
    """The difference as JSON-ready data; sizes in bytes, the keys are stable."""
    body: dict[str, Any] = {
        "a": {"name": found.a, "digest": found.a_digest},
        "b": {"name": found.b, "digest": found.b_digest},
        "download": _download_json(found.download) if found.download else None,
    }
    if found.content is not None:
        body["packages"] = _packages_json(found.content)
        files = found.content.files
        body["files"] = {
            "added": [_file_json(one) for one in files.added],
            "removed": [_file_json(one) for one in files.removed],
            "changed": [_file_json(one) for one in files.changed],
        }
        body |= {name: one.to_json() for name, one in found.content.facts.items()}
    if found.fleet is not None:
        body["fleet"] = _fleet_json(found.fleet)
    return body


def _download_json(found: Download) -> dict[str, Any]:
    def layers(which: Sequence[tuple[object, int]]) -> list[dict[str, Any]]:
        return [{"digest": str(digest), "size": size} for digest, size in which]

    return {
        **found.to_json(),
        "new_layers": layers(found.new),
        "shared_layers": layers(found.shared),
    }


def _packages_json(content: ContentDiff) -> dict[str, Any]:
    def one(package: Package) -> dict[str, Any]:
        return {"name": package.name, "arch": package.arch, "version": str(package.evr)}

    def two(change: PackageChange) -> dict[str, Any]:
        return {
            "name": change.after.name,
            "arch": change.after.arch,
            "before": str(change.before.evr),
            "after": str(change.after.evr),
        }

    found = content.packages
    return {
        "added": [one(package) for package in found.added],
        "removed": [one(package) for package in found.removed],
        "upgraded": [two(change) for change in found.upgraded],
        "downgraded": [two(change) for change in found.downgraded],
        "rebuilt": [two(change) for change in found.rebuilt],
    }


def _unicode(path: str) -> str:
    """A path with bytes that are no UTF-8 written as \\xNN: JSON cannot have them."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _file_json(change: FileChange) -> dict[str, Any]:
    def side(entry: Entry | None) -> dict[str, Any] | None:
        if entry is None:
            return None
        return {
            "type": entry.kind.name.lower(),
            "mode": f"{entry.mode:04o}",
            "uid": entry.uid,
            "gid": entry.gid,
            "size": entry.size,
            "sha256": entry.sha256 or None,
            "link": _unicode(entry.link) or None,
            "capability": entry.capability or None,
        }

    return {
        "path": "/" + _unicode(change.path),
        "what": list(change.what),
        "package": change.package or None,
        "before": side(change.before),
        "after": side(change.after),
    }


def _fleet_json(fleet: FleetDownload) -> dict[str, Any]:
    def host(one: HostDownload) -> dict[str, Any]:
        return {"host": one.host, "digest": one.digest, "bytes": one.bytes, "why": one.why or None}

    return {
        "bytes": fleet.bytes,
        "on_a": [host(one) for one in fleet.on_a],
        "on_b": [host(one) for one in fleet.on_b],
        "elsewhere": [host(one) for one in fleet.elsewhere],
        "unknown": [host(one) for one in fleet.unknown],
    }
