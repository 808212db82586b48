"""A small OCI registry in this process, for machines that have none: labs, demos, tests.

It keeps the OCI distribution specification 1.1 as far as podman, skopeo and our
own client go: pushes in one piece or in chunks, mounts, manifests as bytes,
tags with pages, referrers, deletion.  It has no authentication and listens on
loopback only.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Self

from bootcfleet.drivers.labhandler import RegistryHandler
from bootcfleet.drivers.labserver import LabServer, RequestError
from bootcfleet.drivers.labstore import LabStore
from bootcfleet.errors import FleetError

_CODES = {401: "UNAUTHORIZED", 403: "DENIED", 404: "NAME_UNKNOWN", 429: "TOOMANYREQUESTS"}


@dataclass
class _Refusal:
    """A fault of one repository: what is answered, and how often still (None: always)."""

    status: int
    retry_after: str | None
    times: int | None


class LabRegistry:
    """The registry's server.  A context manager; `address` is ``127.0.0.1:PORT``.

    What it holds lives in memory, or under `directory`, and stays there when it
    is stopped and started again.  `without` takes away what older registries do not
    offer: ``referrers``, ``tag-delete``, ``delete``.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        without: Iterable[str] = (),
    ) -> None:
        self._host, self._port = host, port
        self._without = frozenset(without)
        self.store = LabStore(directory)
        self._server: LabServer | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._refusals: dict[str, _Refusal] = {}
        self._requests: Counter[tuple[str, str]] = Counter()

    @property
    def address(self) -> str:
        """Where it listens.  Raises `FleetError` before `start`."""
        if self._server is None:
            raise FleetError("the lab registry has not been started")
        return f"{self._host}:{self._port}"

    def start(self) -> Self:
        """Listen; after a stop, on the same port.  Raises `FleetError` when the port is taken."""
        own = {"admit": self.admit, "store": self.store, "without": self._without}
        handler = type("Handler", (RegistryHandler,), own)
        try:
            self._server = LabServer((self._host, self._port), handler)
        except OSError as error:
            raise FleetError(
                f"the lab registry cannot listen on {self._host}:{self._port}: {error.strerror}",
                hint="choose another port",
            ) from error
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="lab-registry", daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop listening and end all connections; does nothing when it does not run."""
        server, thread = self._server, self._thread
        if server is None or thread is None:
            return
        server.shutdown()
        server.server_close()
        server.close_all()
        thread.join()
        self._server = self._thread = None

    def refuse(
        self,
        repository: str,
        status: int | None,
        *,
        retry_after: str | None = None,
        times: int | None = None,
    ) -> None:
        """Answer requests for a repository with `status`; None stops that.

        `times`: only the next so many.  `retry_after` (seconds or an HTTP date) goes
        with the answers; 429 says 1 second by itself.
        """
        with self._lock:
            if status is None:
                self._refusals.pop(repository, None)
            else:
                self._refusals[repository] = _Refusal(status, retry_after, times)

    def requests(self, method: str | None = None, repository: str | None = None) -> int:
        """How many requests there were since it was made, of a method and for a repository."""
        with self._lock:
            return sum(
                number
                for (verb, name), number in self._requests.items()
                if method in (None, verb) and repository in (None, name)
            )

    def admit(self, method: str, repository: str) -> None:
        """Count a request.  Raises `RequestError` for one that is to be refused."""
        with self._lock:
            self._requests[method, repository] += 1
            refusal = self._refusals.get(repository)
            if refusal is None:
                return
            if refusal.times is not None:
                refusal.times -= 1
                if refusal.times <= 0:
                    del self._refusals[repository]
        wait = refusal.retry_after or ("1" if refusal.status == 429 else None)
        raise RequestError(
            HTTPStatus(refusal.status),
            _CODES.get(refusal.status, "UNKNOWN"),
            "told to refuse this repository",
            {"Retry-After": wait} if wait else None,
        )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
