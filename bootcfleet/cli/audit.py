"""`bootcfleet audit`: who did what, when, and with which digests."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from bootcfleet.cli.output import JsonFlag, Output
from bootcfleet.errors import ChecksFailedError, UsageError

if TYPE_CHECKING:
    from bootcfleet.domain.audit import ChainReport

#: How many entries a table has when nobody says.
SHOWN = 50

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def audit(
    action: Annotated[
        str | None, typer.Option(help="Only this action and its parts: fleet.upgrade, image.build.")
    ] = None,
    subject: Annotated[str | None, typer.Option(help="Only this host, image or rollout.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Not older than 30m, 2h, 7d, 4w, or a date.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", "-n", help="The newest N. Default: 50; all with --json.", min=1, max=2**31
        ),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the chain of hashes; exit code 3 if broken.")
    ] = False,
    noted: Annotated[
        str | None,
        typer.Option(help="With --verify: a hash that it showed earlier, and that must be there."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Who did what, when, and with which digests: the ledger, newest last."""
    from bootcfleet.ops.audit import open_ledger
    from bootcfleet.ops.project import find_project

    output = Output(as_json=as_json)
    if noted is not None and not verify:
        raise UsageError(
            "--noted is for --verify", hint=f"bootcfleet audit --verify --noted {noted}"
        )
    oldest = None if since is None else _since(since, datetime.now(UTC))
    ledger = open_ledger(find_project())
    try:
        if verify:
            _show_chain(output, ledger.check(noted=noted))
            return
        most = limit if limit or as_json else SHOWN + 1
        entries = ledger.entries(action=action, subject=subject, since=oldest, limit=most)
    finally:
        ledger.close()
    if as_json:
        output.json([entry.to_json() for entry in entries])
        return
    if not entries:
        output.line("no entries")
        return
    more = limit is None and len(entries) > SHOWN
    rows = []
    for entry in entries[-SHOWN:] if more else entries:
        digests = {
            key: value.removeprefix("sha256:")[:12] for key, value in entry.digests.items() if value
        }
        moved = [digests[key] for key in ("before", "after") if key in digests]
        shown = " → ".join(dict.fromkeys(moved or list(digests.values())))
        rows.append(
            [
                f"{entry.at.astimezone():%Y-%m-%d %H:%M:%S}",
                entry.actor,
                entry.action,
                entry.subject,
                entry.outcome,
                shown,
                _short_commit(entry.git_commit),
            ]
        )
    output.table(["WHEN", "WHO", "ACTION", "SUBJECT", "OUTCOME", "DIGEST", "COMMIT"], rows)
    if more:
        output.line(f"older entries are not shown: --limit {10 * SHOWN} shows more, --json all")


def _short_commit(commit: str | None) -> str:
    digits, dash, mark = (commit or "").partition("-")
    return digits[:12] + dash + mark


def _show_chain(output: Output, report: ChainReport) -> None:
    """Say that the chain holds, and what to note of it: nothing in it tells of a missing end.

    Raises `ChecksFailedError` when it does not hold.
    """
    if report.broken:
        raise ChecksFailedError(
            f"the ledger's chain is broken: {report.broken}",
            details=[f"the first {report.entries} hold"] if report.entries else (),
            hint="compare it with a backup; entries after that one prove nothing",
        )
    count = report.entries
    if output.as_json:
        output.json({"ok": True, "entries": count, "last": report.last})
        return
    end = f", the last one {report.last}" if report.last else ""
    output.line(f"the chain holds: {count} {'entry' if count == 1 else 'entries'}{end}")


def _since(text: str, now: datetime) -> datetime:
    """A moment from ``2d`` or an ISO date.  Raises `UsageError`."""
    if match := re.fullmatch(r"(\d{1,5})([mhdw])", text):
        return now - timedelta(**{_UNITS[match[2]]: int(match[1])})
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"{text!r} is not a time", hint="write 30m, 2h, 7d, 4w, or 2026-11-21"
        ) from error
