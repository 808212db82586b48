"""What each request of the OCI distribution API means to the lab registry.

Source: OCI distribution specification 1.1.
"""

# ruff: noqa: ARG002 - every route takes name and reference, whether it needs both or not

from __future__ import annotations

import json
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import ClassVar
from urllib.parse import parse_qs, quote, urlsplit

from bootcfleet.domain.image import OCI_INDEX, Manifest, ManifestError
from bootcfleet.domain.reference import Digest, InvalidReferenceError
from bootcfleet.drivers.labserver import JsonHandler, RequestError
from bootcfleet.drivers.labstore import LabStore, Stored, Upload

#: A lab is no place for real images of gigabytes: they would fill the memory (bytes).
MAX_BLOB = 2 * 1024 * 1024 * 1024
#: The distribution specification lets a registry refuse larger manifests.
MAX_MANIFEST = 4 * 1024 * 1024

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = rf"(?P<name>{_PART}(?:/{_PART})*)"
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_ROUTES = {
    "base": re.compile(r"/v2/?"),
    "catalog": re.compile(r"/v2/_catalog"),
    "tags": re.compile(rf"/v2/{_NAME}/tags/list"),
    "referrers": re.compile(rf"/v2/{_NAME}/referrers/(?P<reference>[^/]+)"),
    "manifest": re.compile(rf"/v2/{_NAME}/manifests/(?P<reference>[^/]+)"),
    "upload": re.compile(rf"/v2/{_NAME}/blobs/uploads/(?P<reference>[0-9a-f]*)"),
    "blob": re.compile(rf"/v2/{_NAME}/blobs/(?P<reference>[^/]+)"),
}


