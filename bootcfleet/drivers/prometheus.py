"""Asks a Prometheus, or what speaks its HTTP API, for the value of a query now."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from bootcfleet import __version__
from bootcfleet.domain.metricgate import plain
from bootcfleet.drivers.healthprobe import why_not
from bootcfleet.errors import FleetError, UsageError

#: Its value goes with each query as a bearer token.
BEARER = "BOOTCFLEET_PROMETHEUS_TOKEN"

#: Bytes of an answer that are read at most; a gate needs a few samples.
_MOST = 16 * 1024 * 1024
#: Statuses that another try may change: too many requests, and what stands before it is not well.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


class QueryError(FleetError):
    """A query had no answer; `transient` says whether another try may have one."""

    def __init__(self, message: str, *, hint: str | None = None, transient: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.transient = transient


@dataclass(frozen=True)
class QueryAnswer:
    """The ``data`` of an answer, unread, and what Prometheus warns of."""

    data: object
    warnings: tuple[str, ...] = ()


class Prometheus:
    """A server by its base URL (``https://prometheus.example:9090/prefix``).

    TLS is verified against the system's certificates; redirects are not followed, so that the
    token goes nowhere else.
    """

    def __init__(self, server: str, *, timeout: float = 10.0) -> None:
        try:
            parts = urlsplit(server)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if host is None or parts.scheme not in {"http", "https"} or parts.query or parts.fragment:
            raise UsageError(
                "the address of Prometheus is none: write https://HOST:PORT",
                hint="look at `server:` of the gate",
            )
        if parts.username is not None:
            raise UsageError(
                "the address of Prometheus has a user in it",
                hint=f"leave it out, and give a bearer token in {BEARER}",
            )
        self.host = f"{host}:{port}" if port else host
        self._url = server.rstrip("/") + "/api/v1/query"
        self._timeout = timeout

    def query(self, expression: str) -> QueryAnswer:
        """The value of an expression now.  Raises `QueryError`."""
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
            "User-Agent": f"bootcfleet/{__version__}",
        }
        if token := os.environ.get(BEARER, "").strip():
            if not (token.isascii() and token.isprintable()):
                raise UsageError(f"{BEARER} has characters that no bearer token has")
            headers["Authorization"] = f"Bearer {token}"
        # Its durations are whole numbers: it takes neither 1.5s nor 1e+06s.
        limit = f"{max(1, round(self._timeout * 1000))}ms"
        form = urlencode({"query": expression, "timeout": limit}).encode()
        pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(total=self._timeout))
        try:
            answer = pool.request(
                "POST",
                self._url,
                body=form,
                headers=headers,
                redirect=False,
                preload_content=False,
            )
            data = self._body(answer)
            answer.close()
        except (HTTPError, OSError, ValueError) as error:
            raise QueryError(
                f"Prometheus at {self.host} cannot be asked: {why_not(error, self._timeout)}",
                hint="is it running, and is the address right?",
                transient=True,
            ) from None
        finally:
            pool.clear()
        return self._read(answer.status, data)

    def _body(self, answer: urllib3.BaseHTTPResponse) -> bytes:
        """The body, at most one byte more than is taken, in the time that there is."""
        deadline = time.monotonic() + self._timeout
        data = b""
        for chunk in answer.stream(65536):
            data += chunk
            if len(data) > _MOST:
                break
            if time.monotonic() >= deadline:
                raise TimeoutError
        return data

    def _read(self, status: int, data: bytes) -> QueryAnswer:
        if len(data) > _MOST:
            raise QueryError(
                f"Prometheus at {self.host} answers with more than {_MOST >> 20} MiB",
                hint="let the query sum up what it counts",
            )
        try:
            body = json.loads(data)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            body = {}
        if status == 200 and body.get("status") == "success":
            return QueryAnswer(body.get("data"), _texts(body.get("warnings")))
        raise self._refusal(status, body)

    def _refusal(self, status: int, body: dict[str, object]) -> QueryError:
        if status in {401, 403}:
            return QueryError(
                f"Prometheus at {self.host} refuses the query (HTTP {status})",
                hint=f"give a bearer token in {BEARER}",
            )
        kind, said = body.get("errorType"), body.get("error")
        if body.get("status") == "error" and isinstance(said, str):
            # "timeout" and "canceled" come with 503, "internal" with 500 (its HTTP API).
            transient = status in _PASSING
            hint = None if transient else "try the query in Prometheus's own page"
            return QueryError(
                f"Prometheus at {self.host} says {plain(f'{kind}: {said}')}",
                hint=hint,
                transient=transient,
            )
        if status in _PASSING:
            return QueryError(f"Prometheus at {self.host} answers HTTP {status}", transient=True)
        return QueryError(
            f"what answers at {self.host} is no Prometheus (HTTP {status})",
            hint="the address is its base: /api/v1/query is added to it",
        )


def _texts(value: object) -> tuple[str, ...]:
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()
