"""The pipelines of every provider: valid by its own rules, and all of them do the same."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from bootcfleet.cli.app import build_app
from bootcfleet.domain.channel_spec import ChannelSpec
from bootcfleet.domain.pipeline import Pipeline, Provider
from bootcfleet.domain.pipeline_github import render_github
from bootcfleet.domain.pipeline_gitlab import render_gitlab
from bootcfleet.domain.pipeline_jenkins import render_jenkins
from bootcfleet.domain.pipeline_jobs import make_pipeline
from bootcfleet.domain.pipeline_tekton import render_tekton
from bootcfleet.domain.project import Project
from tests.pipelineruns import SCENARIOS, Ran, run_scripts, scripts_of
from tests.tools import need

pytestmark = pytest.mark.integration

RENDER: dict[Provider, Callable[[Pipeline], str]] = {
    Provider.GITHUB: render_github,
    Provider.GITLAB: render_gitlab,
    Provider.JENKINS: render_jenkins,
    Provider.TEKTON: render_tekton,
}
PROJECT = Project.model_validate(
    {
        "version": 1,
        "name": "acme",
        "registry": "registry.example.com/acme",
        "signing": {"public_key": "acme.pub"},
        "ledger": "postgresql://fleet@db.example.com/fleet",
        "images": {
            "soe": {
                "base": "registry.redhat.io/rhel10/rhel-bootc:10.0",
                "secrets": [{"id": "token", "env": "RHSM_TOKEN"}],
            },
            "web": {"from": "soe"},
            "edge": {"base": "quay.io/fedora/fedora-bootc:42"},
        },
        "channels": {"dev": {"sbom": True}, "test": {"from": "dev"}, "prod": {"from": "test"}},
    }
)
PACKAGE = "bootcfleet[postgresql]==0.1.0"


def pipeline(folder: str = "") -> Pipeline:
    return make_pipeline(PROJECT, package=PACKAGE, folder=folder)


def bare() -> Pipeline:
    """The least that a project can be: nothing to log in to, no image, no channel."""
    project = Project.model_validate({"version": 1, "name": "acme", "registry": "localhost:5000/a"})
    return make_pipeline(project, package="bootcfleet")


SECRETS = {name: f"value of {name}" for name in (*pipeline().secrets, "BOOTCFLEET_PUSH_TOKEN")}
KEY = "the lines\nof a key\n"
SECRETS["BOOTCFLEET_SIGNING_KEY"] = base64.b64encode(KEY.encode()).decode()
#: What each job calls of this program, written down anew: not taken from the model.
EXPECTED = {
    "change": {
        "lock": ["lock verify"],
        "lint": ["image lint --format sarif --output .bootcfleet/ci/lint.sarif", "image lint"],
        "plan": ["image plan --push --locked --detailed-exitcode"],
    },
    "main": {
        "lock": ["lock verify"],
        "lint": ["image lint --format sarif --output .bootcfleet/ci/lint.sarif", "image lint"],
        "images": [
            "image build --push --locked",
            "image lint",
            "image check --junit .bootcfleet/ci/checks.xml",
            "image sbom soe --attach",
            "image sbom web --attach",
            "image sbom edge --attach",
            "image sign soe web edge --key .bootcfleet/ci/signing.key",
            "channel promote --all-images build dev --yes",
        ],
    },
    "schedule": {"update": ["lock update --markdown"]},
    "promote=test": {"promote-test": ["channel promote --all-images dev test --yes"]},
    "promote=prod": {"promote-prod": ["channel promote --all-images test prod --yes"]},
}


def run_all(
    provider: Provider, scenario: str, tmp_path: Path, folder: str = "", **more: str
) -> dict[str, Ran]:
    """Run every job that an event starts, each in a checkout of its own."""
    model = pipeline(folder)
    jobs = scripts_of(provider, RENDER[provider](model), model, scenario, SECRETS)
    found = {}
    for name, scripts in jobs.items():
        top = tmp_path / name / "checkout"
        (top / folder).mkdir(parents=True)
        # GitHub and Tekton start in the project's folder by a setting, the others by a command.
        begins = provider in (Provider.GITHUB, Provider.TEKTON)
        found[name] = run_scripts(scripts, top / folder if begins else top, top, **more)
    return found


def called(ran: Ran) -> list[str]:
    return [" ".join(words) for words in ran.of("bootcfleet")]


@pytest.mark.parametrize("provider", Provider)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_provider_runs_the_same_commands_at_the_same_event(
    provider: Provider, scenario: str, tmp_path: Path
) -> None:
    ran = run_all(provider, scenario, tmp_path)
    assert {name: called(one) for name, one in ran.items()} == EXPECTED[scenario]
    for name, one in ran.items():
        assert one.code == 0, (name, one.output)
        assert (*"-m pip install -q --disable-pip-version-check".split(), PACKAGE) in one.of(
            "python"
        )
        # No package manager is needed where everything is there.
        assert not one.of("apt-get")
        assert not one.of("dnf")


@pytest.mark.parametrize("provider", Provider)
def test_passwords_go_through_standard_input_alone(provider: Provider, tmp_path: Path) -> None:
    for scenario in ("change", "main", "promote=prod"):
        for name, ran in run_all(provider, scenario, tmp_path / scenario).items():
            logins = [words for words in ran.of("podman") if words[0] == "login"]
            assert [(words[2], words[-1]) for words in logins] == [
                (SECRETS["REGISTRY_USER"], "registry.example.com"),
                (SECRETS["REGISTRY_REDHAT_IO_USER"], "registry.redhat.io"),
            ], name
            passwords = [SECRETS["REGISTRY_PASSWORD"], SECRETS["REGISTRY_REDHAT_IO_PASSWORD"]]
            if name == "images":
                passwords.append(f"-rw------- {KEY}")
            assert ran.stdin == "".join(passwords)
            assert not list((tmp_path / scenario).rglob("signing.key"))
            words = " ".join(" ".join(call) for call in ran.calls)
            for secret, value in SECRETS.items():
                if not secret.endswith("_USER"):
                    assert value not in words, (name, secret)
                    assert value not in ran.output, (name, secret)


@pytest.mark.parametrize("provider", Provider)
def test_the_lock_is_proposed_on_a_branch(provider: Provider, tmp_path: Path) -> None:
    ran = run_all(provider, "schedule", tmp_path)["update"]
    assert ran.code == 0, ran.output
    git = [" ".join(words) for words in ran.of("git")]
    assert git[:4] == [
        "status --porcelain -- bootcfleet.lock",
        "fetch -q --depth 1 origin bootcfleet-lock",
        "switch -q -C bootcfleet-lock",
        "add bootcfleet.lock",
    ]
    assert git[4].endswith("commit -q -F -")
    assert ran.stdin.endswith("lock: Move the bases\n\n## Bases: 1 moved\n")
    pushes = [words for words in ran.of("git") if "push" in words]
    assert len(pushes) == 1
    assert pushes[0][-1] == "bootcfleet-lock"
    if provider is Provider.GITHUB:
        assert [words[:2] for words in ran.of("gh")] == [("pr", "list"), ("pr", "create")]
    if provider is Provider.GITLAB:
        assert "merge_request.create" in pushes[0]
        assert pushes[0][-2] == "https://forge.example/acme/images.git"
        # The helper is for git's shell: the token is in no argument.
        assert SECRETS["BOOTCFLEET_PUSH_TOKEN"] not in " ".join(pushes[0])
        helper = next(w for w in pushes[0] if w.startswith("credential.helper=!"))
        said = subprocess.run(
            ["sh", "-c", helper.removeprefix("credential.helper=!")],
            env={"BOOTCFLEET_PUSH_TOKEN": "t0ken"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert said.stdout == "username=oauth2\npassword=t0ken\n"


@pytest.mark.parametrize("provider", Provider)
def test_a_project_below_the_top_of_its_repository(provider: Provider, tmp_path: Path) -> None:
    for scenario in ("main", "schedule"):
        ran = run_all(provider, scenario, tmp_path / scenario, folder="os/images")
        assert {name: called(one) for name, one in ran.items()} == EXPECTED[scenario]
        assert all(one.code == 0 for one in ran.values())
    text = RENDER[provider](pipeline("os/images"))
    assert provider is Provider.TEKTON or "os/images/.bootcfleet/ci/checks.xml" in text


@pytest.mark.parametrize("provider", Provider)
def test_what_fails_ends_the_job(provider: Provider, tmp_path: Path) -> None:
    # The first lint may fail, for its file is shown; the second one may not.
    ran = run_all(provider, "change", tmp_path / "lint", STUB_FAILS="image lint")
    assert len(called(ran["lint"])) == 2
    assert ran["lint"].code == 3
    # Nothing is promoted that was not checked.
    images = run_all(provider, "main", tmp_path / "check", STUB_FAILS="image check")["images"]
    assert images.code == 3
    assert not any("promote" in line or "sign" in line for line in called(images))
    images = run_all(provider, "main", tmp_path / "sign", STUB_FAILS="image sign")["images"]
    assert images.code != 0
    assert not any("promote" in line for line in called(images))
    assert not list(tmp_path.rglob("signing.key"))


@pytest.mark.parametrize(("code", "plan", "ends"), [
    ("0", "nothing to do", 0), ("2", "build soe", 0), ("2", "", 1), ("1", "half", 1),
])  # fmt: skip
def test_a_plan_that_has_something_to_do_is_no_failure(
    code: str, plan: str, ends: int, tmp_path: Path
) -> None:
    more = {"STUB_PLAN": plan, "STUB_PLAN_CODE": code}
    ran = run_all(Provider.GITLAB, "change", tmp_path, **more)["plan"]
    assert ran.code == ends, ran.output


def test_without_credentials_only_what_can_ask_anonymously_goes_on(tmp_path: Path) -> None:
    model = pipeline()
    text = render_gitlab(model)
    for scenario, name, code in (("change", "lock", 0), ("main", "images", 1)):
        scripts = scripts_of(Provider.GITLAB, text, model, scenario, {})[name]
        (tmp_path / scenario).mkdir()
        (top := tmp_path / scenario / "checkout").mkdir()
        ran = run_scripts(scripts, top, top)
        assert ran.code == code
        assert "REGISTRY_PASSWORD is not set: no login to registry.example.com" in ran.output
        assert bool(called(ran)) == (code == 0)


def test_what_is_missing_is_installed(tmp_path: Path) -> None:
    (setup, *_) = scripts_of(
        Provider.GITHUB, render_github(pipeline()), pipeline(), "change", SECRETS
    )["lock"]
    top = tmp_path / "checkout"
    top.mkdir()
    ran = run_scripts([setup], top, top, STUB_FAILS="-c import ensurepip")
    assert "install -y -qq podman git python3-venv" in [" ".join(w) for w in ran.of("apt-get")]


@pytest.mark.parametrize("line", sorted({
    line for jobs in EXPECTED.values() for lines in jobs.values() for line in lines
}))  # fmt: skip
def test_the_program_takes_every_command(line: str) -> None:
    from typer.main import get_command

    words = line.split()
    command: Any = get_command(build_app(words[0]))
    context = command.make_context("bootcfleet", list(words))
    while hasattr(command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        name, command, words = command.resolve_command(context, rest)
        assert command is not None, line
        # Reads and checks every option and argument, and runs nothing.
        context = command.make_context(name, list(words), parent=context)


@pytest.mark.parametrize(
    ("provider", "schema", "right", "wrong"),
    [
        (Provider.GITHUB, "vendor.github-workflows", "runs-on:", "run-on:"),
        (Provider.GITLAB, "vendor.gitlab-ci", "when: manual", "when: by-hand"),
    ],
)
def test_the_schema_of_the_provider(
    provider: Provider, schema: str, right: str, wrong: str, tmp_path: Path
) -> None:
    texts = [RENDER[provider](pipeline(folder)) for folder in ("", "os/images")]
    texts.append(RENDER[provider](bare()))
    # Words that YAML would read as true, as nothing, and as a number.
    odd = {"on": ChannelSpec(), "yes": ChannelSpec(from_="on"), "null": ChannelSpec(from_="on")}
    words = PROJECT.model_copy(update={"channels": odd})
    texts.append(RENDER[provider](make_pipeline(words, package="bootcfleet", branch="1.0")))
    files = [tmp_path / f"{number}.yml" for number in range(len(texts) + 1)]
    for file, text in zip(files, [*texts, texts[0].replace(right, wrong)], strict=True):
        file.write_text(text)
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema]
    for paths, code in ((files[:-1], 0), (files[-1:], 1)):
        done = subprocess.run(
            [*check, *map(str, paths)], capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == code, done.stdout + done.stderr


def test_tekton_by_its_published_reference() -> None:
    schema = json.loads((Path(__file__).parent.parent / "data/tekton.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    documents = list(yaml.safe_load_all(render_tekton(pipeline("os"))))
    for one in documents:
        validator.validate(one)
        # What the schema of one document cannot tell.
        spec = one["spec"]
        if one["kind"] == "Task":
            volumes = {volume["name"] for volume in spec.get("volumes", ())}
            used = set(re.findall(r"\$\(params\.(\w+)\)", json.dumps(spec["steps"])))
            assert used == {param["name"] for param in spec["params"]}
            for step in spec["steps"]:
                assert {mount["name"] for mount in step.get("volumeMounts", ())} <= volumes
                # Parameters and secrets come by the environment, and are never pasted into shell.
                assert not re.search(
                    r"\$\((params|workspaces|context|results|steps)", step["script"]
                )
        else:
            tasks = {other["metadata"]["name"] for other in documents if other["kind"] == "Task"}
            names = [task["name"] for task in spec["tasks"]]
            assert len(set(names)) == len(names)
            for task in spec["tasks"]:
                assert task["taskRef"]["name"] in tasks
                assert set(task.get("runAfter", ())) <= set(names)
    # Names that are as long as they can be.
    channels = {"dev": ChannelSpec(), "b" * 40: ChannelSpec(from_="dev")}
    long = PROJECT.model_copy(update={"name": "a" * 64, "channels": channels})
    model = make_pipeline(long, package="bootcfleet")
    for one in yaml.safe_load_all(render_tekton(model)):
        validator.validate(one)
    broken = yaml.safe_load(json.dumps(documents[1]))
    broken["spec"]["steps"][0]["scripts"] = "x"
    assert not validator.is_valid(broken)


@pytest.mark.parametrize("provider", Provider)
def test_a_project_with_nothing_in_it(provider: Provider, tmp_path: Path) -> None:
    text = RENDER[provider](bare())
    for scenario in ("change", "main", "schedule"):
        jobs = scripts_of(provider, text, bare(), scenario, {})
        assert set(jobs) == set(EXPECTED[scenario])
        for name, scripts in jobs.items():
            top = tmp_path / scenario / name / "checkout"
            top.mkdir(parents=True)
            ran = run_scripts(scripts, top, top, BOOTCFLEET_PUSH_TOKEN="")
            assert ran.code == 0, ran.output
            assert not any("login" in words for words in ran.of("podman"))


@pytest.mark.parametrize("provider", Provider)
def test_every_script_is_shell(provider: Provider) -> None:
    model, text = pipeline(), RENDER[provider](pipeline())
    count, texts = 0, dict[str, str]()
    for scenario in SCENARIOS:
        for scripts in scripts_of(provider, text, model, scenario, SECRETS).values():
            for script in scripts:
                count += 1
                assert "${{" not in script.text  # GitHub would paste anything into it
                for shell in (need("sh"), need("bash")):
                    subprocess.run([shell, "-n", "-c", script.text], check=True, timeout=30)
                texts.setdefault(script.text, "bash" if script.shell[0] == "bash" else "sh")
    # A credential helper is for another shell: SC2016 would have its variable filled in here.
    for text, shell in texts.items():
        done = subprocess.run(
            [need("shellcheck"), "--shell", shell, "--exclude", "SC2016", "-"],
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout
    assert count >= len(SCENARIOS)
