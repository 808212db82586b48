"""Runs the pipelines of `bootcfleet ci init` as their providers would, with stand-ins for programs.

Each provider's file is read by its own rules: which jobs an event starts, which shell runs a step,
which secrets the step sees. The scripts are then really run; `podman`, `git`, `bootcfleet` and the
other programs write down how they were called.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from bootcfleet.domain.pipeline import Pipeline, Provider
from tests.tools import need

MOCK = Path(__file__).parent / "data/jenkinsfile.groovy"
#: What each event is called here; ``promote=CHANNEL`` is one that a person starts.
SCENARIOS = ("change", "main", "schedule", "promote=test", "promote=prod")

_STUB = """\
#!/bin/sh
{ printf '%s\\037' "${0##*/}" "$@"; printf '\\036'; } >> "$STUB_LOG"
case "${0##*/} $*" in
  "python3 -m venv "*)
    for last; do :; done
    mkdir -p "$last/bin"
    cp "$0" "$last/bin/bootcfleet"
    cp "$0" "$last/bin/python" ;;
  "podman login "*|"git "*" commit "*) cat >> "$STUB_LOG.stdin" ;;
  "git fetch "*) exit 1 ;;
  "git status "*) echo " M bootcfleet.lock" ;;
  "gh pr list "*) echo 0 ;;
  "bootcfleet image plan"*) printf '%s' "${STUB_PLAN-build soe}"; exit "${STUB_PLAN_CODE:-2}" ;;
  "bootcfleet image sign "*)
    for last; do :; done
    { stat -c '%A ' "$last" | tr -d '\\n'; cat "$last"; } >> "$STUB_LOG.stdin" ;;
  "bootcfleet lock update"*) echo "## Bases: 1 moved" ;;
esac
case "$*" in "${STUB_FAILS:-nothing}"*) exit 3 ;; esac
"""


@dataclass(frozen=True)
class Script:
    """One script of a job, the shell that runs it, and what is added to its environment."""

    text: str
    shell: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ran:
    """What a job's scripts did: each call's words, what came by standard input, the exit code."""

    calls: tuple[tuple[str, ...], ...]
    stdin: str
    code: int
    output: str

    def of(self, program: str) -> list[tuple[str, ...]]:
        """The calls of one program, without its name."""
        return [words[1:] for words in self.calls if words[0] == program]


def scripts_of(
    provider: Provider, text: str, pipeline: Pipeline, scenario: str, secrets: Mapping[str, str]
) -> dict[str, list[Script]]:
    """The jobs that an event starts, by the model's names, in the order of the file."""
    match provider:
        case Provider.GITHUB:
            return _github(text, scenario, secrets)
        case Provider.GITLAB:
            return _gitlab(text, scenario, secrets)
        case Provider.JENKINS:
            return _jenkins(text, pipeline, scenario, secrets)
        case Provider.TEKTON:
            return _tekton(text, scenario, secrets)


