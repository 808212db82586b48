"""The model of a pipeline: what it asks of a project, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from bootcfleet.domain.pipeline import Pipeline, When
from bootcfleet.domain.pipeline_jobs import is_local, make_pipeline
from bootcfleet.domain.project import Project
from bootcfleet.errors import UsageError


def pipeline(
    *bases: str, registry: str = "r.example.com/acme", channels: Any = None, **more: Any
) -> Pipeline:
    images = {f"image{number}": {"base": base} for number, base in enumerate(bases)}
    specs = {name: {"from": source} for name, source in (channels or {}).items()}
    body = {"version": 1, "name": "acme", "registry": registry, "images": images}
    project = Project.model_validate({**body, "channels": specs})
    return make_pipeline(project, **{"package": "bootcfleet", **more})


def test_each_registry_that_asks_who_you_are_has_its_own_login() -> None:
    found = pipeline(
        "registry.redhat.io/a:1",
        "registry.redhat.io/b:1",
        "quay.io/c:1",
        "localhost/d:1",
        "127.0.0.1:5000/e:1",
        "r.example.com/f:1",
        "0.example.com:5000/g:1",
    )
    assert [(one.registry, one.user, one.password) for one in found.logins] == [
        ("r.example.com", "REGISTRY_USER", "REGISTRY_PASSWORD"),
        ("registry.redhat.io", "REGISTRY_REDHAT_IO_USER", "REGISTRY_REDHAT_IO_PASSWORD"),
        (
            "0.example.com:5000",
            "REGISTRY_0_EXAMPLE_COM_5000_USER",
            "REGISTRY_0_EXAMPLE_COM_5000_PASSWORD",
        ),
    ]
    # Who pushes to an open registry logs in to it, too.
    assert [one.registry for one in pipeline(registry="quay.io/acme").logins] == ["quay.io"]


def test_two_registries_never_share_a_password() -> None:
    found = pipeline("a-b.example.com/x:1", "a.b.example.com/x:1")
    assert len({one.password for one in found.logins}) == 3


@pytest.mark.parametrize(
    ("registry", "local"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.2:1", True),
        ("[::1]:5000", True),
        ("localhost.example.com", False),
        ("registry.example.com:5000", False),
        ("[2001:db8::1]:5000", False),
    ],
)
def test_a_registry_of_this_machine(registry: str, local: bool) -> None:
    assert is_local(registry) is local


def test_channels_become_promotions() -> None:
    found = pipeline(
        "r.example.com/b:1",
        channels={"dev": None, "edge": None, "test": "dev", "prod": "test", "old": "edge"},
    )
    jobs = {job.name: job for job in found.jobs}
    assert [line for step in jobs["images"].steps for line in step.lines][-2:] == [
        "bootcfleet channel promote --all-images build dev --yes",
        "bootcfleet channel promote --all-images build edge --yes",
    ]
    assert {job.name: job.needs for job in found.of(When.MANUAL)} == {
        "promote-test": ("images",),
        "promote-prod": ("promote-test",),
        "promote-old": ("images",),
    }
    with pytest.raises(UsageError, match="two channels would be the same job"):
        pipeline(channels={"dev": None, "a.b": "dev", "a_b": "dev"})


def test_every_step_ends_at_the_first_line_that_fails() -> None:
    found = pipeline("r.example.com/b:1", channels={"dev": None, "prod": "dev"})
    for job in found.jobs:
        assert all(step.lines[0] == "set -eu" for step in found.steps(job))


def test_secrets_go_to_the_jobs_that_need_them() -> None:
    body = {
        "version": 1,
        "name": "acme",
        "registry": "r.example.com/acme",
        "ledger": "postgresql://fleet@db/fleet",
        "images": {
            "a": {"base": "r.example.com/b:1", "secrets": [{"id": "t", "env": "TOKEN"}]},
            "b": {"from": "a", "secrets": [{"id": "t", "env": "TOKEN"}, {"id": "f", "file": "f"}]},
        },
    }
    found = make_pipeline(Project.model_validate(body), package="bootcfleet")
    ledger = "BOOTCFLEET_LEDGER_PASSWORD"
    assert {job.name: job.secrets for job in found.jobs} == {
        "lock": (),
        "lint": (ledger,),
        "plan": (ledger, "TOKEN"),
        "images": (ledger, "TOKEN"),
        "update": (),
    }
    assert found.secrets == ("REGISTRY_USER", "REGISTRY_PASSWORD", ledger, "TOKEN")
    body["signing"] = {"public_key": "acme.pub", "passphrase_env": "ACME_PASSPHRASE"}
    found = make_pipeline(Project.model_validate(body), package="bootcfleet")
    images = next(job for job in found.jobs if job.name == "images")
    assert images.secrets == (ledger, "TOKEN", "BOOTCFLEET_SIGNING_KEY", "ACME_PASSPHRASE")
    assert not any("ACME_PASSPHRASE" in job.secrets for job in found.jobs if job is not images)
    assert pipeline().secrets == ("REGISTRY_USER", "REGISTRY_PASSWORD")


@pytest.mark.parametrize("package", ["", "a\nb", "$(id)", "`id`", "${{ x }}", "a'b", "a\\b"])
def test_a_package_cannot_bring_shell_in(package: str) -> None:
    with pytest.raises(UsageError, match="cannot be written into a pipeline"):
        pipeline(package=package)


@pytest.mark.parametrize("branch", ["", "-x", "a b", "a'", "a..b", "a\nb", 'a"'])
def test_a_branch_cannot_either(branch: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a branch"):
        pipeline(branch=branch)


@pytest.mark.parametrize("folder", ["my images", "a'b", "$x", "../x", "-x", "a/-b", "ü"])
def test_a_folder_cannot_either(folder: str) -> None:
    with pytest.raises(UsageError, match="cannot be written into a pipeline"):
        pipeline(folder=folder)
    assert pipeline(folder="os/images-2.x").inside("a") == "os/images-2.x/a"
