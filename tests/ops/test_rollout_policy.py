"""Which policy a rollout goes by."""

from __future__ import annotations

from pathlib import Path

import pytest

from bootcfleet.domain.limit import Limit
from bootcfleet.domain.rollout_policy import RolloutPolicy
from bootcfleet.errors import UsageError
from bootcfleet.ops.project import LoadedProject, load_project
from bootcfleet.ops.rollout_policy import choose_policy

HEAD = "version: 1\nname: acme\nregistry: r.example/acme\n"


def loaded(folder: Path, text: str = "") -> LoadedProject:
    (folder / "bootcfleet.yaml").write_text(HEAD + text)
    return load_project(folder)


def test_without_a_policy(tmp_path: Path) -> None:
    assert choose_policy(None) == RolloutPolicy()
    assert choose_policy(None, "default") == RolloutPolicy()
    assert choose_policy(loaded(tmp_path)) == RolloutPolicy()
    assert choose_policy(loaded(tmp_path, "rollouts: {fast: {batch: 1}}")) == RolloutPolicy()


def test_the_default_and_a_named_one(tmp_path: Path) -> None:
    project = loaded(tmp_path, "rollouts: {default: {canary: 2}, fast: {batch: 100%}}")
    assert choose_policy(project) == RolloutPolicy(canary=Limit(2))
    assert choose_policy(project, "fast") == RolloutPolicy("fast", batch=Limit(100, True))


def test_a_name_that_is_not_there(tmp_path: Path) -> None:
    project = loaded(tmp_path, "rollouts: {production: {}}")
    with pytest.raises(UsageError, match="no rollout policy 'prodction'") as caught:
        choose_policy(project, "prodction")
    assert caught.value.hint == "did you mean 'production'?"
    with pytest.raises(UsageError) as caught:
        choose_policy(None, "fast")
    assert caught.value.hint == "there is no project here"
