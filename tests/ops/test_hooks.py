"""Hooks as they are run: real processes here, real HTTP, a host's executor."""

from __future__ import annotations

import http.server
import json
import os
import pickle
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from bootcfleet.domain.rollout_policy import Hook, HookKind
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.errors import FleetError, HostError, HostFault
from bootcfleet.ops.hooks import HookContext, run_hook

CONTEXT = HookContext(
    host="web1",
    address="10.0.0.1",
    rollout="r1",
    wave="canary",
    operation="upgrade",
    labels={"site": "ams 1"},
    event="drain",
)
WAVE = HookContext(rollout="r1", wave="canary", operation="upgrade", event="wave.before")


def local(*words: str, timeout: float = 60) -> Hook:
    return Hook(HookKind.LOCAL, words, timeout=timeout)


def failure(hook: Hook, context: HookContext = CONTEXT, executor: Any = None) -> FleetError:
    with pytest.raises(FleetError) as caught:
        run_hook(hook, context, executor)
    return caught.value


def test_a_local_command_gets_words_and_environment(tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = 'printf "%s\\n" "$@" "$BOOTCFLEET_HOST" "$BOOTCFLEET_EVENT" "$BOOTCFLEET_WAVE" >"$0"'
    words = ("{host}", "{address}", "{rollout}", "{wave}", "{label.site}", "$(id)", "{{host}}")
    run_hook(local("sh", "-c", script, str(out), *words), CONTEXT, None)
    assert out.read_text().splitlines() == [
        "web1", "10.0.0.1", "r1", "canary", "ams 1", "$(id)", "{host}", "web1", "drain", "canary",
    ]  # fmt: skip


def test_a_local_command_that_fails_says_its_last_lines() -> None:
    script = (
        "for n in 1 2 3 4 5 6 7 8 9 10 11 12; do echo line $n; done; echo '\033[31mno' >&2; exit 3"
    )
    error = failure(local("sh", "-c", script, "token-in-argv"))
    assert isinstance(error, HostError)
    assert (error.host, error.fault) == ("web1", HostFault.HOOK_FAILED)
    assert not error.transient
    assert error.message.startswith("the drain hook sh: ended with exit code 3: no")
    assert error.details == (*(f"line {n}" for n in range(4, 13)), "no")
    assert "token" not in error.message + "".join(error.details)


def test_a_hook_between_waves_is_no_hosts_failure() -> None:
    error = failure(local("sh", "-c", "exit 1"), WAVE)
    assert not isinstance(error, HostError)
    assert error.message == "the wave.before hook sh: ended with exit code 1"


def test_a_hook_that_does_not_end_is_stopped_with_its_children(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = 'echo waiting; sleep 600 & echo $! >"$0"; wait'
    error = failure(local("sh", "-c", script, str(pid), timeout=3))
    assert error.message == "the drain hook sh: did not end within 3 s and was stopped"
    assert error.details == ("waiting",)
    child = Path(f"/proc/{pid.read_text().strip()}/stat")
    deadline = time.monotonic() + 30
    while child.exists() and ") Z " not in child.read_text():
        assert time.monotonic() < deadline, "the child still runs"
        time.sleep(0.05)


def test_a_program_that_is_not_there() -> None:
    error = failure(local("no-such-program-here"))
    assert isinstance(error, HostError)
    assert error.fault is HostFault.HOOK_FAILED
    assert "'no-such-program-here' is not installed" in error.message


def test_a_local_command_runs_in_the_projects_directory(tmp_path: Path) -> None:
    program = tmp_path / "lb"
    program.write_text('#!/bin/sh\npwd >"$1"\n')
    program.chmod(0o755)
    run_hook(local("./lb", "{host}"), replace(CONTEXT, directory=str(tmp_path)), None)
    assert (tmp_path / "web1").read_text() == f"{tmp_path}\n"
    gone = failure(local("./lb", "x"), replace(CONTEXT, directory=str(tmp_path / "gone"), event=""))
    assert gone.message == f"the hook ./lb: the directory {tmp_path}/gone does not exist"


def test_a_label_that_the_host_does_not_have() -> None:
    error = failure(local("true", "{label.rack}"))
    assert "needs the label 'rack'" in error.message


@dataclass
class Remote(LocalExecutor):
    """A host whose commands run here; what was asked is kept."""

    fails: Exception | None = None
    asked: list[tuple[tuple[str, ...], bool, float | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def run(self, argv, *, timeout=None, stdin=None, as_root=False, on_line=None):  # type: ignore[no-untyped-def]
        self.asked.append((tuple(argv), as_root, timeout))
        if self.fails:
            raise self.fails
        return super().run(argv, timeout=timeout, on_line=on_line)


def test_a_remote_command_is_roots() -> None:
    remote = Remote()
    run_hook(Hook(HookKind.REMOTE, ("true", "{host}"), timeout=7), CONTEXT, remote)
    assert remote.asked == [(("true", "web1"), True, 7)]


def test_a_remote_command_that_fails() -> None:
    error = failure(Hook(HookKind.REMOTE, ("sh", "-c", "echo busy; exit 4")), CONTEXT, Remote())
    assert error.message == "the drain hook sh: ended with exit code 4: busy"


@pytest.mark.parametrize(
    ("fault", "becomes"),
    [
        (HostFault.TIMEOUT, HostFault.HOOK_FAILED),
        (HostFault.UNREACHABLE, HostFault.UNREACHABLE),
        (HostFault.CONNECTION_LOST, HostFault.CONNECTION_LOST),
        (HostFault.HOST_KEY_CHANGED, HostFault.HOST_KEY_CHANGED),
    ],
)
def test_a_connection_keeps_its_fault(fault: HostFault, becomes: HostFault) -> None:
    error = failure(
        Hook(HookKind.REMOTE, ("true",)), CONTEXT, Remote(HostError("web1", fault, "gone"))
    )
    assert isinstance(error, HostError)
    assert error.fault is becomes


def test_a_remote_hook_needs_a_host() -> None:
    assert "has no host to run on" in failure(Hook(HookKind.REMOTE, ("true",)), WAVE).message


@dataclass
class Listener:
    """A real HTTP server that answers with `status` after `wait` was set (at once without)."""

    status: int = 204
    hangs: threading.Event | None = None
    asked: list[tuple[str, dict[str, Any], str | None]] = field(default_factory=list)
    port: int = 0


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()

    class Page(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            made.asked.append((self.path, body, self.headers["Authorization"]))
            if made.hangs is not None:
                made.hangs.wait(60)
            self.send_response(made.status)
            self.send_header("Location", f"http://127.0.0.1:{made.port}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        made.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield made
        if made.hangs is not None:
            made.hangs.set()
        server.shutdown()
        thread.join()


def webhook(listener: Listener, timeout: float = 60) -> Hook:
    url = f"http://127.0.0.1:{listener.port}/s3cret/{{label.site}}/{{host}}"
    return Hook(HookKind.WEBHOOK, url=url, timeout=timeout)


def test_a_webhook_is_posted(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOTCFLEET_WEBHOOK_TOKEN", "t0ken")
    run_hook(webhook(listener), CONTEXT, None)
    ((path, body, bearer),) = listener.asked
    assert path == "/s3cret/ams%201/web1"
    assert body == CONTEXT.to_json()
    assert bearer == "Bearer t0ken"


@pytest.mark.parametrize("status", [302, 400, 401, 500])
def test_a_webhook_that_is_refused(listener: Listener, status: int) -> None:
    listener.status = status
    error = failure(webhook(listener))
    expected = f"the webhook at 127.0.0.1:{listener.port} answers HTTP {status}"
    assert error.message == f"the drain hook webhook: {expected}"
    assert len(listener.asked) == 1


def test_a_webhook_that_does_not_answer(listener: Listener) -> None:
    listener.hangs = threading.Event()
    error = failure(webhook(listener, timeout=0.5))
    assert "cannot be reached: no answer within" in error.message
    assert "s3cret" not in error.message + str(error.hint) + "".join(error.details)


def test_what_is_passed_to_workers_can_be_pickled() -> None:
    for value in (CONTEXT, local("true")):
        assert pickle.loads(pickle.dumps(value)) == value


def test_the_hooks_own_environment_is_that_of_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LB_TOKEN", "t")
    out = tmp_path / "out"
    program = "import os, sys; open(sys.argv[1], 'w').write(os.environ['LB_TOKEN'])"
    run_hook(local(sys.executable, "-c", program, str(out)), replace(CONTEXT, wave=""), None)
    assert out.read_text() == "t"
    assert "BOOTCFLEET_HOST" not in os.environ
