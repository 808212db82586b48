"""What each check asks, and whether the answers are what it expects."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

from bootcfleet.domain.check import Check, CheckResult, Mode, Outcome, bounded
from bootcfleet.domain.checkaccounts import group_problems, user_problems
from bootcfleet.domain.checkfacts import Answer, Facts, Question, Verb
from bootcfleet.domain.checkfiles import file_problems, text_problems
from bootcfleet.domain.checkkinds import (
    CommandCheck,
    FileCheck,
    GroupCheck,
    HttpCheck,
    KernelArgumentCheck,
    KernelsCheck,
    PackageCheck,
    PortCheck,
    RepositoryCheck,
    SystemCheck,
    UnitCheck,
    UserCheck,
)
from bootcfleet.domain.checksystem import (
    Problem,
    command_line,
    kernel_arguments,
    listeners,
    repositories,
)
from bootcfleet.domain.checkunits import system_problems, unit_problems
from bootcfleet.domain.rpmversion import satisfies


def questions(check: Check, mode: Mode) -> tuple[Question, ...]:
    """What must be asked for a check; commands are not questions (`commands`)."""
    target = check.target
    match check.spec:
        case FileCheck() as spec:
            found = [Question(Verb.FILE, (target,))]
            if spec.contains or spec.lacks or spec.matches:
                found.append(Question(Verb.CONTENT, (target,)))
            if spec.sha256:
                found.append(Question(Verb.SHA256, (target,)))
            return tuple(found)
        case PackageCheck():
            return (Question(Verb.PACKAGE, (target,)),)
        case UnitCheck() as spec:
            running = spec.asks_running()
            return (Question(Verb.UNIT_STATE if running else Verb.UNIT, (target,)),)
        case UserCheck() as spec:
            own = Question(Verb.USER, (target,))
            return (own, Question(Verb.SYSUSERS)) if spec.sysusers is not None else (own,)
        case GroupCheck() as spec:
            own = Question(Verb.GROUP, (target,))
            return (own, Question(Verb.SYSUSERS)) if spec.sysusers is not None else (own,)
        case PortCheck():
            return (Question(Verb.LISTEN),)
        case KernelArgumentCheck():
            return (Question(Verb.CMDLINE if mode is Mode.HOST else Verb.KARGS),)
        case KernelsCheck():
            return (Question(Verb.KERNELS),)
        case RepositoryCheck():
            return (Question(Verb.REPOSITORIES),)
        case HttpCheck() as spec:
            return (_http(spec, target),)
        case SystemCheck():
            return (Question(Verb.SYSTEM),)
        case _:
            return ()


def commands(check: Check) -> tuple[tuple[tuple[str, ...], float], ...]:
    """The command that a check runs, with its time limit in seconds."""
    spec = check.spec
    return ((spec.argv, spec.timeout),) if isinstance(spec, CommandCheck) else ()


def _http(spec: HttpCheck, target: str) -> Question:
    tls = "insecure" if spec.insecure else "verified"
    return Question(Verb.HTTP, (target, str(spec.timeout), tls))


def judge(check: Check, facts: Facts, mode: Mode) -> CheckResult:
    """Compare a check with what was found."""
    asked = questions(check, mode)
    if facts.error and not all(facts.answers.get(one, Answer()).parts for one in asked):
        return _failed(check, [Problem("an answer", facts.error)])
    return _failed(check, _problems(check, facts, mode))


def _failed(check: Check, problems: Iterable[Problem]) -> CheckResult:
    found = list(problems)
    if not found:
        return CheckResult(check, Outcome.PASSED)
    return CheckResult(
        check,
        Outcome.FAILED,
        bounded("; ".join(one.expected for one in found)),
        bounded("; ".join(one.found for one in found)),
    )


def _problems(check: Check, facts: Facts, mode: Mode) -> list[Problem]:
    target = check.target
    match check.spec:
        case FileCheck() as spec:
            return file_problems(spec, target, facts)
        case PackageCheck() as spec:
            return _package(spec, target, facts)
        case UnitCheck() as spec:
            return unit_problems(spec, target, facts)
        case UserCheck() as spec:
            return user_problems(spec, target, facts)
        case GroupCheck() as spec:
            return group_problems(spec, target, facts)
        case PortCheck() as spec:
            return _port(spec, target, facts)
        case KernelArgumentCheck() as spec:
            return _kernel_argument(spec, target, facts, mode)
        case KernelsCheck():
            names = sorted(facts.get(Verb.KERNELS).texts("kernel"))
            if str(len(names)) == target:
                return []
            what = "1 kernel" if target == "1" else f"{target} kernels"
            return [Problem(f"{what} in /usr/lib/modules", ", ".join(names) or "none")]
        case RepositoryCheck() as spec:
            return _repository(spec, target, facts)
        case CommandCheck() as spec:
            return _command(spec, facts)
        case HttpCheck() as spec:
            return _answer(spec, target, facts)
        case SystemCheck() as spec:
            return system_problems(spec, facts)
        case _ as spec:
            raise AssertionError(f"{type(spec).__name__} has no judge")


def _package(spec: PackageCheck, target: str, facts: Facts) -> list[Problem]:
    answer = facts.get(Verb.PACKAGE, target)
    if (error := answer.text("error")) is not None:
        return [Problem("an RPM database", error)]
    found = [line for line in (answer.text("found") or "").splitlines() if " " in line]
    if spec.absent:
        return [Problem("not installed", ", ".join(found))] if found else []
    if not found:
        return [Problem("installed", "not installed")]
    wanted = spec.version
    if wanted and not any(satisfies(line.split(" ", 1)[1], wanted) for line in found):
        return [Problem(f"version {wanted}", ", ".join(_without_epoch(one) for one in found))]
    return []


def _without_epoch(line: str) -> str:
    name, _, evr = line.partition(" ")
    return f"{name} {evr.removeprefix('0:')}"


def _port(spec: PortCheck, target: str, facts: Facts) -> list[Problem]:
    open_on = listeners(facts.get(Verb.LISTEN), spec.protocol, int(target))
    if spec.absent:
        on = [a for a in open_on if spec.address is None or a == spec.address]
        return [Problem("nothing listens", f"something on {', '.join(on)}")] if on else []
    if not open_on:
        return [Problem("something listens", "nothing listens")]
    if spec.address is not None and spec.address not in open_on:
        return [Problem(f"listens on {spec.address}", f"listens on {', '.join(open_on)}")]
    return []


def _kernel_argument(
    spec: KernelArgumentCheck, target: str, facts: Facts, mode: Mode
) -> list[Problem]:
    if mode is Mode.HOST:
        found = command_line(facts.get(Verb.CMDLINE).text("cmdline") or "")
        where = "/proc/cmdline"
    else:
        found, problem = kernel_arguments(facts.get(Verb.KARGS))
        where = "/usr/lib/bootc/kargs.d"
        if problem:
            return [Problem("files of TOML in kargs.d", problem)]
    # A name alone means the argument with any value.
    there = target in found or (
        "=" not in target and any(a.startswith(f"{target}=") for a in found)
    )
    if there is not spec.absent:
        return []
    said = f"{where}: {' '.join(found) or 'nothing'}"
    return [Problem(f"{target} {'not ' if spec.absent else ''}in {where}", said)]


def _repository(spec: RepositoryCheck, target: str, facts: Facts) -> list[Problem]:
    known, problem = repositories(facts.get(Verb.REPOSITORIES))
    if problem:
        return [Problem("repository files that can be read", problem)]
    chosen = {
        name: on
        for name, on in known.items()
        if fnmatch.fnmatchcase(name, target) and name not in spec.exclude
    }
    if spec.enabled and not chosen:
        return [Problem("enabled", "no such repository")]
    wrong = sorted(name for name, on in chosen.items() if on is not spec.enabled)
    if not wrong:
        return []
    words = ("enabled", "disabled") if spec.enabled else ("disabled", "enabled")
    return [Problem(words[0], f"{words[1]}: {', '.join(wrong)}")]


def _command(spec: CommandCheck, facts: Facts) -> list[Problem]:
    said = facts.commands.get(spec.argv)
    if said is None or said.error:
        return [Problem("its end", said.error if said else facts.error or "it was not run")]
    problems = []
    if said.exit_code != spec.exit_code:
        last = (said.stderr.strip() or said.stdout.strip()).splitlines()[-1:]
        because = f": {bounded(last[0], 200)}" if last else ""
        problems.append(
            Problem(f"exit code {spec.exit_code}", f"exit code {said.exit_code}{because}")
        )
    if spec.equals is not None and said.stdout.strip() != spec.equals.strip():
        problems.append(Problem(f"output {spec.equals.strip()!r}", f"{said.stdout.strip()!r}"))
    return problems + text_problems(
        said.stdout, spec.contains, spec.lacks, spec.matches, "the output"
    )


def _answer(spec: HttpCheck, target: str, facts: Facts) -> list[Problem]:
    answer = facts.get(Verb.HTTP, *_http(spec, target).words)
    if (error := answer.text("error")) is not None:
        return [Problem(f"status {spec.status}", error)]
    problems = []
    if (status := answer.text("status") or "no answer") != str(spec.status):
        problems.append(Problem(f"status {spec.status}", f"status {status}"))
    body = answer.text("body") or ""
    return problems + text_problems(body, spec.contains, (), spec.matches, "the answer")
