"""Rules about the Containerfile itself: FROM, stages, order, what the builder caches."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from bootcfleet.domain.containerfile import Instruction
from bootcfleet.domain.containerfile_words import expand, unquote
from bootcfleet.domain.lint.model import CONTAINERFILE, At, RuleSet, Severity, Step, Subject
from bootcfleet.domain.lint.placed import matching, sources
from bootcfleet.domain.reference import ImageRef
from bootcfleet.errors import FleetError

_SET = RuleSet()
RULES = _SET
rule = _SET.add

_NOTES = "field notes image-build §2.2"
_CHANGES_FILES = frozenset({"RUN", "COPY", "ADD", "WORKDIR"})


@rule(
    "BCF100",
    Severity.ERROR,
    "the Containerfile cannot be read",
    reason="no builder takes it",
    source="Containerfile(5)",
    remedy="correct the template; `bootcfleet image render NAME` shows what it renders to",
)
def unreadable(subject: Subject) -> Iterable[At]:
    """Problems of the parser, and JSON forms that are none."""
    for problem in subject.containerfile.problems:
        yield At(problem.line, problem.message)
    for one in subject.containerfile.instructions:
        looks_json = re.match(r'\[\s*"', one.text) and one.text.endswith("]")
        if looks_json and one.exec_form is None and one.keyword in ("CMD", "RUN", "ENTRYPOINT"):
            yield At(
                one.line, f"{one.keyword} looks like JSON and is none: {_json_error(one.text)}"
            )


def _json_error(text: str) -> str:
    try:
        json.loads(text)
    except ValueError as error:
        return str(error)
    return "not a list of strings"


@rule(
    "BCF101",
    Severity.ERROR,
    "FROM a floating tag",
    reason="what `latest` is changes without a commit, so that the build cannot be repeated",
    source=f"{_NOTES} (1)",
    remedy="give `base:` a version tag, best with a digest: NAME:TAG@sha256:…",
)
def floating_from(subject: Subject) -> Iterable[At]:
    """No tag, or ``:latest``; a tag is allowed, since the engine resolves it to a digest."""
    arguments = subject.containerfile.arguments(subject.build_args)
    for stage in subject.containerfile.stages:
        base = expand(stage.base, arguments)
        if base == "scratch" or "$" in base or re.fullmatch(r"(sha256:)?[0-9a-f]{64}", base):
            continue
        if subject.containerfile.stage(base, before=stage.index) is not None:
            continue
        yield from _floating(stage.line, base, "FROM")
    for one in subject.containerfile.instructions:
        outside = one.flag("from") if one.keyword == "COPY" else None
        for name in (outside, *(mount.get("from") for mount in one.mounts())):
            known = name is None or "$" in name or subject.containerfile.stage(name) is not None
            if not known and name is not None and ("/" in name or ":" in name):
                yield from _floating(one.line, name, "--from=")


def _floating(line: int, base: str, how: str) -> Iterator[At]:
    try:
        ref = ImageRef.parse(base)
    except FleetError:
        # A short name, such as `fedora:42`: the registry is left to the machine that builds.
        name, _, tag = base.partition(":")
        if not tag or tag == "latest":
            yield At(line, f"{how} {name} has no version".replace("= ", "="))
        return
    if ref.digest is None and ref.tag in (None, "latest"):
        yield At(line, f"{how} {base} has no version".replace("= ", "="))


@rule(
    "BCF102",
    Severity.WARNING,
    "`bootc container lint` is not the last step",
    reason="what comes after it, or an image without it, was never looked at by bootc itself",
    source=f"bootc-container-lint(8); {_NOTES} (2)",
    remedy="end the template with {{ lint() }} of _shared/lint.j2",
)
def lint_last(subject: Subject) -> Iterable[At]:
    """It is there, in the last stage, and nothing after it changes files."""
    if not subject.lineage:
        return
    last = subject.lineage[-1].instructions
    lints = [step.instruction.line for step in subject.final_steps if _is_lint(step)]
    lints = [line for line in lints if line >= last[0].line]
    if not lints:
        yield At(last[-1].line, "the image is never checked by `bootc container lint`")
        return
    for one in last:
        if one.line > lints[-1] and one.keyword in _CHANGES_FILES:
            yield At(one.line, f"{one.keyword} after `bootc container lint` is not checked by it")


def _is_lint(step: Step) -> bool:
    return step.name == "bootc" and step.command.operands[:2] == ("container", "lint")


@rule(
    "BCF103",
    Severity.ERROR,
    "the outcome of `bootc container lint` is thrown away",
    reason="an image that does not boot is built and pushed as if it were good",
    source="bootc-container-lint(8); ublue-os/bluefin-lts#919",
    remedy="let it fail the build; name a lint that is wrong here with --skip NAME",
)
def lint_ignored(subject: Subject) -> Iterable[At]:
    """``|| true``, or a pipe into something else."""
    for step in subject.final_steps:
        if not _is_lint(step):
            continue
        command = step.command
        if command.ignored:
            yield At(step.line, "`|| true` hides every error that bootc finds")
        elif command.pipe + 1 < command.pipe_length:
            yield At(step.line, "in a pipe, its exit code is lost")


@rule(
    "BCF104",
    Severity.WARNING,
    "heredoc",
    reason="podman before 4.8 (buildah 1.33) takes `<<EOF` for a file's name and fails",
    source=f"{_NOTES} (4), seen with podman 4.3.1; containers/buildah release 1.33",
    remedy="put the text into files/ and COPY it",
)
def heredoc(subject: Subject) -> Iterable[At]:
    """A heredoc of the Containerfile; one inside a shell script's own text is the shell's."""
    for one in subject.containerfile.instructions:
        for document in one.heredocs[:1]:
            yield At(one.line, f"<<{document.name} needs podman 4.8 or newer")


_CACHE_KEY = re.compile(r"hash|digest|checksum|sha256|cache_?key|revision", re.IGNORECASE)


@rule(
    "BCF105",
    Severity.INFO,
    "bind mount that is no part of podman's cache key",
    reason="podman alone takes RUN from its cache although the mounted files have changed, and "
    "ships the old ones; `bootcfleet image build` adds a key of its own",
    source=f"{_NOTES} (5), seen with podman 4.3.1; buildah#5400, buildah#6609, podman#22450",
    remedy="for builds without bootcfleet: COPY the same files before, or use an ARG with their "
    "checksum in the RUN",
)
def bind_mount(subject: Subject) -> Iterable[At]:
    """A bind mount without a COPY of the same source, or an ARG that is used, before it."""
    for stage in subject.containerfile.stages:
        keys: set[str] = set()
        copied: set[str] = set()
        for one in stage.instructions:
            if one.keyword == "ARG":
                keys |= {name for name, _ in one.pairs() if _CACHE_KEY.search(name)}
            if one.keyword == "COPY":
                copied.add(one.flag("from") or "")
            if one.keyword != "RUN":
                continue
            if any(re.search(rf"\$\{{?{re.escape(key)}\b", one.text) for key in keys):
                continue
            for mount in one.mounts():
                source = mount.get("from", "")
                if source and subject.containerfile.stage(source, before=stage.index) is None:
                    continue  # An image from outside: BCF101 looks at its tag.
                if mount.get("type", "bind") == "bind" and source not in copied:
                    what = mount.get("source") or mount.get("src") or "the context"
                    yield At(one.line, f"a change of {what} does not run this again")


#: Folders that every base image has.
_OF_THE_BASE = re.compile(
    r"/|/(etc|usr|var|run|tmp|home|root|opt|boot|mnt|srv|media)"
    r"|/etc/(pki|containers|yum\.repos\.d|rhsm|dnf|ssh|systemd|ostree)(/[^/]+)?"
    r"|/var/(cache|log|lib|tmp)(/(dnf|libdnf5|rpm|rhsm|containers|yum))?"
    r"|/run/(secrets|lock)|/usr/[^/]+|/root/\.[^/]+"
)


@rule(
    "BCF106",
    Severity.WARNING,
    "mount over something that the base has",
    reason="podman 4.3 removes a mount's target after RUN, also when it was there before",
    source="containerfiles/README.md (5), seen with podman 4.3.1; field notes image-build §2.2 (5)",
    remedy="mount at a path that does not exist, such as /run/NAME",
)
def mount_target(subject: Subject) -> Iterable[At]:
    """Targets that are there on every Fedora, CentOS and RHEL base."""
    for one in subject.containerfile.instructions:
        for mount in one.mounts():
            kind = mount.get("type", "bind")
            target = mount.get("target") or mount.get("dst") or mount.get("destination") or ""
            if kind in ("bind", "cache", "secret", "tmpfs") and _OF_THE_BASE.fullmatch(
                target.rstrip("/") or target
            ):
                yield At(one.line, f"{target} is gone from the layer after this RUN")


_STATUS_TELLS = frozenset({"grep", "egrep", "fgrep", "test", "[", "sha256sum", "gpg"})
_CANNOT_FAIL = frozenset({"echo", "printf", "yes", "true", ":"})


@rule(
    "BCF107",
    Severity.WARNING,
    "pipeline whose first commands may fail unseen",
    reason="the shell looks only at the last command of a pipeline: half a download is built in",
    source="POSIX sh, Pipelines; bash(1) pipefail; hadolint DL4006",
    remedy="write into a file and read that, or `set -o pipefail` where the shell is bash",
)
def pipefail(subject: Subject) -> Iterable[At]:
    """A pipe without ``pipefail``, unless its last command's status tells of the failure."""
    for stage in subject.containerfile.stages:
        by_shell = False
        for one in stage.instructions:
            if one.keyword == "SHELL":
                by_shell = "pipefail" in one.text
            if one.keyword != "RUN" or by_shell or "pipefail" in one.text:
                continue
            yield from _pipes(subject, one)


