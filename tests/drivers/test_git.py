"""What git says of a project: real repositories, and machines without git."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from bootcfleet.drivers.command import CommandResult, CommandTimeoutError, LocalExecutor, OnLine
from bootcfleet.drivers.git import GitFacts, GitRepo
from tests.tools import need, need_root


def git(folder: Path, *words: str) -> str:
    done = subprocess.run([need("git"), *words], cwd=folder, check=True, capture_output=True)
    return done.stdout.decode().strip()


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, and no settings or repository of this machine around it."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder = tmp_path / "acme"
    folder.mkdir()
    git(folder, "init", "-q")
    git(folder, "config", "user.name", "Test")
    git(folder, "config", "user.email", "test@example.com")
    (folder / "bootcfleet.yaml").write_text("version: 1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def facts(folder: Path) -> GitFacts:
    return GitRepo(LocalExecutor(), folder).facts()


def test_a_clean_tree(repo: Path) -> None:
    commit = git(repo, "rev-parse", "HEAD")
    assert facts(repo) == GitFacts(commit, commit[:12], False, None)


@pytest.mark.parametrize(
    ("path", "dirty"),
    [
        ("bootcfleet.yaml", True),
        ("new file", True),
        (".bootcfleet/ledger.db", False),
    ],
)
def test_a_changed_tree(repo: Path, path: str, dirty: bool) -> None:
    (repo / path).parent.mkdir(exist_ok=True)
    (repo / path).write_text("changed")
    assert facts(repo).dirty is dirty


def test_a_project_below_the_top_of_its_repository(repo: Path) -> None:
    """Only what is in the project makes it dirty."""
    (repo / "images").mkdir()
    (repo / "elsewhere").write_text("changed")
    below = facts(repo / "images")
    assert (below.commit, below.dirty) == (facts(repo).commit, False)
    (repo / "images/new").write_text("changed")
    assert facts(repo / "images").dirty


def test_a_tree_that_cannot_be_compared_is_not_called_clean(repo: Path) -> None:
    (repo / ".git/index").write_bytes(b"broken")
    assert facts(repo).dirty


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.com/acme.git", "https://example.com/acme.git"),
        ("https://me:hunter2@example.com/acme.git", "https://example.com/acme.git"),
        ("https://hunter2@example.com:8443/acme.git", "https://example.com:8443/acme.git"),
        ("https://me:hunt@er2@example.com/acme", "https://example.com/acme"),
        ("https://example.com/acme?private_token=hunter2#x", "https://example.com/acme"),
        ("ssh://git@example.com/acme.git", "ssh://example.com/acme.git"),
        ("git@example.com:acme.git", "git@example.com:acme.git"),
        ("/srv/git/acme", "/srv/git/acme"),
        ("https://me:hunter2@[bad/acme", None),
    ],
)
def test_the_origin_without_credentials(repo: Path, url: str, shown: str | None) -> None:
    git(repo, "config", "remote.origin.url", url)
    assert facts(repo).url == shown


def test_a_repository_that_ignores_the_project_is_not_its_own(repo: Path) -> None:
    """As in a home directory that is kept in git."""
    (repo / ".gitignore").write_text("work/\n")
    inner = repo / "work/project"
    inner.mkdir(parents=True)
    (inner / "bootcfleet.yaml").write_text("version: 1\n")
    assert facts(inner) == GitFacts()
    git(repo, "add", "-f", "work")
    git(repo, "commit", "-q", "-m", "kept all the same")
    assert facts(inner).commit == git(repo, "rev-parse", "HEAD")


def test_inside_of_a_hook_of_another_repository(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """git sets these for its hooks; a push to one repository may well start a build of another."""
    other = tmp_path / "other"
    git(tmp_path, "init", "-q", "other")
    expected = facts(repo)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git/index"))
    assert facts(repo) == expected
    assert expected.commit


def test_a_repository_of_another_user_is_said(repo: Path) -> None:
    """git refuses it; without a word the image would carry no commit."""
    need_root()
    for path in (repo, repo / ".git"):
        os.chown(path, 65534, 65534)
    found = facts(repo)
    assert found.commit is None
    assert found.problem is not None
    assert f"git config --global --add safe.directory {repo}" in found.problem
    git(repo, "config", "--global", "--add", "safe.directory", str(repo))
    assert facts(repo).commit
    assert facts(repo).problem is None


@pytest.mark.parametrize(
    ("found", "revision"),
    [
        (GitFacts(), None),
        (GitFacts("c" * 40), "c" * 40),
        (GitFacts("c" * 40, dirty=True), "c" * 40 + "-dirty"),
        (GitFacts(dirty=True), None),
    ],
)
def test_the_revision(found: GitFacts, revision: str | None) -> None:
    assert found.revision == revision


def test_no_repository_and_no_commit(repo: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    assert facts(bare) == GitFacts()
    git(bare, "init", "-q")
    assert facts(bare) == GitFacts()
    assert facts(tmp_path / "nowhere") == GitFacts()


def test_without_git(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert facts(repo) == GitFacts()


class Hangs(LocalExecutor):
    """A file system that does not answer."""

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float | None = None,
        stdin: bytes | None = None,
        as_root: bool = False,
        on_line: OnLine | None = None,
    ) -> CommandResult:
        assert timeout is not None
        raise CommandTimeoutError("late")


def test_a_git_that_hangs(tmp_path: Path) -> None:
    assert GitRepo(Hangs(), tmp_path).facts() == GitFacts()
