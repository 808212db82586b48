"""Rules about the image of a kickstart."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bootcfleet.domain.kslint.model import (
    LOCAL,
    NOTES,
    TRANSPORTS,
    KickstartRules,
    KickstartSubject,
    references,
    transport,
)
from bootcfleet.domain.lint.model import At, Severity
from bootcfleet.domain.release import Verb

_SET = KickstartRules()
RULES = _SET
rule = _SET.add

_PREFIX = re.compile(rf"(?:{'|'.join(TRANSPORTS)}|ostree-[a-z-]+)(?:://|:)(?![0-9]+/)")
_SOURCES = ("url", "repo", "module", "nfs", "harddrive", "cdrom", "hmc", "nvdimm")
_OTHER_PAYLOADS = ("liveimg", "ostreesetup")


@rule(
    "BKS101",
    Severity.ERROR,
    "transport that does not exist",
    reason="neither Anaconda nor pykickstart looks at it; the installation fails once the disk "
    "is erased",
    source=f"{NOTES}; containers-transports(5)",
    remedy="--transport=registry, or oci for an image on the medium",
)
def transports(subject: KickstartSubject) -> Iterable[At]:
    """--transport of ostreecontainer."""
    for one in subject.parsed.all("ostreecontainer"):
        if transport(one) not in TRANSPORTS:
            yield At(one.line, f"--transport={transport(one)}")


@rule(
    "BKS102",
    Severity.ERROR,
    "--source-imgref without its transport",
    reason="bootc takes it for no image reference at all",
    source=f"{NOTES}; pykickstart, command bootc",
    remedy="--source-imgref=registry:REFERENCE, or oci:/run/install/repo/container",
)
def source_prefix(subject: KickstartSubject) -> Iterable[At]:
    """bootc --source-imgref=quay.io/…"""
    for one in subject.parsed.all("bootc"):
        source = one.value("--source-imgref")
        if source is not None and not _PREFIX.match(source):
            yield At(one.line, f"--source-imgref={source}")


@rule(
    "BKS103",
    Severity.ERROR,
    "reference with a transport where none belongs",
    reason="the installed host looks for a registry of that name, and finds no updates",
    source=f"{NOTES}; pykickstart, commands bootc and ostreecontainer",
    remedy="write the reference alone: registry.example.com/acme/web:prod",
)
def target_prefix(subject: KickstartSubject) -> Iterable[At]:
    """bootc --target-imgref and ostreecontainer --url."""
    for one in subject.payloads:
        option = "--target-imgref" if one.name == "bootc" else "--url"
        given = one.value(option) or ""
        if _PREFIX.match(given):
            yield At(one.line, f"{option}={given}")


@rule(
    "BKS104",
    Severity.ERROR,
    "bootc without --target-imgref",
    reason="pykickstart then takes the source, transport and all, and updates do not work",
    source=f"{NOTES}; pykickstart, command bootc",
    remedy="--target-imgref=REFERENCE, without a transport",
)
def no_target(subject: KickstartSubject) -> Iterable[At]:
    """The option is missing."""
    for one in subject.parsed.all("bootc"):
        if not one.value("--target-imgref"):
            yield At(one.line, "no --target-imgref")


@rule(
    "BKS105",
    Severity.ERROR,
    "more than one payload",
    reason="Anaconda installs one, and which is not said; pykickstart takes two "
    "ostreecontainer without a word",
    source=NOTES,
    remedy="keep one command that names an image",
)
def two_payloads(subject: KickstartSubject) -> Iterable[At]:
    """A second image, or another kind of payload beside it."""
    if not subject.payloads:
        return
    every = subject.parsed.all("ostreecontainer", "bootc", *_OTHER_PAYLOADS)
    for one in every[1:]:
        yield At(one.line, f"{one.name} after {every[0].name} on line {every[0].line}")


@rule(
    "BKS106",
    Severity.ERROR,
    "%packages beside an image",
    reason="an image is not added to: the packages are ignored, or the installation fails",
    source=f"{NOTES}; rhinstaller/anaconda#7136",
    remedy="install the packages in the image",
)
def packages(subject: KickstartSubject) -> Iterable[At]:
    """The section, even an empty one."""
    for one in subject.parsed.sections:
        if one.name == "%packages" and subject.payloads:
            yield At(one.head.line, "%packages")


@rule(
    "BKS107",
    Severity.ERROR,
    "package source beside an image",
    reason="it is the source of another kind of installation, and makes it unclear which is meant",
    source=NOTES,
    remedy="remove it; where the installer itself comes from is inst.stage2= of the boot line",
)
def sources(subject: KickstartSubject) -> Iterable[At]:
    """url, repo, module and where packages lie."""
    if subject.payloads:
        for one in subject.parsed.all(*_SOURCES):
            yield At(one.line, one.name)


@rule(
    "BKS108",
    Severity.ERROR,
    "no image is installed",
    reason="without ostreecontainer or bootc Anaconda installs packages, or asks what to install",
    source=NOTES,
    remedy="ostreecontainer --url=REFERENCE",
)
def no_payload(subject: KickstartSubject) -> Iterable[At]:
    """Neither command is there, and no file is included."""
    if not subject.payloads and not subject.has_includes:
        yield At(subject.parsed.last_line, "neither ostreecontainer nor bootc")


@rule(
    "BKS109",
    Severity.ERROR,
    "reference that means another machine",
    reason="the host follows it for updates: localhost is then the host itself, and a name "
    "without registry is whatever its configuration says",
    source=f"{NOTES}; osbuild/bootc-image-builder#454",
    remedy="push the image to a registry that hosts reach, and name it in full",
)
def local_reference(subject: KickstartSubject) -> Iterable[At]:
    """localhost/…, 127.0.0.1 and short names."""
    for text, line in references(subject):
        if "$" in text or _PREFIX.match(text):
            continue
        registry, slash, _ = text.partition("/")
        host = registry.partition(":")[0]
        if host == "localhost" or host.startswith("127.") or registry.startswith("[::1]"):
            yield At(line, text)
        elif not slash or not ("." in registry or ":" in registry):
            yield At(line, f"{text} does not name its registry")


@rule(
    "BKS110",
    Severity.ERROR,
    "image from the medium, and no switch to a registry",
    reason="the installed host follows a path on a medium that is gone, and gets no updates",
    source=NOTES,
    remedy="%post --erroronfail with `bootc switch --mutate-in-place --transport registry REF`",
)
def no_switch(subject: KickstartSubject) -> Iterable[At]:
    """ostreecontainer of another transport; bootc has --target-imgref."""
    switches = any(
        command.name == "bootc" and "switch" in command.operands
        for _, command, _ in subject.steps(chrooted=True)
    )
    for one in subject.parsed.all("ostreecontainer"):
        if transport(one) in LOCAL and not switches and not subject.has_includes:
            yield At(one.line, f"--transport={transport(one)}")


@rule(
    "BKS111",
    Severity.ERROR,
    "bootc switch that cannot work there",
    reason="only `--mutate-in-place` in a %post inside of the new system changes what it follows; "
    "anywhere else it is the installer's, and without --erroronfail nobody learns that it failed",
    source=f"{NOTES}; osbuild/bootc-image-builder#968, bootc-dev/bootc#931",
    remedy="%post --erroronfail, and bootc switch --mutate-in-place --transport registry REF",
)
def bad_switch(subject: KickstartSubject) -> Iterable[At]:
    """In %pre or --nochroot, without --mutate-in-place, without --erroronfail."""
    for section, command, line in subject.steps():
        if command.name != "bootc" or command.operands[:1] != ("switch",):
            continue
        if not section.chrooted:
            where = "%post --nochroot" if section.name == "%post" else section.name
            yield At(line, f"in {where}")
        elif not command.has("--mutate-in-place"):
            yield At(line, "without --mutate-in-place")
        elif not section.head.has("--erroronfail"):
            yield At(line, "in a %post without --erroronfail")


@rule(
    "BKS112",
    Severity.ERROR,
    "command that media of this release do not know",
    reason="the installer stops at an unknown command, before it has done anything",
    source=f"{NOTES}; rhinstaller/anaconda#6298; pykickstart's handlers",
    remedy="ostreecontainer, which every release with images knows",
)
def unknown_verb(subject: KickstartSubject) -> Iterable[At]:
    """bootc before RHEL 10.2 and Fedora 43."""
    problem = subject.release.verb_problem(Verb.BOOTC)
    for one in subject.parsed.all("bootc"):
        if problem:
            yield At(one.line, problem)


@rule(
    "BKS113",
    Severity.WARNING,
    "command that some media of this release do not know",
    reason="pykickstart's handler has it, and the installer of earlier media does not",
    source=f"{NOTES}; Anaconda's release note on bootc; Fedora Magazine, December 2025",
    remedy="ostreecontainer; or suppress it once the medium was tried",
)
def young_verb(subject: KickstartSubject) -> Iterable[At]:
    """bootc where it is not the default of the release."""
    release = subject.release
    certain = release.default_verb is Verb.BOOTC or release.minor is not None
    for one in subject.parsed.all("bootc"):
        if not certain and release.verb_problem(Verb.BOOTC) is None:
            yield At(one.line, f"bootc on {release}")


@rule(
    "BKS114",
    Severity.ERROR,
    "bootc for what it cannot install",
    reason="Anaconda's bootc has no further mount points, no several disks and no registries with "
    "a login",
    source="Anaconda's release note *Add bootc kickstart command support*",
    remedy="ostreecontainer",
)
def verb_limits(subject: KickstartSubject) -> Iterable[At]:
    """Beside bootc: /var and the like, several disks, an auth.json."""
    if not subject.parsed.all("bootc"):
        return
    for point, one in subject.mounts:
        if point.startswith("/") and point not in ("/", "/boot", "/boot/efi"):
            yield At(one.line, f"{point} is a file system of its own")
    for one in subject.parsed.all("ignoredisk"):
        if "," in (one.value("--only-use") or ""):
            yield At(one.line, "several disks")
    for section in subject.parsed.shells:
        for offset, text in enumerate(section.body, 1):
            if not section.chrooted and "ostree/auth.json" in text and "mnt/sys" not in text:
                yield At(section.head.line + offset, "a login to the registry")


@rule(
    "BKS115",
    Severity.WARNING,
    "reference that does not say what is followed",
    reason="`latest` and a missing tag are whatever was pushed last; a digest never moves, so the "
    "host finds no updates",
    source="field note bootc-on-a-host; bootc documentation, upgrades",
    remedy="name a channel's tag: registry.example.com/acme/web:prod",
)
def floating(subject: KickstartSubject) -> Iterable[At]:
    """:latest, no tag, a digest."""
    for text, line in references(subject):
        last = text.rpartition("/")[2]
        if "$" in text:
            continue
        if "@" in last:
            yield At(line, f"{text} is a digest")
        elif ":" not in last or last.endswith(":latest"):
            yield At(line, text)