def _pipes(subject: Subject, run: Instruction) -> Iterator[At]:
    steps = [step for step in subject.steps if step.instruction.line == run.line]
    for place, step in enumerate(steps):
        command = step.command
        if command.pipe != 0 or command.pipe_length < 2:
            continue
        members = [s for s in steps[place:] if s.command.pipe_length == command.pipe_length]
        last = members[command.pipe_length - 1 : command.pipe_length]
        if command.name in _CANNOT_FAIL or any(one.name in _STATUS_TELLS for one in last):
            continue
        yield At(step.line, f"a failure of {command.name or 'its first command'} is not seen")


_IGNORED = {
    "EXPOSE": "open the port by a firewalld zone or service file",
    "ENV": "set it in a unit's Environment=, or in /usr/lib/environment.d and /etc/profile.d",
    "USER": "give a unit its User=",
    "HEALTHCHECK": "add a check under /usr/lib/greenboot/check/required.d",
    "ENTRYPOINT": "add a unit; systemd is what runs",
    "VOLUME": "make the folder by tmpfiles.d; /var is kept by itself",
    "WORKDIR": "write whole paths; the folder would be made in the image",
    "ONBUILD": "put it into the child's template; OCI images do not carry it",
    "MAINTAINER": "set the label org.opencontainers.image.authors",
}


