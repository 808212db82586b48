"""Rules about the firewall, containers on the host and registries."""

from __future__ import annotations

import configparser
import json
import re
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from typing import Any

from bootcfleet.domain.lint.model import At, RuleSet, Severity, Subject, decoded
from bootcfleet.domain.lint.placed import PlacedFile

_SET = RuleSet()
RULES = _SET
rule = _SET.add

_NOTES = "field notes image-build §2.2"
_FIREWALLD = re.compile(r"/(etc|usr/lib)/firewalld/(zones|services|policies|ipsets)/[^/]+\.xml")


@rule(
    "BCF601",
    Severity.WARNING,
    "a port is exposed and the firewall does not open it",
    reason="EXPOSE means nothing to a host: firewalld drops what comes in",
    source=f"{_NOTES} (19); firewall-offline-cmd(1)",
    remedy="firewall_services or firewall_ports of the template, or a zone file",
)
def firewall(subject: Subject) -> Iterable[At]:
    """EXPOSE without any firewalld file or firewall-offline-cmd in the image."""
    opened = any(_FIREWALLD.fullmatch(file.path) for file in subject.placed) or any(
        step.name in ("firewall-offline-cmd", "nft") for step in subject.final_steps
    )
    for one in subject.final:
        if one.keyword == "EXPOSE" and not opened:
            yield At(one.line, f"{one.text} stays closed")


@rule(
    "BCF602",
    Severity.ERROR,
    "firewalld file that is not XML",
    reason="firewalld leaves the file out, and the host has another firewall than you think",
    source="firewalld.zone(5), firewalld.service(5)",
    remedy="correct it; firewall-offline-cmd --check-config looks at all of them",
)
def firewall_xml(subject: Subject) -> Iterable[At]:
    """XML that is not well-formed, and other top elements than the folder's."""
    wanted = {"zones": "zone", "services": "service", "policies": "policy", "ipsets": "ipset"}
    for file in subject.placed:
        match = _FIREWALLD.fullmatch(file.path)
        if match is None:
            continue
        try:
            # The files are the user's own, and expat bounds the expansion of entities.
            top = ET.fromstring(file.file.data)  # noqa: S314
        except ET.ParseError as error:
            yield At(error.position[0], str(error), file.source)
            continue
        if top.tag != wanted[match[2]]:
            yield At(1, f"<{top.tag}> in a folder of {match[2]}", file.source)


def _quadlets(
    subject: Subject,
) -> Iterator[tuple[PlacedFile, configparser.RawConfigParser, bool]]:
    """(file, its settings, whether it is linked as a bound image) of each .container and .image."""
    links = " ".join(
        word
        for step in subject.final_steps
        if "bound-images.d" in step.instruction.text
        for word in (*step.command.arguments, step.instruction.text)
    )
    for file in subject.placed:
        found = re.fullmatch(
            r"/(usr/share|etc)/containers/systemd/(?:[^/]+/)*([^/]+\.(container|image))", file.path
        )
        if found is None:
            continue
        parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        try:
            parser.read_string(decoded(file.file) or "")
        except configparser.Error:
            parser = configparser.RawConfigParser()
        pattern = re.search(r"containers/systemd/\*(\.container|\.image)?", links)
        yield file, parser, found[2] in links or pattern is not None


def _value(parser: configparser.RawConfigParser, key: str) -> str | None:
    for section in ("Container", "Image"):
        if parser.has_option(section, key):
            return parser.get(section, key) or ""
    return None


def _line(file: PlacedFile, word: str) -> int:
    text = decoded(file.file) or ""
    return next((n for n, line in enumerate(text.split("\n"), 1) if line.startswith(word)), 1)


@rule(
    "BCF603",
    Severity.ERROR,
    "bound image without a digest",
    reason="bootc pulls whatever the tag is that day; a rollback of the host does not bring the "
    "old one back",
    source=f"bootc documentation, Logically bound images; {_NOTES} (20)",
    remedy="Image=REGISTRY/NAME@sha256:…",
)
def quadlet_digest(subject: Subject) -> Iterable[At]:
    """Image= of bound quadlets."""
    yield from _floating(subject, bound=True)


def _floating(subject: Subject, *, bound: bool) -> Iterable[At]:
    """Image= without a digest; names of other quadlets are no images."""
    for file, parser, linked in _quadlets(subject):
        image = _value(parser, "Image")
        if linked is not bound or image is None or image.endswith((".image", ".build")):
            continue
        if "@sha256:" not in image:
            yield At(_line(file, "Image="), f"{image or 'Image='} has no digest", file.source)


