"""HTTP to a registry: pooled connections, TLS, proxies, redirects, bounded retries.

Sources: OCI distribution specification 1.1; RFC 9110 (Retry-After, redirects).
Who we are to a registry is `registrysession`'s business.
"""

from __future__ import annotations

import email.utils
import ipaddress
import re
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import unquote, urljoin, urlsplit

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
)

from bootcfleet import __version__
from bootcfleet.drivers.registryconf import Endpoint, has_own_ca, is_loopback, tls_context
from bootcfleet.errors import FleetError

#: Tries of one request; the waits between them grow from half a second.
TRIES = 4
#: The longest wait that a registry's Retry-After may ask of us, in seconds.
LONGEST_WAIT = 60.0
#: No manifest or configuration is larger (bytes); layers are never fetched by us.
MAX_BODY = 32 * 1024 * 1024
#: Redirects followed for one request.
_REDIRECTS = 5

_Error = TypeVar("_Error", bound=BaseException)


class RegistryError(FleetError):
    """A registry refused or could not be reached; `status` is the HTTP status, if there was one."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        hint: str | None = None,
        details: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, hint=hint, details=details)
        self.status = status


@dataclass(frozen=True)
class Request:
    """What to send; `path` begins with ``/``, or is the full address of a token service."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None = None
    #: Whether a redirect is followed (GET and HEAD only).
    follow: bool = True


@dataclass(frozen=True)
class Answer:
    """A response whose body has been read; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether the request was granted."""
        return 200 <= self.status < 300


