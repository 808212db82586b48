"""Rules about users, passwords and who may log in."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bootcfleet.domain.lint.filesystem import written
from bootcfleet.domain.lint.model import (
    At,
    RuleSet,
    Severity,
    Step,
    Subject,
    decoded,
    without_values,
)
from bootcfleet.domain.lint.vendorfiles import lines, sysusers

_SET = RuleSet()
RULES = _SET
rule = _SET.add

_NOTES = "field notes image-build §2.2"


@rule(
    "BCF401",
    Severity.ERROR,
    "a password is set in a layer",
    reason="everybody who can pull the image has its hash, and all hosts share it",
    source=f"{_NOTES} (13); bootc documentation, Users and groups",
    remedy="log in by SSH keys (tmpfiles.d), or give each host its password by systemd credentials "
    "or kickstart",
)
def passwords(subject: Subject) -> Iterable[At]:
    """passwd, chpasswd, useradd -p; locking an account is allowed."""
    for step in subject.steps:
        command = step.command
        match step.name:
            case "chpasswd" | "mkpasswd" | "htpasswd":
                yield At(step.line, f"{step.name} in a RUN")
            case "passwd":
                if not command.has("-l", "--lock", "-S", "--status", "-e", "--expire"):
                    yield At(step.line, "passwd in a RUN")
            case "openssl":
                if command.operands[:1] == ("passwd",):
                    yield At(step.line, "openssl passwd in a RUN")
            case "useradd" | "usermod" | "adduser":
                value = command.value("-p", "--password")
                if value is not None and value.strip("!*x"):
                    yield At(step.line, f"{step.name} -p in a RUN")
            case _:
                pass


@rule(
    "BCF402",
    Severity.ERROR,
    "the whole user database comes from the context",
    reason="it takes the place of the base's: users of packages are gone or have other numbers",
    source=f"bootc documentation, Users and groups; {_NOTES} (13)",
    remedy="declare users by sysusers.d",
)
def databases(subject: Subject) -> Iterable[At]:
    """COPY over passwd, shadow, group or gshadow."""
    for file in subject.placed:
        if re.fullmatch(r"/etc/g?(passwd|shadow|group)-?", file.path):
            yield At(file.line, f"{file.source} replaces {file.path}")


#: Options of useradd(8) and groupadd(8) whose value is the next word.
_WITH_VALUE = frozenset(
    {"-u", "-g", "-G", "-s", "-d", "-c", "-k", "-K", "-e", "-f", "-p", "-b", "-R", "-P", "-Z"}
    | {"--uid", "--gid", "--groups", "--shell", "--home-dir", "--comment", "--password"}
)
_ADDERS = {"useradd": ("-u", "--uid"), "adduser": ("-u", "--uid")}
_GROUP_ADDERS = {"groupadd": ("-g", "--gid"), "addgroup": ("-g", "--gid")}


@rule(
    "BCF403",
    Severity.WARNING,
    "user or group with whatever number is free",
    reason="the number changes with the packages that came before; files in /var then belong to "
    "somebody else after an update",
    source=f"{_NOTES} (13); bootc documentation, Users and groups, uid drift",
    remedy="declare it by sysusers.d with a fixed number, or useradd -u NUMBER",
)
def drifting_ids(subject: Subject) -> Iterable[At]:
    """useradd without -u, groupadd without -g."""
    for step in subject.final_steps:
        options = {**_ADDERS, **_GROUP_ADDERS}.get(step.name)
        if options and step.command.value(*options) is None:
            yield At(step.line, f"{step.name} takes the next free number")


@rule(
    "BCF404",
    Severity.WARNING,
    "user that sysusers.d does not know",
    reason="on hosts that have changed /etc/passwd the image's new users do not arrive; bootc "
    "warns about it",
    source=f"bootc-container-lint(8) sysusers; {_NOTES} (13)",
    remedy="write /usr/lib/sysusers.d/NAME.conf, and run systemd-sysusers with it",
)
def undeclared_users(subject: Subject) -> Iterable[At]:
    """useradd and groupadd of names that no file of sysusers.d in the context declares."""
    known = sysusers(subject)
    for step in subject.final_steps:
        kind = "u" if step.name in _ADDERS else "g" if step.name in _GROUP_ADDERS else None
        if kind is None:
            continue
        for name in without_values(step.command, _WITH_VALUE):
            if name not in known[kind]:
                yield At(step.line, f"{name} is in no file of sysusers.d")


_KEYS = re.compile(r"/(root|home/[^/]+|var/home/[^/]+|var/roothome)/\.ssh/.+")


@rule(
    "BCF409",
    Severity.WARNING,
    "SSH keys in a home folder of the image",
    reason="homes lie in /var, which is unpacked once: a key that is taken out of the image stays "
    "on every host",
    source=f"{_NOTES} (14); bootc documentation, SSH keys",
    remedy="tmpfiles.d: f+~ /var/home/USER/.ssh/authorized_keys 0600 USER USER - BASE64, as the "
    "template soe does",
)
def ssh_keys(subject: Subject) -> Iterable[At]:
    """COPY and writes of authorized_keys and other files of ~/.ssh."""
    for path, at in written(subject):
        if _KEYS.fullmatch(path):
            yield at


@rule(
    "BCF410",
    Severity.ERROR,
    "authorized_keys that sshd does not accept",
    reason="sshd ignores the file when others may write it, and everybody may read whose keys "
    "these are",
    source="sshd(8), FILE FORMAT and StrictModes; tmpfiles.d(5)",
    remedy="0600 for authorized_keys, 0700 for .ssh",
)
def ssh_key_modes(subject: Subject) -> Iterable[At]:
    """Modes of .ssh and authorized_keys in tmpfiles.d."""
    for file, number, fields in lines(subject, "tmpfiles.d"):
        if not fields or len(fields) < 3 or not re.fullmatch(r"[:~]*[0-7]{3,4}", fields[2]):
            continue
        mode = int(fields[2].lstrip(":~"), 8)
        if fields[1].endswith("/authorized_keys") and mode & 0o077:
            yield At(number, f"authorized_keys has mode {fields[2]}", file.source)
        elif fields[1].endswith("/.ssh") and mode & 0o077:
            yield At(number, f".ssh has mode {fields[2]}", file.source)


@rule(
    "BCF417",
    Severity.WARNING,
    "sshd lets root in with a password, or anybody without one",
    reason="passwords of root are what scanners of the internet try first",
    source="sshd_config(5) PermitRootLogin, PermitEmptyPasswords",
    remedy="PermitRootLogin prohibit-password; a user with a key and sudo",
)
def ssh_login(subject: Subject) -> Iterable[At]:
    """Settings of sshd in the context."""
    for file in subject.placed:
        if re.match(r"/(etc|usr/lib)/ssh/sshd_config", file.path):
            for number, line in enumerate((decoded(file.file) or "").split("\n"), 1):
                if re.match(r"\s*(PermitRootLogin|PermitEmptyPasswords)\s+yes\b", line, re.I):
                    yield At(number, line.strip(), file.source)


@rule(
    "BCF419",
    Severity.WARNING,
    "SELinux is switched off",
    reason="it is what keeps a broken service from the rest of the host; files that are written "
    "meanwhile have no label",
    source="selinux(8); bootc documentation, SELinux",
    remedy="keep it enforcing; semanage permissive -a TYPE for the one domain that needs it",
)
def selinux(subject: Subject) -> Iterable[At]:
    """SELINUX=permissive or disabled, and kernel arguments selinux=0, enforcing=0."""
    for file in subject.placed:
        for number, line in enumerate((decoded(file.file) or "").split("\n"), 1):
            if file.path == "/etc/selinux/config":
                found = re.match(r"\s*SELINUX\s*=\s*(permissive|disabled)", line)
            elif "/kargs.d/" in file.path or "/bootc/install/" in file.path:
                found = re.search(r"\b(selinux|enforcing)=0\b", line.partition("#")[0])
            else:
                continue
            if found:
                yield At(number, line.strip(), file.source)
    for step in subject.final_steps:
        if _edits_selinux(step):
            yield At(step.line, "the setting of SELinux is edited")


def _edits_selinux(step: Step) -> bool:
    return step.name == "sed" and any(
        re.search(r"SELINUX=.*(permissive|disabled)", word) for word in step.command.arguments
    )
