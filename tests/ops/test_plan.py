"""Plans: what is built and what is skipped, and the reason that each image is given."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bootcfleet.domain.build import LastBuild
from bootcfleet.domain.buildid import ID_LABEL, id_tag
from bootcfleet.domain.image import OCI_MANIFEST, Config, Manifest, Resolved
from bootcfleet.domain.lock import Lock, Pin
from bootcfleet.domain.plan import BuildAction, BuildPlan, BuildStep
from bootcfleet.domain.reference import Digest, ImageRef, Platform
from bootcfleet.drivers.command import Executor
from bootcfleet.drivers.registry import RegistryError
from bootcfleet.errors import ConfigError, UsageError
from bootcfleet.ops.bases import Bases
from bootcfleet.ops.plan import image_inputs, plan_build, this_platform
from bootcfleet.ops.project import load_project
from bootcfleet.ops.render import ProjectImages

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
BASE = "registry.example.com/rhel/bootc:10"
REPOSITORY = "registry.example.com/acme"
HERE = this_platform()
AMD, ARM = Platform("linux", "amd64"), Platform("linux", "arm64")


def digest(text: str) -> Digest:
    return Digest("sha256:" + hashlib.sha256(text.encode()).hexdigest())


class NoGit(Executor):
    """Nothing is started by a plan; git, which is, is not there."""

    def run(self, argv: Any, **_: Any) -> Any:
        assert "git" in argv, argv
        from bootcfleet.errors import ToolMissingError

        raise ToolMissingError("no git")

    def put(self, *_: Any, **__: Any) -> None:
        raise AssertionError

    def get(self, *_: Any, **__: Any) -> bytes:
        raise AssertionError

    def close(self) -> None:
        """Nothing is open."""


class Site:
    """A project, and a registry and a podman that are only pretended: digests follow build ids."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bases = {BASE: digest("base 1")}
        self.platforms: dict[Platform, Digest] = {}
        self.there: dict[str, str] = {}  # tag → build id
        self.asked: list[str] = []
        self.down = False
        self.lock: Lock | None = None
        self.images_: dict[str, dict[str, Any]] = {}
        self.top: dict[str, Any] = {}

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def template(self, name: str, text: str = "FROM {{ base }}\nCOPY files/ /\n") -> None:
        self.write(f"containerfiles/{name}/Containerfile.j2", text)
        self.write(f"containerfiles/{name}/template.yaml", "variables: {motd: {default: ''}}\n")
        self.write(f"containerfiles/{name}/files/etc/motd.j2", "hello {{ motd }}\n")

    def save(self) -> None:
        body = {
            "version": 1, "name": "acme", "registry": REPOSITORY, "image_version": "1",
            **self.top, "images": self.images_,
        }  # fmt: skip
        self.write("bootcfleet.yaml", yaml.safe_dump(body, sort_keys=False))

    def resolve(self, ref: ImageRef) -> Resolved:
        self.asked.append(str(ref))
        if self.down or str(ref) not in self.bases:
            raise RegistryError(f"{ref} is not in the registry", status=404)
        return Resolved(ref, self.bases[str(ref)], self.platforms)

    def manifest(self, ref: ImageRef) -> Manifest:
        self.asked.append(str(ref))
        if self.down:
            raise RegistryError("the registry is out of reach")
        if str(ref) not in self.there:
            raise RegistryError(f"{ref} is not in the registry", status=404)
        return Manifest(digest(self.there[str(ref)]), OCI_MANIFEST, b"{}")

    def config(self, ref: ImageRef, platform: Platform | None = None) -> Config:
        (found,) = {i for i in self.there.values() if digest(i) == ref.digest}
        created = (NOW - timedelta(days=3)).isoformat()
        return Config(platform, {ID_LABEL: found}, created)

    def plan(
        self, *names: str, push: bool = True, fresh: bool = False, ask: bool = True
    ) -> BuildPlan:
        self.save()
        images = ProjectImages.open(load_project(self.root), NoGit())
        resolve = self.resolve if ask else None
        bases = Bases(images.files.last_builds(), self.lock, resolve, fresh)
        return plan_build(
            images, names, now=NOW, push=push, bases=bases, registry=self if ask else None
        )

    def build(self, plan: BuildPlan, *, remember: bool = True) -> None:
        """As a build does it: in order, each on what its parent has become."""
        images = ProjectImages.open(load_project(self.root), NoGit())
        for step in plan.steps:
            if step.action is BuildAction.SKIP:
                continue
            last = images.files.last_builds()
            base = step.base or (last[step.parent].reference if step.parent else "")
            inputs, rendered = image_inputs(images, step.image, base)
            name = images.repository(step.image)
            self.there[f"{name}:{id_tag(inputs.build_id)}"] = inputs.build_id
            made = LastBuild(
                image_id="f" * 64,
                reference=f"{name}@{digest(inputs.build_id)}",
                base=base,
                built_at=(NOW - timedelta(days=3)).isoformat(),
                declared=images.loaded.project.images[step.image].base,
                digest=str(digest(inputs.build_id)),
                tags=(f"{name}:1",),
                inputs=inputs,
            )
            images.files.remember(step.image, made)
            images.files.keep_rendered(step.image, rendered)
        if not remember:
            (self.root / ".bootcfleet/builds.json").unlink()

    def step(self, name: str, plan: BuildPlan | None = None) -> BuildStep:
        return {step.image: step for step in (plan or self.plan()).steps}[name]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    for name in ("t-soe", "t-web"):
        site.template(name)
    site.images_ = {
        "soe": {"base": BASE, "template": "t-soe"},
        "web": {"from": "soe", "template": "t-web"},
        "shop": {"from": "web", "template": "t-web", "vars": {"motd": "shop"}},
    }
    return site


