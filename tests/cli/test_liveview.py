"""The live views of images and disks, drawn on a console that records."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bootcfleet.cli.disk_progress import DiskProgressView
from bootcfleet.cli.image_progress import BuildProgress
from bootcfleet.cli.liveview import LiveView
from bootcfleet.cli.output import Output
from bootcfleet.domain.event import Event

HOSTILE = "\x1b]0;owned\x07[red]x[/red]\x1b[2J\r\x9b1m"


class Terminal(Output):
    """An output that takes itself for a terminal, whatever runs the tests."""

    terminal = True  # type: ignore[assignment]


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=80, height=20, _environ={})


def drawn(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


VIEWS = [
    (
        BuildProgress(Terminal(), ["web", "db"]),
        [
            Event("image.build.started", "web", "started"),
            Event("image.build.output", "web", f"STEP 1 {HOSTILE}"),
            Event("image.build.finished", "db", "built", {"outcome": "built"}),
        ],
        ["1 of 2 images ended", "STEP 1 [red]x[/red]", "db: built"],
    ),
    (
        DiskProgressView(Terminal()),
        [
            Event("disk.build.step", "web", "web-qcow2"),
            Event("disk.build.progress", "web", f"org.osbuild {HOSTILE}", {"fraction": 0.5}),
        ],
        ["web: web-qcow2", "50 %", "org.osbuild [red]x[/red]"],
    ),
]


@pytest.mark.parametrize(("view", "events", "seen"), VIEWS, ids=lambda v: type(v).__name__)
def test_a_view_draws_and_nothing_from_outside_is_obeyed(
    view: LiveView, events: list[Event], seen: list[str], console: Console
) -> None:
    view._console = console
    with view:
        for event in events:
            view.event(event)  # type: ignore[attr-defined]
        assert view._live is not None
        view._live.refresh()
    text = drawn(console)
    for words in seen:
        assert words in text
    assert "\x1b]0" not in text
    assert "\x1b[2J" not in text
    assert "\x9b" not in text
