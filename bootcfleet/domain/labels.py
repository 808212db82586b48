"""The labels that a build gives to every image, and the index of one for several platforms.

Facts of the moment (commit, where it was cloned from) are labels that the build
adds, and not lines of the Containerfile: they would build everything anew at
each commit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from bootcfleet.domain.buildid import ID_LABEL, NAME_LABEL, digest_of
from bootcfleet.domain.image import OCI_INDEX, Manifest
from bootcfleet.domain.reference import Platform

_OCI = "org.opencontainers.image."


def image_labels(
    name: str,
    build_id: str,
    base: str,
    *,
    declared: str,
    revision: str | None,
    source: str | None,
    timestamp: int | None,
) -> dict[str, str]:
    """The labels of one image.

    An empty value says "not known here": what an image does not set it inherits,
    and then carries its parent's. `base` is what it is built FROM (a local image id
    is no digest that anybody else could look up), `declared` the base as the project
    names it, `timestamp` (seconds since 1970) the time of a reproducible build.
    """
    created = ""
    if timestamp is not None:
        created = datetime.fromtimestamp(timestamp, UTC).isoformat().replace("+00:00", "Z")
    return {
        ID_LABEL: build_id,
        NAME_LABEL: name,
        f"{_OCI}base.name": declared,
        f"{_OCI}base.digest": digest_of(base) if "@" in base else "",
        f"{_OCI}revision": revision or "",
        f"{_OCI}source": source or "",
        f"{_OCI}url": source or "",
        f"{_OCI}created": created,
    }


def label_instruction(labels: Mapping[str, str]) -> str:
    """One LABEL instruction with all labels; podman commits a layer for each instruction.

    A value is neither expanded nor ended early, whatever is in it; only in a Containerfile
    with ``# escape=`` podman reads quotes and that character in its own ways.
    """
    words = []
    for name, value in labels.items():
        # A line cannot be continued within a value; nothing that is a label needs one.
        flat = " ".join(value.splitlines())
        quoted = re.sub(r'["$\\]', lambda found: f"\\{found[0]}", flat)
        words.append(f'"{name}"="{quoted}"')
    return f"LABEL {' '.join(words)}\n"


def image_index(manifests: Mapping[str, Manifest], annotations: Mapping[str, str]) -> Manifest:
    """The index of the images of several platforms (OCI image specification 1.1).

    Its bytes depend on the manifests and annotations alone.
    """
    entries = []
    for platform, manifest in sorted(manifests.items()):
        parsed = Platform.parse(platform)
        entries.append(
            {
                "mediaType": manifest.media_type,
                "digest": str(manifest.digest),
                "size": len(manifest.raw),
                "platform": {"architecture": parsed.architecture, "os": parsed.os},
            }
        )
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": entries,
        "annotations": dict(sorted(annotations.items())),
    }
    return Manifest.of(json.dumps(body, separators=(",", ":")).encode(), OCI_INDEX)