@rule(
    "BCF604",
    Severity.ERROR,
    "bound image that podman does not find",
    reason="bootc pulls it into a store of its own; without that store podman pulls it again, or "
    "fails without a network",
    source=f"bootc documentation, Logically bound images; {_NOTES} (20)",
    remedy="GlobalArgs=--storage-opt=additionalimagestore=/usr/lib/bootc/storage",
)
def bound_store(subject: Subject) -> Iterable[At]:
    """Quadlets that a RUN links into bound-images.d."""
    for file, parser, bound in _quadlets(subject):
        arguments = _value(parser, "GlobalArgs") or ""
        is_container = file.path.endswith(".container")
        if (
            bound
            and is_container
            and "additionalimagestore=/usr/lib/bootc/storage" not in arguments
        ):
            yield At(1, "GlobalArgs= does not name bootc's store", file.source)


@rule(
    "BCF605",
    Severity.WARNING,
    "setting that bootc does not see in a bound image",
    reason="bootc reads only Image= of a bound quadlet: it pulls without the secret, and for the "
    "host's own architecture",
    source=f"bootc documentation, Logically bound images, Limitations; {_NOTES} (20)",
    remedy="put the credentials into /etc/ostree/auth.json, and use an index by digest",
)
def bound_settings(subject: Subject) -> Iterable[At]:
    """PullSecret, AuthFile, Arch, … of bound quadlets."""
    for file, parser, bound in _quadlets(subject):
        for key in ("PullSecret", "AuthFile", "Arch", "OS", "Variant", "Creds"):
            if bound and _value(parser, key) is not None:
                yield At(_line(file, f"{key}="), f"{key}= is not read", file.source)


@rule(
    "BCF606",
    Severity.WARNING,
    "container that is to update itself and cannot",
    reason="podman-auto-update follows a tag; an image by digest never changes",
    source=f"podman-auto-update(1); {_NOTES}, Roles, container host",
    remedy="leave AutoUpdate= out; a new digest comes with a new image of the host",
)
def auto_update(subject: Subject) -> Iterable[At]:
    """AutoUpdate= beside a digest."""
    for file, parser, _ in _quadlets(subject):
        update = _value(parser, "AutoUpdate")
        if update and "@sha256:" in (_value(parser, "Image") or ""):
            yield At(_line(file, "AutoUpdate="), f"AutoUpdate={update} does nothing", file.source)


@rule(
    "BCF607",
    Severity.ERROR,
    "container images in a layer",
    reason="the files of an image that is pulled during a build are broken afterwards: overlay's "
    "whiteouts do not survive in a layer",
    source=f"bootc documentation, Logically bound images; bootc#128; {_NOTES} (20)",
    remedy="a quadlet with a digest, linked in /usr/lib/bootc/bound-images.d",
)
def pulled_images(subject: Subject) -> Iterable[At]:
    """podman pull, load, run and build in a RUN; skopeo copy into containers-storage."""
    for step in subject.final_steps:
        operands = step.command.operands
        if step.name in ("podman", "docker", "buildah", "nerdctl"):
            first = operands[1:2] if operands[:1] == ("image",) else operands[:1]
            if first and first[0] in ("pull", "load", "run", "build", "import", "create", "from"):
                yield At(step.line, f"{step.name} {first[0]} in a RUN")
        if step.name == "skopeo" and any("containers-storage:" in word for word in operands):
            yield At(step.line, "skopeo copy into containers-storage in a RUN")


def _registries(
    subject: Subject,
) -> Iterator[tuple[PlacedFile, dict[str, Any] | None, str, int]]:
    pattern = re.compile(r"/(etc|usr/share)/containers/registries\.conf(\.d/[^/]+\.conf)?")
    for file in subject.placed:
        if pattern.fullmatch(file.path):
            try:
                yield file, tomllib.loads(decoded(file.file) or "\0"), "", 0
            except tomllib.TOMLDecodeError as error:
                at = re.search(r"\(at line (\d+)", str(error))
                yield file, None, str(error), int(at[1]) if at else 1


_LOOPBACK = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?(/.*)?")


