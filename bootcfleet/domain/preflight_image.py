"""Rules of a preflight about what the host is to become: can it get it, and what is lost."""

from __future__ import annotations

from bootcfleet.domain.download import human
from bootcfleet.domain.hostpolicy import ANYTHING, REJECT
from bootcfleet.domain.osrelease import OsRelease
from bootcfleet.domain.preflight_case import (
    Case,
    Finding,
    Found,
    Severity,
    entry_title,
    renames,
)
from bootcfleet.domain.reference import InvalidReferenceError, Platform
from bootcfleet.domain.rollout import Operation
from bootcfleet.errors import HostFault


def follows(case: Case) -> Found:
    """What an upgrade would follow."""
    planned, status = case.planned, case.truth.status
    if planned.operation is not Operation.UPGRADE or planned.reference is not None or not status:
        return
    # bootc goes on from what is staged.
    entry = status.staged or status.booted
    if entry is None or entry.incompatible or not status.booted_by_bootc:
        return
    if entry.ref is not None and entry.ref.pinned:
        yield Finding(
            "follows",
            Severity.REFUSE,
            f"is pinned by digest ({entry.reference}), so an upgrade never finds anything",
            "use `bootcfleet fleet switch IMAGE`",
            HostFault.WRONG_DIGEST,
        )
    else:
        yield Finding(
            "follows",
            Severity.REFUSE,
            f"follows {entry.transport or 'no image'}:{entry.reference or ''}, which is not in "
            "a registry",
            "use `bootcfleet fleet switch IMAGE`",
            HostFault.REGISTRY,
        )


def platform(case: Case) -> Found:
    """An image for the host's architecture."""
    planned = case.planned
    booted, image = case.booted, planned.resolved
    if image is None or not image.platforms or booted is None or booted.architecture is None:
        return
    try:
        own = Platform.parse(booted.architecture)
    except InvalidReferenceError:
        own = None
    if own not in image.platforms:
        offers = ", ".join(sorted(str(platform) for platform in image.platforms))
        yield Finding(
            "platform",
            Severity.REFUSE,
            f"is {booted.architecture} and {planned.reference} has no image for it (it has "
            f"{offers})",
            "build it for that platform too: platforms: in bootcfleet.yaml",
            HostFault.IMAGE_NOT_FOUND,
        )


def space(case: Case) -> Found:
    """Room for the download, without what ostree keeps free."""
    planned = case.planned
    space = case.truth.space
    if not planned.pulls or space is None or case.staged_already:
        return
    need = planned.download if planned.exact else None
    if space.usable == 0 or (need is not None and space.usable < need):
        needs = f", and the update is {human(planned.download)}" if planned.download else ""
        yield Finding(
            "space",
            Severity.REFUSE,
            f"has {human(space.usable)} free for updates{needs}",
            "look at `df -h /sysroot /var` there; ostree keeps "
            f"{human(space.reserved)} free; remove old images and pinned deployments",
            HostFault.NO_SPACE,
        )
    elif planned.download is not None and space.usable < planned.download * case.limits.unpacked:
        yield Finding(
            "space",
            Severity.WARN,
            f"has {human(space.usable)} free for updates, which {human(planned.download)} of "
            "layers may fill once they are unpacked",
            "look at `df -h /sysroot /var` there",
        )


def registry(case: Case) -> Found:
    """The registry, as the host itself sees it."""
    planned = case.planned
    said = case.truth.registry
    if not planned.pulls or said is None or case.staged_already:
        return
    if said.ok is None:
        yield Finding(
            "registry",
            Severity.WARN,
            f"could not ask its registry for {said.reference}: {said.message}",
        )
    elif not said.ok:
        # A registry that answers "not now" says nothing about the host, and it may be tried again.
        severity = Severity.WARN if said.passing else Severity.REFUSE
        yield Finding(
            "registry",
            severity,
            f"cannot get {said.reference}: {said.message}",
            said.hint,
            (said.fault or HostFault.REGISTRY) if severity is Severity.REFUSE else None,
        )
    elif said.digest and planned.resolved and not planned.resolved.accepts(said.digest):
        yield Finding(
            "registry",
            Severity.REFUSE,
            f"gets {said.digest[:19]} for {said.reference}, and {planned.resolved.digest.short} "
            "is planned",
            "look at mirrors in /etc/containers/registries.conf.d there; a tag that has just been "
            "moved needs another look",
            HostFault.WRONG_DIGEST,
        )


