"""`bootcfleet audit`: who did what, when, and with which digests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from bootcfleet.cli.output import JsonFlag, Output
from bootcfleet.errors import ChecksFailedError, UsageError

if TYPE_CHECKING:
    from bootcfleet.domain.audit import AuditEntry

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def audit(
    action: Annotated[
        str | None, typer.Option(help="Only this action and its parts: fleet.upgrade, image.build.")
    ] = None,
    subject: Annotated[str | None, typer.Option(help="Only this host, image or rollout.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Not older than 30m, 2h, 7d, 4w, or a date.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="The newest N.", min=1)] = 50,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the chain of hashes; exit code 3 if broken.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Who did what, when, and with which digests: the ledger, newest last."""
    from bootcfleet.ops.audit import open_ledger
    from bootcfleet.ops.project import find_project

    output = Output(as_json=as_json)
    oldest = None if since is None else _since(since, datetime.now(UTC))
    ledger = open_ledger(find_project())
    try:
        if verify:
            broken = ledger.verify()
            if broken:
                raise ChecksFailedError(
                    f"the ledger's chain is broken: {broken}",
                    hint="compare it with a backup; entries after that one prove nothing",
                )
            _show_whole(output, ledger.entries(limit=1))
            return
        entries = ledger.entries(action=action, subject=subject, since=oldest, limit=limit)
    finally:
        ledger.close()
    if as_json:
        output.json([entry.to_json() for entry in entries])
        return
    if not entries:
        output.line("no entries")
        return
    rows = []
    for entry in entries:
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
                (entry.git_commit or "")[:12],
            ]
        )
    output.table(["WHEN", "WHO", "ACTION", "SUBJECT", "OUTCOME", "DIGEST", "COMMIT"], rows)


def _show_whole(output: Output, newest: Sequence[AuditEntry]) -> None:
    """Say that the chain holds, and what to note of it: nothing in it tells of a missing end."""
    count, last = (newest[0].number, newest[0].hash) if newest else (0, None)
    if output.as_json:
        output.json({"ok": True, "entries": count, "last": last})
        return
    end = f", the last one {last}" if last else ""
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