class RegistryHttp:
    """Sends requests to registries.  Safe to use from several threads.

    `sleep` waits for seconds and `clock` says the seconds since the epoch: both
    are there for tests.  Time limits are in seconds.
    """

    def __init__(
        self,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
        connect_timeout: float = 10.0,
        read_timeout: float = 60.0,
    ) -> None:
        self._sleep, self._clock = sleep, clock
        self._timeout = urllib3.Timeout(connect=connect_timeout, read=read_timeout)
        self._pools: dict[tuple[str, bool, bool], urllib3.PoolManager] = {}
        #: What an insecure registry was found to speak: a scheme, kept for good.
        self._schemes: dict[str, str] = {}
        self._probes: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close all connections; the next request opens new ones."""
        with self._lock:
            pools = list(self._pools.values())
            self._pools.clear()
        for pool in pools:
            pool.clear()

    def send(self, endpoint: Endpoint, request: Request) -> Answer:
        """One request, tried again for 429, 5xx and broken connections; any status comes back.

        A refusal is never tried again.  Raises `RegistryError` when there is no
        answer.
        """
        for attempt in range(TRIES):
            last = attempt == TRIES - 1
            wait = 0.5 * 2.0**attempt
            try:
                answer = self._once(endpoint, request)
            except HTTPError as error:
                if last or not _passing(error):
                    raise unreachable(endpoint.registry, error) from error
            else:
                if answer.status != 429 and answer.status < 500:
                    return answer
                asked = self._asked_wait(answer)
                if last or (asked is not None and asked > LONGEST_WAIT):
                    return answer
                wait = wait if asked is None else asked
            self._sleep(wait)
        raise AssertionError("the last try returns or raises")

    def _asked_wait(self, answer: Answer) -> float | None:
        """Retry-After in seconds, from either of its forms."""
        text = answer.headers.get("retry-after", "").strip()
        if text.isdecimal():
            return float(text)
        try:
            moment = email.utils.parsedate_to_datetime(text)
        except ValueError:
            return None
        return max(0.0, moment.timestamp() - self._clock())

    def _once(self, endpoint: Endpoint, request: Request) -> Answer:
        if not request.path.startswith("/"):
            return self._follow(endpoint, request, request.path)
        base = f"{self._scheme(endpoint)}://{server_of(endpoint.registry)}"
        return self._follow(endpoint, request, base + request.path)

    def _scheme(self, endpoint: Endpoint) -> str:
        """https; for an insecure registry what it speaks, tried out once and then kept.

        As podman does: TLS first, plain HTTP where there is none.
        """
        if not endpoint.insecure:
            return "https"
        registry = server_of(endpoint.registry)
        with self._lock:
            lock = self._probes.setdefault(registry, threading.Lock())
        with lock:
            if registry not in self._schemes:
                self._schemes[registry] = self._probe(endpoint, registry)
            return self._schemes[registry]

    def _probe(self, endpoint: Endpoint, registry: str) -> str:
        ping = Request("GET", "/v2/", {}, follow=False)
        try:
            self._follow(endpoint, ping, f"https://{registry}/v2/")
            return "https"
        except HTTPError as error:
            if _root(error, ssl.SSLCertVerificationError):
                raise
            broken = error
        if self._follow(endpoint, ping, f"http://{registry}/v2/").status == 400 and _root(
            broken, ssl.SSLError
        ):
            raise broken  # it does speak TLS, and what went wrong was that
        return "http"

    def _follow(self, endpoint: Endpoint, request: Request, url: str) -> Answer:
        """Send, and follow redirects without taking credentials to another server."""
        headers = {"User-Agent": f"bootcfleet/{__version__}", **request.headers}
        for _ in range(_REDIRECTS + 1):
            answer = self._read(endpoint, request, url, headers)
            place = answer.headers.get("location")
            if answer.status not in {301, 302, 303, 307, 308} or not place or not request.follow:
                return answer
            if request.method not in {"GET", "HEAD"}:
                return answer
            target = _target(endpoint, url, place)
            if origin(target) != origin(url):
                headers.pop("Authorization", None)
            url = target
        raise RegistryError(f"{endpoint.registry} redirects in a circle")

    def _read(
        self, endpoint: Endpoint, request: Request, url: str, headers: Mapping[str, str]
    ) -> Answer:
        own = urlsplit(url).netloc == server_of(endpoint.registry)
        pool = self._pool(endpoint, url, own=own)
        response = pool.request(
            request.method,
            url,
            headers=headers,
            body=request.body,
            redirect=False,
            preload_content=False,
        )
        try:
            data = b"" if request.method == "HEAD" else response.read(MAX_BODY + 1)
        except BaseException:
            response.close()
            raise
        if len(data) > MAX_BODY:
            response.close()
            raise RegistryError(
                f"{urlsplit(url).hostname} sent more than {MAX_BODY // 2**20} MiB where a manifest "
                "or configuration was asked for"
            )
        response.release_conn()
        return Answer(response.status, {k.lower(): v for k, v in response.headers.items()}, data)

    def _pool(self, endpoint: Endpoint, url: str, *, own: bool) -> urllib3.PoolManager:
        """The connections to a server.

        A server that a registry redirects to, or that makes its tokens, has the
        rights of its own name: no client certificate, no unverified TLS, unless it
        is on this machine as an insecure registry is.
        """
        netloc = urlsplit(url).netloc
        insecure = endpoint.insecure and (own or endpoint.declared or is_loopback(netloc))
        key = (netloc, insecure, endpoint.declared)
        with self._lock:
            if key not in self._pools:
                verify = not insecure or (not endpoint.declared and has_own_ca(netloc))
                if not verify:
                    # An administrator said so; a warning for each request helps nobody.
                    urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
                self._pools[key] = _manager(url, tls_context(netloc, verify=verify), self._timeout)
            return self._pools[key]


def server_of(registry: str) -> str:
    """The server behind a registry's name; only docker.io has another."""
    return "registry-1.docker.io" if registry in {"docker.io", "index.docker.io"} else registry


def _manager(url: str, tls: ssl.SSLContext, timeout: urllib3.Timeout) -> urllib3.PoolManager:
    """Connections to a server, through the proxy that the environment names for it."""
    parts = urlsplit(url)
    proxies = urllib.request.getproxies_environment()
    proxy = proxies.get(parts.scheme)
    host = parts.hostname or ""
    if not proxy or is_loopback(parts.netloc) or _bypassed(host, proxies):
        return urllib3.PoolManager(
            4, maxsize=16, block=True, retries=False, timeout=timeout, ssl_context=tls
        )
    login = urlsplit(proxy)
    secret = (
        f"{unquote(login.username)}:{unquote(login.password or '')}" if login.username else None
    )
    return urllib3.ProxyManager(
        re.sub(r"//[^/@]*@", "//", proxy),
        4,
        maxsize=16,
        block=True,
        retries=False,
        timeout=timeout,
        ssl_context=tls,
        proxy_headers=urllib3.make_headers(proxy_basic_auth=secret) if secret else None,
    )


