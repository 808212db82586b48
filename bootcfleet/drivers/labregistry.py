"""A small OCI registry in this process, for machines that have none: labs, demos, tests.

It keeps the OCI distribution specification 1.1 as far as podman, skopeo and our
own client go: pushes in one piece or in chunks, mounts, manifests as bytes,
tags with pages, referrers, deletion.  It has no authentication and listens on
loopback only.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self
from urllib.parse import parse_qs, urlsplit

from bootcfleet.domain.image import sha256
from bootcfleet.errors import FleetError

#: A lab is no place for real images of gigabytes: they would fill the memory.
MAX_BLOB = 2 * 1024 * 1024 * 1024
_NAME = r"(?P<name>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
_ROUTES = {
    "base": re.compile(r"/v2/?"),
    "catalog": re.compile(r"/v2/_catalog"),
    "tags": re.compile(rf"/v2/{_NAME}/tags/list"),
    "referrers": re.compile(rf"/v2/{_NAME}/referrers/(?P<reference>[^/]+)"),
    "manifest": re.compile(rf"/v2/{_NAME}/manifests/(?P<reference>[^/]+)"),
    "upload": re.compile(rf"/v2/{_NAME}/blobs/uploads/(?P<reference>[^/]*)"),
    "blob": re.compile(rf"/v2/{_NAME}/blobs/(?P<reference>sha256:[0-9a-f]{{64}})"),
}


@dataclass
class Repository:
    """The manifests (bytes with their type) and tags of one name."""

    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass
class Store:
    """What the registry holds, in memory; the lock guards all of it."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    repositories: dict[str, Repository] = field(default_factory=dict)
    uploads: dict[str, bytearray] = field(default_factory=dict)
    #: Repository → HTTP status that every request for it gets, for rehearsing refusals.
    refusals: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)


