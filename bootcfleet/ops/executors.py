"""Where the SSH work of a rollout can run besides here: executors of other libraries."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from urllib.parse import urlsplit

from bootcfleet.errors import FleetError, ToolMissingError, UsageError

#: Seconds until a scheduler that does not answer is given up.
_PATIENCE = 10


@contextmanager
def executor_at(where: str) -> Iterator[Executor]:
    """The executor of an address: ``dask://HOST:PORT`` is the scheduler of a Dask cluster.

    Its workers need bootcfleet of the same version, and keys and known_hosts of their own.

    Raises `UsageError` for another address, `ToolMissingError` without the optional extra,
    `FleetError` when the scheduler does not answer.
    """
    parts = urlsplit(where)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "dask" or not parts.hostname or port is None:
        raise UsageError(
            f"{where!r} is no executor", hint="write the address of a scheduler: dask://HOST:8786"
        )
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        raise ToolMissingError(
            "dask.distributed is not installed", hint="pip install 'bootcfleet[dask]'"
        ) from error
    address = f"tcp://{parts.netloc}"
    try:
        client = Client(  # type: ignore[no-untyped-call]
            address, timeout=_PATIENCE, set_as_default=False
        )
    except (OSError, TimeoutError) as error:
        raise FleetError(
            f"the Dask scheduler at {parts.netloc} does not answer",
            hint="start it with `dask scheduler`, and workers with `dask worker`",
        ) from error
    with client:
        if not client.scheduler_info()["workers"]:
            raise FleetError(
                f"the Dask scheduler at {parts.netloc} has no workers",
                hint=f"start them: dask worker {parts.netloc} --nthreads 50",
            )
        # A task is never taken for another one with the same words, nor tried again by Dask: what
        # is to be tried again is the rollout's to say.
        yield client.get_executor(  # type: ignore[no-untyped-call]
            pure=False, retries=0
        )
