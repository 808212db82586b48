"""What makes a host refuse unsigned images: ``policy.json`` and a file for ``registries.d``.

Source: containers-policy.json(5), containers-registries.d(5); bootc's store refuses
``--enforce-container-sigpolicy`` where the default is ``insecureAcceptAnything``, so the
default here is ``reject``, as containers-policy.json(5) recommends.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

#: Anything of these is on the host already, or is carried to it by hand: what was pulled or
#: built there, `bootc install`, and updates on a disk (bootc switch --transport oci).
LOCAL_TRANSPORTS = (
    "containers-storage",
    "dir",
    "docker-archive",
    "docker-daemon",
    "oci",
    "oci-archive",
)
#: Red Hat's registries with the key that RHEL's own policy.json names for them.
_RED_HAT = ("registry.access.redhat.com", "registry.redhat.io")
_RED_HAT_KEY = "/etc/pki/rpm-gpg/RPM-GPG-KEY-redhat-release"
#: Stands for every registry that is not named.
ANYWHERE = "*"

_ACCEPT: list[dict[str, Any]] = [{"type": "insecureAcceptAnything"}]


def key_file(name: str) -> str:
    """Where the public key of a project lies on its hosts."""
    return f"/etc/pki/containers/{name}.pub"


def signature_policy(accept: Iterable[str], scopes: Iterable[str], key: str, base: str = "") -> str:
    """``policy.json``: images below `scopes` need a signature of the key in the file `key`.

    `accept` are scopes (registries, repositories; ``*`` for all others) that are taken
    without a signature; everything else is rejected. On a base from Red Hat its
    registries keep their own key. The signed identity is the repository, so that a
    channel may move to any digest that was signed for it.
    """
    wanted: dict[str, list[dict[str, Any]]] = {}
    if base.startswith(tuple(f"{registry}/" for registry in _RED_HAT)):
        signed = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": _RED_HAT_KEY}
        wanted |= {registry: [signed] for registry in _RED_HAT}
    wanted |= {"" if one == ANYWHERE else one: _ACCEPT for one in accept}
    own = {"type": "sigstoreSigned", "keyPath": key, "signedIdentity": {"type": "matchRepository"}}
    wanted |= {scope: [own] for scope in scopes}
    local = {transport: {"": _ACCEPT} for transport in LOCAL_TRANSPORTS}
    body = {
        "default": [{"type": "reject"}],
        "transports": {"docker": dict(sorted(wanted.items())), **local},
    }
    return json.dumps(body, indent=4) + "\n"


def sigstore_attachments(scopes: Iterable[str]) -> str:
    """A file for ``registries.d``: signatures of images below `scopes` lie beside them."""
    lines = ["docker:"]
    for scope in dict.fromkeys(scopes):
        # JSON's quotes are YAML's: a port would make a plain key a mapping.
        lines += [f"  {json.dumps(scope)}:", "    use-sigstore-attachments: true"]
    return "\n".join(lines) + "\n"