def said(plan: BuildPlan) -> list[str]:
    return [f"{step.image}: {step.action.value} ({step.reason})" for step in plan.steps]


def test_the_first_plan_builds_everything(site: Site) -> None:
    plan = site.plan()
    assert said(plan) == [
        "soe: build (never built)",
        "web: build (parent is rebuilt)",
        "shop: build (parent is rebuilt)",
    ]
    assert plan.steps[0].base == f"registry.example.com/rhel/bootc@{site.bases[BASE]}"


def test_nothing_changed_asks_nobody(site: Site) -> None:
    site.build(site.plan())
    site.asked.clear()
    plan = site.plan()
    assert [step.action for step in plan.steps] == [BuildAction.SKIP] * 3
    reference = plan.steps[0].known.reference if plan.steps[0].known else ""
    short = reference.rpartition("@")[2][:19]
    assert plan.steps[0].reason == f"unchanged, built 3 days ago as {short}…"
    assert site.asked == []
    assert plan.to_json()["changes"] == 0


@pytest.mark.parametrize(
    ("path", "text", "image", "reason"),
    [
        ("containerfiles/t-web/files/etc/motd.j2", "bye\n", "web", "context file etc/motd changed"),
        ("containerfiles/t-web/files/etc/new", "x", "web", "context file etc/new added"),
        (
            "containerfiles/t-web/Containerfile.j2",
            "FROM {{ base }}\nCOPY files/ /\nRUN true\n",
            "web",
            "template Containerfile.j2 changed",
        ),
    ],
)
def test_a_changed_file_is_the_reason(
    site: Site, path: str, text: str, image: str, reason: str
) -> None:
    site.build(site.plan())
    site.write(path, text)
    plan = site.plan()
    assert site.step(image, plan).reason == reason
    assert site.step("soe", plan).action is BuildAction.SKIP
    assert site.step("shop", plan).reason == "parent is rebuilt"


