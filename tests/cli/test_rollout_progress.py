"""The live view of a rollout: on a recording console, on a real terminal, in pipes."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import textwrap
import time
from pathlib import Path

import pyte
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from bootcfleet.cli.output import Output
from bootcfleet.cli.rollout_frame import frame
from bootcfleet.cli.rollout_progress import RolloutProgress
from bootcfleet.domain.event import Event
from bootcfleet.domain.rollout import HostPhase
from bootcfleet.domain.rollout_tally import Tally
from bootcfleet.domain.waves import Wave

HOSTILE = "\x1b]0;owned\x07[red]x[/red]\x1b[2J\r\n\x9b1m"
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def thousand() -> Tally:
    """A thousand hosts in 21 waves, 600 of them at work, 40 failed."""
    names = [f"web{number:04d}" for number in range(1000)]
    waves = [Wave(1, tuple(names[:10]), canary=True)]
    waves += [Wave(n + 2, tuple(names[10 + n * 50 : 60 + n * 50])) for n in range(20)]
    tally = Tally.of("20261121-020000-ab12", "upgrade", waves)
    tally.take(Event("rollout.started"), 1000)
    tally.take(Event("wave.started", "", "", {"wave": 1}), 1000)
    for name in names[:10]:
        tally.take(Event("host.updated", name, "updated"), 1060)
    tally.take(Event("wave.finished", "", "", {"wave": 1}), 1090)
    tally.take(Event("wave.started", "", "", {"wave": 2}), 1090)
    for index, name in enumerate(names[10:650]):
        kind = ["staging", "rebooting", "checking"][index % 3] if index >= 40 else "failed"
        tally.take(Event(f"host.{kind}", name, f"{kind}: {HOSTILE}", {"fault": "no-space"}), 1100)
        if kind == "staging":
            data = {"bytes": 50 * 2**20, "bytes_total": 200 * 2**20}
            tally.take(Event("host.download", name, "", data), 1110)
    return tally


def drawn(tally: Tally, now: float, width: int, height: int) -> list[str]:
    console = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=True, _environ={}
    )
    with console.capture() as capture:
        console.print(frame(tally, now, width, height))
    return ESCAPE.sub("", capture.get()).splitlines()


def test_a_thousand_hosts_fit_and_what_does_not_is_summed() -> None:
    lines = drawn(thousand(), 1120, 100, 30)
    text = "\n".join(lines)
    assert len(lines) <= 29
    assert "50 of 1000 hosts ended · 25.0 hosts/min · 1000.0 MiB/s · about" in text
    assert "updated 10" in text
    assert re.search(r"✓ canary +━+ +10/10 done in 1:30", text)
    assert re.search(r"▶ wave 2 +━+ +40/50 running 0:30", text)
    assert "more waves (1 of 21 done)" in text
    assert re.search(r"web0052 staging +0:20 ━+ +25 % 50.0 MiB of 200.0 MiB 5.0 MiB/s", text)
    more = re.search(r"and (\d+) more: (\d+) checking, (\d+) rebooting, (\d+) staging", text)
    assert more is not None
    shown = len(re.findall(r"^  web\d{4} ", text, re.M))
    assert int(more[1]) == 600 - shown == sum(int(more[n]) for n in (2, 3, 4))
    assert re.search(r"✗ \d+ more: \d+ failed", text)
    assert lines[-1].startswith("✗ web0049: failed: [red]x[/red]")
    assert lines[-1].endswith("(no-space)")


@pytest.mark.parametrize(("width", "height"), [(40, 12), (60, 14), (80, 24), (100, 30), (200, 60)])
def test_it_is_never_wider_or_higher_than_the_terminal(width: int, height: int) -> None:
    lines = drawn(thousand(), 1120, width, height)
    assert len(lines) <= height - 1
    assert max(len(line) for line in lines) <= width
    assert any(line.startswith("✗ web") for line in lines)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 9),
    st.lists(st.tuples(st.sampled_from([*HostPhase]), st.text(max_size=30)), max_size=60),
    st.integers(30, 160),
    st.integers(10, 60),
)
def test_any_rollout_fits(
    waves: int, hosts: list[tuple[HostPhase, str]], width: int, height: int
) -> None:
    tally = Tally.of("r", "switch", [Wave(n, (f"h{n}",)) for n in range(1, waves + 1)])
    for number, (phase, message) in enumerate(hosts):
        tally.take(Event(f"host.{phase}", f"n{number}{message}", message), number)
    tally.take(Event("rollout.paused", "", "lunch"), 100)
    lines = drawn(tally, 101, width, height)
    assert len(lines) <= height - 1
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(
    ("kind", "message", "data", "shown"),
    [
        ("wave.waiting", "waits for approval", {}, "waiting 1:00: waits for approval"),
        ("wave.baking", "", {"seconds": 90}, "baking, 0:30 left"),
        ("wave.baking", "", {}, "baking 1:00"),
    ],
)
def test_a_wave_says_what_it_waits_for(
    kind: str, message: str, data: dict[str, int], shown: str
) -> None:
    tally = Tally.of("r", "upgrade", [Wave(1, ("a",), canary=True)])
    tally.take(Event(kind, "", message, {"wave": 1, **data}), 1000)
    assert shown in "\n".join(drawn(tally, 1060, 80, 24))


def test_a_halt_is_said_with_its_reason() -> None:
    tally = Tally.of("r", "upgrade", [Wave(1, ("a",))])
    tally.take(Event("rollout.halted", "", "the canary a failed"), 5)
    assert "halted: the canary a failed" in drawn(tally, 6, 80, 24)


def piped(events: list[Event], *, as_json: bool) -> None:
    clock = iter(range(1_795_229_000, 1_795_230_000))
    with RolloutProgress(Output(as_json=as_json), clock=lambda: next(clock)) as progress:
        for event in events:
            progress.event(event)


EVENTS = [
    Event("rollout.planned", "", "upgrade of r1", {"rollout": "r1", "waves": [
        {"number": 1, "title": "canary", "hosts": ["a"]}]}),
    Event("wave.started", "", "", {"rollout": "r1", "wave": 1}),
    Event("host.staging", "a", f"staging: {HOSTILE}", {"rollout": "r1", "wave": 1}),
    Event("host.download", "a", "", {"bytes": 1, "bytes_total": 2}),
    Event("host.failed", "a", "failed: no space", {"fault": "no-space"}),
    Event("rollout.halted", "", "the canary a failed", {"rollout": "r1"}),
]  # fmt: skip


def test_without_a_terminal_each_event_is_a_line_with_its_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    piped(EVENTS, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "2026-11-21T02:43:20Z planned: upgrade of r1",
        "2026-11-21T02:43:21Z canary: started",
        "2026-11-21T02:43:22Z a: staging: [red]x[/red] �1m",
        "2026-11-21T02:43:24Z a: failed: no space",
        "2026-11-21T02:43:25Z halted: the canary a failed",
    ]


def test_a_bake_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    data = {"rollout": "r1", "wave": 1}
    events = [
        EVENTS[0],
        Event("wave.baking", "", "", {**data, "seconds": 90}),
        Event("rollout.waiting", "", "canary: bakes until 3", {"what": "canary", "why": "x"}),
        Event("rollout.waiting", "", "reboots: no window", {"what": "reboots", "why": "no window"}),
        Event("rollout.waiting", "", "", {"what": "", "why": "", "waits": {}}),
        Event("rollout.started", "", "started by ctl1"),
    ]
    piped(events, as_json=False)
    assert [line.partition(" ")[2] for line in capsys.readouterr().out.splitlines()] == [
        "planned: upgrade of r1",
        "canary: baking for 1 min 30 s",
        "waiting: reboots: no window",
        "started by ctl1",
    ]


def test_json_has_every_event_with_its_time_and_nothing_a_terminal_obeys(
    capsys: pytest.CaptureFixture[str],
) -> None:
    piped(EVENTS, as_json=True)
    out = capsys.readouterr().out
    assert not [one for one in out.replace("\n", "") if not one.isprintable()]
    said = [json.loads(line) for line in out.splitlines()]
    assert [line["kind"] for line in said] == [event.kind for event in EVENTS]
    assert said[0]["at"] == "2026-11-21T02:43:20.000+00:00"
    assert said[2]["message"] == f"staging: {HOSTILE}"
    assert said[4]["data"] == {"fault": "no-space"}


PROGRAM = textwrap.dedent(
    r"""
    import sys, threading, time
    from bootcfleet.cli.output import Output
    from bootcfleet.cli.rollout_progress import RolloutProgress
    from bootcfleet.domain.event import Event
    from bootcfleet.domain.rollout_tally import Tally
    from bootcfleet.domain.waves import Wave

    names = tuple(f"web{n:04d}" for n in range(300))
    tally = Tally.of("r1", "upgrade", [Wave(1, names)])
    try:
        with RolloutProgress(Output(), tally) as progress:
            def work(part):
                for name in names[part::4]:
                    progress.event(Event("host.staging", name, "staging: \x1b]0;owned\x07[b]x"))
            threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
            [t.start() for t in threads]
            [t.join() for t in threads]
            progress.event(Event("host.failed", "web0000", "failed: \x1b[2Jno space"))
            time.sleep(60)
    except KeyboardInterrupt:
        print("stopped")
        sys.exit(130)
    """
)


RESTLESS = textwrap.dedent(
    r"""
    import threading
    from bootcfleet.cli.output import Output
    from bootcfleet.cli.rollout_progress import RolloutProgress
    from bootcfleet.domain.event import Event
    from bootcfleet.domain.rollout_tally import Tally
    from bootcfleet.domain.waves import Wave

    names = tuple(f"web{n:03d}" for n in range(16))
    with RolloutProgress(Output(), Tally.of("r1", "upgrade", [Wave(1, names)])) as progress:
        def work(part):
            for turn in range(60):
                for name in names[part::4]:
                    kind = ("staging", "failed", "updated")[(turn + part) % 3]
                    progress.event(Event(f"host.{kind}", name, f"{kind}: {turn}"))
        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        [t.start() for t in threads]
        [t.join() for t in threads]
    print("the end")
    """
)


def test_no_piece_of_a_picture_stays_behind_whoever_draws_when(tmp_path: Path) -> None:
    """Four threads print while pictures of every height are drawn, on a terminal's emulator."""
    text = on_terminal(RESTLESS, tmp_path, "the end")
    screen = pyte.HistoryScreen(80, 24, history=10_000)
    pyte.Stream(screen).feed(text)
    columns = range(80)
    scrolled = ["".join(row[at].data for at in columns) for row in screen.history.top]
    lines = [line.rstrip() for line in (*scrolled, *screen.display) if line.strip()]
    assert lines[-1] == "the end"
    assert len(lines) == 2 * 16 * 60 // 3 + 1
    assert [line for line in lines[:-1] if not re.fullmatch(r"web\d{3}: \w+: \d+", line)] == []


