"""Rules about a disk of the project as a whole: types, backend, and what belongs together."""

from __future__ import annotations

from collections.abc import Iterable

from bootcfleet.domain.disk_spec import DiskSpec
from bootcfleet.domain.disklint.model import DiskFinding, named
from bootcfleet.domain.disktype import Backend, DiskType, mixed, unsupported
from bootcfleet.domain.document import Document, Path
from bootcfleet.domain.lint.model import Rule, Severity

_MAKES = Rule(
    "DSK801",
    Severity.ERROR,
    "type that the backend does not make",
    "each backend makes types of its own",
    'image-builder: "please consider switching to bootc-installer or use bootc-image-builder"',
    "choose another backend or type (bootcfleet disk backends)",
)
_INSTALLER = Rule(
    "DSK802",
    Severity.ERROR,
    "bootc-installer without an installer",
    "the ISO boots a bootc image with Anaconda in it, and installs the disk's image",
    'bootc-image-builder: "no installer payload bootc ref set"',
    "write installer: with the reference of such an image",
)
_SIZE = Rule(
    "DSK803",
    Severity.WARNING,
    "size that has no effect",
    "bootc-image-builder has no option for the size, and installers have no disk",
    "bootc-image-builder build --help",
    "write config.disk.minsize, or a minsize of a file system",
)
_AMI = Rule(
    "DSK804",
    Severity.ERROR,
    "AMI that this backend does not upload",
    "only bootc-image-builder uploads while it builds",
    "bootc-image-builder: --aws-ami-name, --aws-bucket and --aws-region",
    "use backend: bootc-image-builder, or upload it with `image-builder upload`",
)
_UNUSED = Rule(
    "DSK805",
    Severity.WARNING,
    "key that has no effect",
    "what is made does not use it",
    "docs/disk-config.md",
    "remove it",
)
_RUNS = Rule(
    "DSK806",
    Severity.INFO,
    "types that need more than one run",
    "no builder makes installers or PXE trees together with disks",
    'bootc-image-builder: "cannot mix ISO/disk images"',
    "nothing; the runs are one after the other",
)
_OLD = Rule(
    "DSK807",
    Severity.INFO,
    "anaconda-iso is the older way",
    "its packages come from a distribution that must fit the image; bootc-installer takes "
    "Anaconda from an image",
    'issue osbuild/bootc-image-builder#1221: "historical approach"',
    "look at bootc-installer for new installers",
)

RULES = (_MAKES, _INSTALLER, _SIZE, _AMI, _UNUSED, _RUNS, _OLD)


def lint_spec(document: Document, at: Path, spec: DiskSpec) -> Iterable[DiskFinding]:
    """What does not fit together in the disk at `at` of the project."""

    def found(rule: Rule, key: str, message: str) -> DiskFinding:
        path = (*at, key)
        line = document.line(path)
        return DiskFinding(
            rule.id, rule.severity, document.file, line, path, message, rule.remedy, rule.source
        )

    backend, types = spec.backend, spec.types
    for message in unsupported(types, backend):
        yield found(_MAKES, "types", message)
    if DiskType.BOOTC_INSTALLER in types and spec.installer is None:
        yield found(_INSTALLER, "types", "bootc-installer needs installer")
    if spec.installer is not None and DiskType.BOOTC_INSTALLER not in types:
        yield found(_UNUSED, "installer", "only bootc-installer uses it")
    if spec.size is not None:
        if backend is Backend.BOOTC_IMAGE_BUILDER:
            yield found(_SIZE, "size", "bootc-image-builder cannot be told the size")
        elif not any(one.is_disk for one in types):
            yield found(_SIZE, "size", f"{named(types)} has no disk")
    if spec.ami is not None and backend is not Backend.BOOTC_IMAGE_BUILDER:
        yield found(_AMI, "ami", f"{backend} does not upload AMIs")
    if spec.builder is not None and backend is Backend.BOOTC_INSTALL:
        yield found(_UNUSED, "builder", "bootc-install has no builder")
    if mixed(types):
        yield found(_RUNS, "types", f"{named(types)} are not made by one run")
    if DiskType.ANACONDA_ISO in types:
        yield found(_OLD, "types", "its maintainers call anaconda-iso the historical approach")