@rule(
    "BCF108",
    Severity.WARNING,
    "instruction that bootc ignores",
    reason="a booted host runs systemd and never reads the container's configuration",
    source=f"bootc documentation, Container runtime vs. bootc runtime; {_NOTES} (19)",
    remedy="say it with a systemd unit, a firewalld zone or a file (each finding names which)",
)
def ignored_by_bootc(subject: Subject) -> Iterable[At]:
    """Of the image itself; a build stage may have its own environment."""
    for one in subject.final:
        if one.keyword in _IGNORED:
            yield At(one.line, f"{one.keyword} has no effect on a host: {_IGNORED[one.keyword]}")


@rule(
    "BCF109",
    Severity.WARNING,
    "stage that nothing uses",
    reason="it costs time in every build, or the COPY --from that needs it was forgotten",
    source="Containerfile(5), multi-stage builds; podman-build(1) --skip-unused-stages",
    remedy="remove the stage, or COPY --from it",
)
def unused_stage(subject: Subject) -> Iterable[At]:
    """Stages that no later one is FROM, copies or mounts from."""
    parsed = subject.containerfile
    used = {stage.index for stage in parsed.stages[-1:]}
    for stage in reversed(parsed.stages):
        if stage.index not in used:
            name = f" {stage.alias}" if stage.alias else ""
            yield At(stage.line, f"the stage{name} is not used by the image")
            continue
        names = [stage.base]
        for one in stage.instructions:
            names += [one.flag("from") or "", *(mount.get("from", "") for mount in one.mounts())]
        for name in names:
            found = parsed.stage(name, before=stage.index) if name else None
            if found is not None:
                used.add(found.index)


