"""The document that ``bootc status`` prints on a simulated host (``org.containers.bootc/v1``)."""

from __future__ import annotations

from typing import Any

from bootcfleet.domain.faults import Fault
from bootcfleet.drivers.simhost import Deployment, Pulled, SimHost


def document(host: SimHost, *, booted: bool) -> dict[str, Any]:
    """The document; without slots where bootc did not boot the system."""
    with host.lock:
        spec = host.staged or host.booted
        layered = _layered(host)
        follows = booted and not (layered and host.staged is None)
        image = _reference(spec)
        return {
            "apiVersion": "org.containers.bootc/v1",
            "kind": "BootcHost",
            "metadata": {"name": "host"},
            "spec": {
                "image": image if follows else None,
                "bootOrder": "rollback" if host.rollback_queued and follows else "default",
            },
            "status": {
                "booted": _booted(host) if booted else None,
                "staged": _entry(host.staged, soft=host.soft_reboot_capable) if booted else None,
                "rollback": _entry(host.rollback, soft=host.soft_reboot_capable)
                if booted
                else None,
                "rollbackQueued": host.rollback_queued and booted,
                "readOnly": False,
                "usrOverlay": {"accessMode": "readWrite", "persistence": "transient"}
                if host.has(Fault.USR_UNLOCKED) and booted
                else None,
                "type": "bootcHost" if booted and not layered else None,
            },
        }


def _layered(host: SimHost) -> bool:
    """Whether rpm-ostree has changed what runs: only what the host began with, before bootc.

    bootc does not represent that as an image, and the host has no type then (its ``status.rs``).
    """
    moved = host.booted.serial or (host.rollback is not None and host.rollback.serial)
    return host.has(Fault.LAYERED_PACKAGES) and not moved


def _booted(host: SimHost) -> dict[str, Any]:
    entry = _entry(host.booted, host.cached_update) or {}
    if _layered(host):
        entry |= {"image": None, "cachedUpdate": None, "incompatible": True}
    return entry | {"pinned": host.has(Fault.PINNED)}


def _entry(
    deployment: Deployment | None, cached: Pulled | None = None, *, soft: bool = False
) -> dict[str, Any] | None:
    if deployment is None:
        return None
    return {
        "image": _image(deployment, deployment.image),
        "cachedUpdate": _image(deployment, cached) if cached else None,
        "incompatible": False,
        "pinned": False,
        "downloadOnly": deployment.download_only,
        "softRebootCapable": soft,
        "store": "ostreeContainer",
        "ostree": {
            "checksum": str(deployment.image.digest).removeprefix("sha256:"),
            "deploySerial": deployment.serial,
            "stateroot": "default",
        },
    }


def _image(deployment: Deployment, image: Pulled) -> dict[str, Any]:
    return {
        "image": _reference(deployment),
        "version": image.version,
        "timestamp": image.created,
        "imageDigest": str(image.digest),
        "architecture": image.architecture,
    }


def _reference(deployment: Deployment) -> dict[str, Any]:
    """An image reference; the signature that bootc asks for by itself is left out (field note)."""
    signature = {"signature": "containerPolicy"} if deployment.enforced else {}
    return {"image": deployment.reference, "transport": deployment.transport, **signature}