def test_a_changed_partial_is_the_reason(site: Site) -> None:
    site.write("containerfiles/_shared/users.j2", "RUN useradd one\n")
    site.template("t-soe", "FROM {{ base }}\n{% include '_shared/users.j2' %}COPY files/ /\n")
    site.build(site.plan())
    site.write("containerfiles/_shared/users.j2", "RUN useradd two\n")
    assert site.step("soe").reason == "template partial users.j2 changed"


def test_the_base_is_asked_for_upstream_only(site: Site) -> None:
    site.build(site.plan())
    site.bases[BASE] = digest("base 2")
    assert site.step("soe").action is BuildAction.SKIP
    step = site.step("soe", site.plan(fresh=True))
    old, new = digest("base 1").value[:19], digest("base 2").value[:19]
    assert (step.action, step.reason) == (BuildAction.BUILD, f"base moved {old}… → {new}…")


def test_an_image_that_another_machine_built_is_skipped(site: Site) -> None:
    site.build(site.plan(), remember=False)
    plan = site.plan()
    assert {step.action for step in plan.steps} == {BuildAction.SKIP}
    known = plan.steps[2].known
    assert known is not None
    assert known.retag
    assert plan.steps[2].reason == (
        f"in the registry already, built 3 days ago as {known.reference.rpartition('@')[2][:19]}…"
    )
    # Without anybody to ask, it would have to be built.
    assert site.step("soe", site.plan(ask=False)).reason == "never built"


def test_a_registry_that_does_not_answer_is_noted(site: Site) -> None:
    site.build(site.plan(), remember=False)
    plan = site.plan()
    site.lock = Lock({BASE: Pin.of(BASE, site.resolve(ImageRef.parse(BASE)), NOW)})
    site.down = True
    plan = site.plan()
    assert plan.steps[0].action is BuildAction.BUILD
    assert plan.steps[0].notes == (
        "the registry did not say whether it has it: the registry is out of reach",
    )


def test_half_an_id_proves_nothing(site: Site) -> None:
    """A tag has half of the build id; the label must have all of it."""
    site.build(site.plan(), remember=False)
    site.there = {tag: found[:32] + "0" * 32 for tag, found in site.there.items()}
    assert site.step("soe").action is BuildAction.BUILD


def test_unpushed_images_are_built_again_to_be_pushed(site: Site) -> None:
    site.build(site.plan())
    images = ProjectImages.open(load_project(site.root), NoGit())
    last = images.files.last_builds()["soe"]
    images.files.remember("soe", dataclasses.replace(last, digest=None))
    site.there.clear()
    assert site.step("soe").reason == "built, but not pushed"
    assert site.step("soe", site.plan(push=False)).action is BuildAction.SKIP


def test_another_registry_has_nothing_yet(site: Site) -> None:
    site.build(site.plan())
    site.top = {"registry": "other.example.com/acme"}
    assert site.step("soe").reason == "built, but not for other.example.com/acme/soe"


class TestLock:
    """What is pinned is built on; the registry is only compared with."""

    def test_the_pin_decides(self, site: Site) -> None:
        site.lock = Lock({BASE: Pin(BASE, digest("locked"), NOW, {AMD: digest("locked amd64")})})
        step = site.step("soe")
        assert step.base == f"registry.example.com/rhel/bootc@{digest('locked')}"
        assert step.bases == {
            "linux/amd64": f"registry.example.com/rhel/bootc@{digest('locked amd64')}"
        }
        assert BASE not in site.asked

    def test_upstream_is_noted(self, site: Site) -> None:
        site.lock = Lock({BASE: Pin(BASE, digest("locked"), NOW)})
        step = site.step("soe", site.plan(fresh=True))
        now = site.bases[BASE].value[:19]
        assert step.base == f"registry.example.com/rhel/bootc@{digest('locked')}"
        assert step.notes == (f"the registry is at {now}…: bootcfleet lock update",)

    def test_strict_refuses_what_is_not_pinned(self, site: Site) -> None:
        site.save()
        images = ProjectImages.open(load_project(site.root), NoGit())
        with pytest.raises(UsageError) as caught:
            plan_build(images, now=NOW, bases=Bases({}, Lock(), None, strict=True))
        assert caught.value.message == f"the base {BASE} is not in bootcfleet.lock"


