"""HTTP to a registry: pooled connections, credentials and tokens, bounded retries."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

import urllib3

from bootcfleet.drivers.command import Executor
from bootcfleet.drivers.registryconf import Credentials, certificates, credentials
from bootcfleet.errors import FleetError

#: Tries of one request; waits between them grow from half a second.
_TRIES = 4
#: The longest wait that a registry's Retry-After may ask of us, in seconds.
_LONGEST_WAIT = 60.0
#: No manifest or configuration is larger; a layer is never fetched by us.
MAX_BODY = 32 * 1024 * 1024


class RegistryError(FleetError):
    """A registry refused or could not be reached; `status` is the HTTP status, if there was one."""

    def __init__(self, message: str, *, status: int | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


@dataclass(frozen=True)
class Answer:
    """A response whose body has been read."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class RegistryHttp:
    """Requests to registries.  Safe to use from several threads."""

    def __init__(self, executor: Executor, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._executor = executor
        self._sleep = sleep
        self._pools: dict[tuple[str, bool], urllib3.PoolManager] = {}
        self._tokens: dict[tuple[str, str], str] = {}
        self._plain: set[str] = set()
        self._lock = threading.Lock()

    def request(
        self,
        method: str,
        registry: str,
        repository: str,
        path: str,
        *,
        insecure: bool,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        push: bool = False,
    ) -> Answer:
        """One request under ``/v2/REPOSITORY/``; answers 2xx and 404, raises `RegistryError` else.

        A repository's token is fetched when the registry asks for one (the
        distribution specification's Bearer flow) and kept.
        """
        url = path if path.startswith("/") else f"/v2/{repository}/{path}"
        scope = f"repository:{repository}:pull" + (",push" if push else "")
        token = self._tokens.get((registry, scope))
        extra = {"Authorization": token} if token else {}
        answer = self._send(method, registry, url, {**(headers or {}), **extra}, body, insecure)
        if answer.status == 401:
            challenge = answer.headers.get("www-authenticate", "")
            token = self._authorize(registry, repository, scope, challenge, insecure)
            extra = {"Authorization": token}
            answer = self._send(method, registry, url, {**(headers or {}), **extra}, body, insecure)
        if answer.status < 300 or answer.status == 404:
            if token:
                self._tokens[(registry, scope)] = token
            return answer
        raise _refused(registry, repository, answer)

    def _send(
        self,
        method: str,
        registry: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        insecure: bool,
    ) -> Answer:
        """Send with retries of what is worth one: 429, 5xx and broken connections."""
        problem = ""
        for attempt in range(_TRIES):
            wait = 0.5 * 2**attempt
            try:
                answer = self._once(method, registry, url, headers, body, insecure)
            except urllib3.exceptions.HTTPError as error:
                problem = _reason(error)
                if "certificate" in problem.lower():
                    raise RegistryError(
                        f"the certificate of {registry} is not trusted: {problem}",
                        hint=f"put its CA into /etc/containers/certs.d/{registry}/ca.crt",
                    ) from error
            else:
                if answer.status != 429 and answer.status < 500:
                    return answer
                problem = f"HTTP {answer.status}"
                if attempt == _TRIES - 1:
                    return answer
                asked = answer.headers.get("retry-after", "")
                if asked.isdigit():
                    wait = min(float(asked), _LONGEST_WAIT)
            if attempt < _TRIES - 1:
                self._sleep(wait)
        raise RegistryError(
            f"the registry {registry} cannot be reached: {problem}",
            hint=f"try: skopeo inspect docker://{registry}/REPOSITORY:TAG",
        )

    def _once(
        self,
        method: str,
        registry: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        insecure: bool,
    ) -> Answer:
        pool = self._pool(registry, insecure)
        if insecure and registry in self._plain:
            return _read(pool, method, f"http://{registry}{url}", headers, body)
        try:
            return _read(pool, method, f"https://{registry}{url}", headers, body)
        except urllib3.exceptions.HTTPError:
            if not insecure:
                raise
            # As podman does for an insecure registry: TLS first, plain HTTP when it has none.
            answer = _read(pool, method, f"http://{registry}{url}", headers, body)
            self._plain.add(registry)
            return answer

    def _pool(self, registry: str, insecure: bool) -> urllib3.PoolManager:
        with self._lock:
            if (registry, insecure) not in self._pools:
                ca, cert, key = certificates(registry)
                self._pools[(registry, insecure)] = urllib3.PoolManager(
                    num_pools=4,
                    maxsize=16,
                    retries=False,
                    timeout=urllib3.Timeout(connect=10, read=60),
                    ca_certs=str(ca) if ca else None,
                    cert_file=str(cert) if cert else None,
                    key_file=str(key) if key else None,
                    cert_reqs="CERT_NONE" if insecure and ca is None else "CERT_REQUIRED",
                    assert_hostname=False if insecure and ca is None else None,
                )
            return self._pools[(registry, insecure)]

    def _authorize(
        self, registry: str, repository: str, scope: str, challenge: str, insecure: bool
    ) -> str:
        """The Authorization header that a 401 asks for.  Raises `RegistryError`."""
        scheme, parameters = parse_challenge(challenge)
        known = credentials(f"{registry}/{repository}", self._executor)
        if scheme == "basic":
            if known is None:
                raise _no_login(registry, repository, known)
            return _basic(known)
        realm = parameters.get("realm", "")
        if scheme != "bearer" or urlsplit(realm).scheme not in {"http", "https"}:
            raise _no_login(registry, repository, known)
        if urlsplit(realm).scheme == "http" and not insecure:
            # Credentials never travel in the clear because an answer said so.
            raise RegistryError(f"{registry} asks for a token over plain HTTP, which is refused")
        query = urlencode(
            {"service": parameters.get("service", ""), "scope": parameters.get("scope", scope)}
        )
        headers = {"Authorization": _basic(known)} if known else {}
        pool = self._pool(urlsplit(realm).netloc, insecure)
        try:
            answer = _read(pool, "GET", f"{realm}?{query}", headers, None)
            body = json.loads(answer.body) if answer.status == 200 else {}
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise RegistryError(f"the token service of {registry} did not answer well") from error
        token = body.get("token") or body.get("access_token")
        if not token:
            raise _no_login(registry, repository, known)
        return f"Bearer {token}"


def _read(
    pool: urllib3.PoolManager,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
) -> Answer:
    """Send once, following redirects without taking credentials to another host."""
    for _ in range(4):
        response = pool.request(
            method, url, headers=dict(headers), body=body, redirect=False, preload_content=False
        )
        try:
            data = b"" if method == "HEAD" else response.read(MAX_BODY + 1)
        finally:
            response.drain_conn()
            response.release_conn()
        if len(data) > MAX_BODY:
            raise RegistryError(f"{urlsplit(url).netloc} sent more than {MAX_BODY // 2**20} MiB")
        found = {key.lower(): value for key, value in response.headers.items()}
        if response.status in {301, 302, 303, 307, 308} and "location" in found:
            place = found["location"]
            if place.startswith("/"):
                parts = urlsplit(url)
                place = f"{parts.scheme}://{parts.netloc}{place}"
            if urlsplit(place).netloc != urlsplit(url).netloc:
                headers = {k: v for k, v in headers.items() if k.lower() != "authorization"}
            url = place
            continue
        return Answer(response.status, found, data)
    raise RegistryError(f"{urlsplit(url).netloc} redirects in a circle")


def parse_challenge(header: str) -> tuple[str, dict[str, str]]:
    """``WWW-Authenticate`` as scheme (lower case) and parameters (RFC 9110, section 11.6.1)."""
    scheme, _, rest = header.strip().partition(" ")
    pairs = re.findall(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))', rest)
    return scheme.lower(), {
        key.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain for key, quoted, plain in pairs
    }