def policy(case: Case) -> Found:
    """The host's signature policy."""
    planned = case.planned
    if not planned.pulls or planned.reference is None or case.truth.policy is None:
        return
    verdict = case.truth.policy.of(planned.reference)
    if verdict == REJECT:
        yield Finding(
            "signature-policy",
            Severity.REFUSE,
            f"has a policy.json that rejects {planned.reference}",
            "name the repository in /etc/containers/policy.json there, or: bootcfleet image trust",
            HostFault.UNTRUSTED,
        )
    elif verdict == ANYTHING and planned.signed:
        yield Finding(
            "signature-policy",
            Severity.WARN,
            "takes the image without a signature, and the project signs its images",
            "build the policy into the image: bootcfleet image trust",
        )


def staged(case: Case) -> Found:
    """What waits for a reboot already."""
    planned = case.planned
    status = case.truth.status
    if status is None or planned.operation is Operation.REBOOT:
        return
    staged = status.staged
    booted = case.booted.digest if case.booted else None
    # Then bootc finds nothing to stage, and leaves what waits.
    current = bool(
        planned.pulls
        and booted is not None
        and planned.resolved
        and planned.resolved.accepts(booted)
        and not renames(planned.operation, status, planned.reference)
    )
    if staged is not None and not case.staged_already:
        by = f" (staged {case.truth.staged_by.title})" if case.truth.staged_by.title else ""
        back = planned.operation is Operation.ROLLBACK
        what = f"has {entry_title(staged)} staged{by}, which"
        if current and status.rollback is None:
            yield Finding(
                "staged",
                Severity.REFUSE,
                f"runs already what is planned, and {what} bootc cannot drop without a rollback "
                "deployment",
                "drop it there: ostree admin undeploy 0",
                HostFault.WRONG_DIGEST,
            )
        else:
            yield Finding(
                "staged",
                Severity.CONFIRM if back else Severity.WARN,
                f"{what} is {'discarded' if back or current else 'replaced'}",
            )
    if not status.rollback_queued or not planned.pulls:
        return
    if current:
        yield Finding(
            "staged",
            Severity.REFUSE,
            "runs already what is planned, and has a rollback queued for its next boot",
            f"undo that by `bootc rollback` there, or carry it out: bootcfleet fleet rollback "
            f"{case.truth.host}",
            HostFault.WRONG_DIGEST,
        )
    else:
        yield Finding("staged", Severity.WARN, "has a rollback queued, which the update undoes")


def bound(case: Case) -> Found:
    """Logically bound images are pulled with an update, and no manifest lists them."""
    planned = case.planned
    count = len(case.truth.bound_images)
    if planned.pulls and count:
        yield Finding(
            "bound-images",
            Severity.WARN,
            f"has {count} logically bound image{'s' if count > 1 else ''}: what the update binds "
            "is pulled with it, and not counted here",
        )


def release(case: Case) -> Found:
    """Another major release of the operating system."""
    planned = case.planned
    new = planned.release
    old = OsRelease(case.truth.os_id or "", case.truth.os_version or "", case.truth.kernel or "")
    if new is None or planned.operation is Operation.REBOOT:
        return
    if jump := old.jump(new):
        yield Finding(
            "major-release",
            Severity.CONFIRM,
            f"goes from {jump[0]} to {jump[1]}: another major release",
            "read its release notes; rehearse with one host first",
        )
