"""A registry over the OCI distribution API, for everything in which the digest matters.

Source: OCI distribution specification 1.1; field note *image build*, section 4.
Large blobs are copied by podman or skopeo, never by this client.
"""

from __future__ import annotations

import difflib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Self
from urllib.parse import quote

from bootcfleet.domain.image import MEDIA_TYPES, Config, Manifest, Resolved, sha256
from bootcfleet.domain.reference import Digest, ImageRef, InvalidReferenceError, Platform
from bootcfleet.drivers.command import Executor, LocalExecutor
from bootcfleet.drivers.registryauth import Keyring
from bootcfleet.drivers.registryconf import Endpoint, RegistriesConf
from bootcfleet.drivers.registryhttp import Answer, RegistryError, RegistryHttp
from bootcfleet.drivers.registrysession import RegistrySession, own_path, repository_of
from bootcfleet.errors import FleetError

__all__ = ["RegistryClient", "RegistryError"]

_ACCEPT = {"Accept": ", ".join(MEDIA_TYPES)}
#: Tags asked for at once.
_PAGE = 1000
#: Pages of tags that are read; a registry that has more goes in circles.
_MAX_PAGES = 10_000


class RegistryClient:
    """Asks registries for manifests, and writes them, as bytes.  Safe in several threads.

    `conf` is the machine's registries.conf by default; `executor` runs credential
    helpers; `sleep` and `clock` (seconds) are there for tests; time limits are in
    seconds.
    """

    def __init__(
        self,
        *,
        conf: RegistriesConf | None = None,
        executor: Executor | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
        connect_timeout: float = 10.0,
        read_timeout: float = 60.0,
    ) -> None:
        self._conf = conf or RegistriesConf()
        self._http = RegistryHttp(
            sleep=sleep, clock=clock, connect_timeout=connect_timeout, read_timeout=read_timeout
        )
        keyring = Keyring(executor or LocalExecutor(), self._conf.helpers)
        self._session = RegistrySession(self._http, keyring)

    def close(self) -> None:
        """Close the connections; the client may be used again."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def resolve(self, ref: ImageRef) -> Resolved:
        """What the reference is now: digest, platforms and version.

        Raises `RegistryError`; its hint names the tags that are there when the
        reference's is not.
        """
        manifest = self.manifest(ref)
        pinned = ref.with_digest(manifest.digest)
        if manifest.is_index:
            platforms = manifest.children
            return Resolved(ref, manifest.digest, platforms, self._version(pinned, manifest))
        config = self._config(pinned, manifest)
        own = {config.platform: manifest.digest} if config.platform else {}
        return Resolved(ref, manifest.digest, own, config.version)

    def manifest(self, ref: ImageRef) -> Manifest:
        """The manifest or index itself, its digest made of its bytes.

        Raises `RegistryError`, also when they are not what was asked for, and
        `ManifestError`.
        """
        answer = self._read(ref, f"manifests/{ref.manifest}")
        manifest = Manifest.of(answer.body, answer.headers.get("content-type", ""))
        said = _said_digest(answer)
        for wanted in (ref.digest, said):
            if wanted is not None and manifest.digest != wanted:
                raise RegistryError(
                    f"{ref.registry} sent {manifest.digest} where {wanted} was to come for {ref}",
                    hint="a proxy or the registry's storage may be damaged: "
                    f"skopeo inspect --raw docker://{ref}",
                )
        return manifest

    def digest(self, ref: ImageRef) -> Digest:
        """The digest alone, by HEAD where the registry says it in a header.

        Raises `RegistryError`.
        """
        return self._digest(self._conf.pull_endpoints(ref)[-1], ref)

    def exists(self, ref: ImageRef) -> bool:
        """Whether the registry has the reference.  Raises `RegistryError` when it does not say."""
        return self.find(ref) is not None

    def find(self, ref: ImageRef) -> Digest | None:
        """The digest of a reference, None where it is not there.

        Raises `RegistryError` when the registry does not say.
        """
        endpoint, path = self._conf.pull_endpoints(ref)[-1], f"manifests/{ref.manifest}"
        # Some registries do not do HEAD or say no digest; only GET tells that from anything else.
        for method in ("HEAD", "GET"):
            answer = self._session.request(method, endpoint, path, headers=_ACCEPT)
            if answer.status == 404:
                return None
            if answer.ok and (said := _said_digest(answer)) is not None:
                return said
        if not answer.ok:
            raise _refused(endpoint, answer, str(ref))
        return Manifest.of(answer.body, answer.headers.get("content-type", "")).digest

    def put_manifest(self, ref: ImageRef, manifest: Manifest) -> Digest:
        """Write a manifest's bytes under the reference, then see that they are there.

        Its blobs and children must be in the repository.  Raises `RegistryError`.
        """
        self.send_manifest(ref, manifest)
        there = self._digest(self._conf.push_endpoint(ref), ref)
        if there != manifest.digest:
            raise RegistryError(
                f"{ref} is {there} after {manifest.digest} was written to it",
                hint="somebody else may have pushed at the same time; look before trying again",
            )
        return manifest.digest

    def send_manifest(self, ref: ImageRef, manifest: Manifest) -> Mapping[str, str]:
        """Write a manifest's bytes and look no further; the answer's headers, in lower case.

        Raises `RegistryError`.
        """
        kind = {"Content-Type": manifest.media_type}
        path = f"manifests/{ref.manifest}"
        answer = self.request("PUT", ref, path, headers=kind, body=manifest.raw, push=True)
        if not answer.ok:
            raise self.refused(ref, answer, f"the manifest of {ref}")
        return answer.headers

    def request(
        self,
        method: str,
        ref: ImageRef,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        push: bool = False,
    ) -> Answer:
        """One request under the reference's repository, to the registry itself and no mirror.

        `push` asks for the right to write.  Any status but 401 comes back.  Raises
        `RegistryError`.
        """
        endpoint = self._conf.push_endpoint(ref) if push else self._conf.pull_endpoints(ref)[-1]
        return self._session.request(method, endpoint, path, headers=headers, body=body, push=push)

    def refused(self, ref: ImageRef, answer: Answer, what: str) -> RegistryError:
        """The error for an answer that is none of success: what was asked, and its own words."""
        return _refused(self._conf.pull_endpoints(ref)[-1], answer, what)

    def pages(self, ref: ImageRef, path: str, what: str) -> Iterator[Answer]:
        """The pages of a list under the reference's repository; following ones by their Link.

        Raises `RegistryError`, also for a list that goes in a circle.
        """
        endpoint = self._conf.pull_endpoints(ref)[-1]
        path = f"/v2/{repository_of(endpoint)}/{path}"
        for _ in range(_MAX_PAGES):
            answer = self._session.request("GET", endpoint, path)
            if not answer.ok:
                raise _refused(endpoint, answer, f"{what} of {ref.repository}")
            yield answer
            link = re.search(r'<([^>]+)>\s*;[^,]*\brel="?next\b', answer.headers.get("link", ""))
            if not link:
                return
            following = own_path(endpoint, path, link[1])
            if following == path:
                break
            path = following
        raise RegistryError(f"{ref.registry} lists {what} of {ref.repository} in a circle")

    def config(self, ref: ImageRef, platform: Platform | None = None) -> Config:
        """The configuration of an image; of an index, that of `platform` (or of its first).

        Raises `RegistryError`, `ManifestError`.
        """
        manifest = self.manifest(ref)
        if manifest.is_index:
            children = manifest.children
            chosen = platform or next(iter(children), None)
            if chosen is None or chosen not in children:
                known = ", ".join(map(str, children)) or "none"
                raise RegistryError(
                    f"{ref} has no image for {platform or 'a platform that bootc runs on'}",
                    hint=f"its platforms: {known}",
                )
            manifest = self.manifest(ref.with_digest(children[chosen]))
        return self._config(ref.with_digest(manifest.digest), manifest)

    def blob(self, ref: ImageRef, digest: Digest) -> bytes:
        """A small blob of the reference's repository, checked.  Raises `RegistryError`."""
        answer = self._read(ref, f"blobs/{digest}")
        if sha256(answer.body) != digest:
            raise RegistryError(
                f"{ref.registry} sent other bytes than the blob {digest} of {ref.repository}"
            )
        return answer.body

    def blob_part(self, ref: ImageRef, digest: Digest, start: int, length: int) -> bytes:
        """About `length` bytes of a blob of any size, from `start` on.  Not checked by us.

        Where a registry does not do ranges, all that follows comes; a blob that is too
        large for that raises `RegistryError`.
        """
        asked = {"Range": f"bytes={start}-{start + length - 1}"}
        answer = self._read(ref, f"blobs/{digest}", asked)
        return answer.body if answer.status == 206 else answer.body[start:]

    def has_blob(self, ref: ImageRef, digest: Digest) -> bool:
        """Whether the repository has a blob, by HEAD.  Raises `RegistryError`."""
        endpoint = self._conf.pull_endpoints(ref)[-1]
        # A redirect to a storage service is a yes; that service may know GET alone.
        answer = self._session.request("HEAD", endpoint, f"blobs/{digest}", follow=False)
        if answer.status == 404:
            return False
        if answer.status >= 400:
            raise _refused(endpoint, answer, f"a blob of {ref.repository}")
        return True

    def put_blob(self, ref: ImageRef, data: bytes) -> Digest:
        """Write a small blob into the reference's repository.  Raises `RegistryError`."""
        digest = sha256(data)
        endpoint = self._conf.push_endpoint(ref)
        answer = self._session.request("HEAD", endpoint, f"blobs/{digest}", push=True, follow=False)
        if answer.status < 400:
            return digest
        begun = self._session.request("POST", endpoint, "blobs/uploads/", push=True)
        if begun.status != 202 or "location" not in begun.headers:
            raise _refused(endpoint, begun, f"a blob for {ref.repository}")
        path = own_path(endpoint, "/v2/", begun.headers["location"])
        path += ("&" if "?" in path else "?") + f"digest={quote(str(digest))}"
        kind = {"Content-Type": "application/octet-stream"}
        answer = self._session.request("PUT", endpoint, path, headers=kind, body=data, push=True)
        if answer.status != 201:
            raise _refused(endpoint, answer, f"a blob for {ref.repository}")
        return digest

    def tags(self, ref: ImageRef) -> list[str]:
        """All tags of the repository in their order, through all pages.  Raises `RegistryError`."""
        found: list[str] = []
        for answer in self.pages(ref, f"tags/list?n={_PAGE}", "the tags"):
            try:
                page = json.loads(answer.body).get("tags") or []
                found += [tag for tag in page if isinstance(tag, str)]
            except (ValueError, AttributeError, TypeError, RecursionError) as error:
                raise RegistryError(f"{ref.registry} sent a tag list that is none") from error
        return sorted(set(found))

    def _digest(self, endpoint: Endpoint, ref: ImageRef) -> Digest:
        path = f"manifests/{ref.manifest}"
        answer = self._session.request("HEAD", endpoint, path, headers=_ACCEPT)
        if answer.ok and (said := _said_digest(answer)) is not None:
            return said
        # A registry that does not do HEAD or says no digest; and only GET says why not.
        answer = self._session.request("GET", endpoint, path, headers=_ACCEPT)
        if not answer.ok:
            raise self._missing(endpoint, ref, answer)
        return Manifest.of(answer.body, answer.headers.get("content-type", "")).digest

    def _version(self, pinned: ImageRef, index: Manifest) -> str | None:
        """The version of an index: its own annotation, or of the first image that is there."""
        config = None
        for child in index.children.values():
            try:
                config = self.config(pinned.with_digest(child))
                break
            except RegistryError as error:
                # A mirror may hold the images of some platforms alone.
                if error.status != 404:
                    raise
        said = index.annotations.get("org.opencontainers.image.version")
        return config.version if config and config.version else said

    def _config(self, ref: ImageRef, manifest: Manifest) -> Config:
        return Config.parse(self.blob(ref, manifest.config_digest))

    def _read(self, ref: ImageRef, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """From the first mirror that has it, else from the registry itself."""
        sent = {**_ACCEPT, **(headers or {})}
        *mirrors, endpoint = self._conf.pull_endpoints(ref)
        failed = []
        for mirror in mirrors:
            try:
                answer = self._session.request("GET", mirror, path, headers=sent)
            except RegistryError as error:
                failed.append(f"mirror: {error.message}")  # passed over, as podman does
                continue
            if answer.ok:
                return answer
            failed.append(f"mirror: {mirror.registry} answers HTTP {answer.status}")
        try:
            answer = self._session.request("GET", endpoint, path, headers=sent)
            if not answer.ok:
                raise self._missing(endpoint, ref, answer)
        except RegistryError as error:
            error.details = (*error.details, *failed)
            raise
        return answer

    def _missing(self, endpoint: Endpoint, ref: ImageRef, answer: Answer) -> RegistryError:
        if answer.status != 404:
            return _refused(endpoint, answer, str(ref))
        return RegistryError(f"{ref} is not in the registry", status=404, hint=self._near(ref))

    def _near(self, ref: ImageRef) -> str | None:
        """What is there instead."""
        try:
            tags = self.tags(ref)
        except RegistryError as error:
            if error.status == 404:
                return f"the repository {ref.repository} is not there: check its name"
            return None
        except FleetError:
            return None
        if not tags:
            return f"the repository {ref.repository} has no tags"
        wanted = ref.tag or "latest"
        close = difflib.get_close_matches(wanted, tags, n=3, cutoff=0.4) or tags[-3:]
        return "there are: " + ", ".join(f"{ref.name}:{tag}" for tag in close)


def _said_digest(answer: Answer) -> Digest | None:
    """The digest that the registry says; None where it says none that we know."""
    try:
        return Digest(answer.headers.get("docker-content-digest", ""))
    except InvalidReferenceError:
        return None


def _refused(endpoint: Endpoint, answer: Answer, what: str) -> RegistryError:
    """What an error status means, with the registry's own words."""
    registry = endpoint.registry
    hints = {
        403: f"log in as somebody who may: podman login {registry}",
        404: f"the repository {endpoint.ref.repository} is not there: check its name",
        405: f"{registry} does not offer this",
        429: "the registry limits how much it is asked: log in, or wait "
        + (f"{answer.headers['retry-after']} s" if "retry-after" in answer.headers else "a while"),
    }
    hint = hints.get(answer.status)
    if answer.status >= 500:
        hint = "the registry has a problem of its own: look at its log, or try again later"
    return RegistryError(
        f"{registry} answers HTTP {answer.status} for {what}",
        status=answer.status,
        hint=hint,
        details=_words(answer),
    )


def _words(answer: Answer) -> tuple[str, ...]:
    """The errors in an answer's body, as the distribution specification has them."""
    try:
        errors = json.loads(answer.body).get("errors") or []
        said = [f"{one.get('code', '')}: {one.get('message', '')}" for one in errors[:3]]
    except (ValueError, AttributeError, TypeError, RecursionError):
        return ()
    return tuple("".join(c for c in text if c.isprintable())[:300] for text in said)
