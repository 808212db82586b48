"""Tells webhooks how a rollout goes, beside it: never blocking it, never failing it."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from bootcfleet.domain.notify import Notice, body_of, wanted
from bootcfleet.domain.rollout_policy import NotifyForm, NotifyTarget
from bootcfleet.drivers.webhook import Webhook, WebhookError
from bootcfleet.errors import FleetError, UsageError

#: Notices that wait for one webhook; the oldest goes when there are more.
MOST = 100
#: Tries after the first, with the first pause in seconds; each next one is twice as long.
TRIES, FIRST = 4, 1.0
#: A server may ask for a longer pause, but not for any (seconds).
_LONGEST = 30.0
#: Seconds between two posts to a chat: Slack takes one a second.  What fails meanwhile is one post.
PACE = 1.0


class Notifier:
    """Webhooks that are told; each has a thread, so that a slow one does not hold up the others.

    `failed` is told in a sentence, from those threads, what could not be told.
    """

    def __init__(
        self,
        targets: Sequence[NotifyTarget],
        environ: Mapping[str, str],
        failed: Callable[[str], None],
        *,
        first: float = FIRST,
        pace: float = PACE,
        timeout: float = 10.0,
    ) -> None:
        self._senders: list[_Sender] = []
        for target in targets:
            try:
                hook = _hook(target, environ, timeout)
            except FleetError as error:
                failed(f"nobody is told by a webhook: {error.message}")
                continue
            self._senders.append(_Sender(target, hook, failed, first, pace))
        for sender in self._senders:
            sender.start()

    def tell(self, notice: Notice) -> None:
        """Tell all who want to know; returns at once."""
        for sender in self._senders:
            if wanted(sender.target, notice):
                sender.put(notice)

    def close(self, seconds: float = 10.0) -> None:
        """Wait until all is told, but no longer than `seconds`."""
        end = time.monotonic() + seconds
        for sender in self._senders:
            sender.finish(end)
        for sender in self._senders:
            sender.join(max(0.0, end - time.monotonic()))
            sender.give_up()


def _hook(target: NotifyTarget, environ: Mapping[str, str], timeout: float) -> Webhook:
    """The address of a target.  Raises `FleetError`, without the address."""
    url = target.url
    if target.url_env:
        url = environ.get(target.url_env, "")
        if not url:
            raise FleetError(f"the environment variable {target.url_env} is not set")
    if target.token_env and not environ.get(target.token_env):
        # A post without it would be refused, or be nobody's: said now, and not at the first one.
        raise FleetError(
            f"the environment variable {target.token_env}, which holds its token, is not set"
        )
    try:
        return Webhook(url.strip(), timeout=timeout, token_env=target.token_env or None)
    except UsageError as error:
        if not target.url_env:
            raise
        # Of several webhooks nobody would know which one it is.
        raise FleetError(f"{error.message} into {target.url_env}") from None


class _Sender(threading.Thread):
    """One webhook, and what it is still to be told."""

    def __init__(
        self,
        target: NotifyTarget,
        hook: Webhook,
        failed: Callable[[str], None],
        first: float,
        pace: float,
    ) -> None:
        super().__init__(name=f"notify {hook.host}", daemon=True)
        self.target = target
        self._hook = hook
        self._failed = failed
        self._first = first
        self._pace = 0.0 if target.form is NotifyForm.JSON else pace
        self._waiting: deque[Notice] = deque()
        self._sending: Notice | None = None
        self._dropped = 0
        self._end: float | None = None
        self._gone = False
        self._changed = threading.Condition()

    def put(self, notice: Notice) -> None:
        with self._changed:
            last = self._waiting[-1] if self._waiting else None
            both = last.merge(notice) if last is not None else None
            if both is not None:
                self._waiting[-1] = both
            else:
                if len(self._waiting) >= MOST:
                    self._waiting.popleft()
                    self._dropped += 1
                self._waiting.append(notice)
            self._changed.notify_all()

    def finish(self, end: float) -> None:
        """Nothing more comes; `end` (monotonic) is when to stop trying."""
        with self._changed:
            self._end = end
            self._changed.notify_all()

    def give_up(self) -> None:
        """Say what was not told, and tell nothing more."""
        with self._changed:
            self._gone = True
            left = len(self._waiting) + (self._sending is not None)
            self._waiting.clear()
            self._changed.notify_all()
        if left:
            self._say(f"{left} not told in time")
        if self._dropped:
            self._say(f"{self._dropped} not told: too many were waiting")

    def run(self) -> None:
        while (notice := self._next()) is not None:
            self._send(notice)
            with self._changed:
                self._sending = None
            self._rest(self._pace)

    def _next(self) -> Notice | None:
        with self._changed:
            while not self._waiting and self._end is None and not self._gone:
                self._changed.wait()
            if not self._waiting or self._gone:
                return None
            self._sending = self._waiting.popleft()
            return self._sending

    def _send(self, notice: Notice) -> None:
        body = body_of(self.target.form, notice)
        pause = self._first
        for left in reversed(range(TRIES + 1)):
            try:
                self._hook.post(body)
            except WebhookError as error:
                if not error.transient or left == 0:
                    self._say_failed(error.message, notice)
                    return
                asked = min(error.retry_after or 0.0, _LONGEST)
                # Jittered, so that many controllers do not come back together.
                if not self._rest(max(asked, pause * random.uniform(0.5, 1.5))):  # noqa: S311
                    self._say_failed(error.message, notice)
                    return
                pause *= 2
            except Exception as error:  # noqa: BLE001 - nothing of this may end the rollout
                self._say_failed(type(error).__name__, notice)
                return
            else:
                return

    def _rest(self, seconds: float) -> bool:
        """Sleep, unless the end comes first; whether there is still time."""
        until = time.monotonic() + seconds
        with self._changed:
            while not self._gone:
                now = time.monotonic()
                if self._end is not None and until > self._end:
                    return False
                if now >= until:
                    return True
                self._changed.wait(until - now)
        return False

    def _say_failed(self, why: str, notice: Notice) -> None:
        if not self._gone:
            self._say(f"{why}; not told: {notice.event}")

    def _say(self, what: str) -> None:
        name = "" if self._hook.host in what else f"the webhook at {self._hook.host}: "
        # Whoever listens may be gone, and then there is nobody to tell.
        with contextlib.suppress(Exception):
            self._failed(f"{name}{what}")
