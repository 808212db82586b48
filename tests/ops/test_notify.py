"""Webhooks are told beside a rollout: real HTTP on the loopback, with servers of every temper."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from bootcfleet.domain.notify import FailedHost, Notice
from bootcfleet.domain.rollout_policy import NotifyEvent, NotifyForm, NotifyTarget
from bootcfleet.ops import notify
from bootcfleet.ops.notify import Notifier

SECRET = "T0KEN-do-not-show"


class Chat:
    """A webhook's server: `answers` are its next statuses, then 200; `hold` makes it slow."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.answers: list[int | tuple[int, str]] = []
        self.hold = threading.Event()
        self.hold.set()
        self.asked = threading.Semaphore(0)
        chat = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                chat.asked.release()
                chat.hold.wait(30)
                answer = chat.answers.pop(0) if chat.answers else 200
                status, retry = answer if isinstance(answer, tuple) else (answer, "")
                if status == 200:
                    chat.bodies.append(body)
                    chat.headers.append(dict(self.headers))
                self.send_response(status)
                if retry:
                    self.send_header("Retry-After", retry)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/hooks/{SECRET}"

    def target(self, form: NotifyForm = NotifyForm.JSON, **more: Any) -> NotifyTarget:
        return NotifyTarget(form, url_env="CHAT", **more)

    def close(self) -> None:
        self.hold.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def chat() -> Iterator[Chat]:
    chat = Chat()
    yield chat
    chat.close()


@pytest.fixture
def problems() -> list[str]:
    return []


@pytest.fixture
def start(chat: Chat, problems: list[str]) -> Iterator[Callable[..., Notifier]]:
    made: list[Notifier] = []

    def go(*targets: NotifyTarget, **more: Any) -> Notifier:
        environ = {"CHAT": chat.url, "TOKEN": "bearer-secret"}
        values = {"first": 0.01, "pace": 0.0, **more}
        made.append(Notifier(targets or (chat.target(),), environ, problems.append, **values))
        return made[-1]

    yield go
    chat.hold.set()
    for one in made:
        one.close(5)


def notice(event: NotifyEvent = NotifyEvent.STARTED, host: str = "") -> Notice:
    hosts = (FailedHost(host, "failed", "", "no space"),) if host else ()
    return Notice(event, "r1", "upgrade", datetime(2026, 11, 21, tzinfo=UTC), str(event),
                  hosts=hosts)  # fmt: skip


def test_each_is_told_in_order_in_its_form(chat: Chat, start: Any, problems: list[str]) -> None:
    notifier = start(chat.target(), chat.target(NotifyForm.SLACK, events=(NotifyEvent.FINISHED,)))
    for event in (NotifyEvent.STARTED, NotifyEvent.WAVE_FINISHED, NotifyEvent.FINISHED):
        notifier.tell(notice(event))
    notifier.close(30)
    assert problems == []
    plain = [body["event"] for body in chat.bodies if "event" in body]
    assert plain == ["started", "wave-finished", "finished"]
    assert sum("blocks" in body for body in chat.bodies) == 1


def test_a_token_goes_only_where_it_is_meant_for(
    chat: Chat, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "bearer-secret")
    monkeypatch.setenv("BOOTCFLEET_WEBHOOK_TOKEN", "another-secret")
    notifier = start(chat.target(token_env="TOKEN"), chat.target())
    notifier.tell(notice())
    notifier.close(30)
    tokens = [headers.get("Authorization") for headers in chat.headers]
    assert sorted(map(str, tokens)) == ["Bearer bearer-secret", "None"]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, (503, "0"), (429, "tomorrow")])
def test_what_may_be_taken_later_is_tried_again(
    chat: Chat, start: Any, problems: list[str], status: Any
) -> None:
    chat.answers = [status, status]
    notifier = start()
    notifier.tell(notice())
    notifier.close(30)
    assert len(chat.bodies) == 1
    assert problems == []


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 410])
def test_what_is_refused_is_said_once_and_not_tried_again(
    chat: Chat, start: Any, problems: list[str], status: int
) -> None:
    chat.answers = [status]
    notifier = start()
    notifier.tell(notice())
    notifier.tell(notice(NotifyEvent.FINISHED))
    notifier.close(30)
    assert [body["event"] for body in chat.bodies] == ["finished"]
    [said] = problems
    assert f"answers HTTP {status}; not told: started" in said
    assert SECRET not in said


def test_after_all_tries_it_is_said_and_the_next_is_told(
    chat: Chat, start: Any, problems: list[str]
) -> None:
    chat.answers = [500] * (notify.TRIES + 1)
    notifier = start()
    notifier.tell(notice())
    notifier.tell(notice(NotifyEvent.FINISHED))
    notifier.close(60)
    assert [body["event"] for body in chat.bodies] == ["finished"]
    assert len(problems) == 1
    assert "answers HTTP 500; not told: started" in problems[0]


