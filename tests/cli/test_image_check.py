"""`bootcfleet image check` on a podman that plays along: exact messages, exit codes, files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bootcfleet.cli.app import run
from tests.fakepodman import FakePodman

PROJECT = """\
version: 1
name: acme
registry: registry.example.com/acme
images:
  soe: {base: 'localhost/base:1', template: plain}
  web: {from: soe, template: site, checks: [{command: [echo, "{{ word }}"], equals: hello}]}
"""
GOOD = "version: 1\nchecks:\n  - {file: /etc/passwd, owner: root}\n"


class Rig:
    def __init__(self, root: Path, podman: FakePodman, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self.podman, self.capsys = root, podman, capsys

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def build(self) -> dict[str, str]:
        assert run(["image", "build"]) == 0
        built = json.loads((self.root / ".bootcfleet/builds.json").read_text())["images"]
        return {name: one["image_id"] for name, one in built.items()}

    def __call__(self, *words: str, ends: int = 0) -> tuple[list[str], list[str]]:
        self.capsys.readouterr()
        code = run(["image", "check", *words])
        said = self.capsys.readouterr()
        assert code == ends, f"{words}: {code}\n{said.out}\n{said.err}"
        return said.out.splitlines(), said.err.splitlines()

    def json(self, *words: str, ends: int = 0) -> Any:
        return json.loads("\n".join(self(*words, "--json", ends=ends)[0]))


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Rig:
    podman = FakePodman(tmp_path / "podman")
    monkeypatch.setenv("PATH", f"{podman.bin}{os.pathsep}{os.environ['PATH']}")
    podman.add("localhost/base:1")
    podman.add("sha256:" + "f" * 64)
    rig = Rig(tmp_path / "acme", podman, capsys)
    rig.write("bootcfleet.yaml", PROJECT)
    rig.write("containerfiles/plain/Containerfile.j2", "FROM {{ base }}\n# {{ image.name }}\n")
    rig.write("containerfiles/plain/checks.yaml", GOOD)
    rig.write("containerfiles/site/Containerfile.j2", "FROM {{ base }}\n# {{ word }}\n")
    rig.write("containerfiles/site/template.yaml", "variables: {word: {default: hello}}\n")
    monkeypatch.chdir(rig.root)
    return rig


def test_green(rig: Rig) -> None:
    ids = rig.build()
    out, err = rig()
    assert out == [
        "soe: PASSED: 1 passed (booted)",
        f"  {ids['soe']} (not pushed: known by its image id)",
        "",
        "web: PASSED: 2 passed (booted)",
        f"  {ids['web']} (not pushed: known by its image id)",
        "",
    ]
    assert err == []
    assert rig.podman.containers == []
    out, _ = rig("--status")
    assert [line.split()[:3] for line in out] == [
        ["IMAGE", "CHECKS", "DIGEST"],
        ["soe", "green", ids["soe"]],
        ["web", "green", ids["web"]],
    ]
    assert out[2].endswith("2 passed (booted), by its image id")


def test_red(rig: Rig) -> None:
    rig.write(
        "containerfiles/site/checks.yaml",
        "version: 1\nchecks:\n"
        "  - {file: /etc/passwd, mode: '0600'}\n"
        "  - {command: 'sh -c \"exit 4\"', optional: true, name: maybe}\n"
        "  - {file: /usr, needs: host}\n",
    )
    ids = rig.build()
    out, err = rig("web", ends=3)
    assert out == [
        "web: FAILED: 2 passed, 2 failed, 1 only for hosts (booted)",
        f"  {ids['web']} (not pushed: known by its image id)",
        "RESULT             CHECK             WHERE                              EXPECTED     FOUND",  # noqa: E501
        "failed             file /etc/passwd  containerfiles/site/checks.yaml:3  mode 0600    mode 0644",  # noqa: E501
        "failed (optional)  maybe             containerfiles/site/checks.yaml:4  exit code 0  exit code 4",  # noqa: E501
        "",
    ]
    assert err == ["error: 1 of 1 images is not green: web"]
    _, err = rig("--status", ends=3)
    assert err == [
        "error: 2 of 2 images are not green: soe, web",
        "hint: run their checks: bootcfleet image check",
    ]


def test_the_status_of_what_was_never_built(rig: Rig) -> None:
    _, err = rig("--status", ends=3)
    assert err == [
        "error: 2 of 2 images are not green: soe, web",
        "hint: build them: bootcfleet image build soe web --check",
    ]


def test_a_parents_check_that_fails_in_the_child_is_named_as_its(rig: Rig) -> None:
    rig.write(
        "containerfiles/plain/checks.yaml",
        "version: 1\nchecks: [{command: [test, '{{ image.name }}', '=', web]}]\n",
    )
    rig.build()
    out, _ = rig("web", ends=3)
    assert out[3].startswith("failed  command test soe = web (soe's)  containerfiles/plain/")


def test_plain_where_systemd_does_not_run(rig: Rig) -> None:
    rig.podman.control(no_init=True)
    rig.write(
        "containerfiles/site/checks.yaml",
        "version: 1\nchecks: [{port: 80}, {system: running, optional: true}]\n",
    )
    rig.build()
    rig.podman.control(no_init=True)
    why = (
        'no /sbin/init starts in it: runc: runc create failed: exec: "/sbin/init": no such file or '
        "directory"
    )
    out, err = rig("web", ends=3)
    assert out[0] == "web: SKIPPED: 2 passed, 2 skipped (plain)"
    assert out[2] == f"  not booted: {why}"
    assert out[4].split() == [
        "skipped", "port", "80/tcp", "containerfiles/site/checks.yaml:2",
        *f"needs a booted system: {why}".split(),
    ]  # fmt: skip
    assert err == ["error: 1 of 1 images is not green: web"]
    (status,) = rig.json("--status", "web", ends=3)
    assert (status["state"], status["ok"]) == ("skipped", False)


def test_what_systemd_complains_of_is_said_though_nobody_checks_it(rig: Rig) -> None:
    rig.build()
    rig.podman.control(states=["degraded"])
    out, _ = rig("soe")
    assert out[0] == "soe: PASSED: 1 passed (booted)"
    assert out[2] == "  systemd says degraded, failed units: web.service"


def test_json_and_junit(rig: Rig) -> None:
    ids = rig.build()
    body = rig.json("--junit", "out/checks.xml")
    assert body["errors"] == {}
    web = body["images"][1]
    assert (web["image"], web["digest"], web["local"], web["ok"]) == ("web", ids["web"], True, True)
    assert web["checks"][0] == {
        "name": "file /etc/passwd", "kind": "file", "image": "soe", "outcome": "passed",
        "where": "containerfiles/plain/checks.yaml:3", "optional": False,
        "expected": "", "found": "",
    }  # fmt: skip
    assert web["checks"][1]["where"] == "bootcfleet.yaml:6"
    text = Path("out/checks.xml").read_text()
    assert '<testcase name="command echo hello" classname="web" />' in text


def test_changed_checks_make_the_result_stale(rig: Rig) -> None:
    rig.build()
    rig("soe")
    assert rig.json("--status", "soe")[0]["state"] == "green"
    rig.write("containerfiles/plain/checks.yaml", "# moved\n\n" + GOOD)
    assert rig.json("--status", "soe")[0]["state"] == "green"
    rig.write("containerfiles/plain/checks.d/more.yaml", "version: 1\nchecks: [{package: x}]\n")
    (status,) = rig.json("--status", "soe", ends=3)
    assert (status["state"], status["message"]) == ("stale", "the checks have changed since")


def test_states_before_anything_was_checked(rig: Rig) -> None:
    assert [one["state"] for one in rig.json("--status", ends=3)] == ["not built", "not built"]
    rig.build()
    assert [one["state"] for one in rig.json("--status", ends=3)] == ["never run", "never run"]


def test_no_checks_is_not_green(rig: Rig) -> None:
    rig.write("containerfiles/plain/checks.yaml", "version: 1\n")
    rig.build()
    out, _ = rig("soe", ends=3)
    assert out[0] == "soe: SKIPPED: no checks (booted)"
    assert out[2] == "  no checks: write containerfiles/plain/checks.yaml"


def test_a_digest_is_pulled_and_the_result_is_about_it(rig: Rig) -> None:
    digest = "sha256:" + "d" * 64
    reference = f"registry.example.com/acme/web@{digest}"
    rig.podman.control(pullable=[reference])
    (report,) = rig.json("web", "--digest", digest)["images"]
    assert (report["reference"], report["digest"], report["local"]) == (reference, digest, False)
    assert [call["ref"] for call in rig.podman.calls("pull")] == [reference]


def test_keep_leaves_the_container_and_says_how_to_look(rig: Rig) -> None:
    rig.build()
    out, _ = rig("soe", "--keep", "--no-boot")
    (name,) = [one.removeprefix("container-") for one in rig.podman.containers]
    assert f"  left running: podman exec -it {name} sh" in out
    assert f"  remove it with: podman rm -f {name}" in out


def test_one_image_that_cannot_run_does_not_hide_the_others(rig: Rig) -> None:
    ids = rig.build()
    (rig.podman.folder / "images" / ids["web"]).unlink()
    out, err = rig("--junit", "checks.xml", ends=3)
    assert out[0] == "soe: PASSED: 1 passed (booted)"
    assert (
        '<testsuite name="web" tests="1" failures="0" errors="1"' in Path("checks.xml").read_text()
    )
    assert err == [
        "error: 1 of 2 images is not green: web",
        f"  web: the image {ids['web']} is not in podman's storage any more",
    ]


def test_of_all_images_those_that_were_built_are_checked(rig: Rig) -> None:
    assert run(["image", "build", "soe"]) == 0
    out, err = rig(ends=3)
    assert out[0] == "soe: PASSED: 1 passed (booted)"
    assert err == [
        "error: 1 of 2 images is not green: web", "  web: web was not built here yet",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "code", "message", "hint"),
    [
        (["wbe"], 2, "the project has no image 'wbe'", "did you mean 'web'?"),
        (
            ["web"], 2, "web was not built here yet",
            "bootcfleet image build web, or name a digest: image check web --digest …",
        ),
        (
            ["--digest", "sha256:" + "d" * 64], 2, "--digest needs exactly one image",
            "name it: image check NAME …",
        ),
        (["--digest", "latest", "web"], 2, "'latest' is not a digest", None),
    ],
)  # fmt: skip
def test_mistakes(rig: Rig, words: list[str], code: int, message: str, hint: str | None) -> None:
    _, err = rig(*words, ends=code)
    assert err[0].startswith(f"error: {message}")
    assert hint is None or err[1] == f"hint: {hint}"


def test_a_file_that_cannot_be_written(rig: Rig) -> None:
    rig.build()
    _, err = rig("soe", "--junit", "/proc/nothing/checks.xml", ends=1)
    assert err == ["error: /proc/nothing/checks.xml cannot be written: No such file or directory"]


def test_a_mistake_in_the_checks_names_file_and_line(rig: Rig) -> None:
    rig.build()
    rig.write("containerfiles/plain/checks.yaml", GOOD + "  - {pakage: x}\n")
    _, err = rig("soe", ends=2)
    assert err == [
        f"error: {rig.root}/containerfiles/plain/checks.yaml:4: checks[1]: says nothing to check",
        "hint: did you mean 'package'?",
    ]


def test_without_podman(rig: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rig.build()
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    _, err = rig("soe", ends=5)
    assert err[0].startswith("error: podman 4.3.0 or newer is needed, and the program 'podman' is")
