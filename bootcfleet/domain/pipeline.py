"""What continuous integration does with a project: jobs, their commands, when, and in which order.

There is one model, and each provider's file is drawn from it, so that no two of
them can say different things. An image that is in the registry under its build
id is not built again, so that a pipeline needs no cache of its own.

A job is one shell: build, lint, check and promotion of the images stand in one,
because the checks need the image that was built, in the same storage.
Everything that a job writes goes to ``.bootcfleet/ci``, which git ignores: a
tree with files of its own in it would mark every image as made of a dirty one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from shlex import quote

from jinja2 import Environment, StrictUndefined

#: Where jobs put what they write.
WORK = ".bootcfleet/ci"
#: The branch that the scheduled job proposes a moved lock on.
LOCK_BRANCH = "bootcfleet-lock"
#: Monday to Friday, before work begins (UTC).
SCHEDULE = "17 4 * * 1-5"


class Provider(StrEnum):
    """Who runs the pipeline."""

    GITHUB = "github"
    GITLAB = "gitlab"
    JENKINS = "jenkins"
    TEKTON = "tekton"


class When(StrEnum):
    """What starts a job."""

    CHANGE = "change"
    MAIN = "main"
    MANUAL = "manual"
    SCHEDULE = "schedule"


class Stage(StrEnum):
    """The parts of a pipeline, in order."""

    VERIFY = "verify"
    BUILD = "build"
    PROMOTE = "promote"
    MAINTAIN = "maintain"


class ReportKind(StrEnum):
    """How a file that a job wrote is to be shown."""

    SUMMARY = "summary"
    SARIF = "sarif"
    JUNIT = "junit"


@dataclass(frozen=True)
class Report:
    """A file that a step wrote, relative to the project."""

    kind: ReportKind
    path: str


@dataclass(frozen=True)
class Step:
    """Lines of POSIX shell, run in the project's folder, which end the job where one fails."""

    name: str
    lines: tuple[str, ...]
    report: Report | None = None


@dataclass(frozen=True)
class Login:
    """A registry, and the variables with user and password from the provider's secret store."""

    registry: str
    user: str
    password: str

    @property
    def name(self) -> str:
        """A name for the pair in a secret store: lower case, with dashes."""
        return slug(self.user.removesuffix("_USER"))


@dataclass(frozen=True)
class Job:
    """One job.

    `needs` are the jobs before it, `secrets` the variables that it gets from the
    secret store beside those of the logins. `must_login` says that it cannot do
    without a login; others ask anonymously when there are no credentials, as in
    a pipeline for somebody else's fork. `channel` is set for a promotion by hand,
    `proposes` for the job that opens a merge request.
    """

    name: str
    title: str
    stage: Stage
    when: tuple[When, ...]
    steps: tuple[Step, ...]
    needs: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    must_login: bool = False
    channel: str | None = None
    proposes: bool = False


@dataclass(frozen=True)
class Pipeline:
    """All jobs of a project.

    `folder` is where the project is in its repository ("" for the top), `branch`
    the one that is built from, `setup` what every job does first.
    """

    project: str
    branch: str
    folder: str
    setup: Step
    logins: tuple[Login, ...]
    jobs: tuple[Job, ...]

    def inside(self, path: str) -> str:
        """A file of the project, from the top of the repository."""
        return f"{self.folder}/{path}" if self.folder else path

    def of(self, when: When) -> tuple[Job, ...]:
        """The jobs that `when` starts."""
        return tuple(job for job in self.jobs if when in job.when)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every variable of the secret store, each once."""
        names = [name for login in self.logins for name in (login.user, login.password)]
        names += [name for job in self.jobs for name in job.secrets]
        return tuple(dict.fromkeys(names))

    def login(self, job: Job) -> Step | None:
        """How a job logs in: passwords go through standard input alone; None for no registry."""
        if not self.logins:
            return None
        # Jenkins shows every command with its values; this is never shown.
        lines = ["set +x"]
        for login in self.logins:
            lines += [
                f'if [ -n "${{{login.password}:-}}" ]; then',
                f"  printf '%s' \"${login.password}\" |",
                f'    podman login --username "${login.user}" --password-stdin '
                f"{quote(login.registry)}",
                "else",
                f'  echo "{login.password} is not set: no login to {login.registry}" >&2',
                *(["  exit 1"] if job.must_login else []),
                "fi",
            ]
        return Step("Log in", tuple(lines))

    def steps(self, job: Job, propose: Sequence[str] = ()) -> tuple[Step, ...]:
        """Everything that a job runs, in order; each ends the job where a line of it fails.

        `propose` is how the provider opens a merge request, for the job that proposes.
        """
        login = self.login(job)
        steps = [self.setup, *((login,) if login else ()), *job.steps]
        if job.proposes:
            steps[-1] = replace(steps[-1], lines=(*steps[-1].lines, *propose))
        return tuple(replace(step, lines=("set -eu", *step.lines)) for step in steps)


def slug(text: str) -> str:
    """A name in lower case with dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def drawing() -> Environment:
    """How the files are drawn: a forgotten value is an error, a block leaves no empty line."""
    return Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - this is no HTML
    )