def test_nobody_there_is_said_without_the_address(start: Any, problems: list[str]) -> None:
    notifier = start(NotifyTarget(url=f"http://127.0.0.1:1/{SECRET}"))
    notifier.tell(notice())
    notifier.close(30)
    assert len(problems) == 1
    assert problems[0].startswith("the webhook at 127.0.0.1:1 cannot be reached")
    assert SECRET not in problems[0]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (NotifyTarget(url_env="MISSING"), "the environment variable MISSING is not set"),
        (
            NotifyTarget(url="https://example.com/x", token_env="MISSING"),
            "the environment variable MISSING, which holds its token, is not set",
        ),
        (NotifyTarget(url=f"ftp://x/{SECRET}"), "the webhook is no address"),
        (NotifyTarget(url=f"http://[{SECRET}"), "the webhook is no address"),
    ],
)
def test_an_address_that_is_none_is_said_at_the_start(
    start: Any, chat: Chat, problems: list[str], target: NotifyTarget, said: str
) -> None:
    notifier = start(target, chat.target())
    assert len(problems) == 1
    assert said in problems[0]
    assert SECRET not in problems[0]
    notifier.tell(notice())
    notifier.close(30)
    assert len(chat.bodies) == 1


def test_of_several_webhooks_it_is_said_which_has_no_address(
    chat: Chat, problems: list[str]
) -> None:
    targets = [NotifyTarget(url_env=name) for name in ("ONE", "TWO")]
    Notifier(targets, {"ONE": chat.url, "TWO": f"chat/{SECRET}"}, problems.append).close(5)
    assert problems == [
        "nobody is told by a webhook: the webhook is no address: write https://HOST/PATH into TWO"
    ]


def test_a_token_that_is_no_header_is_not_shown(
    chat: Chat, start: Any, problems: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", f"a\r\n{SECRET}")
    notifier = start(chat.target(token_env="TOKEN"))
    notifier.tell(notice())
    notifier.close(30)
    assert len(problems) == 1
    assert SECRET not in problems[0]


def test_hosts_that_fail_while_a_post_is_under_way_are_told_together(
    chat: Chat, start: Any
) -> None:
    chat.hold.clear()
    notifier = start()
    notifier.tell(notice(NotifyEvent.HOST_FAILED, "web0"))
    assert chat.asked.acquire(timeout=30)
    for number in range(1, 300):
        notifier.tell(notice(NotifyEvent.HOST_FAILED, f"web{number}"))
    notifier.tell(notice(NotifyEvent.HALTED))
    chat.hold.set()
    notifier.close(30)
    assert [len(body["hosts"]) for body in chat.bodies] == [1, 299, 0]
    assert chat.bodies[1]["message"] == "299 hosts failed"


def test_a_webhook_that_hangs_holds_nobody_up_and_the_end_is_in_time(
    chat: Chat, start: Any, problems: list[str]
) -> None:
    other = Chat()
    try:
        chat.hold.clear()
        notifier = start(chat.target(), NotifyTarget(url=other.url))
        notifier.tell(notice())
        assert chat.asked.acquire(timeout=30)
        for _ in range(notify.MOST + 30):
            notifier.tell(notice(NotifyEvent.WAVE_FINISHED))
        assert other.asked.acquire(timeout=30)
        notifier.close(0.5)
        # The hanging one alone; a post under way has ten seconds, and nobody waited for it.
        assert any(f"{notify.MOST + 1} not told in time" in said for said in problems)
        assert any("30 not told: too many were waiting" in said for said in problems)
    finally:
        other.close()


def test_the_pause_of_a_retry_ends_with_the_rollout(
    chat: Chat, start: Any, problems: list[str]
) -> None:
    chat.answers = [(503, "30")] * 9
    notifier = start()
    notifier.tell(notice())
    assert chat.asked.acquire(timeout=30)
    before = time.monotonic()
    notifier.close(0.5)
    assert time.monotonic() - before < 25
    assert len(problems) == 1


def test_a_listener_that_raises_ends_nothing(chat: Chat) -> None:
    def failed(_: str) -> None:
        raise RuntimeError("the ledger is gone")

    chat.answers = [404]
    notifier = Notifier((chat.target(),), {"CHAT": chat.url}, failed, first=0.01)
    notifier.tell(notice())
    notifier.tell(notice(NotifyEvent.FINISHED))
    notifier.close(30)
    assert [body["event"] for body in chat.bodies] == ["finished"]
