"""The pipelines by the linters that others trust: actionlint, and tekton-lint."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from bootcfleet.domain.pipeline_github import render_github
from bootcfleet.domain.pipeline_tekton import render_tekton
from tests.integration import gotools
from tests.integration.realbase import cache_folder
from tests.integration.test_ci_pipelines import bare, pipeline
from tests.tools import need

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

TEKTON_LINT = "@ibm/tekton-lint@1.1.0"


def tekton_lint() -> Path:
    """tekton-lint from the npm registry, kept in the cache."""
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / f"tekton-lint-{TEKTON_LINT.rpartition('@')[2]}"
    program = target / "node_modules/.bin/tekton-lint"
    with (cache / "npm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            shutil.rmtree(target, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=cache, prefix="making-") as folder:
                argv = [need("npm"), "install", "--no-fund", "--no-audit", "--ignore-scripts"]
                run([*argv, "--prefix", folder, TEKTON_LINT])
                shutil.copytree(folder, target, symlinks=True)
    return program


def run(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def said(program: Path, path: Path) -> tuple[int, str]:
    done = subprocess.run(
        [str(program), str(path)], capture_output=True, text=True, check=False, timeout=120
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("folder", ["", "os"])
def test_actionlint_finds_nothing(tmp_path: Path, folder: str) -> None:
    program = gotools.actionlint()
    workflow = tmp_path / ".github/workflows/bootcfleet.yml"
    workflow.parent.mkdir(parents=True)
    for one in (pipeline(folder), bare()):
        text = render_github(one)
        workflow.write_text(text)
        assert said(program, workflow) == (0, "")
    # It does look: a job that does not exist, and an event without one of its facts.
    workflow.write_text(text.replace("github.event_name ==", "github.event_nam =="))
    code, out = said(program, workflow)
    assert code == 1
    assert "event_nam" in out


def test_tekton_lint_finds_nothing(tmp_path: Path) -> None:
    program = tekton_lint()
    path = tmp_path / "bootcfleet.yaml"
    for one in (pipeline(), pipeline("os"), bare()):
        text = render_tekton(one)
        path.write_text(text)
        code, out = said(program, path)
        assert (code, out.strip()) == (0, "")
    assert "runAfter: [clone]" in text
    path.write_text(text.replace("runAfter: [clone]", "runAfter: [nobody]", 1))
    code, out = said(program, path)
    assert code == 1
    assert "depends on 'nobody'" in out
