"""Plans and builds of a project against a podman and a registry that play along."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bootcfleet.domain.build import BuildFailedError, BuildReport, ImageOutcome
from bootcfleet.domain.buildid import id_tag
from bootcfleet.domain.event import Event
from bootcfleet.domain.image import OCI_MANIFEST, Config, Manifest, Resolved
from bootcfleet.domain.plan import BuildPlan
from bootcfleet.domain.reference import Digest, ImageRef
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.drivers.registry import RegistryError
from bootcfleet.errors import ConfigError, FleetError, InterruptedRunError, UsageError
from bootcfleet.ops.bases import Bases
from bootcfleet.ops.build import Tools, run_build
from bootcfleet.ops.build_image import _ending
from bootcfleet.ops.plan import plan_build
from bootcfleet.ops.project import load_project
from bootcfleet.ops.render import ProjectImages, diff_last, render_one, write_rendered
from tests.fakepodman import FakePodman

NOW = datetime(2026, 11, 21, 23, 30, tzinfo=UTC)
REPOSITORY = "registry.example.com/acme"
BASE_NAME = "registry.example.com/rhel10/rhel-bootc"
BASE_DIGEST = "sha256:" + "ba" * 32
BASE = f"{BASE_NAME}@{BASE_DIGEST}"

PROJECT = f"""\
version: 1
name: acme
registry: {REPOSITORY}
image_version: "1.0"
images:
  soe: {{base: "{BASE_NAME}:10.0", template: plain}}
  web: {{from: soe, template: plain, vars: {{motd: hello}}}}
  database: {{from: soe, template: plain}}
  shop: {{from: web, template: plain}}