def run_scripts(scripts: list[Script], folder: Path, top: Path, **more: str) -> Ran:
    """Run a job's scripts in `folder` of the checkout `top`, one after another until one fails."""
    stubs, log = top.parent / "stubs", top.parent / "log"
    stubs.mkdir(exist_ok=True)
    for name in ("podman", "git", "gh", "python3", "apt-get", "dnf", "sudo"):
        (stubs / name).write_text(_STUB)
        (stubs / name).chmod(0o755)
    for old in (log, Path(f"{log}.stdin")):
        old.write_text("")
    github = {name: str(top.parent / name) for name in ("GITHUB_PATH", "GITHUB_ENV")}
    env = {"PATH": f"{stubs}:/usr/bin:/bin", "STUB_LOG": str(log), "HOME": str(top.parent)} | more
    code, output = 0, ""
    for script in scripts:
        for path in github.values():
            Path(path).write_text("")
        place = {
            key: value.replace("@WORKSPACE@", str(top)).replace("@PATH@", env["PATH"])
            for key, value in script.env.items()
        }
        done = subprocess.run(
            [*script.shell, "-c", script.text],
            cwd=folder,
            env=env
            | github
            | {"GITHUB_STEP_SUMMARY": str(top.parent / "summary"), "GITHUB_REF_NAME": "main"}
            | {"CI_PROJECT_DIR": str(top), "CI_SERVER_URL": "https://forge.example"}
            | {"CI_PROJECT_PATH": "acme/images"}
            | place,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        output += done.stdout + done.stderr
        for line in Path(github["GITHUB_PATH"]).read_text().splitlines():
            env["PATH"] = f"{line}:{env['PATH']}"
        for line in Path(github["GITHUB_ENV"]).read_text().splitlines():
            name, _, value = line.partition("=")
            env[name] = value
        code = done.returncode
        if code:
            break
    calls = [tuple(call.split("\x1f")[:-1]) for call in log.read_text().split("\x1e")[:-1]]
    return Ran(tuple(calls), Path(f"{log}.stdin").read_text(), code, output)


def _truth(condition: str, values: Mapping[str, Any], name: str) -> bool:
    """A condition of a provider: names, quoted words, ==, != , && and ||."""
    words = re.findall(rf"{name}|'[^']*'|\"[^\"]*\"|==|!=|&&|\|\||\S+", condition)
    signs = {"&&": "and", "||": "or", "==": "==", "!=": "!="}
    python = []
    for word in words:
        if word in signs:
            python.append(signs[word])
        elif word[0] in "'\"":
            python.append(repr(word[1:-1]))
        else:
            python.append(repr(values[word]))
    return bool(eval(" ".join(python), {"__builtins__": {}}))


def _github(text: str, scenario: str, secrets: Mapping[str, str]) -> dict[str, list[Script]]:
    event, _, channel = scenario.partition("=")
    names = {"change": "pull_request", "main": "push", "promote": "workflow_dispatch"}
    ref = "refs/pull/7/merge" if event == "change" else "refs/heads/main"
    values = {
        "github.event_name": names.get(event, event),
        "github.ref": ref,
        "inputs.promote_to": channel or None,
    }
    body = yaml.safe_load(text)
    # YAML 1.1 reads the key `on` as true.
    assert values["github.event_name"] in body[True]
    if channel:
        assert channel in body[True]["workflow_dispatch"]["inputs"]["promote_to"]["options"]
    assert body["defaults"]["run"]["shell"] == "bash"

    def filled(env: Mapping[str, str]) -> dict[str, str]:
        found = {}
        for key, value in env.items():
            match = re.fullmatch(r"\$\{\{ secrets\.(\w+)( \|\| github\.token)? \}\}", value)
            assert match, value
            found[key] = secrets.get(match[1], "github-token" if match[2] else "")
        return found

    jobs = {}
    for name, job in body["jobs"].items():
        if not _truth(job["if"], values, r"[a-z]+\.[a-z_]+"):
            continue
        shell = ("bash", "--noprofile", "--norc", "-eo", "pipefail")
        jobs[name] = [
            Script(step["run"], shell, filled(job.get("env", {})) | filled(step.get("env", {})))
            for step in job["steps"]
            if "run" in step
        ]
    return jobs


def _gitlab(text: str, scenario: str, secrets: Mapping[str, str]) -> dict[str, list[Script]]:
    event, _, channel = scenario.partition("=")
    values = {
        "$CI_PIPELINE_SOURCE": {"change": "merge_request_event", "schedule": "schedule"}.get(
            event, "push"
        ),
        "$CI_COMMIT_BRANCH": None if event == "change" else "main",
    }
    body = yaml.safe_load(text)
    top = {"workflow", "stages", "variables", "default"}
    assert any(_truth(r["if"], values, r"\$\w+") for r in body["workflow"]["rules"])
    jobs = {}
    for name, job in body.items():
        if name in top:
            continue
        assert job["stage"] in body["stages"]
        rule = next((r for r in job["rules"] if _truth(r["if"], values, r"\$\w+")), None)
        manual = rule is not None and rule.get("when") == "manual"
        if rule is None or manual != bool(channel) or (manual and name != f"promote-{channel}"):
            continue
        env = {
            key: value.replace("$CI_PROJECT_DIR", "@WORKSPACE@")
            for key, value in body["variables"].items()
        }
        lines = "\n".join([*body["default"]["before_script"], *job["script"]])
        jobs[name] = [Script(f"set -eo pipefail\n{lines}", ("bash",), {**secrets, **env})]
    return jobs


def _jenkins(
    text: str, pipeline: Pipeline, scenario: str, secrets: Mapping[str, str]
) -> dict[str, list[Script]]:
    run = jenkins_runs(text)[scenario]
    assert run["crons"] == ([""] if scenario == "change" else ["17 4 * * 1-5"])
    names = {job.title: job.name for job in pipeline.jobs}
    before: list[Script] = []
    jobs = {}
    for stage in run["stages"]:
        if not stage["on"]:
            continue
        assert all(one.startswith("credential:") for one in stage["environment"].values())
        given = {name: secrets[name] for name in stage["environment"]}
        scripts = [
            Script(
                step["sh"],
                ("sh", "-xe"),
                run["environment"]
                | given
                | {name: secrets.get(name, "helper") for name in step["bound"]},
            )
            for step in stage["steps"]
        ]
        if stage["name"] == "Prepare":
            before = scripts
        else:
            jobs[names[stage["name"]]] = [*before, *scripts]
    return jobs


@lru_cache
def jenkins_runs(text: str) -> dict[str, Any]:
    """What each run of a Jenkinsfile does, by real Groovy and stand-ins for Jenkins' steps."""
    java = Path(need("java")).resolve().parent.parent
    with tempfile.NamedTemporaryFile("w", prefix="bootcfleet-jenkinsfile-") as file:
        file.write(text)
        file.flush()
        done = subprocess.run(
            [need("groovy"), str(MOCK), file.name, *SCENARIOS],
            env=os.environ | {"JAVA_HOME": str(java)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    return {run["scenario"]: run for run in json.loads(done.stdout)}


def _tekton(text: str, scenario: str, secrets: Mapping[str, str]) -> dict[str, list[Script]]:
    event, _, channel = scenario.partition("=")
    documents = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(text)}
    name = {"schedule": "update", "promote": f"promote-{channel}"}.get(event, event)
    tasks = documents["Pipeline", f"acme-{name}"]["spec"]["tasks"]
    assert tasks[0]["name"] == "clone"
    jobs = {}
    for before, task in pairwise(tasks):
        # They share a workspace, so each waits for the one before.
        assert task["runAfter"] == [before["name"]]
        (step,) = documents["Task", task["taskRef"]["name"]]["spec"]["steps"]
        env = {}
        for one in step["env"]:
            if "value" in one:
                env[one["name"]] = one["value"]
            elif one["valueFrom"]["secretKeyRef"]["key"] in secrets:
                env[one["name"]] = secrets[one["valueFrom"]["secretKeyRef"]["key"]]
        assert step["script"].startswith("#!/bin/sh\n")
        jobs[task["name"]] = [Script(step["script"], ("sh",), env)]
    return jobs
