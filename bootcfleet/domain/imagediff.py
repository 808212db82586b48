"""What differs between two images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bootcfleet.domain.download import Download
from bootcfleet.domain.imagefacts import ImageFacts
from bootcfleet.domain.imagetree import Entry
from bootcfleet.domain.package import Package


@dataclass(frozen=True)
class PackageChange:
    """A package in both images, as it was and as it is."""

    before: Package
    after: Package


@dataclass(frozen=True)
class PackageDiff:
    """The packages that differ; `rebuilt` have the same version and are not the same."""

    added: tuple[Package, ...] = ()
    removed: tuple[Package, ...] = ()
    upgraded: tuple[PackageChange, ...] = ()
    downgraded: tuple[PackageChange, ...] = ()
    rebuilt: tuple[PackageChange, ...] = ()

    @property
    def touched(self) -> frozenset[str]:
        """The names of all packages that are in here."""
        both = self.upgraded + self.downgraded + self.rebuilt
        changed = {change.after.name for change in both}
        return frozenset(changed | {one.name for one in self.added + self.removed})

    def __bool__(self) -> bool:
        return bool(self.touched)


@dataclass(frozen=True)
class FileChange:
    """A path that differs; `what` says in which ways (type, content, mode, owner, link, …).

    `package` is the name of the package that owns it, empty when none does.
    """

    path: str
    before: Entry | None
    after: Entry | None
    what: tuple[str, ...] = ()
    package: str = ""


@dataclass(frozen=True)
class FileDiff:
    """The paths that differ, in order."""

    added: tuple[FileChange, ...] = ()
    removed: tuple[FileChange, ...] = ()
    changed: tuple[FileChange, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def own(self, packages: Iterable[str]) -> FileDiff:
        """Without the files of `packages`: their own change says enough about them."""
        hidden = frozenset(packages)

        def rest(changes: tuple[FileChange, ...]) -> tuple[FileChange, ...]:
            return tuple(one for one in changes if one.package not in hidden or not one.package)

        return FileDiff(rest(self.added), rest(self.removed), rest(self.changed))

    def __len__(self) -> int:
        return len(self.added) + len(self.removed) + len(self.changed)


@dataclass(frozen=True)
class FactDiff:
    """Names with a text: what came, what went, and what has another text now."""

    added: Mapping[str, str] = field(default_factory=dict)
    removed: Mapping[str, str] = field(default_factory=dict)
    changed: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def to_json(self) -> dict[str, Any]:
        """The difference as JSON-ready data."""
        return {
            "added": dict(self.added),
            "removed": dict(self.removed),
            "changed": {
                name: {"before": before, "after": after}
                for name, (before, after) in self.changed.items()
            },
        }


#: The sections that are names with texts, in the order in which they are shown.
FACTS = ("units", "users", "groups", "ports", "kargs", "labels")


@dataclass(frozen=True)
class ContentDiff:
    """All that differs inside of two images; `facts` by the names in `FACTS`."""

    packages: PackageDiff
    files: FileDiff
    facts: Mapping[str, FactDiff]

    def __bool__(self) -> bool:
        return bool(self.packages or self.files or any(self.facts.values()))


@dataclass(frozen=True)
class ImageDiff:
    """Two images by name and digest.

    `download` is what a host on A fetches to get B (None where one is not in a registry),
    `content` what differs inside (None where only sizes were asked for), `fleet` what the
    fleet would fetch.
    """

    a: str
    b: str
    a_digest: str
    b_digest: str
    download: Download | None
    content: ContentDiff | None
    fleet: FleetDownload | None = None


@dataclass(frozen=True)
class HostDownload:
    """What one host fetches to get B: bytes, or why that cannot be told."""

    host: str
    digest: str | None
    bytes: int | None
    why: str = ""


@dataclass(frozen=True)
class FleetDownload:
    """What the hosts of a fleet fetch: those on A, on B already, and on something else."""

    on_a: tuple[HostDownload, ...]
    on_b: tuple[HostDownload, ...]
    elsewhere: tuple[HostDownload, ...]
    unknown: tuple[HostDownload, ...]

    @property
    def bytes(self) -> int:
        """What all hosts together fetch, as far as it is known."""
        return sum(one.bytes or 0 for one in self.on_a + self.elsewhere)


def diff_facts(before: Mapping[str, str], after: Mapping[str, str]) -> FactDiff:
    """Compare names with texts."""
    return FactDiff(
        {name: after[name] for name in sorted(after.keys() - before.keys())},
        {name: before[name] for name in sorted(before.keys() - after.keys())},
        {
            name: (before[name], after[name])
            for name in sorted(before.keys() & after.keys())
            if before[name] != after[name]
        },
    )


def diff_packages(before: Iterable[Package], after: Iterable[Package]) -> PackageDiff:
    """Compare packages by name and architecture; several versions of one may be installed."""
    old, new = _by_name(before), _by_name(after)
    added: list[Package] = []
    removed: list[Package] = []
    up: list[PackageChange] = []
    down: list[PackageChange] = []
    same: list[PackageChange] = []
    for key in sorted(old.keys() | new.keys()):
        left, right = dict(old.get(key, {})), dict(new.get(key, {}))
        for evr in left.keys() & right.keys():
            if left[evr].sha256 != right[evr].sha256:
                same.append(PackageChange(left[evr], right[evr]))
        gone = [left[evr] for evr in sorted(left.keys() - right.keys())]
        came = [right[evr] for evr in sorted(right.keys() - left.keys())]
        # With several at once, the newest took the place of the newest.
        while gone and came:
            change = PackageChange(gone.pop(), came.pop())
            order = change.after.evr.compare(change.before.evr)
            (up if order > 0 else down if order < 0 else same).append(change)
        removed += gone
        added += came
    return PackageDiff(tuple(added), tuple(removed), tuple(up), tuple(down), tuple(same))


def _by_name(packages: Iterable[Package]) -> dict[tuple[str, str], dict[Any, Package]]:
    found: dict[tuple[str, str], dict[Any, Package]] = {}
    for one in packages:
        found.setdefault((one.name, one.arch), {})[one.evr] = one
    return found


def diff_files(a: ImageFacts, b: ImageFacts) -> FileDiff:
    """Compare the files of two images: type, content, mode, owner, link, capabilities."""
    old, new = a.files, b.files
    added = [
        FileChange(path, None, new[path], (), b.owners.get(path, ""))
        for path in sorted(new.keys() - old.keys())
    ]
    removed = [
        FileChange(path, old[path], None, (), a.owners.get(path, ""))
        for path in sorted(old.keys() - new.keys())
    ]
    changed = []
    for path in sorted(old.keys() & new.keys()):
        what = _differences(old[path], new[path])
        if what:
            owner = b.owners.get(path, "") or a.owners.get(path, "")
            changed.append(FileChange(path, old[path], new[path], what, owner))
    return FileDiff(tuple(added), tuple(removed), tuple(changed))


def _differences(a: Entry, b: Entry) -> tuple[str, ...]:
    if a.kind is not b.kind:
        return ("type",)
    pairs = {
        "content": (a.sha256, b.sha256),
        "mode": (a.mode, b.mode),
        "owner": ((a.uid, a.gid), (b.uid, b.gid)),
        "link": (a.link, b.link),
        "capabilities": (a.capability, b.capability),
    }
    return tuple(name for name, (one, two) in pairs.items() if one != two)


def diff_content(a: ImageFacts, b: ImageFacts) -> ContentDiff:
    """All that differs from `a` to `b`."""
    facts = {name: diff_facts(getattr(a, name), getattr(b, name)) for name in FACTS}
    return ContentDiff(diff_packages(a.packages, b.packages), diff_files(a, b), facts)
