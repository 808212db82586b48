"""A registry over the OCI distribution API, for everything in which the digest matters.

Source: OCI distribution specification 1.1; field note *image build*, section 4.
Blobs are copied by podman or skopeo, never by this client.
"""

from __future__ import annotations

import difflib
import json
import re
import time
from collections.abc import Callable
from dataclasses import replace

from bootcfleet.domain.image import MEDIA_TYPES, Config, Manifest, Resolved, sha256
from bootcfleet.domain.reference import Digest, ImageRef
from bootcfleet.drivers.command import Executor, LocalExecutor
from bootcfleet.drivers.registryconf import RegistriesConf
from bootcfleet.drivers.registryhttp import Answer, RegistryError, RegistryHttp
from bootcfleet.errors import FleetError

__all__ = ["RegistryClient", "RegistryError"]

_ACCEPT = {"Accept": ", ".join(MEDIA_TYPES)}


class RegistryClient:
    """Asks registries for manifests, and writes them, as bytes."""

    def __init__(
        self,
        *,
        conf: RegistriesConf | None = None,
        executor: Executor | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._conf = conf or RegistriesConf()
        self._http = RegistryHttp(executor or LocalExecutor(), sleep=sleep)

    def resolve(self, ref: ImageRef) -> Resolved:
        """What the reference is now: digest, platforms and version.

        Raises `RegistryError`; its hint names the tags that are there when the
        reference's is not.
        """
        manifest = self.manifest(ref)
        pinned = replace(ref, tag=None, digest=manifest.digest)
        if manifest.is_index:
            platforms = manifest.children
            child = next(iter(platforms.values()), None)
            version = self.config(pinned.with_digest(child)).version if child else None
            return Resolved(ref, manifest.digest, platforms, version)
        config = self._config(pinned, manifest)
        own = {config.platform: manifest.digest} if config.platform else {}
        return Resolved(ref, manifest.digest, own, config.version)

    def manifest(self, ref: ImageRef) -> Manifest:
        """The manifest or index itself.  Raises `RegistryError`, also for a wrong digest."""
        answer = self._get(ref, f"manifests/{ref.manifest}")
        digest = sha256(answer.body)
        if ref.digest is not None and digest != ref.digest:
            raise RegistryError(f"{ref.registry} sent {digest} when asked for {ref.digest}")
        kind = answer.headers.get("content-type", "").partition(";")[0].strip()
        manifest = Manifest(digest, kind, answer.body)
        declared = manifest.body.get("mediaType")
        if kind not in MEDIA_TYPES and isinstance(declared, str):
            manifest = Manifest(digest, declared, answer.body)
        return manifest

    def digest(self, ref: ImageRef) -> Digest:
        """The digest alone, by HEAD where the registry says it in a header."""
        endpoint = self._conf.endpoints(ref)[-1]
        answer = self._http.request(
            "HEAD",
            endpoint.registry,
            endpoint.repository,
            f"manifests/{ref.manifest}",
            insecure=endpoint.insecure,
            headers=_ACCEPT,
        )
        said = answer.headers.get("docker-content-digest")
        if answer.status == 404 or said is None:
            return self.manifest(ref).digest
        return Digest(said)

    def put_manifest(self, ref: ImageRef, manifest: Manifest) -> Digest:
        """Write a manifest's bytes under the reference's tag, then check that they are there.

        Its blobs and children must be in the repository.  Raises `RegistryError`.
        """
        endpoint = self._conf.endpoints(ref)[-1]
        answer = self._http.request(
            "PUT",
            endpoint.registry,
            endpoint.repository,
            f"manifests/{ref.manifest}",
            insecure=endpoint.insecure,
            headers={"Content-Type": manifest.media_type},
            body=manifest.raw,
            push=True,
        )
        if answer.status == 404:
            raise RegistryError(f"{ref.registry} does not take manifests for {ref.repository}")
        if (there := self.digest(ref)) != manifest.digest:
            raise RegistryError(f"{ref} is {there} after {manifest.digest} was written to it")
        return manifest.digest

    def config(self, ref: ImageRef) -> Config:
        """The configuration of a single image.  Raises `RegistryError`."""
        return self._config(ref, self.manifest(ref))

    def blob(self, ref: ImageRef, digest: Digest) -> bytes:
        """A blob of the reference's repository, checked.  Raises `RegistryError`."""
        answer = self._get(ref, f"blobs/{digest}")
        if sha256(answer.body) != digest:
            raise RegistryError(f"{ref.registry} sent other bytes than the blob {digest}")
        return answer.body

    def has_blob(self, ref: ImageRef, digest: Digest) -> bool:
        """Whether the repository has a blob, by HEAD.  Raises `RegistryError`."""
        endpoint = self._conf.endpoints(ref)[-1]
        answer = self._http.request(
            "HEAD",
            endpoint.registry,
            endpoint.repository,
            f"blobs/{digest}",
            insecure=endpoint.insecure,
        )
        return answer.status < 300

    def tags(self, ref: ImageRef) -> list[str]:
        """All tags of the repository, through all pages.  Raises `RegistryError`."""
        endpoint = self._conf.endpoints(ref)[-1]
        path: str | None = "tags/list?n=1000"
        found: list[str] = []
        while path:
            answer = self._http.request(
                "GET",
                endpoint.registry,
                endpoint.repository,
                path,
                insecure=endpoint.insecure,
            )
            if answer.status == 404:
                return found
            try:
                found += json.loads(answer.body).get("tags") or []
            except (ValueError, AttributeError) as error:
                raise RegistryError(f"{ref.registry} sent a tag list that is none") from error
            following = re.search(r'<([^>]+)>\s*;\s*rel="?next', answer.headers.get("link", ""))
            path = following.group(1) if following else None
            if path and path.startswith("http"):
                path = "/" + path.split("/", 3)[3]
        return found

    def _config(self, ref: ImageRef, manifest: Manifest) -> Config:
        return Config.parse(self.blob(ref, manifest.config_digest))

    def _get(self, ref: ImageRef, path: str) -> Answer:
        """From the first mirror that has it, else from the registry itself."""
        endpoints = self._conf.endpoints(ref)
        for endpoint in endpoints[:-1]:
            try:
                answer = self._http.request(
                    "GET",
                    endpoint.registry,
                    endpoint.repository,
                    path,
                    insecure=endpoint.insecure,
                    headers=_ACCEPT,
                )
            except RegistryError:
                continue  # a mirror that fails is passed over, as podman does
            if answer.status < 300:
                return answer
        endpoint = endpoints[-1]
        answer = self._http.request(
            "GET",
            endpoint.registry,
            endpoint.repository,
            path,
            insecure=endpoint.insecure,
            headers=_ACCEPT,
        )
        if answer.status == 404:
            raise RegistryError(f"{ref} is not in the registry", status=404, hint=self._near(ref))
        return answer

    def _near(self, ref: ImageRef) -> str | None:
        """What is there instead."""
        try:
            tags = self.tags(ref)
        except FleetError:
            return None
        if not tags:
            return f"the repository {ref.repository} does not exist or has no tags"
        close = difflib.get_close_matches(ref.tag or "", tags, n=3, cutoff=0.4) or tags[-3:]
        return "there are: " + ", ".join(f"{ref.name}:{tag}" for tag in close)