class RegistryHandler(JsonHandler):
    """One connection's requests: a method ``_KIND_VERB(name, reference)`` for each."""

    #: What is asked first, with method and repository; it may raise `RequestError`.
    admit: ClassVar[Callable[[str, str], None]]
    store: ClassVar[LabStore]
    #: What it does not offer, as older registries: referrers, tag-delete, delete.
    without: ClassVar[frozenset[str]] = frozenset()

    def answer(self) -> None:
        """Find the method for the request and call it.  Raises `RequestError`."""
        parts = urlsplit(self.path)
        self._query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        for kind, pattern in _ROUTES.items():
            if match := pattern.fullmatch(parts.path):
                found = match.groupdict()
                name, reference = found.get("name") or "", found.get("reference") or ""
                type(self).admit(self.command, name)
                verb = self.command.lower()
                own = getattr(self, f"_{kind}_{'get' if verb == 'head' else verb}", None)
                if own is None:
                    raise RequestError(
                        HTTPStatus.METHOD_NOT_ALLOWED, "UNSUPPORTED", "not supported"
                    )
                own(name, reference)
                return
        type(self).admit(self.command, "")
        raise RequestError(HTTPStatus.NOT_FOUND, "NAME_INVALID", "no such path")

    def _base_get(self, name: str, reference: str) -> None:
        self.json({})

    def _catalog_get(self, name: str, reference: str) -> None:
        with self.store.lock:
            names = sorted(self.store.repositories)
        page, headers = self._page(names)
        self.json({"repositories": page}, headers)

    def _tags_get(self, name: str, reference: str) -> None:
        with self.store.lock:
            if name not in self.store.repositories:
                raise RequestError(
                    HTTPStatus.NOT_FOUND, "NAME_UNKNOWN", "repository name not known to registry"
                )
            tags = sorted(self.store.repositories[name].tags)
        page, headers = self._page(tags)
        self.json({"name": name, "tags": page}, headers)

    def _page(self, every: list[str]) -> tuple[list[str], dict[str, str]]:
        """What ``n`` and ``last`` ask for, and where the rest is."""
        after = [one for one in every if one > self._query.get("last", "")]
        asked = self._query.get("n", str(len(after)))
        if not (asked.isascii() and asked.isdecimal()):
            raise RequestError(HTTPStatus.BAD_REQUEST, "PAGINATION_NUMBER_INVALID", "no such n")
        page = after[: int(asked)]
        if len(page) == len(after) or not page:
            return page, {}
        path = urlsplit(self.path).path
        return page, {"Link": f'<{path}?n={asked}&last={quote(page[-1])}>; rel="next"'}

    def _referrers_get(self, name: str, reference: str) -> None:
        if "referrers" in self.without:
            raise RequestError(HTTPStatus.NOT_FOUND, "NAME_INVALID", "no such path")
        _checked(reference)
        wanted, found = self._query.get("artifactType"), []
        with self.store.lock:
            manifests = dict(self.store.repository(name).manifests)
        for digest, stored in manifests.items():
            body = json.loads(stored.raw)
            if (body.get("subject") or {}).get("digest") != reference:
                continue
            kind = body.get("artifactType") or (body.get("config") or {}).get("mediaType")
            if wanted in (None, kind):
                found.append(
                    {
                        "mediaType": stored.media_type,
                        "digest": digest,
                        "size": len(stored.raw),
                        "artifactType": kind,
                        "annotations": body.get("annotations") or {},
                    }
                )
        headers = {"Content-Type": OCI_INDEX}
        if wanted:
            headers["OCI-Filters-Applied"] = "artifactType"
        self.json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}, headers)

    def _manifest_get(self, name: str, reference: str) -> None:
        with self.store.lock:
            repository = self.store.repository(name)
            digest = repository.tags.get(reference, reference)
            stored = repository.manifests.get(digest)
        if stored is None:
            raise RequestError(HTTPStatus.NOT_FOUND, "MANIFEST_UNKNOWN", "manifest unknown")
        headers = {"Content-Type": stored.media_type, "Docker-Content-Digest": digest}
        self.respond(HTTPStatus.OK, headers, stored.raw)

    def _manifest_put(self, name: str, reference: str) -> None:
        by_digest = ":" in reference
        if by_digest:
            _checked(reference)
        elif not _TAG.fullmatch(reference):
            raise RequestError(HTTPStatus.BAD_REQUEST, "MANIFEST_INVALID", "no such tag")
        raw = b"".join(self.body(MAX_MANIFEST))
        try:
            manifest = Manifest.of(raw, self.headers.get("Content-Type") or "")
            subject = self._verify(name, manifest)
        except ManifestError as error:
            raise RequestError(HTTPStatus.BAD_REQUEST, "MANIFEST_INVALID", error.message) from error
        digest = str(manifest.digest)
        if by_digest and reference != digest:
            raise RequestError(HTTPStatus.BAD_REQUEST, "DIGEST_INVALID", f"it is {digest}")
        stored = Stored(manifest.media_type, raw)
        self.store.put_manifest(name, digest, stored, None if by_digest else reference)
        headers = {"Location": f"/v2/{name}/manifests/{digest}", "Docker-Content-Digest": digest}
        if subject and "referrers" not in self.without:
            headers["OCI-Subject"] = subject
        self.respond(HTTPStatus.CREATED, headers)

    def _verify(self, name: str, manifest: Manifest) -> str | None:
        """What a manifest names must be there; its subject need not be, and is returned."""
        body = manifest.body
        if isinstance(body.get("mediaType"), str) and body["mediaType"] != manifest.media_type:
            raise ManifestError("its media type is another than its Content-Type")
        with self.store.lock:
            repository = self.store.repository(name)
            if manifest.is_index:
                missing = [
                    str(d) for d in manifest.references if str(d) not in repository.manifests
                ]
            else:
                kept = [one for one in body.get("layers") or () if "urls" not in one]
                layers = {str(digest) for digest, _ in manifest.layers}
                wanted = [str(manifest.config_digest), *(layers & {o["digest"] for o in kept})]
                missing = [digest for digest in wanted if digest not in repository.blobs]
        if missing:
            raise RequestError(
                HTTPStatus.BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN", f"unknown: {missing[0]}"
            )
        subject = (body.get("subject") or {}) if isinstance(body.get("subject"), dict) else {}
        return subject.get("digest") if isinstance(subject.get("digest"), str) else None

    def _manifest_delete(self, name: str, reference: str) -> None:
        if "delete" in self.without or ("tag-delete" in self.without and ":" not in reference):
            raise RequestError(HTTPStatus.METHOD_NOT_ALLOWED, "UNSUPPORTED", "not supported")
        if not self.store.delete_manifest(name, reference):
            raise RequestError(HTTPStatus.NOT_FOUND, "MANIFEST_UNKNOWN", "manifest unknown")
        self.respond(HTTPStatus.ACCEPTED)

    def _blob_get(self, name: str, reference: str) -> None:
        _checked(reference)
        if reference not in self.store.repository(name).blobs:
            raise RequestError(HTTPStatus.NOT_FOUND, "BLOB_UNKNOWN", "blob unknown to registry")
        headers = {
            "Content-Type": "application/octet-stream",
            "Docker-Content-Digest": reference,
            "Accept-Ranges": "bytes",
        }
        with self.store.open_blob(reference) as (stream, size):
            status, start, end = HTTPStatus.OK, 0, size
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if asked:
                start, end = int(asked[1]), min(int(asked[2] or size - 1) + 1, size)
                if start >= end:
                    raise RequestError(
                        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                        "SIZE_INVALID",
                        "no such range",
                        {"Content-Range": f"bytes */{size}"},
                    )
                status = HTTPStatus.PARTIAL_CONTENT
                headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
            self.begin(status, end - start, headers)
            stream.seek(start)
            left = end - start if self.command != "HEAD" else 0
            while left and (piece := stream.read(min(left, 256 * 1024))):
                self.wfile.write(piece)
                left -= len(piece)

    def _blob_delete(self, name: str, reference: str) -> None:
        if not self.store.unlink(name, reference):
            raise RequestError(HTTPStatus.NOT_FOUND, "BLOB_UNKNOWN", "blob unknown to registry")
        self.respond(HTTPStatus.ACCEPTED)

    def _upload_post(self, name: str, reference: str) -> None:
        if reference:
            raise RequestError(HTTPStatus.NOT_FOUND, "NAME_INVALID", "no such path")
        mount = self._query.get("mount", "")
        source = self._query.get("from") or self.store.holder(mount) or ""
        if mount and mount in self.store.repository(source).blobs:
            self.store.link(name, mount)
            self._stored(name, mount)
            return
        upload, state = self.store.begin()
        if "digest" in self._query:
            self._finish(name, upload, state)
        else:
            self._progress(HTTPStatus.ACCEPTED, name, upload, state)

    def _upload_patch(self, name: str, reference: str) -> None:
        state = self._upload(reference)
        with state.lock:
            self._upload(reference)  # another request may have finished it meanwhile
            asked = re.fullmatch(r"(?:bytes )?(\d+)-(\d+)", self.headers.get("Content-Range", ""))
            if asked and int(asked[1]) != state.size:
                self._progress(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, name, reference, state)
                return
            for piece in self.body(MAX_BLOB - state.size):
                state.write(piece)
        self._progress(HTTPStatus.ACCEPTED, name, reference, state)

    def _upload_get(self, name: str, reference: str) -> None:
        self._progress(HTTPStatus.NO_CONTENT, name, reference, self._upload(reference))

    def _upload_put(self, name: str, reference: str) -> None:
        self._finish(name, reference, self._upload(reference))

    def _upload_delete(self, name: str, reference: str) -> None:
        self._upload(reference)
        self.store.drop(reference)
        self.respond(HTTPStatus.NO_CONTENT)

    def _upload(self, reference: str) -> Upload:
        state = self.store.uploads.get(reference)
        if state is None:
            raise RequestError(HTTPStatus.NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "no such upload")
        return state

    def _finish(self, name: str, upload: str, state: Upload) -> None:
        wanted = self._query.get("digest", "")
        with state.lock:
            self._upload(upload)  # another request may have finished it meanwhile
            try:
                _checked(wanted)
                for piece in self.body(MAX_BLOB - state.size):
                    state.write(piece)
                if state.digest != wanted:
                    raise RequestError(
                        HTTPStatus.BAD_REQUEST, "DIGEST_INVALID", f"it is {state.digest}"
                    )
            except BaseException:
                self.store.drop(upload)
                raise
            self.store.finish(upload, name)
        self._stored(name, wanted)

    def _stored(self, name: str, digest: str) -> None:
        headers = {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest}
        self.respond(HTTPStatus.CREATED, headers)

    def _progress(self, status: HTTPStatus, name: str, upload: str, state: Upload) -> None:
        headers = {
            "Location": f"/v2/{name}/blobs/uploads/{upload}",
            "Docker-Upload-UUID": upload,
            "Range": f"0-{max(0, state.size - 1)}",
        }
        self.respond(status, headers)


def _checked(digest: str) -> None:
    try:
        Digest(digest)
    except InvalidReferenceError as error:
        raise RequestError(HTTPStatus.BAD_REQUEST, "DIGEST_INVALID", error.message) from error
