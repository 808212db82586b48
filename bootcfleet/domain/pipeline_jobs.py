"""The jobs of a project's pipeline: what runs on a change, on the main branch, by hand, nightly."""

from __future__ import annotations

import re
import shlex

from bootcfleet.domain.pipeline import (
    LOCK_BRANCH,
    WORK,
    Job,
    Login,
    Pipeline,
    Report,
    ReportKind,
    Stage,
    Step,
    When,
    slug,
)
from bootcfleet.domain.project import Project
from bootcfleet.domain.reference import ImageRef
from bootcfleet.errors import UsageError

#: The variable with the file of the private key, in base64.
SIGNING_KEY = "BOOTCFLEET_SIGNING_KEY"

#: Registries that need no login to read from.
_OPEN = frozenset({"quay.io", "docker.io", "ghcr.io", "registry.fedoraproject.org"})


def make_pipeline(
    project: Project,
    *,
    package: str,
    branch: str = "main",
    folder: str = "",
) -> Pipeline:
    """The pipeline of a project.

    `package` is what pip installs, `branch` the one that is built, `folder` where the
    project is in its repository.  Raises `UsageError` for what cannot stand in a pipeline.
    """
    if not re.fullmatch(r"\w[\w./-]*", branch, re.ASCII) or ".." in branch:
        raise UsageError(f"{branch!r} cannot be the name of a branch here")
    if not re.fullmatch(r"(?:[A-Za-z0-9_][\w.-]*/?)*", folder, re.ASCII):
        raise UsageError(
            f"the folder {folder!r} cannot be written into a pipeline",
            hint="name it with letters, digits, '.', '-' and '_' alone",
        )
    if not package.isprintable() or not package or re.search(r"[$`\\{}']", package):
        raise UsageError(
            f"{package!r} cannot be written into a pipeline",
            hint="a requirement of pip, for example bootcfleet==0.1.0, or a URL",
        )
    jobs = (*_jobs_before(project), *_jobs_after(project), _update())
    if len({job.name for job in jobs}) < len(jobs):
        raise UsageError("two channels would be the same job; rename one of them")
    return Pipeline(
        project.name,
        branch,
        folder,
        _setup(package),
        _logins(project),
        jobs,
    )


def _setup(package: str) -> Step:
    """podman, git and this program, where they are not there already."""
    python = f"{WORK}/venv/bin/python"
    return Step(
        "Install podman and bootcfleet",
        (
            "if ! command -v podman >/dev/null || ! command -v git >/dev/null ||",
            "  ! python3 -c 'import ensurepip, venv' 2>/dev/null; then",
            '  as_root=; [ "$(id -u)" -eq 0 ] || as_root=sudo',
            "  if command -v apt-get >/dev/null; then",
            "    $as_root apt-get update -qq",
            "    $as_root apt-get install -y -qq podman git python3-venv",
            "  else",
            "    $as_root dnf install -y -q podman git-core python3 python3-pip",
            "  fi",
            "fi",
            f"mkdir -p {WORK}",
            f"python3 -m venv --clear {WORK}/venv",
            f"{python} -m pip install -q --disable-pip-version-check {shlex.quote(package)}",
        ),
    )


def _logins(project: Project) -> tuple[Login, ...]:
    """The registry that is pushed to, then those of the bases that are not open to everybody."""
    own = ImageRef.parse(f"{project.registry}/image").registry
    bases = [ImageRef.parse(image.base).registry for image in project.images.values() if image.base]
    found: list[Login] = []
    for registry in dict.fromkeys([own, *bases]):
        if is_local(registry) or (registry in _OPEN and registry != own):
            continue
        name = "REGISTRY" if registry == own else slug(registry).replace("-", "_").upper()
        # A variable's name must not begin with a digit, and two registries need two names.
        name = name if name == "REGISTRY" or name.startswith("REGISTRY_") else f"REGISTRY_{name}"
        while any(name == login.user.removesuffix("_USER") for login in found):
            name += "_2"
        found.append(Login(registry, f"{name}_USER", f"{name}_PASSWORD"))
    return tuple(found)


def is_local(registry: str) -> bool:
    """Whether a registry is on the machine that asks: no other one can push there."""
    host = registry.rpartition("]")[0] + "]" if registry[0] == "[" else registry.partition(":")[0]
    return host == "localhost" or host == "[::1]" or host.startswith("127.")


def _build_secrets(project: Project) -> tuple[str, ...]:
    found = [s.env for image in project.images.values() for s in image.secrets if s.env]
    return tuple(dict.fromkeys(found))


def _ledger_secret(project: Project) -> tuple[str, ...]:
    return () if project.ledger.startswith("sqlite") else ("BOOTCFLEET_LEDGER_PASSWORD",)


