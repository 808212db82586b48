"""A host with an address of its own at the end of a slow, lossy wire.

A network namespace is the host; a TUN device in it and one here are the wire's ends, and a
thread carries the packets: late, at a rate, and not all of them.  `tc netem` would do the
same, but not every kernel has it (those of small virtual machines often have not).
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import itertools
import os
import random
import select
import struct
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from tests.tools import need, need_root

#: linux/if_tun.h
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_PACKET = 65536
_numbers = itertools.count(1)


class SlowWire:
    """The wire.  `delay` is in seconds, one way; `rate` in bytes a second; `loss` a share.

    Change them while it runs; a `loss` of 1 is a host that vanished.  `there` is the host's
    address; `prefix` starts a program on it.
    """

    def __init__(self, *, delay: float = 0.0, loss: float = 0.0, rate: float = 1e9) -> None:
        need_root()
        self.delay, self.loss, self.rate = delay, loss, rate
        self.carried = self.lost = 0
        number = next(_numbers)
        self._name = f"bcf{os.getpid()}-{number}"
        net = f"10.213.{os.getpid() % 250}.{(number * 4) % 250}"
        base, _, last = net.rpartition(".")
        self.here, self.there = f"{base}.{int(last) + 1}", f"{base}.{int(last) + 2}"
        self._ends: list[int] = []
        # The same packets are lost in every run.
        self._random = random.Random(number)  # noqa: S311 - no secret
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._carry, daemon=True)

    @property
    def prefix(self) -> Sequence[str]:
        """Words before a program's that start it on the host."""
        return [need("ip"), "netns", "exec", self._name]

    def __enter__(self) -> SlowWire:
        if not Path("/dev/net/tun").exists():
            raise AssertionError("/dev/net/tun is not there: the kernel has no TUN")
        _ip("netns", "add", self._name)
        try:
            devices = (f"h{self._name[3:]}", f"t{self._name[3:]}")
            for device in devices:
                self._ends.append(_tun(device))
            near, far = devices
            _ip("addr", "add", self.here, "peer", self.there, "dev", near)
            _ip("link", "set", near, "up")
            _ip("link", "set", far, "netns", self._name)
            _ip("-n", self._name, "addr", "add", self.there, "peer", self.here, "dev", far)
            _ip("-n", self._name, "link", "set", far, "up")
            _ip("-n", self._name, "link", "set", "lo", "up")
        except BaseException:
            self._undo()
            raise
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)
        self._undo()

    def _undo(self) -> None:
        for end in self._ends:
            os.close(end)
        subprocess.run([need("ip"), "netns", "delete", self._name], check=False)

    def _carry(self) -> None:
        poll = select.poll()
        for end in self._ends:
            poll.register(end, select.POLLIN)
        free = dict.fromkeys(self._ends, 0.0)
        under_way: list[tuple[float, int, int, bytes]] = []
        order = itertools.count()
        while not self._stop.is_set():
            now = time.monotonic()
            while under_way and under_way[0][0] <= now:
                _, _, to, packet = heapq.heappop(under_way)
                # A device that is not up takes nothing, as a cable without a card.
                with contextlib.suppress(OSError):
                    os.write(to, packet)
            pause = min(0.1, under_way[0][0] - now) if under_way else 0.1
            for end, _events in poll.poll(max(0.0, pause) * 1000):
                packet = os.read(end, _PACKET)
                if self._random.random() < self.loss:
                    self.lost += 1
                    continue
                self.carried += 1
                to = self._ends[1 - self._ends.index(end)]
                now = time.monotonic()
                free[to] = max(now, free[to]) + len(packet) / self.rate
                heapq.heappush(under_way, (free[to] + self.delay, next(order), to, packet))


def _ip(*words: str) -> None:
    done = subprocess.run([need("ip"), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"


def _tun(name: str) -> int:
    end = os.open("/dev/net/tun", os.O_RDWR)
    try:
        request = struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI)
        fcntl.ioctl(end, _TUNSETIFF, request)
    except BaseException:
        os.close(end)
        raise
    return end