@rule(
    "BCF608",
    Severity.WARNING,
    "registry without TLS",
    reason="whoever is on the way can give hosts another image, unless signatures are enforced",
    source=f"containers-registries.conf(5) insecure; {_NOTES} (16)",
    remedy="give the registry a certificate, and its CA by ca_certificates",
)
def insecure(subject: Subject) -> Iterable[At]:
    """``insecure = true`` outside of loopback."""
    for file, body, _, _ in _registries(subject):
        tables = (body or {}).get("registry", [])
        for registry in tables if isinstance(tables, list) else []:
            for one in (registry, *registry.get("mirror", [])):
                location = str(one.get("location") or one.get("prefix") or "")
                if one.get("insecure") is True and not _LOOPBACK.fullmatch(location):
                    line = _line(file, f'location = "{location}"')
                    yield At(line, f"{location} is asked without TLS", file.source)


@rule(
    "BCF609",
    Severity.ERROR,
    "registries.conf that cannot be read",
    reason="podman, skopeo and bootc stop at it: no host pulls anything",
    source="containers-registries.conf(5), version 2",
    remedy='[[registry]] with location = "…", and nothing of the old form [registries.search]',
)
def registries_syntax(subject: Subject) -> Iterable[At]:
    """TOML that is none, and the tables of version 1."""
    for file, body, error, line in _registries(subject):
        if body is None:
            yield At(line, error, file.source)
        elif "registries" in body:
            yield At(_line(file, "[registries"), "[registries.…] is version 1", file.source)
        elif not isinstance(body.get("registry", []), list):
            yield At(_line(file, "[registry]"), "write [[registry]], it is a list", file.source)


@rule(
    "BCF610",
    Severity.WARNING,
    "policy that accepts any image",
    reason="what the registry serves is booted, signed or not",
    source="containers-policy.json(5); containers/container-libs#388; bootc-install-config(5)",
    remedy="default reject, and sigstoreSigned for your own registry (`bootcfleet image policy`)",
)
def policy(subject: Subject) -> Iterable[At]:
    """policy.json with insecureAcceptAnything as its default, or that is no JSON."""
    for file in subject.placed:
        if file.path not in ("/etc/containers/policy.json", "/usr/share/containers/policy.json"):
            continue
        try:
            body = json.loads(decoded(file.file) or "")
            kinds = [one.get("type") for one in body.get("default", [])]
        except (ValueError, AttributeError) as error:
            yield At(1, f"it is not a policy: {error}", file.source)
            continue
        if "insecureAcceptAnything" in kinds:
            yield At(1, "its default is insecureAcceptAnything", file.source)


@rule(
    "BCF611",
    Severity.INFO,
    "container that is not bound to the image",
    reason="the host pulls it by itself at its first start: after an update it may be missing, or "
    "the registry may be away",
    source=f"bootc documentation, Logically bound images; {_NOTES} (20)",
    remedy="RUN ln -s /usr/share/containers/systemd/NAME.container /usr/lib/bootc/bound-images.d/",
)
def unbound(subject: Subject) -> Iterable[At]:
    """Quadlets with an image by digest that no RUN links."""
    for file, parser, bound in _quadlets(subject):
        if not bound and "@sha256:" in (_value(parser, "Image") or ""):
            yield At(1, "nothing links it into bound-images.d", file.source)


@rule(
    "BCF613",
    Severity.WARNING,
    "container without a digest",
    reason="each host starts whatever the tag is when it pulls, and a rollback of the host does "
    "not bring the old one back",
    source=f"podman-systemd.unit(5) Image; {_NOTES} (20)",
    remedy="Image=REGISTRY/NAME@sha256:…; suppress it where podman-auto-update is to follow a tag",
)
def floating_container(subject: Subject) -> Iterable[At]:
    """Image= of quadlets that are not bound."""
    yield from _floating(subject, bound=False)


@rule(
    "BCF612",
    Severity.ERROR,
    "CA certificate that nothing trusts",
    reason="programs read the bundle that update-ca-trust makes out of the anchors, and it is made "
    "once, in the image",
    source=f"update-ca-trust(8); {_NOTES} (16)",
    remedy="RUN update-ca-trust, after the COPY",
)
def ca_trust(subject: Subject) -> Iterable[At]:
    """Files in the anchors' folders without an update-ca-trust after them."""
    runs = [step.line for step in subject.final_steps if step.name == "update-ca-trust"]
    for file in subject.placed:
        anchor = re.match(
            r"/(etc|usr/share)/pki/ca-trust(-source|/source)/(anchors|blocklist)/.", file.path
        )
        if anchor and not any(line > file.line for line in runs):
            yield At(file.line, f"{file.path} is not in the bundle")