def _jobs_before(project: Project) -> tuple[Job, ...]:
    """What is asked of every change, and of the main branch before it is built."""
    both, ledger = (When.CHANGE, When.MAIN), _ledger_secret(project)
    plan, sarif = f"{WORK}/plan.txt", f"{WORK}/lint.sarif"
    what = "bootcfleet image plan --push --locked --detailed-exitcode"
    return (
        Job(
            "lock",
            "Verify the lock",
            Stage.VERIFY,
            both,
            (Step("Verify the lock", ("bootcfleet lock verify",)),),
        ),
        Job(
            "lint",
            "Lint the images",
            Stage.VERIFY,
            both,
            (
                Step(
                    "Lint the images",
                    (
                        "# The second one prints the same findings, and fails where there are any.",
                        f"bootcfleet image lint --format sarif --output {sarif} || true",
                        "bootcfleet image lint",
                    ),
                    Report(ReportKind.SARIF, sarif),
                ),
            ),
            secrets=ledger,
        ),
        Job(
            "plan",
            "Plan the build",
            Stage.VERIFY,
            (When.CHANGE,),
            (
                Step(
                    "Plan the build",
                    (
                        "code=0",
                        f"{what} > {plan} || code=$?",
                        f"cat {plan}",
                        "# 2: there is something to build; without a plan, something is wrong.",
                        f'[ "$code" -eq 0 ] || {{ [ "$code" -eq 2 ] && [ -s {plan} ]; }}',
                    ),
                    Report(ReportKind.SUMMARY, plan),
                ),
            ),
            secrets=(*ledger, *_build_secrets(project)),
        ),
    )


def _jobs_after(project: Project) -> tuple[Job, ...]:
    """Build, check and promote on the main branch; further promotions by hand."""
    ledger, junit = _ledger_secret(project), f"{WORK}/checks.xml"
    channels = {name: spec.from_ for name, spec in project.channels.items()}
    first = [name for name, source in channels.items() if source is None]
    steps = [
        Step("Build and push what changed", ("bootcfleet image build --push --locked",)),
        Step("Lint what was built", ("bootcfleet image lint",)),
        Step(
            "Check the images",
            (f"bootcfleet image check --junit {junit}",),
            Report(ReportKind.JUNIT, junit),
        ),
    ]
    if any(spec.sbom is not False for spec in project.channels.values()):
        attach = tuple(f"bootcfleet image sbom {name} --attach" for name in project.images)
        steps.append(Step("Say what the images are made of", attach))
    signing = _signing_secrets(project)
    if signing:
        steps.append(_sign(project))
    steps += [Step(f"Promote to {name}", (_promote("build", name),)) for name in first]
    images = Job(
        "images",
        "Build, check and promote",
        Stage.BUILD,
        (When.MAIN,),
        tuple(steps),
        needs=("lock", "lint"),
        secrets=(*ledger, *_build_secrets(project), *signing),
        must_login=True,
    )
    by_hand = [
        Job(
            f"promote-{slug(name)}",
            f"Promote to {name}",
            Stage.PROMOTE,
            (When.MANUAL,),
            (Step(f"Promote to {name}", (_promote(source, name),)),),
            needs=(f"promote-{slug(source)}" if channels.get(source) else "images",),
            secrets=ledger,
            must_login=True,
            channel=name,
        )
        for name, source in channels.items()
        if source is not None
    ]
    return (images, *by_hand)


def _signing_secrets(project: Project) -> tuple[str, ...]:
    """The private key, whose file is in base64 because not every store takes lines, and its
    passphrase; nothing where the project signs nothing.
    """
    if project.signing is None or not project.images:
        return ()
    return (SIGNING_KEY, project.signing.passphrase_env)


def _sign(project: Project) -> Step:
    """The key is a file for one command, and only its owner may read it."""
    key = f"{WORK}/signing.key"
    return Step(
        "Sign the images",
        (
            "set +x",
            f"(umask 077 && printf '%s' \"${{{SIGNING_KEY}:?is not set}}\" | base64 -d > {key})",
            "code=0",
            f"bootcfleet image sign {' '.join(project.images)} --key {key} || code=$?",
            f"rm -f {key}",
            '[ "$code" -eq 0 ]',
        ),
    )


def _promote(source: str, channel: str) -> str:
    return f"bootcfleet channel promote --all-images {source} {channel} --yes"


def _update() -> Job:
    """Move the lock on a branch of its own, in a commit that says what moved."""
    text = f"{WORK}/lock.md"
    lines = (
        "code=0",
        f"bootcfleet lock update --markdown > {text} || code=$?",
        f"cat {text}",
        'if [ -z "$(git status --porcelain -- bootcfleet.lock)" ]; then exit "$code"; fi',
        "# Only the time of asking may differ: then the branch is left as it is.",
        f"if git fetch -q --depth 1 origin {LOCK_BRANCH} 2>/dev/null &&",
        '  [ "$(git show FETCH_HEAD:./bootcfleet.lock | grep -v locked:)" = '
        '"$(grep -v locked: bootcfleet.lock)" ]; then',
        f"  echo 'the branch {LOCK_BRANCH} says the same already'",
        '  exit "$code"',
        "fi",
        f"git switch -q -C {LOCK_BRANCH}",
        "git add bootcfleet.lock",
        f"{{ echo 'lock: Move the bases'; echo; cat {text}; }} |",
        "  git -c user.name=bootcfleet -c user.email=bootcfleet@localhost commit -q -F -",
    )
    return Job(
        "update",
        "Move the lock",
        Stage.MAINTAIN,
        (When.SCHEDULE,),
        (Step("Move the lock", lines, Report(ReportKind.SUMMARY, text)),),
        proposes=True,
    )
