"""What rollouts keep on a simulated host: its lock, and the timers that stand still meanwhile.

Answers the scripts of `drivers/hostlock.py` and `drivers/updatetimer.py` as a real shell does.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Sequence

from bootcfleet.domain.hostlock import LockHolder, read_lock
from bootcfleet.drivers import hostlock, simtimer, updatetimer
from bootcfleet.drivers.simbootc import Said
from bootcfleet.drivers.simhost import SimHost


def answers(words: Sequence[str]) -> bool:
    """Whether ``sh -c WORDS`` is one of the scripts."""
    return words[0].startswith((hostlock.TITLE, updatetimer.TITLE))


def run(host: SimHost, words: Sequence[str], *, root: bool) -> Said:
    """Answer ``sh -c SCRIPT sh ARGUMENTS``; `words` are what comes after ``-c``."""
    script, _, verb, directory, *rest = words
    if not root and verb != "read":
        return Said("", f"sh: cannot create {directory}: Permission denied\n", 1)
    with host.lock:
        if script.startswith(hostlock.TITLE):
            return _lock(host, verb, posixpath.join(directory, "lock.json"), rest)
        return _timer(host, verb, posixpath.join(directory, f"inhibited.{simtimer.TIMER}"))


def _lock(host: SimHost, verb: str, path: str, words: Sequence[str]) -> Said:
    rollout, _, stale, *_ = words
    now = int(host.now)
    there = host.files.get(path)
    if there is None:
        if verb != "take":
            return Said(f"--8<-- bootcfleet lock free {now}\n")
        return _put(host, path, words, now, now, "taken")
    text = there.decode("utf-8", "replace")
    held = read_lock(text, now)
    own = rollout != "" and held.readable and held.rollout == json.loads(rollout)
    answer = "held"
    if verb == "take":
        if own:
            return _put(host, path, words, held.taken, now, "renewed")
        if held.stale and stale == "break":
            return _put(host, path, words, now, now, "broken")
        answer = "stale" if held.stale else "held"
    elif (verb == "release" and own) or (
        verb == "break" and (own or not rollout) and _goes(held, stale)
    ):
        del host.files[path]
        answer = "removed"
    return Said(f"--8<-- bootcfleet lock {answer} {now}\n{text}")


def _goes(held: LockHolder, stale: str) -> bool:
    return stale != "keep-live" or held.stale


def _put(host: SimHost, path: str, words: Sequence[str], taken: int, now: int, answer: str) -> Said:
    rollout, seconds, _, owner, controller = words
    text = (
        f'{{\n "version": 1,\n "owner": {owner},\n "rollout": {rollout},\n'
        f' "controller": {controller},\n "taken": {taken},\n "expires": {now + int(seconds)}\n}}\n'
    )
    host.files[posixpath.dirname(path) + "/"] = b""
    host.files[path] = text.encode()
    return Said(f"--8<-- bootcfleet lock {answer} {now}\n{text}")


def _timer(host: SimHost, verb: str, note: str) -> Said:
    """bootc's timer alone: a simulated host has no rpm-ostree."""
    timer = host.timer
    if verb == "inhibit" and timer.active:
        host.files[note] = host.boot_id.encode()
        timer.active, timer.masked_now = False, True
        return Said(f"--8<-- bootcfleet timer {simtimer.TIMER} inhibited\n")
    if verb == "restore" and note in host.files:
        then = host.files.pop(note).decode()
        timer.masked_now = timer.masked
        if then == host.boot_id or timer.enabled:
            simtimer.systemctl(host, "start", (), root=True)
        return Said(f"--8<-- bootcfleet timer {simtimer.TIMER} restored\n")
    return Said()
