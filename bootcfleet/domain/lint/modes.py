"""Rules about modes, owners and the form of single files."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bootcfleet.domain.lint.model import At, RuleSet, Severity, Step, Subject, decoded

_SET = RuleSet()
RULES = _SET
rule = _SET.add

_NOTES = "field notes image-build §2.2"
_PROGRAMS = re.compile(r"/usr/(local/)?(bin|sbin|libexec)/.+|/usr/lib/greenboot/check/.+\.sh")


def _chmods(subject: Subject) -> Iterable[tuple[Step, str]]:
    for step in subject.final_steps:
        if step.name == "chmod" and step.command.operands:
            yield step, step.command.operands[0]
        if step.name in ("install", "mkdir"):
            mode = step.command.value("-m", "--mode")
            if mode:
                yield step, mode


@rule(
    "BCF320",
    Severity.ERROR,
    "writable by everybody",
    reason="any user or service of the host can change what others run or read",
    source="CIS benchmarks, world-writable files; chmod(1)",
    remedy="0644 for files, 0755 for programs and folders; a group of its own where several write",
)
def world_writable(subject: Subject) -> Iterable[At]:
    """chmod 777, o+w, a+w, and COPY --chmod; sticky folders (1777) are meant so."""
    for step, mode in _chmods(subject):
        octal = re.fullmatch(r"0?([0-7]?)([0-7])([0-7])([0-7])", mode)
        sticky = octal is not None and octal[1] in ("1", "3", "5", "7")
        by_number = octal is not None and int(octal[4]) & 2 and not sticky
        if by_number or re.search(r"(^|,)[ugoa]*[oa][ugoa]*[+=][rwxX]*w", mode):
            yield At(step.line, f"mode {mode} lets everybody write")
    for file in subject.placed:
        if file.mode & 0o002 and not file.mode & 0o1000:
            yield At(file.line, f"{file.path} has mode {file.mode:04o}")


@rule(
    "BCF321",
    Severity.WARNING,
    "setuid or setgid",
    reason="whoever starts the program becomes its owner; each such file is a way to become root",
    source="CIS benchmarks, SUID executables; capabilities(7)",
    remedy="a systemd unit with User= and AmbientCapabilities=, or a sudo rule",
)
def setuid(subject: Subject) -> Iterable[At]:
    """chmod u+s, 4755, 2755 and COPY --chmod."""
    for step, mode in _chmods(subject):
        octal = re.fullmatch(r"0?([0-7])[0-7]{3}", mode)
        special = (octal and int(octal[1]) & 6) or re.search(r"[+=][rwxX]*s", mode)
        if special and step.name != "mkdir":
            yield At(step.line, f"mode {mode}")
    for file in subject.placed:
        if file.mode & 0o6000:
            yield At(file.line, f"{file.path} has mode {file.mode:04o}")


@rule(
    "BCF322",
    Severity.WARNING,
    "sudo rules that everybody can read",
    reason="they say whom it is worth to break into, and sudo's own files have 0440",
    source="sudoers(5), mode 0440",
    remedy="chmod 0440 in the RUN after COPY, or COPY --chmod=0440",
)
def sudoers_mode(subject: Subject) -> Iterable[At]:
    """Files of /etc/sudoers.d that end up with more than 0440."""
    for file in subject.placed:
        if file.path.startswith("/etc/sudoers.d/") and file.mode & 0o337:
            yield At(file.line, f"{file.path} has mode {file.mode:04o}")


@rule(
    "BCF323",
    Severity.ERROR,
    "file that sudo does not read",
    reason="sudo skips names in sudoers.d that have a dot or end with ~, without a word",
    source="sudoers(5), Including other files from within sudoers",
    remedy="name it without a dot, such as 50-ops",
)
def sudoers_name(subject: Subject) -> Iterable[At]:
    """``/etc/sudoers.d/ops.conf``."""
    for file in subject.placed:
        name = file.path.removeprefix("/etc/sudoers.d/")
        if name != file.path and "/" not in name and ("." in name or name.endswith("~")):
            yield At(1, f"sudo skips {name}", file.source)


_KEYFILE = re.compile(r"/(etc|usr/lib)/NetworkManager/system-connections/.+")


@rule(
    "BCF324",
    Severity.ERROR,
    "NetworkManager connection that others can read",
    reason="NetworkManager ignores a keyfile that is not root's alone: the host has no network",
    source=f"nm-settings-keyfile(5), permissions; {_NOTES}, Roles, edge",
    remedy="COPY --chmod=0600, or chmod 0600 in the RUN after it",
)
def keyfile_mode(subject: Subject) -> Iterable[At]:
    """Keyfiles with anything for group or others."""
    for file in subject.placed:
        if _KEYFILE.fullmatch(file.path) and file.mode & 0o077:
            yield At(file.line, f"{file.path} has mode {file.mode:04o}")
    for step, mode in _chmods(subject):
        for path in step.command.operands[1:]:
            if _KEYFILE.fullmatch(path) and re.fullmatch(r"0?[0-7]{3}", mode) and mode[-2:] != "00":
                yield At(step.line, f"{path} gets mode {mode}")


@rule(
    "BCF325",
    Severity.WARNING,
    "files under /usr that are not root's",
    reason="/usr is read-only and belongs to the image; an owner without a fixed number is "
    "somebody else on the next host",
    source=f"{_NOTES} (13); systemd-sysusers(8)",
    remedy="leave /usr to root; what a service writes is in /var, made by tmpfiles.d",
)
def owner(subject: Subject) -> Iterable[At]:
    """COPY --chown and chown on paths below /usr."""
    root = re.compile(r"(root|0)?(:(root|0)?)?")
    for file in subject.placed:
        if file.path.startswith("/usr/") and not root.fullmatch(file.owner):
            yield At(file.line, f"{file.path} belongs to {file.owner}")
    for step in subject.final_steps:
        operands = step.command.operands
        if step.name == "chown" and operands and not root.fullmatch(operands[0]):
            for path in operands[1:]:
                if path == "/usr" or path.startswith("/usr/"):
                    yield At(step.line, f"{path} is given to {operands[0]}")


@rule(
    "BCF326",
    Severity.ERROR,
    "script with Windows line ends",
    reason="the kernel looks for an interpreter whose name ends with a carriage return; systemd "
    "takes it as part of the value",
    source="execve(2), Interpreter scripts; systemd.syntax(7)",
    remedy="convert it: sed -i 's/\\r$//' FILE, and set `* text=auto eol=lf` in .gitattributes",
)
def carriage_returns(subject: Subject) -> Iterable[At]:
    """Scripts and units with CR LF."""
    units = re.compile(r".+\.(service|timer|socket|mount|path|target|container|conf|preset|toml)")
    for path, file in subject.files.items():
        if b"\r\n" in file.data and (file.data.startswith(b"#!") or units.fullmatch(path)):
            line = file.data[: file.data.index(b"\r\n")].count(b"\n") + 1
            yield At(line, "the line ends with a carriage return", path)


@rule(
    "BCF327",
    Severity.ERROR,
    "program that may not be executed",
    reason="whoever starts it gets `Permission denied`",
    source="execve(2) EACCES",
    remedy="chmod +x the file in the template (git keeps it), or COPY --chmod=0755",
)
def not_executable(subject: Subject) -> Iterable[At]:
    """Scripts (by ``#!``) and ELF files in the folders of programs, without an x."""
    for file in subject.placed:
        program = file.file.data.startswith((b"#!", b"\x7fELF"))
        if program and _PROGRAMS.fullmatch(file.path) and not file.mode & 0o111:
            yield At(file.line, f"{file.path} has mode {file.mode:04o}")


_SETTING = re.compile(
    r"\.(service|timer|socket|mount|path|target|conf|preset|container|toml|repo)$"
)


@rule(
    "BCF328",
    Severity.INFO,
    "setting that may be executed",
    reason="systemd warns about it at every boot, and it hides what really is a program",
    source="systemd.unit(5); systemd's message `Configuration file is marked executable`",
    remedy="chmod -x the file in the template",
)
def executable_setting(subject: Subject) -> Iterable[At]:
    """Units, drop-ins and other settings with an x."""
    for file in subject.placed:
        if file.mode & 0o111 and _SETTING.search(file.path):
            yield At(file.line, f"{file.path} has mode {file.mode:04o}")


@rule(
    "BCF329",
    Severity.ERROR,
    "interpreter that does not exist",
    reason="the first line names no program: a space or a typing error makes the script fail",
    source="execve(2), Interpreter scripts",
    remedy="begin with #!/bin/bash, #!/bin/sh or #!/usr/bin/python3",
)
def interpreter(subject: Subject) -> Iterable[At]:
    """A relative interpreter, or a script in a folder of programs without any."""
    for file in subject.placed:
        text = decoded(file.file) or ""
        first = text.partition("\n")[0].rstrip("\r")
        words = first.removeprefix("#!").split()
        if first.startswith("#!") and (not words or not words[0].startswith("/")):
            yield At(1, f"{first!r} names no path", file.source)
            continue
        runs = bool(file.mode & 0o111) and _PROGRAMS.fullmatch(file.path) is not None
        if runs and text and not first.startswith("#!"):
            yield At(1, "an executable text file begins with #!", file.source)
