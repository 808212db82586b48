"""Artifacts and referrers over the OCI distribution API, also where a registry has no such API.

Source: OCI distribution specification 1.1 (*Pushing manifests with subject*, *Listing
referrers*, *Referrers tag schema*, *Deleting*).  Odd answers: GitLab answers a fallback
tag with the subject itself (oras-go#1396); GHCR has no referrers API; docker-registry
2.8 has none either, and deletes nothing unless its configuration lets it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from bootcfleet.domain.artifact import (
    EMPTY,
    Descriptor,
    artifact_layers,
    artifact_manifest,
    fallback_tag,
    parse_referrers,
    referrers_index,
    subject_of,
)
from bootcfleet.domain.image import MEDIA_TYPES, OCI_INDEX, Manifest, ManifestError
from bootcfleet.domain.reference import Digest, ImageRef
from bootcfleet.drivers.registry import RegistryClient, RegistryError
from bootcfleet.drivers.registryhttp import Answer

_ACCEPT = {"Accept": ", ".join(MEDIA_TYPES)}
#: What registries without the referrers API answer for it.
_NO_API = {400, 404, 405, 501}
#: Tries to get an entry into a list that others write at the same time.
_TRIES = 6
#: Seconds between a write of a list and the look at what has become of it.
_PAUSE = 0.1
#: One writer of lists in this process at a time: the registry has no compare-and-swap.
_WRITING = threading.Lock()


class DeleteUnsupportedError(RegistryError):
    """The registry does not delete what it was asked to: tags, or anything at all."""


class Artifacts:
    """Pushes, finds, reads and deletes artifacts.  Safe in several threads.

    Always asks the registry itself: a mirror may be behind.  `sleep` waits for
    seconds, and is there for tests.
    """

    def __init__(
        self, client: RegistryClient, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._client, self._sleep = client, sleep

    def push(
        self,
        repo: ImageRef,
        artifact_type: str,
        blobs: Sequence[tuple[str, bytes, Mapping[str, str]]] = (),
        *,
        subject: Digest | None = None,
        tag: str | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> Digest:
        """Push an artifact of `blobs` (media type, bytes, annotations); its digest.

        `subject` must be in the repository.  Where the registry does not say that it
        took note of the subject, the list under the fallback tag gets an entry.
        Raises `RegistryError`, `ManifestError`.
        """
        of = None
        if subject is not None:
            of = Descriptor.of_manifest(self._manifest(repo.with_digest(subject)))
        self._client.put_blob(repo, EMPTY)
        layers = []
        for media_type, data, notes in blobs:
            self._client.put_blob(repo, data)
            layers.append(Descriptor.of_blob(media_type, data, notes))
        manifest = artifact_manifest(artifact_type, layers, of, annotations)
        by_digest = repo.with_digest(manifest.digest)
        target = repo.with_tag(tag) if tag else by_digest
        headers = self._client.send_manifest(target, manifest)
        if tag and self._client.digest(target) != manifest.digest:
            raise RegistryError(
                f"{target} is not what was just pushed to it",
                hint="somebody else may have pushed at the same time; look before trying again",
            )
        if subject is not None and "oci-subject" not in headers:
            self._enlist(repo, subject, manifest)
        return manifest.digest

    def referrers(
        self, repo: ImageRef, digest: Digest, artifact_type: str | None = None
    ) -> tuple[Descriptor, ...]:
        """What belongs to a digest, of a type or of any; nothing for a digest that is not there.

        Entries of a fallback list count only when the manifest that they name says
        so itself.  Raises `RegistryError`.
        """
        found = self._by_api(repo, digest, artifact_type)
        if found is None:
            found = self._by_tag(repo, digest)
        return tuple(one for one in found if artifact_type in (None, one.artifact_type))

    def fetch(self, ref: ImageRef) -> tuple[Manifest, tuple[bytes, ...]]:
        """An artifact's manifest and the bytes of its layers.

        Raises `RegistryError` (its `status` is 404 where there is none), `ManifestError`.
        """
        manifest = self._manifest(ref)
        layers = artifact_layers(manifest)
        return manifest, tuple(self._client.blob(ref, layer.digest) for layer in layers)

    def copy(self, source: ImageRef, repo: ImageRef) -> Digest:
        """Bring an artifact (by digest) into another repository as it is; its digest.

        For signatures, SBOMs and the like: its blobs go through memory.  What it belongs
        to should be in `repo`.  Raises `RegistryError`, `ManifestError`.
        """
        manifest = self._manifest(source)
        target = repo.with_digest(manifest.digest)
        if not self._client.exists(target):
            for blob in dict.fromkeys((manifest.config_digest, *dict(manifest.layers))):
                if not self._client.has_blob(repo, blob):
                    self._client.put_blob(repo, self._client.blob(source, blob))
        # Also when it is there: its entry in a fallback list may not be.
        headers = self._client.send_manifest(target, manifest)
        subject = subject_of(manifest)
        if subject is not None and "oci-subject" not in headers:
            self._enlist(repo, subject, manifest)
        return manifest.digest

    def delete(self, ref: ImageRef) -> None:
        """Delete an artifact by its digest, with all its tags and its entry in a fallback list.

        Raises `RegistryError`, `DeleteUnsupportedError`.
        """
        manifest = self._manifest(ref)
        subject = subject_of(manifest)
        if subject is not None and self._by_api(ref, subject, None) is None:
            self._rewrite(ref, subject, lambda entries: _without(entries, manifest.digest))
        self.delete_manifest(ref, manifest.digest)

    def delete_manifest(self, repo: ImageRef, digest: Digest) -> None:
        """Delete a manifest by its digest: all its tags are gone with it.

        Does nothing when it is not there.  Raises `RegistryError`,
        `DeleteUnsupportedError`.
        """
        answer = self._delete(repo, str(digest))
        if answer.status == 404 and self._client.exists(repo.with_digest(digest)):
            raise _unsupported(repo, answer, f"{repo.name}@{digest}")

    def delete_tag(self, ref: ImageRef) -> None:
        """Delete a tag alone; what it points to stays.

        Many registries cannot (docker-registry before 3): then `DeleteUnsupportedError`.
        Does nothing when it is not there.  Raises `RegistryError`.
        """
        if ref.tag is None or ref.digest is not None:
            raise ValueError(f"{ref} is not a tag")
        answer = self._delete(ref, ref.tag)
        if self._client.exists(ref):
            raise _unsupported(ref, answer, f"the tag {ref}")

    def _delete(self, repo: ImageRef, reference: str) -> Answer:
        answer = self._client.request("DELETE", repo, f"manifests/{reference}", push=True)
        if answer.status in {400, 405, 501}:
            raise _unsupported(
                repo, answer, f"{repo.name}{'@' if ':' in reference else ':'}{reference}"
            )
        if not answer.ok and answer.status != 404:
            raise self._client.refused(repo, answer, f"the deletion of {reference}")
        return answer

    def _manifest(self, ref: ImageRef, *, push: bool = False) -> Manifest:
        answer = self._client.request(
            "GET", ref, f"manifests/{ref.manifest}", headers=_ACCEPT, push=push
        )
        if not answer.ok:
            raise self._client.refused(ref, answer, str(ref))
        manifest = Manifest.of(answer.body, answer.headers.get("content-type", ""))
        if ref.digest is not None and manifest.digest != ref.digest:
            raise RegistryError(f"{ref.registry} sent {manifest.digest} in place of {ref}")
        return manifest

    def _by_api(
        self, repo: ImageRef, digest: Digest, artifact_type: str | None
    ) -> list[Descriptor] | None:
        """What the referrers API lists; None where there is no such API."""
        path = f"referrers/{digest}"
        if artifact_type:
            path += f"?artifactType={quote(artifact_type, safe='')}"
        found: dict[Digest, Descriptor] = {}
        try:
            for page in self._client.pages(repo, path, "the referrers"):
                kind = page.headers.get("content-type", "").partition(";")[0].strip().lower()
                if kind not in {OCI_INDEX, "application/json"}:
                    return None  # a page for browsers, for example
                for entry in parse_referrers(page.body):
                    one = Descriptor.parse(entry)
                    found[one.digest] = one
        except ManifestError:
            return None
        except RegistryError as error:
            if error.status in _NO_API:
                return None
            raise
        return list(found.values())

    def _by_tag(self, repo: ImageRef, digest: Digest) -> list[Descriptor]:
        """What the fallback list has, each entry asked whether it is true."""
        found = []
        for entry in self._list(repo, digest)[1]:
            one = Descriptor.parse(entry)
            try:
                manifest = self._manifest(repo.with_digest(one.digest))
                if subject_of(manifest) != digest:
                    continue
            except ManifestError:
                continue
            except RegistryError as error:
                if error.status != 404:
                    raise
                continue  # deleted since, and the list was not
            found.append(Descriptor.of_manifest(manifest))
        return found

    def _list(
        self, repo: ImageRef, subject: Digest, *, push: bool = False
    ) -> tuple[bool, tuple[Mapping[str, Any], ...]]:
        """Whether the fallback list may be written, and its entries."""
        try:
            manifest = self._manifest(repo.with_tag(fallback_tag(subject)), push=push)
        except ManifestError:
            return False, ()
        except RegistryError as error:
            if error.status == 404:
                return True, ()
            raise
        if manifest.digest == subject:
            return True, ()  # GitLab takes the tag for the digest itself
        try:
            return True, parse_referrers(manifest.raw)
        except ManifestError:
            return False, ()

    def _enlist(self, repo: ImageRef, subject: Digest, manifest: Manifest) -> None:
        entry = Descriptor.of_manifest(manifest).to_json()
        self._rewrite(repo, subject, lambda entries: (*_without(entries, manifest.digest), entry))

    def _rewrite(
        self,
        repo: ImageRef,
        subject: Digest,
        change: Callable[[tuple[Mapping[str, Any], ...]], tuple[Mapping[str, Any], ...]],
    ) -> None:
        """Change the fallback list, and see after a moment that nobody has undone it.

        A registry has no compare-and-swap.  Who reads before our write and writes after
        it takes our entry out: the pause is longer than that takes, so that we see it.
        """
        ref = repo.with_tag(fallback_tag(subject))
        with _WRITING:
            for attempt in range(_TRIES + 1):
                ours, entries = self._list(repo, subject, push=True)
                if not ours:
                    raise RegistryError(
                        f"{ref} is something else than a list of what belongs to {subject}",
                        hint="the name of this tag is reserved by the OCI distribution "
                        "specification: move what stands there to another tag",
                    )
                wanted = change(entries)
                if len(wanted) == len(entries) and _digests(wanted) == _digests(entries):
                    return
                if attempt < _TRIES:
                    self._client.send_manifest(ref, referrers_index(wanted))
                    self._sleep(_PAUSE * 1.5**attempt)
        raise RegistryError(
            f"{ref} does not keep what is written to it",
            hint="somebody else may write to it at the same time; try again",
        )


def _without(entries: Sequence[Mapping[str, Any]], digest: Digest) -> tuple[Mapping[str, Any], ...]:
    return tuple(entry for entry in entries if entry["digest"] != str(digest))


def _digests(entries: Sequence[Mapping[str, Any]]) -> set[str]:
    return {str(entry["digest"]) for entry in entries}


def _unsupported(repo: ImageRef, answer: Answer, what: str) -> DeleteUnsupportedError:
    return DeleteUnsupportedError(
        f"{repo.registry} does not delete {what} (HTTP {answer.status})",
        status=answer.status,
        hint="of docker-registry: set storage.delete.enabled to true in its configuration, and "
        "restart it; of a hosted registry: look for its own settings of deletion",
    )
