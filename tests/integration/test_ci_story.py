"""A pipeline really run: its jobs' commands, with real podman, against the real docker-registry.

Each job gets a fresh clone, as a fresh runner does; all that they share is git, the registry and
the ledger.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootcfleet.domain.pipeline import Job, Pipeline, When
from bootcfleet.domain.pipeline_jobs import make_pipeline
from bootcfleet.domain.reference import ImageRef
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.drivers.registryconf import RegistriesConf
from bootcfleet.ops.project import load_project
from tests.tools import need

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]


class Runners:
    """Runs jobs, each in a new clone."""

    def __init__(self, folder: Path, pipeline: Pipeline, secrets: dict[str, str]) -> None:
        self.folder, self.pipeline, self.secrets, self.count = folder, pipeline, secrets, 0
        (folder / "bin").mkdir()
        program = folder / "bin/bootcfleet"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m bootcfleet "$@"\n')
        program.chmod(0o755)

    def run(self, job: Job) -> tuple[int, str, Path]:
        """The exit code, the output, and the clone."""
        self.count += 1
        clone = self.folder / f"runner{self.count}"
        git(self.folder, "clone", "-q", "origin.git", str(clone))
        (clone / ".bootcfleet/ci").mkdir(parents=True)
        env = os.environ | {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            **self.secrets,
        }
        output = ""
        # Installation and login are for machines without; the registry is on loopback.
        for step in self.pipeline.steps(job, ("git push -q --force origin bootcfleet-lock",))[1:]:
            done = subprocess.run(
                ["sh", "-c", "\n".join(step.lines)],
                cwd=clone,
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=300,
            )
            output += done.stdout
            if done.returncode:
                return done.returncode, output, clone
        return 0, output, clone

    def event(self, when: When) -> str:
        """All jobs of an event; the output of the last."""
        output = ""
        for job in self.pipeline.of(when):
            code, output, _ = self.run(job)
            assert code == 0, f"{job.name}:\n{output}"
        return output


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [need("git"), "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@t", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def runners(
    containers_conf: Path,
    docker_registry: str,
    real_base: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Runners]:
    home = tmp_path / "origin"
    (home / "containerfiles/tiny/files/etc").mkdir(parents=True)
    (home / "containerfiles/tiny/Containerfile.j2").write_text(
        "FROM {{ base }}\nCOPY files/ /\nRUN bootc container lint\n"
    )
    (home / "containerfiles/tiny/files/etc/motd.j2").write_text("{{ image.name }}\n")
    (home / "containerfiles/tiny/checks.yaml").write_text(
        "version: 1\nchecks:\n  - {file: /etc/motd, contains: '{{ image.name }}'}\n"
    )
    with RegistryClient(conf=RegistriesConf([])) as client:
        base = ImageRef.parse(real_base)
        tag = base.with_tag("ci")
        client.put_manifest(tag, client.manifest(base))
    (home / ".gitignore").write_text(".bootcfleet/\n")
    (home / "bootcfleet.yaml").write_text(
        f"version: 1\nname: acme\nregistry: {docker_registry}/ci-story\n"
        f"ledger: sqlite:///{tmp_path}/ledger.db\n"
        f"images: {{soe: {{base: '{tag}', template: tiny}}}}\n"
        "signing: {public_key: acme.pub}\n"
        "channels:\n  dev: {checks: true, lint: true, signature: true}\n"
        "  prod: {from: dev}\n"
    )
    passphrase = {"BOOTCFLEET_SIGNING_PASSPHRASE": "a passphrase"}
    for name, value in passphrase.items():
        monkeypatch.setenv(name, value)
    bootcfleet(home, "image", "keygen", "--key", str(tmp_path / "acme.key"))
    key = base64.b64encode((tmp_path / "acme.key").read_bytes()).decode()
    git(tmp_path, "init", "-q", "-b", "main", str(home))
    git(home, "add", ".")
    git(home, "commit", "-q", "-m", "A project")
    git(tmp_path, "clone", "-q", "--bare", str(home), "origin.git")
    git(home, "remote", "add", "origin", str(tmp_path / "origin.git"))
    project = load_project(home).project
    pipeline = make_pipeline(project, package="bootcfleet")
    yield Runners(tmp_path, pipeline, {"BOOTCFLEET_SIGNING_KEY": key, **passphrase})
    subprocess.run(
        ["podman", "rmi", "--force", "--ignore", f"{docker_registry}/ci-story/soe:0.1"],
        capture_output=True,
        check=False,
    )


def test_a_pipeline_from_the_first_lock_to_prod(runners: Runners, tmp_path: Path) -> None:
    jobs = {job.name: job for job in runners.pipeline.jobs}
    home, origin = tmp_path / "origin", tmp_path / "origin.git"

    # Nothing is locked yet: a change is red, and the nightly job proposes the lock.
    code, output, _ = runners.run(jobs["lock"])
    assert code == 3, output
    assert "is not pinned: there is no bootcfleet.lock" in output
    code, output, _ = runners.run(jobs["update"])
    assert code == 0, output
    message = git(origin, "log", "-1", "--format=%B", "bootcfleet-lock")
    assert message.startswith("lock: Move the bases\n\n## Bases: 1 added\n")
    assert git(origin, "diff", "--name-only", "main", "bootcfleet-lock") == "bootcfleet.lock"
    # The next night it is not merged yet, and nothing moved: the proposal stays as it is.
    proposed = git(origin, "rev-parse", "bootcfleet-lock")
    code, output, _ = runners.run(jobs["update"])
    assert code == 0, output
    assert output.endswith("the branch bootcfleet-lock says the same already\n")
    assert git(origin, "rev-parse", "bootcfleet-lock") == proposed
    git(home, "pull", "-q", "origin", "bootcfleet-lock")
    git(home, "push", "-q", "origin", "main")

    # A change is planned; then the main branch is built, checked, and promoted to dev.
    assert "1 to build, 0 unchanged" in runners.event(When.CHANGE)
    runners.event(When.MAIN)
    entries = ledger(home)
    assert [e["outcome"] for e in entries if e["action"] == "image.build"] == ["built"]
    built = next(e for e in entries if e["action"] == "image.build")["digests"]["image"]
    assert channel(home, "dev") == built

    # Another machine, the same commit: nothing is built again, and nothing is moved.
    code, output, _ = runners.run(jobs["images"])
    assert code == 0, output
    assert "in the registry already" in output
    entries = ledger(home)
    assert [e["outcome"] for e in entries if e["action"] == "image.build"].count("built") == 1
    assert channel(home, "dev") == built

    # By hand.
    code, output, _ = runners.run(jobs["promote-prod"])
    assert code == 0, output
    assert channel(home, "prod") == built

    # No night without a reason: the bases did not move, so no branch is pushed.
    git(origin, "branch", "-D", "bootcfleet-lock")
    code, output, _ = runners.run(jobs["update"])
    assert (code, output) == (0, "## No base moved\n")
    assert git(origin, "branch", "--list", "bootcfleet-lock") == ""


def bootcfleet(home: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "bootcfleet", *words],
        cwd=home,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def ledger(home: Path) -> list[dict[str, dict[str, str]]]:
    found = json.loads(bootcfleet(home, "audit", "--json"))
    assert isinstance(found, list)
    return found


def channel(home: Path, name: str) -> str:
    project = load_project(home).project
    with RegistryClient(conf=RegistriesConf([])) as client:
        return str(client.digest(ImageRef.parse(f"{project.registry}/soe:{name}")))
