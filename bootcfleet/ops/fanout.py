"""The same work on many hosts at once; one host's failure never hides another's result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

from bootcfleet.errors import FleetError

S = TypeVar("S")
T = TypeVar("T")


def each(
    hosts: Sequence[str], work: Callable[[str], T], *, parallel: int = 50
) -> Iterator[tuple[str, T | FleetError]]:
    """Yield (host, result or error) as they come, at most `parallel` at a time.

    Only `FleetError` is a host's failure; anything else is a defect and is
    raised.  Closing the iterator (or ^C) starts nothing more.
    """
    pool = ThreadPoolExecutor(max_workers=max(1, min(parallel, len(hosts) or 1)))
    try:
        futures = {pool.submit(work, host): host for host in hosts}
        for future in as_completed(futures):
            try:
                yield futures[future], future.result()
            except FleetError as error:
                yield futures[future], error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def gather(
    hosts: Sequence[str], work: Callable[[str], T], *, parallel: int = 50
) -> dict[str, T | FleetError]:
    """All results of `each`, in the order of `hosts`."""
    found = dict(each(hosts, work, parallel=parallel))
    return {host: found[host] for host in hosts}


def at_once(items: Sequence[S], work: Callable[[S], T], *, parallel: int = 8) -> list[T]:
    """The results in the order of `items`; the first failure is raised once all have ended."""
    if len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(max_workers=min(parallel, len(items))) as pool:
        return list(pool.map(work, items))