class TestPlatforms:
    """Platforms: what is missing is said before anything starts."""

    def test_the_base_must_have_them(self, site: Site) -> None:
        site.platforms = {AMD: digest("amd")}
        site.top = {"platforms": ["linux/amd64", "arm64"]}
        with pytest.raises(ConfigError) as caught:
            site.plan()
        assert "images.soe.base: " in caught.value.message
        assert f"{BASE} has no image for linux/arm64" in caught.value.message
        assert caught.value.hint == "it has: linux/amd64"

    def test_the_parent_must_be_built_for_them(self, site: Site) -> None:
        site.images_["web"]["platforms"] = [HERE, "s390x"]
        with pytest.raises(ConfigError) as caught:
            site.plan()
        assert "images.web.platforms: is for linux/s390x" in caught.value.message

    def test_each_has_its_base(self, site: Site) -> None:
        site.platforms = {AMD: digest("amd"), ARM: digest("arm")}
        site.images_["soe"]["platforms"] = ["linux/arm64", "linux/amd64"]
        site.images_["web"]["platforms"] = ["linux/amd64"]
        site.images_["shop"]["platforms"] = ["linux/amd64"]
        step = site.step("soe")
        name = "registry.example.com/rhel/bootc"
        assert step.bases == {
            "linux/amd64": f"{name}@{digest('amd')}",
            "linux/arm64": f"{name}@{digest('arm')}",
        }


@st.composite
def projects(draw: st.DrawFn) -> dict[str, int | None]:
    """A forest of images: name → the number of its parent."""
    size = draw(st.integers(1, 6))
    return {f"i{n}": draw(st.one_of(st.none(), st.integers(0, n - 1))) if n else None
            for n in range(size)}  # fmt: skip


CHANGES = st.lists(
    st.tuples(st.sampled_from(["motd", "args", "template", "rebuild", "base", "none"]),
              st.integers(0, 5)),
    max_size=3,
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(projects(), CHANGES, st.booleans())
def test_a_plan_builds_exactly_what_a_build_from_scratch_would_change(
    parents: dict[str, int | None], changes: list[tuple[str, int]], remembered: bool
) -> None:
    """Against an oracle that knows nothing of build ids: what each image is made of, as a tuple."""
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder))
        state = {name: {"motd": 0, "args": 0, "template": 0, "rebuild": 0} for name in parents}

        def save() -> None:
            for name, facts in state.items():
                text = f"FROM {{{{ base }}}}\nCOPY files/ /\nRUN echo {facts['template']}\n"
                site.template(name, text)
                parent = parents[name]
                site.images_[name] = {
                    **({"base": BASE} if parent is None else {"from": f"i{parent}"}),
                    "vars": {"motd": str(facts["motd"])},
                    "build_args": {"A": str(facts["args"])},
                    "rebuild": str(facts["rebuild"]),
                }

        def made_of(name: str) -> tuple[Any, ...]:
            parent = parents[name]
            below = str(site.bases[BASE]) if parent is None else made_of(f"i{parent}")
            return (name, tuple(state[name].values()), below)

        save()
        site.build(site.plan(fresh=True), remember=remembered)
        before = {name: made_of(name) for name in parents}
        for what, number in changes:
            if what == "base":
                site.bases[BASE] = digest(f"base {number}")
            elif what != "none":
                state[f"i{number % len(parents)}"][what] += 1
        save()
        plan = site.plan(fresh=True)
        changed = {name for name in parents if made_of(name) != before[name]}
        assert {step.image for step in plan.to_build} == changed
        site.build(plan)
        assert site.plan(fresh=True).to_build == ()
