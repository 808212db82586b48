"""The HTTP(S) server for machines that boot: what comes in, and what goes out.

aiohttp reads HTTP and sends files by sendfile(2), with Range and If-Modified-Since;
what is answered says a `BootService` (ops/bootservice.py), in a thread of its own.
Why aiohttp and not threads: see docs/kickstart-serve.md.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import ssl
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bootcfleet.domain.bootroute import public_path
from bootcfleet.drivers.accesslog import AccessLog
from bootcfleet.drivers.bootconnection import BootConnection, LimitedServer, Limits
from bootcfleet.drivers.openfiles import allow_open_files
from bootcfleet.errors import FleetError, UsageError

#: Files beside connections: the state, the log, files that are being sent.
_SPARE_FILES = 256
_MAX_BODY = 64 * 1024


@dataclass(frozen=True)
class Ask:
    """A request. `path` is as it came, `body` of a POST only."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    peer: str
    secure: bool
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """An answer: text, or a file. `host` and `what` are for the access log.

    `sent` is called once it is known whether the answer went out whole.
    """

    status: int = 200
    text: str = ""
    file: Path | None = None
    content_type: str = "text/plain"
    headers: Mapping[str, str] = field(default_factory=dict)
    host: str | None = None
    what: str | None = None
    sent: Callable[[bool], None] | None = None


class BootService(Protocol):
    """Says what is answered."""

    def answer(self, ask: Ask) -> Answer:
        """The answer to one request; called from several threads at once."""
        ...


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """A server's TLS: 1.2 or newer.  Raises `UsageError` for files that are no pair."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ssl.SSLError, ValueError) as error:
        raise UsageError(
            f"TLS cannot be served with {certificate} and {key}: {_reason(error)}",
            hint="--tls-cert is the certificate with its chain, --tls-key its key without a "
            "passphrase, both PEM",
        ) from error
    return context


def key_pin(certificate: Path) -> str:
    """The key of the first certificate in a file, as curl's ``--pinnedpubkey`` takes it.

    SHA-256 of its SubjectPublicKeyInfo, in base64.  Raises `UsageError`.
    """
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"{certificate} is no certificate in PEM: {error}") from error
    key = found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"sha256//{base64.b64encode(hashlib.sha256(key).digest()).decode()}"


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or str(error)
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def raise_file_limit(connections: int) -> int:
    """Allow as many open files as `connections` need; the connections that fit."""
    # Each connection may have a file open that is being sent.
    allowed = allow_open_files(2 * connections + _SPARE_FILES)
    return max(8, min(connections, (allowed - _SPARE_FILES) // 2))


class BootServer:
    """Serves until it is stopped."""

    def __init__(
        self,
        service: BootService,
        *,
        address: str,
        port: int,
        log: AccessLog,
        limits: Limits = Limits(),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._service = service
        self._address, self._port = address, port
        self._log = log
        self._limits = limits
        self._tls = tls
        # Rendering and SQLite: short, and never in the way of files.
        self._threads = ThreadPoolExecutor(8, thread_name_prefix="kickstart")

    async def serve(
        self, stop: asyncio.Event, ready: Callable[[int], None], busy: Callable[[int], None]
    ) -> None:
        """Serve until `stop`; `ready` gets the port, `busy` how many were refused for their number.

        Raises `FleetError` when the address cannot be used.
        """
        server = LimitedServer(self._handle, self._limits, self._bad)
        runner = web.ServerRunner(server, shutdown_timeout=3.0)
        await runner.setup()
        try:
            site = web.TCPSite(
                runner,
                self._address,
                self._port,
                # Hundreds of machines are switched on in the same second.
                backlog=2048,
                ssl_context=self._tls,
                reuse_address=True,
            )
            try:
                await site.start()
            except OSError as error:
                raise FleetError(
                    f"{self._address}:{self._port} cannot be listened on: {error.strerror}",
                    hint="choose another --listen ADDRESS:PORT; see who has it: ss -ltnp",
                ) from error
            ready(runner.addresses[0][1])
            told = 0
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), 1.0)
                if server.refused > told:
                    busy(server.refused - told)
                    told = server.refused
        finally:
            await runner.cleanup()
            self._threads.shutdown(wait=True)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        if isinstance(connection, BootConnection):
            connection.busy()
        started = time.monotonic()
        answer = Answer(500, "internal error\n")
        response: web.StreamResponse | None = None
        whole = False
        try:
            answer = await self._answer(request)
            response = _response(answer)
            await response.prepare(request)
            await response.write_eof()
            whole = True
            return response
        finally:
            if answer.sent is not None:
                await asyncio.shield(
                    asyncio.get_running_loop().run_in_executor(self._threads, answer.sent, whole)
                )
            self._write(request, answer, response, time.monotonic() - started, whole)
            if isinstance(connection, BootConnection):
                connection.idle()

    async def _answer(self, request: web.BaseRequest) -> Answer:
        body = b""
        if request.method == "POST":
            try:
                async with asyncio.timeout(self._limits.body):
                    body = await request.content.read(_MAX_BODY + 1)
                    while len(body) <= _MAX_BODY and not request.content.at_eof():
                        body += await request.content.read(_MAX_BODY + 1)
            except TimeoutError:
                return Answer(408, "the body did not come in time\n", headers=_CLOSE)
            if len(body) > _MAX_BODY:
                return Answer(413, f"more than {_MAX_BODY} bytes are not taken\n", headers=_CLOSE)
        ask = Ask(
            request.method,
            request.raw_path,
            request.query,
            request.headers,
            request.remote or "",
            request.secure,
            body,
        )
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._service.answer, ask)

    def _bad(self, request: web.BaseRequest, status: int, error: BaseException | None) -> None:
        """Log what never reached the service; its text is the client's and stays out."""
        answer = Answer(status, what=type(error).__name__ if error else None)
        self._write(request, answer, None, 0.0, True)

    def _write(
        self,
        request: web.BaseRequest,
        answer: Answer,
        response: web.StreamResponse | None,
        seconds: float,
        whole: bool,
    ) -> None:
        entry: dict[str, Any] = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "client": request.remote or "",
            "method": request.method,
            "path": public_path(request.raw_path),
            "status": response.status if response is not None else answer.status,
            "bytes": _length(request, response),
            "seconds": round(seconds, 3),
            "complete": whole,
        }
        if "Range" in request.headers:
            entry["range"] = request.headers["Range"][:100]
        if answer.host:
            entry["host"] = answer.host
        if answer.what:
            entry["what"] = answer.what
        entry["agent"] = request.headers.get("User-Agent", "")[:200]
        self._log.write(entry)


def _length(request: web.BaseRequest, response: web.StreamResponse | None) -> int:
    """Of the body, as it was announced; `complete` says whether it went out."""
    if response is None or request.method == "HEAD" or response.status in (204, 304):
        return 0
    return response.content_length or 0


_CLOSE = {"Connection": "close"}


class _File(web.FileResponse):
    """A file whose sending is waited for: aiohttp prepares a response once more when it is back.

    That is nothing for other responses, and sends a file a second time.
    """

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the file, once."""
        return None if self.prepared else await super().prepare(request)


def _response(answer: Answer) -> web.StreamResponse:
    if answer.file is not None:
        response: web.StreamResponse = _File(answer.file, headers=answer.headers)
        response.content_type = "application/octet-stream"
    else:
        response = web.Response(
            status=answer.status,
            text=answer.text,
            content_type=answer.content_type,
            headers=answer.headers,
        )
    if answer.headers.get("Connection") == "close":
        response.force_close()
    return response
