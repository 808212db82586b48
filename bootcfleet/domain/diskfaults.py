"""Why a builder failed: what its log says, as one known cause with its remedy.

Sources: the messages in the code of bootc-image-builder @2cc5e958, and the issues of
osbuild/bootc-image-builder (BIB) and osbuild/image-builder (IB) that are named at each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class DiskFault:
    """A known cause: a stable word, what happened, what to do, and where it is discussed."""

    cause: str
    message: str
    remedy: str
    source: str = ""


_LOGIN = "as root: podman login REGISTRY, then build with --pull"

#: In order: what names its cause exactly stands before what many causes share.
_KNOWN: tuple[tuple[str, DiskFault], ...] = (
    (
        r"must be run in rootful \(not rootless\) podman",
        DiskFault(
            "rootless",
            "the builder needs root's podman",
            "run bootcfleet as root, or let sudo run podman without a password",
            "BIB#98",
        ),
    ),
    (
        r"requires a privileged container",
        DiskFault(
            "not-privileged",
            "the container was not privileged: /sys is read-only in it",
            "look for a policy in containers.conf that takes --privileged away",
        ),
    ),
    (
        r"cannot run canary binary|exec format error",
        DiskFault(
            "emulation",
            "programs of the image's architecture do not run here",
            "install qemu-user-static (and binfmt-support), or build on such a machine",
            "BIB#639, BIB#619, BIB#204",
        ),
    ),
    (
        r"could not access container storage",
        DiskFault(
            "storage",
            "the builder does not find root's container storage, which must use overlay",
            'set driver = "overlay" in /etc/containers/storage.conf (podman system reset)',
            "BIB#831, BIB#988",
        ),
    ),
    (
        r"'overlay' is not supported over overlayfs|overlay' over overlayfs",
        DiskFault(
            "overlay-over-overlay",
            "the storage lies on an overlay itself, or is a user's and not root's",
            "put /var/lib/containers/storage on a real file system (a volume)",
            "BIB#943",
        ),
    ),
    (
        r"failed to inspect the image|no longer pulls|image not known",
        DiskFault(
            "no-image",
            "the image is not in root's container storage, and the builder pulls nothing",
            "build with --pull, or with --transfer when it is in your own storage",
            "BIB#831",
        ),
    ),
    (
        r"is not a bootc image",
        DiskFault(
            "not-bootc",
            "the image has no label containers.bootc=1",
            "build it from a bootc base, or add LABEL containers.bootc 1",
        ),
    ),
    (
        r"DEFAULT_ROOT_FS|no default (?:root )?(?:fs|filesystem)|root filesystem type|"
        r"missing rootfs type|rootfs-type",
        DiskFault(
            "no-rootfs",
            "neither the image nor the call says which file system the root has",
            "add --rootfs xfs (or ext4, btrfs)",
            "BIB#419, BIB#746, IB#2380",
        ),
    ),
    (
        r"setfiles|Could not set context|chcon:|lsetxattr.*(?:not permitted|Invalid argument)",
        DiskFault(
            "selinux",
            "files cannot be labelled: SELinux refuses it",
            "install osbuild-selinux on this machine: dnf install osbuild-selinux",
            "BIB#6, BIB#168, IB#2425",
        ),
    ),
    (
        r"no space left on device|ENOSPC|min-free-space-percent.* would be exceeded",
        DiskFault(
            "no-space",
            "there is not enough space in the builder's store, the output, or the disk itself",
            "free space (podman image prune; podman volume prune), or give the disk a greater "
            "size: --size '20 GiB', or disk.minsize in its configuration",
            "IB#2534, BIB#1179",
        ),
    ),
    (
        r"unknown keys found|unknown field|cannot decode|cannot load.*config|"
        r"cannot combine disk and filesystem",
        DiskFault(
            "config",
            "the builder does not understand the configuration",
            "bootcfleet disk lint says where it is wrong",
        ),
    ),
    (
        r"blueprint validation failed",
        DiskFault(
            "config-type",
            "the configuration has something that this type does not support",
            "bootcfleet disk lint says what the type supports",
        ),
    ),
    (
        r"user.*kickstart|kickstart.*(?:conflict|cannot be used|combined)",
        DiskFault(
            "kickstart-users",
            "a kickstart of one's own excludes users and groups in the configuration",
            "create the users in the kickstart",
            "BIB#528",
        ),
    ),
    (
        r"no installer payload bootc ref set",
        DiskFault(
            "installer",
            "bootc-installer needs the image of an installer, too",
            "add --installer REF, a bootc image with Anaconda",
        ),
    ),
    (
        r"could not find def file|no distro def|unsupported distro|no such distro",
        DiskFault(
            "distribution",
            "the builder has no definition for this distribution's installer",
            "make a disk or a bootc-installer, which need none; or use a newer builder",
            "BIB#1061, BIB#1221",
        ),
    ),
    (
        r"Found entry in boot: efi",
        DiskFault(
            "bootc-efi",
            "bootc 1.12 refuses the /boot that this builder prepares",
            "use a newer builder, or bootc install: --backend bootc-install",
            "BIB#1178",
        ),
    ),
    (
        r"min-free-space-percent",
        DiskFault(
            "disk-too-small",
            "the root file system is too small for the image",
            "give the disk's root a minsize of at least twice the image's size",
            "BIB#1179",
        ),
    ),
    (
        r"invalid reference format",
        DiskFault(
            "reference",
            "the image's reference is not understood",
            "write it in full: REGISTRY/PATH/NAME:TAG",
            "BIB#946",
        ),
    ),
    (
        r"logically bound|bound image",
        DiskFault(
            "bound-images",
            "images that are bound to this one cannot be stored in the disk",
            "put them into root's storage first, or use an older bootc-image-builder",
            "IB#2681",
        ),
    ),
    (
        r"subscription|This system is not registered|No available repositor",
        DiskFault(
            "subscription",
            "packages of RHEL are needed, and this machine is not subscribed",
            "subscription-manager register, then build again",
            "BIB#922",
        ),
    ),
    (
        r"error depsolving|DepsolveError|nothing provides|marking packages",
        DiskFault(
            "packages",
            "the installer's packages cannot be resolved",
            "see that the image's repositories can be reached, and that the builder is of its age",
            "IB#2704, BIB#922",
        ),
    ),
    (
        r"NoCredentialProviders|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|"
        r"failed to (?:refresh|retrieve) (?:cached )?credentials",
        DiskFault(
            "aws-credentials",
            "AWS does not accept the credentials",
            "see what is in the --env-file, or in ~/.aws: aws sts get-caller-identity",
        ),
    ),
    (
        r"NoSuchBucket|bucket.*(?:does not exist|not found)|BucketRegionError",
        DiskFault(
            "aws-bucket",
            "the S3 bucket is not in that region",
            "aws s3 mb s3://BUCKET --region REGION",
        ),
    ),
    (
        r"vmimport|service role",
        DiskFault(
            "aws-role",
            "the role vmimport, by which AWS reads the bucket, is missing",
            "create it: https://docs.aws.amazon.com/vm-import/latest/userguide/required-permissions.html",
        ),
    ),
    (
        r"index out of range",
        DiskFault(
            "panic-types",
            "the builder crashed over the order of its types after an upload",
            "build ami alone",
        ),
    ),
    (
        r"losetup: .*failed|failed to set up loop device|Setting up loopback|no free loop",
        DiskFault(
            "loop",
            "there is no free loop device",
            "modprobe loop; losetup --list shows what holds them",
        ),
    ),
    (
        r"unauthorized|authentication required|denied: requested access",
        DiskFault("login", "the registry wants a login", _LOGIN),
    ),
    (
        r"(?:signal: killed|exit status 137|Out of memory)",
        DiskFault(
            "killed",
            "a step was killed, most likely because memory ran out",
            "give the machine more memory (4 GiB are enough for most), or build fewer at once",
        ),
    ),
    (
        r"selinux.*policy|policy.*selinux",
        DiskFault(
            "no-policy",
            "the image has no SELinux policy, and this builder cannot do without",
            "install selinux-policy-targeted in the image",
            "IB#2554",
        ),
    ),
)
_COMPILED = tuple((re.compile(pattern, re.IGNORECASE), fault) for pattern, fault in _KNOWN)

#: podman's own exit codes (podman-run(1)).
_EXITS = {
    125: DiskFault("podman", "podman itself failed", "try what it says it cannot do: podman info"),
    126: DiskFault(
        "not-executable", "the builder's program cannot be executed", "is it a builder's image?"
    ),
    127: DiskFault("no-program", "the builder's program is not there", "is it a builder's image?"),
    137: DiskFault(
        "killed",
        "the builder was killed, most likely because memory ran out",
        "give the machine more memory (4 GiB are enough for most)",
    ),
}


def classify(lines: Iterable[str], exit_code: int) -> DiskFault | None:
    """The cause of a failure, or None for one that is not known.

    The last lines are the nearest to the end, so the cause that is said last counts.
    """
    for line in reversed(list(lines)):
        for pattern, fault in _COMPILED:
            if pattern.search(line):
                return fault
    return _EXITS.get(exit_code)