@rule(
    "BCF110",
    Severity.ERROR,
    "ADD of a URL without a checksum",
    reason="whoever holds that server decides what is in the image",
    source="Containerfile(5) ADD --checksum (podman 4.9 and newer)",
    remedy="add --checksum=sha256:…, or put the file into files/",
)
def add_url(subject: Subject) -> Iterable[At]:
    """http, https and ftp; git references have a commit of their own."""
    for one in subject.containerfile.instructions:
        if one.keyword == "ADD" and not one.flag("checksum"):
            for word in one.words[:-1]:
                if re.match(r"(https?|ftp)://", unquote(word)) and not word.endswith(".git"):
                    yield At(one.line, f"nothing proves that {unquote(word)} is what was meant")


@rule(
    "BCF111",
    Severity.ERROR,
    "COPY of something that the context does not have",
    reason="the build fails at this instruction, after everything before it has run",
    source="Containerfile(5) COPY",
    remedy="add the file under files/ of the template, or correct the path",
)
def missing_source(subject: Subject) -> Iterable[At]:
    """A path or pattern without any file; ``files/`` itself is always there."""
    for one in subject.containerfile.instructions:
        if one.keyword in ("COPY", "ADD") and len(one.words) > 1:
            for source in sources(one):
                if source in (".", "files") or "$" in source or source == CONTAINERFILE:
                    continue
                if not matching(source, subject.files):
                    yield At(one.line, f"the build context has no {source}")


@rule(
    "BCF112",
    Severity.WARNING,
    "COPY of the whole context",
    reason="the Containerfile and whatever else is there become files of every host",
    source="Containerfile(5) COPY",
    remedy="COPY files/ /",
)
def whole_context(subject: Subject) -> Iterable[At]:
    """``COPY . /``."""
    for one in subject.final:
        if one.keyword in ("COPY", "ADD") and "." in sources(one):
            yield At(one.line, f"{one.keyword} . takes the Containerfile with it")


@rule(
    "BCF113",
    Severity.WARNING,
    "ARG of before FROM, used after it",
    reason="FROM ends the life of an ARG: its value is empty afterwards, without an error",
    source="Containerfile(5) ARG, scope",
    remedy="repeat `ARG NAME` after FROM",
)
def argument_scope(subject: Subject) -> Iterable[At]:
    """``$NAME`` in a stage that has no ARG or ENV of that name."""
    outer = {name for one in subject.containerfile.preamble for name, _ in one.pairs()}
    for stage in subject.containerfile.stages:
        known: set[str] = set()
        for one in stage.instructions[1:]:
            if one.keyword in ("ARG", "ENV"):
                known |= {name for name, _ in one.pairs()}
            for name in map(re.escape, sorted(outer - known)):
                assigned = re.search(rf"\b(?:{name}=|for {name}\b|read (?:-r )?{name}\b)", one.text)
                if re.search(rf"\$\{{?{name}\b", one.text) and not assigned:
                    yield At(one.line, f"${name} is empty in this stage")


@rule(
    "BCF114",
    Severity.INFO,
    "the time of the build goes into a layer",
    reason="two builds of the same commit differ, and every host downloads that layer again",
    source="field notes image-build §2.3; reproducible-builds.org SOURCE_DATE_EPOCH",
    remedy="take the commit ({{ git.commit }}) or the image's version instead",
)
def build_time(subject: Subject) -> Iterable[At]:
    """``date`` in a RUN of the image, without a fixed time."""
    for step in subject.final_steps:
        if step.name == "date" and not step.command.has("-d", "--date", "-r", "--reference"):
            yield At(step.line, "`date` gives another answer in every build")
