"""Opens the ledger of a project, and records in it as the person who runs this."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.drivers.git import GitRepo
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.ops.project import LoadedProject, state_dir


class Record(Protocol):
    """Writes one entry into the ledger."""

    def __call__(
        self,
        action: str,
        subject: str,
        outcome: str,
        *,
        digests: Mapping[str, str],
        details: Mapping[str, Any],
    ) -> object:
        """Write it down; raises `FleetError` when it could not be written."""
        ...


def open_ledger(loaded: LoadedProject | None) -> Ledger:
    """The ledger of the project, or of the user outside of one.  Raises `FleetError`."""
    if loaded is not None:
        return Ledger.open(loaded.project.ledger, base=loaded.root)
    return Ledger.open("sqlite:///ledger.db", base=state_dir(None))


def current_actor() -> str:
    """``user@machine``; under sudo the person who called it.

    The user is the process's own: $USER and $LOGNAME are whatever somebody sets them to.
    """
    uid = os.getuid()
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        # A container may run under a number that has no name.
        user = str(uid)
    if uid == 0:
        user = os.environ.get("SUDO_USER") or user
    return f"{user}@{socket.gethostname()}"


def project_commit(loaded: LoadedProject | None) -> str | None:
    """The git commit of the project's tree, for entries of the ledger."""
    return GitRepo(LocalExecutor(), loaded.root).facts().revision if loaded else None


def recorder_into(ledger: Ledger, commit: str | None) -> Record:
    """A function that records into an open ledger, with actor, time and git commit filled in."""
    actor = current_actor()

    def record(
        action: str,
        subject: str,
        outcome: str,
        *,
        digests: Mapping[str, str],
        details: Mapping[str, Any],
    ) -> object:
        return ledger.record(
            action,
            subject,
            outcome,
            actor=actor,
            now=datetime.now(UTC),
            git_commit=commit,
            digests=digests,
            details=details,
        )

    return record


@contextmanager
def recorder(loaded: LoadedProject | None) -> Iterator[Record]:
    """The same into the project's ledger, which is open as long."""
    # Before the ledger is opened: a new one may be a file that git does not know.
    commit = project_commit(loaded)
    ledger = open_ledger(loaded)
    try:
        yield recorder_into(ledger, commit)
    finally:
        ledger.close()