class LabRegistry:
    """The registry's server.  A context manager; `address` is ``127.0.0.1:PORT``."""

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._host, self._port = host, port
        self.store = Store()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        """Where it listens.  Raises `FleetError` before `start`."""
        if self._server is None:
            raise FleetError("the lab registry has not been started")
        return f"{self._host}:{self._server.server_address[1]}"

    def start(self) -> Self:
        """Listen.  Raises `FleetError` when the port is taken."""
        handler = type("Handler", (_Handler,), {"store": self.store})
        try:
            self._server = _Server((self._host, self._port), handler)
        except OSError as error:
            raise FleetError(
                f"the lab registry cannot listen on {self._host}:{self._port}: {error.strerror}",
                hint="choose another port",
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="lab-registry", daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop listening and forget everything."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def refuse(self, repository: str, status: int | None) -> None:
        """Answer every request for a repository with `status`; None stops that."""
        with self.store.lock:
            if status is None:
                self.store.refusals.pop(repository, None)
            else:
                self.store.refusals[repository] = status

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Hundreds of hosts begin to pull in the same second.
    request_queue_size = 1024

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in mid-request is no event."""


class _Handler(BaseHTTPRequestHandler):
    store: ClassVar[Store]
    protocol_version = "HTTP/1.1"
    # Small answers must not wait for an acknowledgement (Nagle against delayed ACK: 40 ms each).
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        """No access log: what matters is in the events of the lab."""

    def do_GET(self) -> None:
        self._route()

    do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815 - http.server's names

    def _route(self) -> None:
        parts = urlsplit(self.path)
        self._query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self._body = self._receive()
        with self.store.lock:
            self.store.requests += 1
        for kind, pattern in _ROUTES.items():
            if match := pattern.fullmatch(parts.path):
                found = match.groupdict()
                name = found.get("name") or ""
                if status := self.store.refusals.get(name):
                    code = "TOOMANYREQUESTS" if status == 429 else "DENIED"
                    self._fail(HTTPStatus(status), code, "told to refuse this repository")
                    return
                reference = found.get("reference") or ""
                answer = getattr(self, f"_{kind}_{self.command.lower()}", None)
                if answer is None and self.command == "HEAD":
                    answer = getattr(self, f"_{kind}_get", None)
                if answer is None:
                    self._fail(HTTPStatus.METHOD_NOT_ALLOWED, "UNSUPPORTED", "not supported")
                else:
                    answer(name, reference)
                return
        self._fail(HTTPStatus.NOT_FOUND, "NAME_INVALID", "no such path")

    def _receive(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            body = bytearray()
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
                if len(body) > MAX_BLOB:
                    break
            self.rfile.readline()
            return bytes(body)
        return self.rfile.read(min(int(self.headers.get("Content-Length") or 0), MAX_BLOB))

    def _send(
        self, status: HTTPStatus, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        if status is not HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _fail(self, status: HTTPStatus, code: str, message: str) -> None:
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        headers = {"Content-Type": "application/json"}
        if status is HTTPStatus.TOO_MANY_REQUESTS:
            headers["Retry-After"] = "1"
        self._send(status, body, headers)

    def _json(self, value: object, kind: str = "application/json", **headers: str) -> None:
        self._send(HTTPStatus.OK, json.dumps(value).encode(), {"Content-Type": kind, **headers})

    def _base_get(self, name: str, reference: str) -> None:
        self._json({})

    def _catalog_get(self, name: str, reference: str) -> None:
        with self.store.lock:
            self._json({"repositories": sorted(self.store.repositories)})

    def _tags_get(self, name: str, reference: str) -> None:
        with self.store.lock:
            repository = self.store.repositories.get(name)
            tags = sorted(repository.tags) if repository else None
        if tags is None:
            self._fail(HTTPStatus.NOT_FOUND, "NAME_UNKNOWN", "repository name not known")
            return
        after = [tag for tag in tags if tag > self._query.get("last", "")]
        limit = int(self._query.get("n") or len(after) or 1)
        page, headers = after[:limit], {}
        if len(after) > limit:
            following = f"/v2/{name}/tags/list?n={limit}&last={page[-1]}"
            headers["Link"] = f'<{following}>; rel="next"'
        self._json({"name": name, "tags": page}, **headers)

    def _referrers_get(self, name: str, reference: str) -> None:
        found = []
        with self.store.lock:
            repository = self.store.repositories.get(name, Repository())
            for digest, (kind, raw) in repository.manifests.items():
                body = json.loads(raw)
                if (body.get("subject") or {}).get("digest") == reference:
                    found.append(
                        {
                            "mediaType": kind,
                            "digest": digest,
                            "size": len(raw),
                            "artifactType": body.get("artifactType")
                            or (body.get("config") or {}).get("mediaType"),
                            "annotations": body.get("annotations") or {},
                        }
                    )
        kind = "application/vnd.oci.image.index.v1+json"
        self._json({"schemaVersion": 2, "mediaType": kind, "manifests": found}, kind)

    def _manifest_get(self, name: str, reference: str) -> None:
        with self.store.lock:
            repository = self.store.repositories.get(name, Repository())
            digest = repository.tags.get(reference, reference)
            found = repository.manifests.get(digest)
        if found is None:
            self._fail(HTTPStatus.NOT_FOUND, "MANIFEST_UNKNOWN", "manifest unknown")
            return
        kind, raw = found
        self._send(HTTPStatus.OK, raw, {"Content-Type": kind, "Docker-Content-Digest": digest})

    def _manifest_put(self, name: str, reference: str) -> None:
        digest = str(sha256(self._body))
        try:
            body = json.loads(self._body)
            wanted = [entry["digest"] for entry in body.get("manifests", ())]
            blobs = [entry["digest"] for entry in body.get("layers", ())]
            blobs += [body["config"]["digest"]] if "config" in body else []
        except (ValueError, KeyError, TypeError, AttributeError):
            self._fail(HTTPStatus.BAD_REQUEST, "MANIFEST_INVALID", "manifest invalid")
            return
        if reference.startswith("sha256:") and reference != digest:
            self._fail(HTTPStatus.BAD_REQUEST, "DIGEST_INVALID", "the digest is another")
            return
        with self.store.lock:
            repository = self.store.repositories.setdefault(name, Repository())
            missing = [one for one in wanted if one not in repository.manifests]
            missing += [one for one in blobs if one not in self.store.blobs]
            if missing:
                self._fail(
                    HTTPStatus.BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN", f"unknown: {missing[0]}"
                )
                return
            kind = self.headers.get("Content-Type") or body.get("mediaType", "")
            repository.manifests[digest] = (kind, self._body)
            if not reference.startswith("sha256:"):
                repository.tags[reference] = digest
        headers = {"Location": f"/v2/{name}/manifests/{digest}", "Docker-Content-Digest": digest}
        if subject := (body.get("subject") or {}).get("digest"):
            headers["OCI-Subject"] = subject
        self._send(HTTPStatus.CREATED, headers=headers)

    def _manifest_delete(self, name: str, reference: str) -> None:
        with self.store.lock:
            repository = self.store.repositories.get(name, Repository())
            if reference in repository.tags:
                del repository.tags[reference]
            elif repository.manifests.pop(reference, None) is not None:
                for tag in [t for t, d in repository.tags.items() if d == reference]:
                    del repository.tags[tag]
            else:
                self._fail(HTTPStatus.NOT_FOUND, "MANIFEST_UNKNOWN", "manifest unknown")
                return
        self._send(HTTPStatus.ACCEPTED)

    def _blob_get(self, name: str, reference: str) -> None:
        data = self.store.blobs.get(reference)
        if data is None:
            self._fail(HTTPStatus.NOT_FOUND, "BLOB_UNKNOWN", "blob unknown to registry")
            return
        headers = {
            "Content-Type": "application/octet-stream",
            "Docker-Content-Digest": reference,
            "Accept-Ranges": "bytes",
        }
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked and int(asked[1]) < len(data):
            end = min(int(asked[2] or len(data) - 1), len(data) - 1)
            headers["Content-Range"] = f"bytes {asked[1]}-{end}/{len(data)}"
            self._send(HTTPStatus.PARTIAL_CONTENT, data[int(asked[1]) : end + 1], headers)
            return
        self._send(HTTPStatus.OK, data, headers)

    def _upload_post(self, name: str, reference: str) -> None:
        mount = self._query.get("mount", "")
        with self.store.lock:
            if mount in self.store.blobs:
                self._stored(name, mount)
                return
        if "digest" in self._query:
            self._store_blob(name, self._body)
            return
        upload = secrets.token_hex(16)
        self.store.uploads[upload] = bytearray()
        self._progress(HTTPStatus.ACCEPTED, name, upload)

    def _upload_patch(self, name: str, reference: str) -> None:
        data = self.store.uploads.get(reference)
        if data is None:
            self._fail(HTTPStatus.NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "no such upload")
            return
        asked = re.fullmatch(r"(?:bytes )?(\d+)-(\d+)", self.headers.get("Content-Range", ""))
        if asked and int(asked[1]) != len(data):
            self._progress(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, name, reference)
            return
        data += self._body
        self._progress(HTTPStatus.ACCEPTED, name, reference)

    def _upload_get(self, name: str, reference: str) -> None:
        if reference not in self.store.uploads:
            self._fail(HTTPStatus.NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "no such upload")
            return
        self._progress(HTTPStatus.NO_CONTENT, name, reference)

    def _upload_put(self, name: str, reference: str) -> None:
        data = self.store.uploads.pop(reference, None)
        if data is None:
            self._fail(HTTPStatus.NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "no such upload")
            return
        self._store_blob(name, bytes(data) + self._body)

    def _upload_delete(self, name: str, reference: str) -> None:
        self.store.uploads.pop(reference, None)
        self._send(HTTPStatus.NO_CONTENT)

    def _store_blob(self, name: str, data: bytes) -> None:
        digest = str(sha256(data))
        if self._query.get("digest") != digest:
            self._fail(HTTPStatus.BAD_REQUEST, "DIGEST_INVALID", "the digest is another")
            return
        with self.store.lock:
            self.store.blobs[digest] = data
        self._stored(name, digest)

    def _stored(self, name: str, digest: str) -> None:
        where = f"/v2/{name}/blobs/{digest}"
        self._send(HTTPStatus.CREATED, headers={"Location": where, "Docker-Content-Digest": digest})

    def _progress(self, status: HTTPStatus, name: str, upload: str) -> None:
        size = len(self.store.uploads[upload])
        headers = {
            "Location": f"/v2/{name}/blobs/uploads/{upload}",
            "Docker-Upload-UUID": upload,
            "Range": f"0-{max(0, size - 1)}",
        }
        self._send(status, headers=headers)
