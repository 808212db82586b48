"""A software bill of materials as SPDX 2.3 JSON, from the RPM packages of an image.

Source: SPDX specification 2.3; package-url specification (types ``rpm`` and ``oci``). The same
image makes the same bytes: the time is the image's own, the namespace comes from its digest.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from bootcfleet.domain.package import Package

SPDX_TYPE = "application/spdx+json"
_NONE = "NOASSERTION"
#: What an identifier of SPDX may hold.
_NOT_ID = re.compile(r"[^A-Za-z0-9.-]+")


@dataclass(frozen=True)
class Subject:
    """The image that a document is about.

    `name` is its reference without tag and digest, `digest` that of its manifest, `created`
    the time of its build as its configuration says it (RFC 3339), `distribution` the
    ``ID`` and ``VERSION_ID`` of its os-release (empty where it says none).
    """

    name: str
    digest: str
    created: str | None
    distribution: tuple[str, str] = ("", "")


def document(
    subject: Subject,
    packages: Sequence[Package],
    version: str,
    licenses: Callable[[str], str | None],
) -> bytes:
    """The document's bytes.

    `version` is bootcfleet's own; `licenses` makes a license text of RPM a valid SPDX
    expression, or None. Keys (``gpg-pubkey``) are no software and left out.
    """
    extracted: dict[str, str] = {}
    found = [_package(one, subject, licenses, extracted) for one in packages if not one.is_key]
    found.sort(key=lambda one: str(one["SPDXID"]))
    body: dict[str, Any] = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"{subject.name}@{subject.digest}",
        "documentNamespace": _namespace(subject, version),
        "creationInfo": {
            "created": _time(subject.created),
            "creators": [f"Tool: bootcfleet-{version}"],
        },
        "packages": [_image(subject), *found],
        "relationships": [
            _relation("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Image"),
            *(_relation("SPDXRef-Image", "CONTAINS", str(one["SPDXID"])) for one in found),
        ],
    }
    if extracted:
        body["hasExtractedLicensingInfos"] = [
            {"licenseId": name, "extractedText": text, "name": text}
            for name, text in sorted(extracted.items())
        ]
    return (json.dumps(body, indent=1, ensure_ascii=False) + "\n").encode()


def _namespace(subject: Subject, version: str) -> str:
    """A URI of this document alone: what is in it is decided by the image and our version."""
    name = quote(subject.name, safe="")
    return f"https://spdx.org/spdxdocs/bootcfleet-{version}/{name}/{subject.digest[7:]}"


def _time(created: str | None) -> str:
    """SPDX's only form of a time; 1970 for an image that does not say when it was built."""
    try:
        # Python reads at most six digits of a second, and Go writes nine.
        moment = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", created or ""))
    except ValueError:
        moment = datetime(1970, 1, 1, tzinfo=UTC)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _relation(one: str, kind: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}


def _image(subject: Subject) -> dict[str, Any]:
    last = subject.name.rpartition("/")[2]
    purl = (
        f"pkg:oci/{quote(last, safe='')}@{quote(subject.digest, safe='')}"
        f"?repository_url={quote(subject.name, safe='')}"
    )
    return {
        "SPDXID": "SPDXRef-Image",
        "name": subject.name,
        "versionInfo": subject.digest,
        "downloadLocation": _NONE,
        "filesAnalyzed": False,
        "licenseConcluded": _NONE,
        "licenseDeclared": _NONE,
        "copyrightText": _NONE,
        "primaryPackagePurpose": "OPERATING-SYSTEM",
        "checksums": [{"algorithm": "SHA256", "checksumValue": subject.digest[7:]}],
        "externalRefs": [_purl(purl)],
    }


def _purl(text: str) -> dict[str, str]:
    return {
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": text,
    }


def _package(
    one: Package,
    subject: Subject,
    licenses: Callable[[str], str | None],
    extracted: dict[str, str],
) -> dict[str, Any]:
    declared = licenses(one.license) if one.license else None
    if declared is None and one.license:
        declared = f"LicenseRef-rpm-{_short(one.license)}"
        extracted[declared] = one.license
    body: dict[str, Any] = {
        "SPDXID": f"SPDXRef-rpm-{_NOT_ID.sub('-', one.name)}-{_short(one.nevra)}",
        "name": one.name,
        "versionInfo": str(one.evr),
        "supplier": f"Organization: {one.vendor}" if one.vendor else _NONE,
        "downloadLocation": _NONE,
        "filesAnalyzed": False,
        "licenseConcluded": _NONE,
        "licenseDeclared": declared or _NONE,
        "copyrightText": _NONE,
        "externalRefs": [_purl(package_url(one, subject.distribution))],
    }
    if one.summary:
        body["summary"] = one.summary
    if re.fullmatch(r"https?://[A-Za-z0-9.-]+(?::\d+)?(?:/[!-~]*)?", one.url):
        body["homepage"] = one.url
    if one.source:
        body["sourceInfo"] = f"built from {one.source}"
    if one.sha256:
        # Not a checksum of SPDX, which is of the package's file: the database has none of it.
        body["comment"] = f"SHA-256 of the RPM header: {one.sha256}"
    return body


def package_url(one: Package, distribution: tuple[str, str]) -> str:
    """The purl of an installed package, as scanners of vulnerabilities look it up."""
    name, release = distribution
    namespace = f"{quote(name.lower(), safe='')}/" if name else ""
    version = quote(f"{one.evr.version}-{one.evr.release}", safe="")
    wanted: Mapping[str, str] = {
        "arch": one.arch,
        "distro": f"{name}-{release}" if name and release else "",
        "epoch": str(one.evr.epoch) if one.evr.epoch else "",
        "upstream": one.source,
    }
    qualifiers = "&".join(f"{key}={quote(text, safe=':')}" for key, text in wanted.items() if text)
    return f"pkg:rpm/{namespace}{quote(one.name, safe='')}@{version}" + (
        f"?{qualifiers}" if qualifiers else ""
    )


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


def package_count(raw: bytes) -> int | None:
    """How many packages an SPDX JSON document lists besides what it describes; None for none."""
    try:
        body = json.loads(raw)
        listed = body["packages"]
        if not str(body["spdxVersion"]).startswith("SPDX-2"):
            return None
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return max(0, len(listed) - 1) if isinstance(listed, list) else None


def os_release(data: bytes | None) -> tuple[str, str]:
    """``ID`` and ``VERSION_ID`` of an os-release file; empty where it does not say them."""
    found = {"ID": "", "VERSION_ID": ""}
    for line in (data or b"").decode("utf-8", "replace").splitlines():
        key, _, value = line.partition("=")
        if key.strip() in found:
            found[key.strip()] = value.strip().strip("'\"")
    return found["ID"], found["VERSION_ID"]
