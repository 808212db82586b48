"""Checks several images side by side, each in a container of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait

from bootcfleet.domain.check import CheckReport
from bootcfleet.domain.event import Emit, ignore
from bootcfleet.drivers.command import Executor
from bootcfleet.errors import FleetError, InterruptedRunError
from bootcfleet.ops.audit import Record
from bootcfleet.ops.check import check_image, record_report
from bootcfleet.ops.render import ProjectImages


def check_images(
    images: ProjectImages,
    references: Mapping[str, str],
    executor: Executor,
    record: Record,
    *,
    jobs: int = 2,
    boot: bool = True,
    keep: bool = False,
    emit: Emit = ignore,
) -> Iterator[tuple[str, CheckReport | FleetError]]:
    """The report of each image (or why there is none), in order, recorded before it is given.

    At most `jobs` containers at a time. On ^C every command is ended and every
    container removed before the error goes on.
    """
    stopped = threading.Event()

    def pause(seconds: float) -> None:
        if stopped.wait(seconds):
            raise InterruptedRunError("stopped by the user")

    def one(name: str) -> CheckReport:
        return check_image(
            images, name, references[name], executor, emit, boot=boot, keep=keep, sleep=pause
        )

    pool = ThreadPoolExecutor(max(1, jobs), thread_name_prefix="check")
    running: dict[str, Future[CheckReport]] = {name: pool.submit(one, name) for name in references}
    try:
        for name, future in running.items():
            try:
                report = future.result()
            except FleetError as error:
                yield name, error
                continue
            record_report(record, report)
            yield name, report
    except BaseException:
        stopped.set()
        left = {future for future in running.values() if not future.cancel()}
        while left:
            # Again and again: a thread may start its next command after the first time.
            executor.close()
            _, left = wait(left, timeout=0.1)
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
