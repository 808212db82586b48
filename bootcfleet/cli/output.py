"""How the commands speak: tables on a terminal, plain lines elsewhere, JSON on request.

With ``--json`` standard output carries only JSON: one object (indented) for a
result, one object a line for a stream.  Everything for people goes to standard
error then, so that a pipe stays clean.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from bootcfleet.domain.event import Event
from bootcfleet.domain.plaintext import harmless
from bootcfleet.errors import InterruptedRunError, UsageError

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON (JSON lines for a stream).")]
YesFlag = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
DryRunFlag = Annotated[
    bool, typer.Option("--dry-run", "-n", help="Print the plan and change nothing.")
]


#: What JSON lets through and a terminal would obey: DEL, C1, changes of direction; and what
#: cannot be written as UTF-8.
_OBEYED = re.compile("[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def _json(value: Any, indent: int | None = None) -> str:
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=str)
    return _OBEYED.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


class Output:
    """One command's voice.  Safe to use from several threads.

    Nothing in lines, tables and events is obeyed by a terminal: their words come from hosts,
    people and files.  A document that is somebody's file goes out with `raw`.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._lock = threading.Lock()

    @property
    def terminal(self) -> bool:
        """Whether a person at a terminal reads this."""
        return not self.as_json and sys.stdout.isatty()

    def line(self, text: str = "") -> None:
        """A sentence for people; on standard error when standard output carries JSON."""
        with self._lock:
            stream = sys.stderr if self.as_json else sys.stdout
            print(harmless(text), file=stream, flush=True)

    def json(self, value: Any) -> None:
        """The result as one JSON document."""
        with self._lock:
            print(_json(value, 2), flush=True)

    def raw(self, data: bytes) -> None:
        """A document as it is, to the byte."""
        with self._lock:
            sys.stdout.flush()
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

    def passing(self, event: Event) -> None:
        """What is going on, for a person who waits: on a terminal's standard error alone."""
        if sys.stderr.isatty():
            with self._lock:
                print(harmless(event.message), file=sys.stderr, flush=True)

    def json_line(self, value: Mapping[str, Any]) -> None:
        """One object of a stream, on a line of its own."""
        with self._lock:
            print(_json(value), flush=True)

    def event(self, event: Event) -> None:
        """An event of a running operation: a JSON line, or its message."""
        if self.as_json:
            self.json_line(event.to_json())
        elif event.message:
            self.line(f"{event.subject}: {event.message}" if event.subject else event.message)

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None
    ) -> None:
        """A table; without a terminal it is as wide as it needs to be, for grep and awk."""
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        terminal = self.terminal
        table = Table(title=title, box=None, pad_edge=False, header_style="bold", title_style="")
        for column in columns:
            table.add_column(column, no_wrap=not terminal, overflow="fold")
        for row in rows:
            # Cells are text from hosts and files: never read as rich markup.
            table.add_row(*(Text(harmless(cell)) for cell in row))
        width = None if terminal else 10_000
        console = Console(width=width, highlight=False, soft_wrap=False)
        with console.capture() as capture:
            console.print(table)
        with self._lock:
            for line in capture.get().splitlines():
                print(line.rstrip(), flush=True)

    def clear(self) -> None:
        """Start a terminal's screen anew; elsewhere, an empty line between two answers."""
        with self._lock:
            print("\x1b[2J\x1b[H" if self.terminal else "", end="" if self.terminal else "\n")

    def confirm(
        self,
        question: str,
        *,
        yes: bool,
        changes: str = "machines",
        look: str = "look at the plan with --dry-run",
    ) -> None:
        """Ask before acting; `changes` is what is changed, `look` how to see it before.

        Raises `UsageError` where nobody can be asked and ``--yes`` was not
        given, `InterruptedRunError` when the answer is no.
        """
        if yes:
            return
        if self.as_json or not sys.stdin.isatty():
            raise UsageError(
                f"this changes {changes} and nobody is there to confirm it",
                hint=f"{look}, then run it again with --yes",
            )
        if not typer.confirm(question):
            raise InterruptedRunError("not confirmed; nothing was changed")


def ask_secret(prompt: str) -> str:
    """Ask a person for a passphrase or password, unseen.

    Raises `UsageError` where nobody can be asked.
    """
    if not sys.stdin.isatty():
        raise UsageError(
            f"{prompt.rstrip(': ')} is needed and nobody is there to be asked",
            hint="use an SSH agent, or sudo without a password for the commands of bootc",
        )
    import getpass

    return getpass.getpass(prompt)