"""


class Bench:
    """A project, the podman that plays along, a registry, and everything that was said."""

    def __init__(self, root: Path, podman: FakePodman) -> None:
        self.root = root
        self.podman = podman
        self.events: list[Event] = []
        self.entries: list[tuple[str, str, str, Mapping[str, str], Mapping[str, Any]]] = []
        self.put: list[tuple[str, Digest]] = []
        self.refuses_tags = False
        self.gone = False
        self.executor = LocalExecutor()
        podman.add(BASE)

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    @property
    def images(self) -> ProjectImages:
        return ProjectImages.open(load_project(self.root), self.executor)

    def resolve(self, ref: ImageRef) -> Resolved:
        if ref.name != BASE_NAME:
            raise RegistryError(f"{ref} is not in the registry", status=404)
        return Resolved(ref, Digest(BASE_DIGEST))

    def manifest(self, ref: ImageRef) -> Manifest:
        if ref.digest is not None:
            return Manifest(ref.digest, OCI_MANIFEST, b"{}")
        pushed = [c["digest"] for c in self.podman.calls("pushed") if c["target"] == str(ref)]
        if self.gone or not pushed:
            raise RegistryError(f"{ref} is not in the registry", status=404)
        return Manifest(Digest(pushed[-1]), OCI_MANIFEST, b"{}")

    def config(self, ref: ImageRef, platform: object = None) -> Config:
        (image,) = {c["id"] for c in self.podman.calls("pushed") if c["digest"] == str(ref.digest)}
        built = [c for c in self.podman.calls("built") if c["id"] == image]
        labels = dict(built[-1]["labels"])
        return Config(None, labels, "2026-11-18T23:30:00Z")

    def exists(self, ref: ImageRef) -> bool:
        return not self.gone

    def put_manifest(self, ref: ImageRef, manifest: Manifest) -> Digest:
        if self.refuses_tags:
            raise RegistryError("the registry does not take it")
        self.put.append((str(ref), manifest.digest))
        return manifest.digest

    def record(
        self,
        action: str,
        subject: str,
        outcome: str,
        *,
        digests: Mapping[str, str],
        details: Mapping[str, Any],
    ) -> None:
        self.entries.append((action, subject, outcome, digests, details))

    def plan(self, *names: str, push: bool = False) -> BuildPlan:
        images = self.images
        bases = Bases(images.files.last_builds(), resolve=self.resolve, fresh=True)
        return plan_build(
            images, names, now=NOW, push=push, bases=bases, registry=self if push else None
        )

    def build(self, *names: str, push: bool = False, jobs: int = 2) -> BuildReport:
        tools = Tools(self.executor, self, self.record, lambda: NOW)
        plan = self.plan(*names, push=push)
        return run_build(plan, self.images, tools, jobs=jobs, emit=self.events.append)

    def kinds(self, subject: str) -> list[str]:
        return [
            e.kind.removeprefix("image.build.")
            for e in self.events
            if e.subject == subject and e.kind != "image.build.output"
        ]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    fake = FakePodman(tmp_path / "podman")
    monkeypatch.setenv("PATH", str(fake.bin), prepend=os.pathsep)
    bench = Bench(tmp_path / "acme", fake)
    bench.write("bootcfleet.yaml", PROJECT)
    bench.write(
        "containerfiles/plain/Containerfile.j2", "FROM {{ base }}\nLABEL n={{ image.name }}\n"
    )
    bench.write("containerfiles/plain/files/etc/motd.j2", "{{ motd }}\n")
    bench.write("containerfiles/plain/template.yaml", "variables: {motd: {default: ''}}\n")
    return bench


def test_the_plan_names_exact_bases_and_reasons(bench: Bench) -> None:
    plan = bench.plan("web", push=True)
    assert [(s.image, s.base, s.parent, s.reason) for s in plan.steps] == [
        ("soe", BASE, None, "never built"),
        ("web", None, "soe", "parent is rebuilt"),
    ]
    assert plan.tags == ("1.0", "20261121")
    assert plan.push
    assert bench.podman.calls("build") == []


def test_a_base_that_cannot_be_resolved_is_noted(bench: Bench) -> None:
    text = PROJECT.replace(BASE_NAME + ":10.0", "other.example.com/base:1")
    bench.write("bootcfleet.yaml", text)
    (step,) = bench.plan("soe").steps
    assert step.base == "other.example.com/base:1"
    assert step.notes == (
        "its digest is not known yet: other.example.com/base:1 is not in the registry",
    )


@pytest.mark.parametrize(
    ("before", "after", "message", "hint"),
    [
        ("from: web", "from: wbe",
         ":9: images.shop.from: the project has no image 'wbe'", "did you mean 'web'?"),
        ("from: soe, template: plain}", "from: database, template: plain}",
         ":8: images.database.from: the image 'database' is built from itself",
         "give one of them a base: instead of from:"),
        ("motd: hello", "modt: hello",
         ":7: images.web.vars.modt: the template 'plain' has no such variable",
         "did you mean 'motd'?"),
        ("template: plain, vars", "template: plan, vars",
         ":7: images.web: there is no template 'plan'", "did you mean 'plain'?"),
        ("shop: {", "shop: {secrets: [{id: t, env: BOOTCFLEET_TEST_UNSET}], ",
         ":9: images.shop.secrets[0].env: the environment variable BOOTCFLEET_TEST_UNSET is not "
         "set", "export BOOTCFLEET_TEST_UNSET=… before the build"),
        ("shop: {", "shop: {secrets: [{id: t, file: keys/none}], ",
         ":9: images.shop.secrets[0].file: the secret's file ROOT/keys/none does not exist", None),
    ],
)  # fmt: skip
def test_mistakes_are_known_before_anything_starts(
    bench: Bench, before: str, after: str, message: str, hint: str | None
) -> None:
    where = PROJECT.rindex(before)
    bench.write("bootcfleet.yaml", PROJECT[:where] + after + PROJECT[where + len(before) :])
    with pytest.raises(ConfigError) as caught:
        bench.build()
    expected = f"{bench.root}/bootcfleet.yaml{message}".replace("ROOT", str(bench.root))
    assert (caught.value.message, caught.value.hint) == (expected, hint)
    assert bench.podman.calls("build") == []


def test_a_template_mistake_in_the_last_image_stops_the_first(bench: Bench) -> None:
    bench.write("bootcfleet.yaml", PROJECT.replace("from: web, template: plain", "from: web"))
    bench.write("containerfiles/shop/Containerfile.j2", "FROM {{ base }}\n{{ timezone }}\n")
    with pytest.raises(ConfigError) as caught:
        bench.build()
    assert caught.value.message == (
        f"{bench.root}/containerfiles/shop/Containerfile.j2:2: 'timezone' is undefined"
    )
    assert bench.podman.calls("build") == []


def test_an_unknown_image(bench: Bench) -> None:
    with pytest.raises(UsageError, match="the project has no image 'wbe'"):
        bench.plan("wbe")


def test_children_are_built_from_the_id_of_their_parent(bench: Bench) -> None:
    report = bench.build()
    assert report.ok
    built = {result.image: result for result in report.results}
    calls = {call["name"]: call for call in bench.podman.calls("build")}
    assert calls["soe"]["base"] == BASE
    assert calls["web"]["base"] == calls["database"]["base"] == built["soe"].image_id
    assert calls["shop"]["base"] == built["web"].image_id
    assert built["web"].digest is None
    assert built["web"].reference == built["web"].image_id
    assert built["web"].tags == (f"{REPOSITORY}/web:1.0", f"{REPOSITORY}/web:20261121")
    assert bench.podman.calls("push") == []


def test_with_push_children_are_built_from_the_digest_of_the_registry(bench: Bench) -> None:
    bench.podman.control(pullable=[REPOSITORY])
    report = bench.build(push=True)
    built = {result.image: result for result in report.results}
    calls = {call["name"]: call for call in bench.podman.calls("build")}
    assert calls["web"]["base"] == f"{REPOSITORY}/soe@{built['soe'].digest}"
    assert built["soe"].reference == calls["web"]["base"]
    # Pushed once by the tag of its build id; the other tags are the same bytes.
    pushes = [call["target"] for call in bench.podman.calls("push")]
    assert sorted(pushes) == [
        f"{REPOSITORY}/{name}:{id_tag(built[name].build_id or '')}"
        for name in ("database", "shop", "soe", "web")
    ]
    assert (f"{REPOSITORY}/web:1.0", Digest(built["web"].digest or "")) in bench.put
    assert len(bench.put) == 8
    assert bench.kinds("soe") == ["started", "pushed", "finished"]


def test_a_registry_that_takes_no_copies_gets_the_tag_by_another_push(bench: Bench) -> None:
    bench.refuses_tags = True
    bench.podman.control(pullable=[REPOSITORY], unstable=True)
    (result,) = bench.build("soe", push=True).results
    pushes = [call["target"] for call in bench.podman.calls("push")]
    names = [id_tag(result.build_id or ""), "20261121", "1.0"]
    assert pushes == [f"{REPOSITORY}/soe:{name}" for name in names]
    said = [e for e in bench.events if e.data.get("stream") == "bootcfleet"][-1]
    assert said.message == (
        "the registry did not take the tag 1.0 as a copy (the registry does not take it); pushed "
        f"it again, with another digest, {said.data['digest']}"
    )
    assert result.digest != said.data["digest"]


def test_the_commit_is_a_tag_and_is_what_is_pushed(bench: Bench) -> None:
    git = ["git", "-C", str(bench.root), "-c", "user.name=t", "-c", "user.email=t@example.com"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        assert bench.executor.run([*git, *words]).ok
    commit = bench.executor.run([*git, "rev-parse", "HEAD"]).stdout.strip()
    assert bench.plan().tags == ("1.0", "20261121", commit[:12])
    bench.write("containerfiles/plain/files/etc/new", "x")
    assert bench.plan().tags == ("1.0", "20261121", f"{commit[:12]}-dirty")


def test_independent_images_are_built_at_the_same_time(bench: Bench) -> None:
    # Each of the two ends only once the other has begun.
    bench.podman.control(meet={"web": ["web", "database"], "database": ["web", "database"]})
    assert bench.build("web", "database", jobs=2).ok


def test_one_job_builds_one_image_at_a_time(bench: Bench) -> None:
    assert bench.build(jobs=1).ok
    path = (bench.podman.folder / "log.jsonl").read_text().splitlines()
    kinds = [line.split('"kind": "')[1].split('"')[0] for line in path]
    assert kinds == ["build", "built"] * 4


def test_a_failure_takes_only_its_own_subtree(bench: Bench) -> None:
    bench.podman.control(fail=["web"], lines=30)
    report = bench.build()
    assert {r.image: r.outcome.value for r in report.results} == {
        "soe": "built", "web": "failed", "shop": "skipped", "database": "built",
    }  # fmt: skip
    assert bench.kinds("shop") == ["skipped"]
    assert not report.ok
    with pytest.raises(BuildFailedError) as caught:
        report.require_all()
    log = bench.root / ".bootcfleet/logs/build/20261121T233000Z/web.log"
    assert caught.value.message == "1 of 4 images failed: web"
    details = caught.value.details
    assert details[0] == "web: podman build ended with exit code 1"
    assert details[1] == "  | web line 16"
    assert details[15].startswith("  | Error: building at STEP")
    assert details[16:] == (
        f"  log: {log}",
        "not built, because what they stand on failed: shop",
    )
    assert len(log.read_text().splitlines()) == 32


@pytest.mark.parametrize(
    ("said", "details", "expected"),
    [
        (["a", "Error: x", "b"], ["b", "Error: x"], ("a", "b", "Error: x")),
        ([f"{n}" for n in range(15)], ["0", "Error: x"], (*map(str, range(1, 15)), "Error: x")),
        (["a"], [], ("a",)),
        ([], ["Error: x"], ("Error: x",)),
    ],
)
def test_the_error_is_the_last_line_whenever_it_arrived(
    said: list[str], details: list[str], expected: tuple[str, ...]
) -> None:
    assert _ending(said, details) == expected


def test_a_failed_push_takes_the_children_with_it(bench: Bench) -> None:
    bench.podman.control(push_failures=99, push_error="unauthorized")
    report = bench.build("web", "database", push=True)
    assert [r.outcome.value for r in report.results] == ["failed", "skipped", "skipped"]
    assert report.results[0].message.startswith(f"podman could not push {REPOSITORY}/soe:bf-")
    assert report.results[0].hint == "log in first: podman login REGISTRY"


def test_a_base_in_local_storage_alone_stands_by_its_id(bench: Bench) -> None:
    bench.write("bootcfleet.yaml", PROJECT.replace(BASE_NAME + ":10.0", "localhost/base:1"))
    bench.podman.add("localhost/base:1")
    bench.podman.add("sha256:" + "f" * 64)
    (result,) = bench.build("soe").results
    assert (result.outcome, result.base) == (ImageOutcome.BUILT, "sha256:" + "f" * 64)


def test_a_base_that_nobody_has_fails_its_image(bench: Bench) -> None:
    bench.write("bootcfleet.yaml", PROJECT.replace(BASE_NAME, "gone.example.com/base"))
    report = bench.build()
    assert {r.outcome.value for r in report.results} == {"failed", "skipped"}
    assert report.results[0].message == "podman could not pull gone.example.com/base:10.0"
    assert "manifest unknown" in report.results[0].tail[-1]


def test_a_base_is_pulled_once_for_all_that_share_it(bench: Bench) -> None:
    other = f"pull.example.com/base@{BASE_DIGEST}"
    names = "".join(f"  i{n}: {{base: '{other}', template: plain}}\n" for n in range(4))
    bench.write("bootcfleet.yaml", PROJECT.partition("images:")[0] + "images:\n" + names)
    bench.podman.control(pullable=["pull.example.com"])
    assert bench.build(jobs=4).ok
    assert len(bench.podman.calls("pull")) == 1


def test_the_context_is_written_anew_with_fixed_times(bench: Bench) -> None:
    bench.write("containerfiles/plain/files/usr/bin/run", "#!/bin/sh\n")
    (bench.root / "containerfiles/plain/files/usr/bin/run").chmod(0o700)
    bench.write(".bootcfleet/build/web/files/etc/left-over", "secret of yesterday")
    bench.build("web")
    web = bench.podman.calls("build")[-1]
    assert web["files"] == {
        "Containerfile": ["0o644", 0.0],
        "files/etc/motd": ["0o644", 0.0],
        "files/usr/bin/run": ["0o755", 0.0],
    }


def test_what_was_built_is_remembered(bench: Bench) -> None:
    bench.podman.control(pullable=[REPOSITORY])
    report = bench.build("soe", push=True)
    last = bench.images.files.last_builds()["soe"]
    assert last.digest == report.results[0].digest
    assert last.reference == f"{REPOSITORY}/soe@{last.digest}"
    assert (last.base, last.declared) == (BASE, f"{BASE_NAME}:10.0")
    assert last.built_at == "2026-11-21T23:30:00+00:00"
    bench.podman.control(fail=["soe"])
    bench.build("soe")
    assert bench.images.files.last_builds()["soe"] == last


def test_a_damaged_memory_is_said(bench: Bench) -> None:
    bench.write(".bootcfleet/builds.json", "{")
    with pytest.raises(FleetError) as caught:
        bench.images.files.last_builds()
    assert "builds.json is damaged" in caught.value.message


def test_every_image_is_in_the_ledger(bench: Bench) -> None:
    bench.podman.control(fail=["web"], pullable=[REPOSITORY])
    report = bench.build(push=True)
    found = [(action, subject, outcome) for action, subject, outcome, _, _ in bench.entries]
    assert sorted(found) == [
        ("image.build", "database", "built"),
        ("image.build", "shop", "skipped"),
        ("image.build", "soe", "built"),
        ("image.build", "web", "failed"),
        ("image.push", "database", "pushed"),
        ("image.push", "soe", "pushed"),
    ]
    assert bench.entries[0][3] == {
        "image": report.results[0].digest,
        "image-id": report.results[0].image_id,
        "base": BASE,
    }


def test_secrets_are_given_by_path_and_name_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOOTCFLEET_TEST_TOKEN", "hunter2")
    bench.write("keys/rhsm.pem", "hunter3")
    secrets = "[{id: rhsm, file: keys/rhsm.pem}, {id: token, env: BOOTCFLEET_TEST_TOKEN}]"
    bench.write("bootcfleet.yaml", PROJECT.replace("soe: {", f"soe: {{secrets: {secrets}, "))
    bench.build("soe")
    argv = bench.podman.calls("build")[0]["argv"]
    assert f"id=rhsm,src={bench.root}/keys/rhsm.pem" in argv
    assert "id=token,type=env,env=BOOTCFLEET_TEST_TOKEN" in argv
    everything = "".join(
        path.read_text()
        for folder in (bench.podman.folder, bench.root / ".bootcfleet")
        for path in folder.rglob("*")
        if path.is_file()
    )
    assert "hunter" not in everything + repr(bench.events) + repr(bench.entries)


def test_interrupt_ends_every_podman_and_cancels_the_rest(bench: Bench) -> None:
    bench.podman.control(hang=["web", "database"])

    def interrupt() -> None:
        while not all((bench.podman.folder / f"hangs-{n}").exists() for n in ("web", "database")):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    watcher = threading.Thread(target=interrupt, daemon=True)
    watcher.start()
    with pytest.raises(InterruptedRunError) as caught:
        bench.build(jobs=2)
    watcher.join()
    assert caught.value.message == "interrupted: 1 of 4 images were built"
    assert caught.value.exit_code == 130
    for call in bench.podman.calls("build")[1:]:
        with pytest.raises(ProcessLookupError):
            os.kill(call["pid"], 0)
    assert [bench.kinds(name)[-1] for name in ("soe", "web", "database", "shop")] == [
        "finished", "cancelled", "cancelled", "cancelled",
    ]  # fmt: skip
    outcomes = {subject: outcome for _, subject, outcome, _, _ in bench.entries}
    assert outcomes == {
        "soe": "built", "web": "cancelled", "database": "cancelled", "shop": "cancelled",
    }  # fmt: skip


def test_a_ledger_that_cannot_be_written_stops_the_build(bench: Bench) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise FleetError("the ledger cannot be written: no space left on device")

    bench.record = full  # type: ignore[method-assign]
    with pytest.raises(FleetError, match="the ledger cannot be written"):
        bench.build()
    assert [call["name"] for call in bench.podman.calls("build")] == ["soe"]


def test_two_builds_of_a_project_do_not_mix(bench: Bench) -> None:
    with bench.images.files.exclusive():
        with pytest.raises(FleetError) as caught:
            bench.build()
    assert caught.value.message == "another build of this project is running"
    assert bench.podman.calls("build") == []
    assert bench.build().ok


def test_render_takes_the_exact_base_of_the_last_build(bench: Bench) -> None:
    assert render_one(bench.images, "soe").containerfile.startswith(f"FROM {BASE_NAME}:10.0\n")
    assert render_one(bench.images, "web").containerfile.startswith(f"FROM {REPOSITORY}/soe:1.0\n")
    report = bench.build("web")
    assert render_one(bench.images, "soe").containerfile.startswith(f"FROM {BASE}\n")
    assert render_one(bench.images, "web").containerfile.startswith(
        f"FROM {report.results[0].image_id}\n"
    )
    with pytest.raises(UsageError, match="the project has no image 'wbe'"):
        render_one(bench.images, "wbe")


def test_diff_shows_what_changed_since_the_last_build(bench: Bench) -> None:
    before = render_one(bench.images, "web")
    assert diff_last(bench.images, "web", before).startswith(
        f"--- /dev/null\n+++ b/Containerfile\n@@ -0,0 +1,2 @@\n+FROM {REPOSITORY}/soe:1.0\n"
    )
    bench.build("web")
    assert diff_last(bench.images, "web", render_one(bench.images, "web")) == ""
    bench.write("bootcfleet.yaml", PROJECT.replace("hello", "good bye"))
    bench.write("containerfiles/plain/files/usr/logo", "x\0")
    (bench.root / "containerfiles/plain/files/usr/logo").write_bytes(b"\xff")
    assert diff_last(bench.images, "web", render_one(bench.images, "web")) == (
        "--- a/files/etc/motd\n+++ b/files/etc/motd\n@@ -1 +1 @@\n-hello\n+good bye\n"
        "binary files differ: files/usr/logo\n"
    )
    bench.write("containerfiles/plain/files/etc/motd.j2", "{{ motd }}")
    (bench.root / "containerfiles/plain/files/etc/motd.j2").chmod(0o755)
    bench.write("bootcfleet.yaml", PROJECT)
    assert diff_last(bench.images, "web", render_one(bench.images, "web")).startswith(
        "mode of files/etc/motd: 0644 → 0755\n--- a/files/etc/motd\n+++ b/files/etc/motd\n"
        "@@ -1 +1 @@\n-hello\n+hello\n\\ No newline at end of file\n"
    )


def test_a_rendered_image_is_written_only_into_an_empty_folder(bench: Bench) -> None:
    rendered = render_one(bench.images, "web")
    write_rendered(rendered, bench.root / "out")
    assert (bench.root / "out/files/etc/motd").read_text() == "hello\n"
    with pytest.raises(UsageError, match="is not an empty folder"):
        write_rendered(rendered, bench.root / "out")