def test_on_a_real_terminal_it_draws_and_ctrl_c_gives_the_terminal_back(tmp_path: Path) -> None:
    text = on_terminal(PROGRAM, tmp_path, "stopped", press="✗ web0000: failed: no space", code=130)
    assert "rollout r1 upgrade" in text
    assert re.search(r"and \d+ more: \d+ staging", text)
    assert "[b]x" in text
    assert "\x1b]0" not in text
    assert "\x1b[2J" not in text
    # The view hid the cursor, and shows it again before the program says its last word.
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert text.rindex("stopped") > text.rindex("\x1b[?25h")
    assert "Traceback" not in text


def on_terminal(program: str, folder: Path, until: str, *, press: str = "", code: int = 0) -> str:
    """What a program writes to a terminal of its own; ^C is pressed once it has said `press`."""
    path = folder / "view.py"
    path.write_text(program)
    primary, secondary = pty.openpty()
    fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    env = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(Path.cwd())}
    for name in ("NO_COLOR", "COLUMNS", "LINES"):
        env.pop(name, None)
    process = subprocess.Popen(
        [sys.executable, str(path)],
        stdin=secondary, stdout=secondary, stderr=secondary, env=env, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(secondary)
    text = ""
    try:
        if press:
            text = _read(primary, until=press)
            os.write(primary, b"\x03")
        text += _read(primary, until=until)
        assert process.wait(timeout=60) == code
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        os.close(primary)
    return text


def _read(primary: int, until: str, seconds: float = 60) -> str:
    """What comes from the terminal, to the end of what was waited for."""
    end = time.monotonic() + seconds
    data = b""
    while until not in ESCAPE.sub("", data.decode(errors="replace")):
        ready, _, _ = select.select([primary], [], [], max(0.0, end - time.monotonic()))
        assert ready, f"{until!r} did not come: {data.decode(errors='replace')[-2000:]}"
        try:
            more = os.read(primary, 65536)
        except OSError:
            pytest.fail(f"it ended: {data.decode(errors='replace')[-2000:]}")
        data += more
    return data.decode(errors="replace")


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EPIPE, "nobody reads its output any more"),
        (errno.ENOSPC, "its output cannot be written: No space left on device"),
        (errno.EIO, "its output cannot be written: Input/output error"),
    ],
)
def test_what_nobody_takes_ends_a_controller_as_control_c_does(
    number: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    output = Output()
    monkeypatch.setattr(output, "line", broken)
    with RolloutProgress(output) as progress:
        # In a worker's thread a `FleetError`, or an `OSError`, would be the host's.
        with pytest.raises(KeyboardInterrupt, match=said) as caught:
            progress.event(Event("host.staged", "web1", "staged"))
        assert not isinstance(caught.value, Exception)
        with pytest.raises(OSError, match=os.strerror(number)):
            progress.happened(Event("host.staged", "web1", "staged"), 0)