def _bypassed(host: str, proxies: Mapping[str, str]) -> bool:
    """NO_PROXY: names and their sub-domains, and networks as Go's programs read them."""
    if urllib.request.proxy_bypass(host):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    for entry in proxies.get("no", "").split(","):
        try:
            if address in ipaddress.ip_network(entry.strip(), strict=False):
                return True
        except ValueError:
            continue
    return False


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port: what credentials are for.  Raises `ValueError` for a wrong port."""
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    return parts.scheme, (parts.hostname or "").lower(), port


def _target(endpoint: Endpoint, url: str, place: str) -> str:
    """Where a redirect leads.  Raises `RegistryError` where it may not lead."""
    try:
        target = urljoin(url, place)
        scheme, host, _ = origin(target)
    except ValueError:
        scheme = host = target = ""
    if scheme not in {"http", "https"} or not host:
        raise RegistryError(f"{endpoint.registry} redirects to no address")
    if scheme == "http" and url.startswith("https:"):
        raise RegistryError(
            f"{endpoint.registry} redirects from TLS to plain HTTP, which is refused"
        )
    return target


def _passing(error: HTTPError) -> bool:
    """Whether the same request may succeed in a moment."""
    if _root(error, ssl.SSLError) or _root(error, NameResolutionError):
        return False
    if _root(error, ConnectionRefusedError):
        return False
    return isinstance(
        error, ProtocolError | ReadTimeoutError | ConnectTimeoutError | NewConnectionError
    )


def _root(error: BaseException, kind: type[_Error]) -> _Error | None:
    """The cause of that kind inside an error, however wrapped."""
    seen: set[int] = set()
    pending: list[object] = [error]
    while pending:
        inner = pending.pop()
        if not isinstance(inner, BaseException) or id(inner) in seen:
            continue
        if isinstance(inner, kind):
            return inner
        seen.add(id(inner))
        context = None if inner.__suppress_context__ else inner.__context__
        pending += [inner.__cause__, context, getattr(inner, "reason", None)]
        pending += list(inner.args)
    return None


def unreachable(registry: str, error: HTTPError) -> RegistryError:
    """What a failed connection means, and what to do about it."""
    if bad := _root(error, ssl.SSLCertVerificationError):
        why = bad.verify_message.rstrip(".")
        if "match" in why.lower():
            hint = "use a name that is in the certificate, or have it made anew"
        elif "expired" in why or "not yet valid" in why:
            hint = "renew the registry's certificate, or set this machine's clock"
        else:
            hint = f"put the CA that signed it into /etc/containers/certs.d/{registry}/ca.crt"
        return RegistryError(f"the certificate of {registry} is not trusted: {why}", hint=hint)
    if broken := _root(error, ssl.SSLError):
        why = (broken.reason or "the handshake failed").replace("_", " ").lower()
        if why in {"wrong version number", "record layer failure", "unknown protocol"}:
            return RegistryError(
                f"{registry} does not speak TLS",
                hint=f'for plain HTTP: a [[registry]] with location = "{registry}" and '
                "insecure = true in /etc/containers/registries.conf.d/",
            )
        return RegistryError(
            f"TLS with {registry} failed: {why}",
            hint="a client certificate stands in "
            f"/etc/containers/certs.d/{registry}/client.cert with client.key",
        )
    if _root(error, NameResolutionError):
        host = registry.partition(":")[0]
        return RegistryError(
            f"the registry {registry} cannot be found: its name has no address",
            hint=f"check the name: getent hosts {host}",
        )
    if _root(error, ConnectionRefusedError):
        return RegistryError(
            f"the registry {registry} cannot be reached: connection refused",
            hint=f"is it running there? try: curl -v https://{registry}/v2/",
        )
    timed_out = isinstance(error, ReadTimeoutError | ConnectTimeoutError)
    why = "it does not answer in time" if timed_out else "the connection broke"
    return RegistryError(
        f"the registry {registry} cannot be reached: {why}",
        hint=f"try: curl -v https://{registry}/v2/",
    )
