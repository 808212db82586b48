"""Revocations in the ledger and in registries: who may use an image, and who may not any more."""

from __future__ import annotations

from collections.abc import Iterable

from bootcfleet.domain.lineage import Entries, Lineage
from bootcfleet.domain.reference import Digest, ImageRef
from bootcfleet.domain.revocation import (
    ARTIFACT_TYPE,
    RESTORE,
    REVOKE,
    Notice,
    Revocations,
    Revoked,
)
from bootcfleet.drivers.registryartifact import Artifacts
from bootcfleet.errors import FleetError

__all__ = [
    "Revocations",
    "Revoked",
    "load_revocations",
    "notice_places",
    "read_notices",
    "with_registry",
]


def load_revocations(ledger: Entries) -> Revocations:
    """What the ledger has revoked and not restored.  Raises `FleetError`."""
    return Revocations.of([*ledger.entries(action=REVOKE), *ledger.entries(action=RESTORE)])


def with_registry(
    revocations: Revocations, artifacts: Artifacts, images: Iterable[ImageRef]
) -> Revocations:
    """With what registries say of `images` (by digest): another ledger may have revoked one.

    Asks for the referrers of each.  Raises `FleetError` when a registry does not answer:
    who cannot know must not say that all is well.
    """
    notices: list[Notice] = []
    for image in images:
        notices += read_notices(artifacts, image)
    return revocations.noticed(notices)


def notice_places(image: ImageRef, lineage: Lineage) -> list[ImageRef]:
    """Where a notice may be that concerns an image (by digest): at it, and at what it stands on.

    Only in the image's own registry: whether a foreign one answers must not decide about
    a promotion.
    """
    found = [image]
    for one in lineage.ancestors(str(image.digest)):
        repository = lineage.repository(one)
        if repository is not None:
            ref = ImageRef.parse(repository)
            if ref.registry == image.registry:
                found.append(ref.with_digest(Digest(one)))
    return found


def read_notices(artifacts: Artifacts, image: ImageRef) -> list[Notice]:
    """The revocations and restorations attached to a digest.  Raises `FleetError`."""
    if image.digest is None:
        raise ValueError(f"{image} has no digest")
    found = []
    for one in artifacts.referrers(image, image.digest, ARTIFACT_TYPE):
        _, layers = artifacts.fetch(image.with_digest(one.digest))
        notice = Notice.parse(layers[0]) if layers else None
        if notice is None or notice.digest != str(image.digest):
            raise FleetError(
                f"{image} has a revocation that cannot be read ({one.digest})",
                hint=f"look at it: skopeo inspect --raw docker://{image.name}@{one.digest}",
            )
        found.append(notice)
    return found
