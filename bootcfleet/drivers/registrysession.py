"""Requests to a repository with the right credentials: Basic, or the Bearer token flow.

Sources: OCI distribution specification 1.1; the token and OAuth2 documents of
the distribution project (scopes, refresh tokens).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from urllib.parse import urlencode, urljoin, urlsplit

from bootcfleet.drivers.registryauth import Challenge, Credentials, Keyring, parse_challenges
from bootcfleet.drivers.registryconf import Endpoint
from bootcfleet.drivers.registryhttp import (
    Answer,
    RegistryError,
    RegistryHttp,
    Request,
    server_of,
)

#: Where a token is kept: registry and scope.
_Key = tuple[str, str]


class RegistrySession:
    """Sends requests and answers what a registry asks about us; tokens are kept.

    Safe to use from several threads: a token that many need is fetched once.
    """

    def __init__(self, http: RegistryHttp, keyring: Keyring) -> None:
        self._http = http
        self._keyring = keyring
        self._known: dict[_Key, str] = {}
        self._locks: dict[_Key, threading.Lock] = {}
        self._lock = threading.Lock()

    def request(
        self,
        method: str,
        endpoint: Endpoint,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        push: bool = False,
        follow: bool = True,
    ) -> Answer:
        """One request under ``/v2/REPOSITORY/`` (or at a path from the registry itself).

        Any status comes back but 401, which raises `RegistryError`, as does a
        registry that cannot be reached.
        """
        repository = repository_of(endpoint)
        url = path if path.startswith("/") else f"/v2/{repository}/{path}"
        scope = f"repository:{repository}:pull" + (",push" if push else "")
        key = (endpoint.registry, scope)
        used = self._known.get(key)
        answer = self._send(method, endpoint, url, headers, body, used, follow)
        if answer.status == 401:
            renewed = self._renew(key, used, endpoint, scope, answer)
            answer = self._send(method, endpoint, url, headers, body, renewed, follow)
        if answer.status == 401:
            with self._lock:
                self._known.pop(key, None)
            raise _refused(endpoint, self._keyring.find(_name(endpoint)))
        return answer

    def _send(
        self,
        method: str,
        endpoint: Endpoint,
        url: str,
        headers: Mapping[str, str] | None,
        body: bytes | None,
        authorization: str | None,
        follow: bool,
    ) -> Answer:
        sent = {**(headers or {})}
        if authorization:
            sent["Authorization"] = authorization
        return self._http.send(endpoint, Request(method, url, sent, body, follow))

    def _renew(
        self, key: _Key, used: str | None, endpoint: Endpoint, scope: str, refusal: Answer
    ) -> str:
        """Another Authorization than the one just used; threads that wait share it."""
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            current = self._known.get(key)
            if current is None or current == used:
                header = refusal.headers.get("www-authenticate", "")
                current = self._authorize(endpoint, scope, parse_challenges(header))
                self._known[key] = current
            return current

    def _authorize(self, endpoint: Endpoint, scope: str, challenges: list[Challenge]) -> str:
        offered = {challenge.scheme: challenge for challenge in reversed(challenges)}
        credentials = self._keyring.find(_name(endpoint))
        if bearer := offered.get("bearer"):
            return self._token(endpoint, scope, bearer, credentials)
        if "basic" in offered and credentials and credentials.user:
            return credentials.basic
        raise _refused(endpoint, credentials)

    def _token(
        self, endpoint: Endpoint, scope: str, challenge: Challenge, known: Credentials | None
    ) -> str:
        realm = challenge.parameters.get("realm", "")
        parts = urlsplit(realm)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise RegistryError(f"{endpoint.registry} asks for a token and does not say where from")
        if parts.scheme == "http" and not endpoint.insecure:
            # Credentials never travel in the clear because an answer said so.
            raise RegistryError(
                f"{endpoint.registry} wants its tokens fetched over plain HTTP, which is refused"
            )
        scopes = list(dict.fromkeys([scope, challenge.parameters.get("scope") or scope]))
        answer = self._http.send(endpoint, _token_request(realm, challenge, scopes, known))
        if answer.status in {400, 401, 403}:
            raise _refused(endpoint, known)
        try:
            body = json.loads(answer.body) if answer.ok else {}
            token = body.get("token") or body.get("access_token")
        except (ValueError, AttributeError, RecursionError):
            token = None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise RegistryError(
                f"the token service {parts.hostname} of {endpoint.registry} gave no token "
                f"(HTTP {answer.status})",
                status=answer.status,
                hint="try again in a moment; if it stays, the registry's administrator can help",
            )
        return f"Bearer {token}"


def repository_of(endpoint: Endpoint) -> str:
    """The repository as its server knows it: docker.io's official images are in ``library/``."""
    repository = endpoint.ref.repository
    if endpoint.registry == "docker.io" and "/" not in repository:
        return f"library/{repository}"
    return repository


def own_path(endpoint: Endpoint, base: str, place: str) -> str:
    """The path of an address that a registry gave; it must be its own.

    Scheme and host stay those that are spoken to already: behind a proxy, many
    registries say plain HTTP where they are reached by TLS.
    """
    try:
        parts = urlsplit(urljoin(base, place))
        foreign = (
            parts.netloc
            and parts.hostname != urlsplit(f"//{server_of(endpoint.registry)}").hostname
        )
    except ValueError:
        foreign = True
    if foreign or not parts.path.startswith("/"):
        raise RegistryError(f"{endpoint.registry} sends its clients to another server")
    return parts.path + (f"?{parts.query}" if parts.query else "")


def _name(endpoint: Endpoint) -> str:
    return f"{endpoint.registry}/{repository_of(endpoint)}"


def _token_request(
    realm: str, challenge: Challenge, scopes: list[str], known: Credentials | None
) -> Request:
    """GET with Basic, or POST where all that we have is an identity token."""
    service = challenge.parameters.get("service")
    query = [("service", service)] if service else []
    if known and known.identity_token:
        form = [
            *query,
            ("grant_type", "refresh_token"),
            ("client_id", "bootcfleet"),
            ("scope", " ".join(scopes)),
            ("refresh_token", known.identity_token),
        ]
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return Request("POST", realm, headers, urlencode(form).encode())
    query += [("scope", scope) for scope in scopes]
    headers = {}
    if known:
        query.append(("account", known.user))
        headers["Authorization"] = known.basic
    joint = "&" if urlsplit(realm).query else "?"
    return Request("GET", f"{realm}{joint}{urlencode(query)}", headers)


def _refused(endpoint: Endpoint, known: Credentials | None) -> RegistryError:
    if known is None:
        who = "anonymous access"
    else:
        who = f"the user {known.user!r}" if known.user else "the identity token"
    return RegistryError(
        f"{endpoint.registry} refuses {who} to {endpoint.ref.repository}",
        status=401,
        hint=f"log in: podman login {endpoint.registry}",
    )
