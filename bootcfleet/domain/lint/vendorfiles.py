"""Rules about tmpfiles.d, sysusers.d and other folders that systemd and bootc read."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator

from bootcfleet.domain.lint.model import At, RuleSet, Severity, Subject, decoded
from bootcfleet.domain.lint.placed import PlacedFile

_SET = RuleSet()
RULES = _SET
rule = _SET.add

_NOTES = "field notes image-build §2.2"


def lines(subject: Subject, folder: str) -> Iterator[tuple[PlacedFile, int, list[str] | None]]:
    """The fields of every line of ``FOLDER/*.conf``; None for one whose quotes have no end."""
    for file in subject.placed:
        if re.fullmatch(rf"(/usr/lib|/etc|/run)/{re.escape(folder)}/[^/]+\.conf", file.path):
            for number, line in enumerate((decoded(file.file) or "").split("\n"), 1):
                text = line.strip()
                if text and not text.startswith("#"):
                    yield file, number, _fields(text)


def _fields(text: str) -> list[str] | None:
    try:
        # In tmpfiles.d the argument is the rest of the line, whatever quotes are in it.
        return shlex.split(text, posix=True)
    except ValueError:
        words = text.split(maxsplit=6)
        return words if len(words) == 7 else None


def sysusers(subject: Subject) -> dict[str, set[str]]:
    """The names that sysusers.d declares: users (``u``) and groups (``g``)."""
    found: dict[str, set[str]] = {"u": set(), "g": set()}
    for _, _, fields in lines(subject, "sysusers.d"):
        if fields and len(fields) > 1 and fields[0][0] in "ug":
            found["g"].add(fields[1])
            if fields[0][0] == "u":
                found["u"].add(fields[1])
    return found


@rule(
    "BCF330",
    Severity.WARNING,
    "tmpfiles.d, sysusers.d or presets of the image in /etc",
    reason="/etc is for the host's own; a file of the same name there hides the image's, and older "
    "bootc looks only into /usr/lib",
    source=f"tmpfiles.d(5), sysusers.d(5); bootc#1732; {_NOTES} (7)",
    remedy="put it under /usr/lib",
)
def in_etc(subject: Subject) -> Iterable[At]:
    """Files that belong to the vendor's folder."""
    folders = r"/etc/(tmpfiles\.d|sysusers\.d|systemd/system-preset)/[^/]+"
    for file in subject.placed:
        if re.fullmatch(folders, file.path):
            yield At(1, f"{file.path} belongs under /usr/lib", file.source)


_DATA = re.compile(
    r"/var/lib/(mysql|mariadb|pgsql|postgres|mongo|redis|valkey|influxdb|etcd|containers|libvirt"
    r"|elasticsearch|grafana|prometheus|rabbitmq|ldap|dirsrv|samba)|/var/(lib|www|opt|home|srv)(/|$)"
    r"|/(home|root|srv)(/|$)"
)
_AGES = re.compile(r"~?(\d+\s*(us|ms|s|m|min|h|d|w|M|y)?)+|[abcmABCM]+:.+", re.IGNORECASE)


@rule(
    "BCF331",
    Severity.ERROR,
    "tmpfiles.d deletes data by age",
    reason="the age field deletes files that were not used for so long: tables of a database first",
    source=f"tmpfiles.d(5) Age; {_NOTES} (7), seen in a published example with 365d on mysql",
    remedy="write - in the age field; logs are logrotate's business",
)
def age(subject: Subject) -> Iterable[At]:
    """An age on data folders; caches, logs and temporary folders may have one."""
    for file, number, fields in lines(subject, "tmpfiles.d"):
        if not fields or len(fields) < 6 or fields[0][0] not in "dDevqQCxX":
            continue
        if fields[5] not in ("-", "") and _AGES.fullmatch(fields[5]) and _DATA.match(fields[1]):
            yield At(number, f"files below {fields[1]} are deleted after {fields[5]}", file.source)


@rule(
    "BCF332",
    Severity.ERROR,
    "line that systemd-tmpfiles does not understand",
    reason="it is skipped with a message in the journal, and the folder is missing",
    source="tmpfiles.d(5)",
    remedy="TYPE PATH MODE USER GROUP AGE ARGUMENT, with - for what is left out",
)
def tmpfiles_syntax(subject: Subject) -> Iterable[At]:
    """Unknown types, relative paths, modes that are none."""
    for file, number, fields in lines(subject, "tmpfiles.d"):
        problem = None
        if not fields or len(fields) < 2:
            problem = "there is no path"
        elif not re.fullmatch(r"[fwdDevqQpLcbCxXrRzZtThHaA][+!\-=~^$?]*", fields[0]):
            problem = f"{fields[0]} is not a type"
        elif not fields[1].startswith(("/", "%")):
            problem = f"{fields[1]} is not a whole path"
        elif len(fields) > 2 and not re.fullmatch(r"-|[:~]*[0-7]{3,4}", fields[2]):
            # The mode of L, r and x is not looked at.
            problem = None if fields[0][0] in "LrRxXw" else f"{fields[2]} is not a mode"
        if problem:
            yield At(number, problem, file.source)


@rule(
    "BCF333",
    Severity.WARNING,
    "tmpfiles.d below /var/run",
    reason="it is a link to /run; systemd complains about such a line at every boot",
    source="tmpfiles.d(5); systemd's message `references path below legacy directory /var/run/`",
    remedy="write /run/…",
)
def legacy_run(subject: Subject) -> Iterable[At]:
    """Lines whose path begins with /var/run or /var/lock."""
    for file, number, fields in lines(subject, "tmpfiles.d"):
        if fields and len(fields) > 1 and re.match(r"/var/(run|lock)(/|$)", fields[1]):
            yield At(number, f"{fields[1]} is below a link", file.source)


_READ = (
    (r"tmpfiles\.d|sysusers\.d|sysctl\.d|modules-load\.d|binfmt\.d|environment\.d", "conf"),
    (r"systemd/system-preset|systemd/user-preset", "preset"),
    (r"bootc/kargs\.d|bootc/install", "toml"),
    (r"udev/rules\.d", "rules"),
    (r"greenboot/check/(?:required|wanted)\.d", "sh"),
)


@rule(
    "BCF334",
    Severity.ERROR,
    "file whose name nobody reads",
    reason="the folder's program reads only one ending; the setting has no effect and no message "
    "says so",
    source="tmpfiles.d(5), sysusers.d(5), sysctl.d(5), systemd.preset(5), bootc kargs.d, greenboot",
    remedy="give it the ending that the finding names",
)
def ending(subject: Subject) -> Iterable[At]:
    """``tmpfiles.d/web.txt``; README files are meant for people."""
    for file in subject.placed:
        for folders, wanted in _READ:
            inside = re.fullmatch(rf"/(usr/lib|etc)/({folders})/([^/]+)", file.path)
            name = inside[3] if inside else ""
            meant = name.startswith("README") or name == ".gitkeep"
            if name and not meant and not name.endswith(f".{wanted}"):
                yield At(1, f"only *.{wanted} is read there", file.source)


@rule(
    "BCF335",
    Severity.WARNING,
    "user or group without a fixed number",
    reason="the next free number is another one in the next build: files in /var then belong to "
    "somebody else",
    source=f"sysusers.d(5) ID; {_NOTES} (13)",
    remedy="write the number: u NAME 979 …",
)
def floating_ids(subject: Subject) -> Iterable[At]:
    """``u NAME -`` and ``g NAME -``."""
    for file, number, fields in lines(subject, "sysusers.d"):
        if not fields or len(fields) < 2 or fields[0][0] not in "ug":
            continue
        if len(fields) < 3 or fields[2] == "-":
            yield At(number, f"{fields[1]} gets the next free number", file.source)


@rule(
    "BCF336",
    Severity.ERROR,
    "line that systemd-sysusers does not understand",
    reason="its user is missing, and services that run under it do not start",
    source="sysusers.d(5)",
    remedy="TYPE NAME ID GECOS HOME SHELL, with type u, g, m or r",
)
def sysusers_syntax(subject: Subject) -> Iterable[At]:
    """Unknown types, names that are none, numbers that are none."""
    for file, number, fields in lines(subject, "sysusers.d"):
        problem = None
        if not fields or len(fields) < 2:
            problem = "there is no name"
        elif not re.fullmatch(r"u!?|g|m|r", fields[0]):
            problem = f"{fields[0]} is not a type"
        elif fields[0] != "r" and not re.fullmatch(r"[A-Za-z_%][A-Za-z0-9_.%-]{0,30}", fields[1]):
            problem = f"{fields[1]} is not a name"
        elif fields[0][0] in "ug" and len(fields) > 2:
            wanted = r"-|\d+(:[\w-]+)?|-:[\w-]+|/.+"
            if not re.fullmatch(wanted, fields[2]):
                problem = f"{fields[2]} is not a number"
        if problem:
            yield At(number, problem, file.source)
