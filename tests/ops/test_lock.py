"""Updating and verifying a lock, against a registry that is a dictionary."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bootcfleet.domain.image import OCI_INDEX, OCI_MANIFEST, Manifest, Resolved, sha256
from bootcfleet.domain.lock import Lock
from bootcfleet.domain.reference import Digest, ImageRef, Platform
from bootcfleet.errors import ConfigError, FleetError, UsageError
from bootcfleet.ops.lock import LockUpdate, load_lock, plan_lock_update, write_lock
from bootcfleet.ops.lock_verify import verify_lock
from bootcfleet.ops.project import LoadedProject, load_project

AT = datetime(2026, 11, 21, 8, 0, 0, tzinfo=UTC)
RHEL, FEDORA = "r.example/rhel:10", "quay.example/fedora:42"
AMD, ARM = Platform("linux", "amd64"), Platform("linux", "arm64")


class Registries:
    """Every registry there is; what is at a reference is an index over made-up images."""

    def __init__(self) -> None:
        self.tags: dict[str, Digest] = {}
        self.manifests: dict[str, Manifest] = {}
        self.down: set[str] = set()
        self.asked: list[str] = []

    def push(self, ref: str, version: str, platforms: Sequence[Platform] = (AMD, ARM)) -> Digest:
        name = ImageRef.parse(ref).name
        entries = []
        for platform in platforms:
            raw = json.dumps([version, str(platform)]).encode()
            self.manifests[f"{name}@{sha256(raw)}"] = Manifest(sha256(raw), OCI_MANIFEST, raw)
            place = {"os": platform.os, "architecture": platform.architecture}
            entries.append({"digest": str(sha256(raw)), "platform": place})
        raw = json.dumps({"manifests": entries, "annotations": {"v": version}}).encode()
        index = Manifest(sha256(raw), OCI_INDEX, raw)
        self.manifests[f"{name}@{index.digest}"] = index
        self.tags[ref] = index.digest
        return index.digest

    def resolve(self, ref: ImageRef) -> Resolved:
        self.asked.append(str(ref))
        if ref.registry in self.down:
            raise FleetError(f"{ref.registry} does not answer", hint="try again later")
        digest = ref.digest or self.tags.get(str(ref))
        if digest is None:
            raise FleetError(f"{ref} is not in the registry", hint="there are: others")
        index = self.manifests[str(ref.with_digest(digest))]
        return Resolved(ref, index.digest, index.children, index.body["annotations"]["v"])

    def exists(self, ref: ImageRef) -> bool:
        if ref.registry in self.down:
            raise FleetError(f"{ref.registry} does not answer", hint="try again later")
        return str(ref) in self.manifests

    def manifest(self, ref: ImageRef) -> Manifest:
        return self.manifests[str(ref)]


@pytest.fixture
def there() -> Registries:
    there = Registries()
    there.push(RHEL, "10.0")
    there.push(FEDORA, "42")
    return there


def project(root: Path, images: Mapping[str, str]) -> LoadedProject:
    text = "version: 1\nname: acme\nregistry: r.example/acme\nimages:\n"
    (root / "bootcfleet.yaml").write_text(
        text + "".join(f"  {name}: {{{parent}}}\n" for name, parent in images.items())
    )
    return load_project(root)


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedProject:
    return project(
        tmp_path,
        {
            "edge": f"base: '{FEDORA}'",
            "soe": f"base: '{RHEL}'",
            "web": "from: soe",
            "shop": "from: web",
        },
    )


def update(loaded: LoadedProject, there: Registries, *names: str, now: datetime = AT) -> LockUpdate:
    made = plan_lock_update(loaded, names, resolve=there.resolve, now=now)
    write_lock(made)
    return made


def pinned(loaded: LoadedProject) -> Lock:
    lock = load_lock(loaded.root)
    assert lock is not None
    return lock


def red(loaded: LoadedProject, there: Registries) -> list[tuple[str, str, str | None]]:
    results = verify_lock(loaded, there)
    return [(r.name, r.message, r.hint) for r in results if not r.ok]


def test_first_lock(loaded: LoadedProject, there: Registries) -> None:
    assert load_lock(loaded.root) is None
    made = update(loaded, there)
    assert [pin.declared for pin in made.change.added] == [FEDORA, RHEL]
    assert made.images == {FEDORA: ("edge",), RHEL: ("soe", "web", "shop")}
    pin = pinned(loaded).pin(RHEL)
    assert pin is not None
    assert (pin.digest, pin.version, set(pin.platforms)) == (there.tags[RHEL], "10.0", {AMD, ARM})
    assert red(loaded, there) == []
    assert [r.name for r in verify_lock(loaded, there)] == [FEDORA, RHEL]


def test_an_update_that_moves_nothing_changes_no_byte(
    loaded: LoadedProject, there: Registries
) -> None:
    update(loaded, there)
    path = loaded.root / "bootcfleet.lock"
    before, stat = path.read_bytes(), path.stat()
    again = update(loaded, there, now=AT + timedelta(days=9))
    assert (again.change.empty, again.writes) == (True, False)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, stat.st_mtime_ns)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from([RHEL, FEDORA]), st.sampled_from("123")), max_size=6))
def test_update_is_idempotent_whatever_moved(tmp_path: Path, pushes: list[tuple[str, str]]) -> None:
    loaded = project(tmp_path, {"soe": f"base: '{RHEL}'", "edge": f"base: '{FEDORA}'"})
    there = Registries()
    for base in (RHEL, FEDORA):
        there.push(base, "0")
    for number, (base, version) in enumerate(pushes):
        there.push(base, version)
        if number % 2:
            update(loaded, there)
    first = update(loaded, there)
    second = update(loaded, there, now=AT + timedelta(days=1))
    assert second.change.empty
    assert second.lock == first.lock
    assert {name: pin.digest for name, pin in second.lock.pins.items()} == there.tags


def test_only_the_base_of_the_named_image_moves(loaded: LoadedProject, there: Registries) -> None:
    update(loaded, there)
    old = there.tags[FEDORA]
    new = there.push(RHEL, "10.1")
    there.push(FEDORA, "43")
    there.asked.clear()
    made = update(loaded, there, "shop")
    assert there.asked == [RHEL]
    assert [(b.version, a.version) for b, a in made.change.moved] == [("10.0", "10.1")]
    assert {pin.digest for pin in pinned(loaded).pins.values()} == {old, new}
    with pytest.raises(UsageError, match="no image 'shopp'"):
        update(loaded, there, "shopp")


def test_a_base_that_does_not_resolve_keeps_its_pin_and_the_others_move(
    loaded: LoadedProject, there: Registries
) -> None:
    update(loaded, there)
    kept = pinned(loaded).pin(RHEL)
    del there.tags[RHEL]
    moved = there.push(FEDORA, "43")
    made = update(loaded, there)
    lock = pinned(loaded)
    assert lock.pin(RHEL) == kept
    fedora = lock.pin(FEDORA)
    assert fedora is not None
    assert fedora.digest == moved
    with pytest.raises(FleetError, match="1 base was not resolved") as caught:
        made.require_all()
    assert caught.value.details == (
        f"{RHEL} keeps its pin: {RHEL} is not in the registry",
        "  there are: others",
    )


def test_no_file_is_written_where_nothing_could_be_pinned(
    tmp_path: Path, there: Registries
) -> None:
    loaded = project(tmp_path, {"soe": "base: localhost/mine:1", "web": f"base: '{RHEL}'"})
    there.push(RHEL, "1", platforms=[])
    made = update(loaded, there)
    assert not (tmp_path / "bootcfleet.lock").exists()
    assert there.asked == [RHEL]
    with pytest.raises(FleetError, match="2 bases were not resolved") as caught:
        made.require_all()
    assert caught.value.details == (
        "localhost/mine:1 has no pin: it is in podman's storage alone, so that another machine "
        "has none or another one",
        "  push it to a registry, and declare it from there",
        f"{RHEL} has no pin: it has no image for a platform that bootc runs on",
    )


def test_a_base_declared_by_digest_is_pinned_for_its_platforms(
    tmp_path: Path, there: Registries
) -> None:
    declared = f"{RHEL}@{there.tags[RHEL]}"
    loaded = project(tmp_path, {"soe": f"base: '{declared}'"})
    there.push(RHEL, "10.1")
    update(loaded, there)
    pin = pinned(loaded).pin(declared)
    assert pin is not None
    assert (pin.version, set(pin.platforms)) == ("10.0", {AMD, ARM})
    assert red(loaded, there) == []


def test_pins_that_nobody_declares_go(loaded: LoadedProject, there: Registries) -> None:
    update(loaded, there)
    loaded = project(loaded.root, {"soe": f"base: '{RHEL}'"})
    assert red(loaded, there) == [
        (FEDORA, "is pinned, and no image declares it", "bootcfleet lock update")
    ]
    made = update(loaded, there)
    assert [pin.declared for pin in made.change.removed] == [FEDORA]
    assert red(loaded, there) == []


def test_verify_finds_what_is_not_pinned(loaded: LoadedProject, there: Registries) -> None:
    missing = "is not pinned: there is no bootcfleet.lock"
    assert red(loaded, there) == [
        (FEDORA, missing, "bootcfleet lock update"),
        (RHEL, missing, "bootcfleet lock update"),
    ]
    update(loaded, there, "edge")
    assert red(loaded, there) == [
        (RHEL, "is not pinned in bootcfleet.lock", "bootcfleet lock update soe")
    ]


def test_verify_finds_what_is_gone(loaded: LoadedProject, there: Registries) -> None:
    update(loaded, there)
    lock = pinned(loaded)
    rhel, fedora = lock.pins[RHEL], lock.pins[FEDORA]
    remedy = "bootcfleet lock update, or push it again: skopeo copy --all"
    # A tag that moved is what a lock is for.
    there.push(RHEL, "10.1")
    assert red(loaded, there) == []
    del there.manifests[f"r.example/rhel@{rhel.digest}"]
    del there.manifests[f"quay.example/fedora@{fedora.platforms[ARM]}"]
    assert red(loaded, there) == [
        (
            FEDORA,
            f"quay.example no longer has its image for linux/arm64, {fedora.platforms[ARM]}",
            remedy,
        ),
        (RHEL, f"r.example no longer has {rhel.digest}", remedy),
    ]
    there.down.add("quay.example")
    assert red(loaded, there)[0] == (
        FEDORA,
        "cannot be verified: quay.example does not answer",
        "try again later",
    )


def test_verify_finds_platforms_that_were_edited(loaded: LoadedProject, there: Registries) -> None:
    update(loaded, there)
    path = loaded.root / "bootcfleet.lock"
    rhel = pinned(loaded).pins[RHEL]
    text = path.read_text()
    path.write_text(text.replace(f"      linux/arm64: {rhel.platforms[ARM]}\n", ""))
    assert red(loaded, there) == [
        (
            RHEL,
            "has an image for linux/arm64 that bootcfleet.lock does not know",
            "bootcfleet lock update",
        )
    ]
    path.write_text(text.replace(str(rhel.platforms[ARM]), str(rhel.platforms[AMD])))
    assert red(loaded, there) == [
        (
            RHEL,
            f"does not list {rhel.platforms[AMD]} for linux/arm64, as bootcfleet.lock says",
            "bootcfleet lock update",
        )
    ]
    made = update(loaded, there)  # and the remedy helps
    assert [after.declared for _, after in made.change.moved] == [RHEL]
    assert red(loaded, there) == []


def test_verify_finds_platforms_that_the_base_has_not(tmp_path: Path, there: Registries) -> None:
    images = {"soe": f"base: '{RHEL}'", "web": "from: soe, platforms: [linux/amd64, linux/s390x]"}
    loaded = project(tmp_path, images)
    update(loaded, there)
    assert red(loaded, there) == [
        (
            RHEL,
            "has no image for linux/s390x, which web is built for",
            "take it out of platforms:, or stand on another base",
        )
    ]
    there.push(RHEL, "10.1", [AMD, ARM, Platform("linux", "s390x")])
    update(loaded, there)
    assert red(loaded, there) == []


def test_what_somebody_else_wrote_meanwhile_stays(loaded: LoadedProject, there: Registries) -> None:
    made = plan_lock_update(loaded, (), resolve=there.resolve, now=AT)
    path = loaded.root / "bootcfleet.lock"
    path.write_text("version: 1\n")
    with pytest.raises(FleetError, match="changed by somebody else meanwhile"):
        write_lock(made)
    assert path.read_text() == "version: 1\n"


def test_a_conflict_of_git_is_said(loaded: LoadedProject, there: Registries) -> None:
    update(loaded, there)
    path = loaded.root / "bootcfleet.lock"
    path.write_text("<<<<<<< HEAD\n" + path.read_text() + "=======\n>>>>>>> other\n")
    with pytest.raises(ConfigError, match=r"bootcfleet.lock:1: has a conflict of git") as caught:
        load_lock(loaded.root)
    assert caught.value.hint == ("git checkout --ours bootcfleet.lock, then bootcfleet lock update")


def test_a_link_stays_one_and_a_broken_one_is_said(
    loaded: LoadedProject, there: Registries, tmp_path: Path
) -> None:
    path, real = loaded.root / "bootcfleet.lock", tmp_path / "real.lock"
    path.symlink_to(real)
    with pytest.raises(ConfigError, match="does not exist"):
        load_lock(loaded.root)
    real.write_text("version: 1\n")
    update(loaded, there)
    assert path.is_symlink()
    assert len(pinned(loaded).pins) == 2


def test_builders_of_disks_are_pinned_too(loaded: LoadedProject, there: Registries) -> None:
    builder = "quay.example/bootc-image-builder:latest"
    pinned = there.push(builder, "7", (AMD,))
    file = loaded.root / "bootcfleet.yaml"
    image = next(iter(loaded.project.images))
    file.write_text(
        file.read_text()
        + f"disks:\n  vm: {{image: {image}, builder: {builder}}}\n"
        + f"  self: {{image: {image}, backend: bootc-install}}\n"
    )
    again = load_project(loaded.root)
    lock = update(again, there).lock
    assert (pin := lock.pin(builder)) is not None
    assert pin.digest == pinned
    # Not for other platforms: it runs here, whatever it makes.
    assert red(again, there) == []
    # Pins of builders stay when one image is updated, and go with their disks.
    assert update(again, there, image).lock.pin(builder) is not None
    del there.tags[builder]
    assert list(update(again, there).failed) == [builder]
    file.write_text(file.read_text().partition("disks:")[0])
    assert update(load_project(loaded.root), there).lock.pin(builder) is None
