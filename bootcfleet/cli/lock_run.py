"""What the lock commands do once their options are read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from bootcfleet.cli.output import Output
from bootcfleet.domain.lock import LockChange, Pin
from bootcfleet.domain.lock_summary import lock_markdown
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.errors import ChecksFailedError, UsageError
from bootcfleet.ops.lock import FILE, LockUpdate, plan_lock_update, write_lock
from bootcfleet.ops.lock_verify import verify_lock
from bootcfleet.ops.project import load_project


def run_update(names: Sequence[str], *, dry_run: bool, markdown: bool, as_json: bool) -> None:
    """Plan the new lock, write it unless it is a dry run, and say what moved.

    Raises `FleetError` at the end when a base could not be resolved.
    """
    if markdown and as_json:
        raise UsageError("--markdown and --json are two forms of one answer", hint="choose one")
    output = Output(as_json=as_json)
    with RegistryClient() as client:
        update = plan_lock_update(
            load_project(), names, resolve=client.resolve, now=datetime.now(UTC)
        )
    if not dry_run:
        write_lock(update)
    if as_json:
        output.json(_json(update, written=update.writes and not dry_run))
    elif markdown:
        failed = {base: error.message for base, error in update.failed.items()}
        output.line(lock_markdown(update.change, update.images, failed))
    else:
        _show(output, update, dry_run=dry_run)
    update.require_all()


def _json(update: LockUpdate, *, written: bool) -> dict[str, Any]:
    change = update.change
    return {
        "written": written,
        "moved": [
            {"before": old.to_json(), **_with_images(update, new)} for old, new in change.moved
        ],
        "added": [_with_images(update, pin) for pin in change.added],
        "removed": [pin.to_json() for pin in change.removed],
        "unchanged": [pin.to_json() for pin in change.unchanged],
        "failed": [
            {"base": base, "message": error.message, "hint": error.hint}
            for base, error in update.failed.items()
        ],
    }


def _with_images(update: LockUpdate, pin: Pin) -> dict[str, Any]:
    return {**pin.to_json(), "images": list(update.images[pin.declared])}


def _show(output: Output, update: LockUpdate, *, dry_run: bool) -> None:
    rows = _rows(update.change, update)
    if rows:
        output.table(["BASE", "CHANGE", "DIGEST", "VERSION", "IMAGES"], rows)
    if dry_run:
        output.line(f"{FILE} would be written" if update.writes else f"{FILE} would stay as it is")
    elif update.writes:
        new = update.before is None
        then = f"commit it: git add {FILE}" if new else f"look at what moved: git diff {FILE}"
        output.line(f"wrote {FILE}; {then}")
    elif not update.failed:
        output.line("no base moved" if update.lock.pins else "the project has no base to pin")


def _rows(change: LockChange, update: LockUpdate) -> list[list[str]]:
    rows = [
        [
            new.declared,
            "moved",
            _arrow(old.digest.short, new.digest.short),
            _arrow(_version(old), _version(new)),
            ", ".join(update.images[new.declared]),
        ]
        for old, new in change.moved
    ]
    rows += [
        [pin.declared, "added", pin.digest.short, _version(pin), _images(update, pin)]
        for pin in change.added
    ]
    rows += [
        [pin.declared, "removed", pin.digest.short, _version(pin), ""] for pin in change.removed
    ]
    return rows


def _images(update: LockUpdate, pin: Pin) -> str:
    return ", ".join(update.images[pin.declared])


def _arrow(old: str, new: str) -> str:
    return old if old == new else f"{old} → {new}"


def _version(pin: Pin) -> str:
    """The version as one short line: a label may hold anything."""
    text = "".join(char if char.isprintable() else " " for char in pin.version or "")
    return " ".join(text.split())[:40] or "-"


def run_verify(*, as_json: bool) -> None:
    """Verify the lock; raises `ChecksFailedError` with each problem and its remedy."""
    output = Output(as_json=as_json)
    with RegistryClient() as client:
        results = verify_lock(load_project(), client)
    red = [result for result in results if not result.ok]
    if as_json:
        bases = [{"base": r.name, **{k: v for k, v in r.to_json().items() if k != "gate"}}
                 for r in results]  # fmt: skip
        output.json({"ok": not red, "bases": bases})
    elif results:
        rows = [[r.name, "ok" if r.ok else "problem", r.message] for r in results]
        output.table(["BASE", "RESULT", "WHAT"], rows)
    if not results and not as_json:
        output.line("the project has no base to pin")
    if red:
        raise ChecksFailedError(
            f"{FILE} does not hold: {len(red)} of {len(results)} checks are not green",
            details=[
                line
                for r in red
                for line in (f"{r.name} {r.message}", *([f"  {r.hint}"] if r.hint else []))
            ],
        )
