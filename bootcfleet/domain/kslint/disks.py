"""Rules about disks, partitions and the boot loader."""

from __future__ import annotations

from collections.abc import Iterable

from bootcfleet.domain.kslint.model import NOTES, KickstartRules, KickstartSubject
from bootcfleet.domain.lint.model import At, Severity

_SET = KickstartRules()
RULES = _SET
rule = _SET.add

_PARTITIONING = ("autopart", "part", "partition", "logvol", "raid", "btrfs", "mount")
_DOCS = "pykickstart's documentation"
#: Folders that are the host's in an image's system; everything else is the image's.
_OURS = ("/boot", "/boot/efi", "/var")


@rule(
    "BKS201",
    Severity.ERROR,
    "disks are wiped without being named",
    reason="clearpart --all takes every disk that the installer sees: data disks, a SAN, the "
    "USB stick",
    source=f"{_DOCS}, clearpart; osbuild/bootc-image-builder#898",
    remedy="clearpart --all --drives=nvme0n1, and ignoredisk --only-use=nvme0n1",
)
def wipe(subject: KickstartSubject) -> Iterable[At]:
    """clearpart --all or --linux without --drives, where ignoredisk names none either."""
    named = any(one.has("--only-use") for one in subject.parsed.all("ignoredisk"))
    for one in subject.parsed.all("clearpart"):
        if one.has("--all", "--linux") and not one.has("--drives") and not named:
            yield At(one.line, " ".join(("clearpart", *one.words)))


@rule(
    "BKS202",
    Severity.WARNING,
    "disks that are not named",
    reason="Anaconda chooses among all disks, and that choice differs from machine to machine",
    source=f"{_DOCS}, ignoredisk",
    remedy="ignoredisk --only-use=nvme0n1",
)
def any_disk(subject: KickstartSubject) -> Iterable[At]:
    """autopart, or part without --ondisk, and no ignoredisk --only-use."""
    if (
        any(one.has("--only-use") for one in subject.parsed.all("ignoredisk"))
        or subject.has_includes
    ):
        return
    for one in subject.parsed.all("autopart", "part", "partition"):
        if not one.has("--ondisk", "--ondrive", "--onpart", "--usepart"):
            yield At(one.line, f"{one.name} on any disk")


@rule(
    "BKS203",
    Severity.ERROR,
    "no partitioning",
    reason="an unattended installation stops and asks",
    source=NOTES,
    remedy="reqpart --add-boot and part / --fstype=xfs --size=10240 --grow --ondisk=…",
)
def no_partitioning(subject: KickstartSubject) -> Iterable[At]:
    """Neither autopart nor part nor anything like it."""
    if not subject.parsed.all(*_PARTITIONING) and not subject.has_includes:
        yield At(subject.parsed.last_line, "no autopart, part, logvol or mount")


@rule(
    "BKS204",
    Severity.ERROR,
    "no root file system",
    reason="the installer stops: there is nowhere to put the image",
    source=f"{_DOCS}, part",
    remedy="part / --fstype=xfs --size=10240 --grow",
)
def no_root(subject: KickstartSubject) -> Iterable[At]:
    """Partitions are made, and none for /."""
    made = subject.parsed.all(*_PARTITIONING)
    whole = any(one.name == "autopart" for one in made) or subject.has_includes
    if made and not whole and not any(point == "/" for point, _ in subject.mounts):
        yield At(made[-1].line, "nothing is made for /")


@rule(
    "BKS205",
    Severity.ERROR,
    "btrfs on RHEL",
    reason="the installers of RHEL and CentOS Stream 9 and 10 make none, and their kernels read "
    "none",
    source=f"{NOTES} (autopart --type=btrfs is rejected)",
    remedy="xfs or ext4",
)
def btrfs(subject: KickstartSubject) -> Iterable[At]:
    """autopart --type, --fstype, the command btrfs."""
    if not subject.release.enterprise or subject.release.major >= 11:
        return
    for one in subject.parsed.all(*_PARTITIONING):
        if one.name == "btrfs" or "btrfs" in (one.value("--type"), one.value("--fstype")):
            yield At(one.line, f"btrfs on {subject.release}")


@rule(
    "BKS206",
    Severity.ERROR,
    "file system mounted over the image",
    reason="everything but /var and /boot is the image's: what is mounted there hides its files, "
    "or is not mounted at all (/home is a link to /var/home)",
    source="bootc documentation, Filesystem; Fedora bootc documentation, Filesystem layout",
    remedy="mount it below /var: /var/home, /var/lib/containers",
)
def over_image(subject: KickstartSubject) -> Iterable[At]:
    """/usr, /etc, /opt, /home, /srv, /tmp, …"""
    for point, one in subject.mounts:
        if point.startswith("/") and point != "/":
            inside = point.rstrip("/") in _OURS or point.startswith("/var/")
            if not inside:
                yield At(one.line, point)


@rule(
    "BKS207",
    Severity.WARNING,
    "no boot loader is asked for",
    reason="which disk gets it is then left to the installer, and no kernel arguments are given",
    source=f"{NOTES}; {_DOCS}, bootloader",
    remedy="bootloader --boot-drive=nvme0n1",
)
def no_bootloader(subject: KickstartSubject) -> Iterable[At]:
    """The command is missing."""
    if not subject.parsed.all("bootloader") and not subject.has_includes:
        yield At(subject.parsed.last_line, "no bootloader")


@rule(
    "BKS208",
    Severity.ERROR,
    "no boot loader is installed",
    reason="the machine does not boot from this disk",
    source=f"{_DOCS}, bootloader",
    remedy="bootloader --boot-drive=nvme0n1, without --location=none or --disabled",
)
def disabled_bootloader(subject: KickstartSubject) -> Iterable[At]:
    """--location=none, --disabled."""
    for one in subject.parsed.all("bootloader"):
        if one.has("--disabled") or one.value("--location") == "none":
            yield At(one.line, " ".join(("bootloader", *one.words)))


@rule(
    "BKS209",
    Severity.WARNING,
    "disks that hold something unknown are not initialised",
    reason="an unattended installation stops at a disk whose partition table it cannot read",
    source=f"{_DOCS}, zerombr",
    remedy="zerombr",
)
def no_zerombr(subject: KickstartSubject) -> Iterable[At]:
    """clearpart without zerombr."""
    if not subject.parsed.all("zerombr") and not subject.has_includes:
        for one in subject.parsed.all("clearpart")[:1]:
            if one.has("--all", "--initlabel"):
                yield At(one.line, "clearpart without zerombr")


@rule(
    "BKS210",
    Severity.ERROR,
    "/boot that no boot loader reads",
    reason="the boot loader of an image's system reads /boot itself: not on LVM, not encrypted",
    source="field note disk-images-and-kickstart §1b (/boot never on LVM)",
    remedy="reqpart --add-boot, or part /boot --fstype=ext4 --size=1024",
)
def boot_volume(subject: KickstartSubject) -> Iterable[At]:
    """logvol /boot, part /boot --encrypted."""
    for point, one in subject.mounts:
        if point == "/boot" and (one.name == "logvol" or one.has("--encrypted")):
            yield At(one.line, "on LVM" if one.name == "logvol" else "encrypted")