def _basic(known: Credentials) -> str:
    return "Basic " + base64.b64encode(f"{known.user}:{known.password}".encode()).decode()


def _no_login(registry: str, repository: str, known: Credentials | None) -> RegistryError:
    who = f"the user {known.user!r}" if known else "anonymous access"
    return RegistryError(
        f"{registry} refuses {who} to {repository}",
        status=401,
        hint=f"log in: podman login {registry}",
    )


def _refused(registry: str, repository: str, answer: Answer) -> RegistryError:
    try:
        errors = json.loads(answer.body).get("errors") or [{}]
        said = f"{errors[0].get('code', '')} {errors[0].get('message', '')}".strip()
    except (ValueError, AttributeError, IndexError):
        said = ""
    hint = f"log in: podman login {registry}" if answer.status in {401, 403} else None
    return RegistryError(
        f"{registry} answers HTTP {answer.status} for {repository}" + (f": {said}" if said else ""),
        status=answer.status,
        hint=hint,
    )


def _reason(error: urllib3.exceptions.HTTPError) -> str:
    """The innermost cause, without the pool's wrapping."""
    inner: BaseException = error
    while (deeper := getattr(inner, "reason", None)) is not None and isinstance(
        deeper, BaseException
    ):
        inner = deeper
    return re.sub(r"^.*?: ", "", str(inner), count=1) if ": " in str(inner) else str(inner)
