"""The signatures that lie next to an image in its repository: read, checked, added to.

Signing writes one small manifest and two blobs: the image itself is not touched, so its
digest cannot change.
"""

from __future__ import annotations

from dataclasses import dataclass

from bootcfleet.domain.image import Manifest, ManifestError
from bootcfleet.domain.reference import Digest, ImageRef, InvalidReferenceError
from bootcfleet.domain.signature import (
    make_payload,
    payload_problem,
    signature_config,
    signature_manifest,
    signature_tag,
    stored_signatures,
)
from bootcfleet.drivers.registry import RegistryClient, RegistryError
from bootcfleet.drivers.signingkey import PrivateKey, PublicKey

#: More than this nobody looks through.
_MAX_SIGNATURES = 200


@dataclass(frozen=True)
class Verdict:
    """Whether a digest is signed with a key, and if not, why each signature does not count."""

    digest: Digest
    ok: bool
    why: tuple[str, ...] = ()


class Signatures:
    """The signatures in registries.  Safe in several threads."""

    def __init__(self, client: RegistryClient) -> None:
        self._client = client

    def check(
        self, ref: ImageRef, digest: Digest, key: PublicKey, repository: str | None = None
    ) -> Verdict:
        """Whether `digest` in the repository of `ref` is signed with `key`.

        `repository` is the one that it must be signed for, where the image is yet to be
        copied there with its signatures; without it, its own.
        Raises `RegistryError` when the registry cannot be asked; signatures that are
        not readable only do not count.
        """
        why: list[str] = []
        try:
            manifest = self._stored(ref, digest)
            if manifest is None:
                return Verdict(digest, False, ("it has no signature",))
            found = stored_signatures(manifest)[:_MAX_SIGNATURES]
        except (ManifestError, InvalidReferenceError) as error:
            return Verdict(digest, False, (error.message,))
        for one in found:
            try:
                payload = self._client.blob(ref, one.payload)
            except RegistryError as error:
                if error.status != 404:
                    raise
                why.append("the payload of a signature is missing")
                continue
            if not key.signed(payload, one.signature):
                why.append("it is signed with another key")
                continue
            problem = payload_problem(payload, repository or ref.name, digest)
            if problem is None:
                return Verdict(digest, True)
            why.append(f"it is signed, but {problem}")
        return Verdict(digest, False, tuple(dict.fromkeys(why)) or ("it has no signature",))

    def add(
        self, ref: ImageRef, digest: Digest, key: PrivateKey, repository: str | None = None
    ) -> None:
        """Sign `digest` for a repository (its own without one); signatures that are there stay.

        Raises `RegistryError`.
        """
        payload = make_payload(repository or ref.name, digest)
        before = self._stored(ref, digest)
        config = signature_config(before, payload)
        manifest = signature_manifest(before, payload, key.sign(payload), config)
        for blob in (payload, config):
            self._client.put_blob(ref, blob)
        self._client.put_manifest(ref.with_tag(signature_tag(digest)), manifest)

    def _stored(self, ref: ImageRef, digest: Digest) -> Manifest | None:
        tag = ref.with_tag(signature_tag(digest))
        return self._client.manifest(tag) if self._client.exists(tag) else None
