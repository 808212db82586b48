"""Rules about %pre and %post."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from bootcfleet.domain.kickstartfile import KickstartSection
from bootcfleet.domain.kslint.model import NOTES, KickstartRules, KickstartSubject
from bootcfleet.domain.lint.model import At, Severity, written_paths
from bootcfleet.domain.lint.secretrules import PASSWORD_URL, PLACEHOLDER, PRIVATE_KEY, TOKENS
from bootcfleet.domain.shell import ShellCommand

_SET = KickstartRules()
RULES = _SET
rule = _SET.add

_SECRET_PATH = re.compile(
    r"(^|/)(auth\.json|config\.json|\.netrc|\.pgpass|id_[a-z0-9]+|[^/]*\.(key|luks|pass|token)"
    r"|[^/]*(passphrase|passwd|password|secret|token|credential)[^/]*)$",
    re.IGNORECASE,
)
_MANAGERS = ("dnf", "yum", "microdnf", "rpm", "rpm-ostree", "dnf5")
_READS = ("status", "repoquery", "list", "info", "check", "repolist")
_RUNNING = ("start", "restart", "stop", "reload", "try-restart", "isolate")
_NEEDS_SYSTEM = ("firewall-cmd", "hostnamectl", "timedatectl", "localectl", "loginctl", "nmcli")
#: What lorax takes out of the installer, of programs that scripts are likely to use.
_REMOVED = frozenset(
    {
        "base64", "chcon", "cksum", "csplit", "expand", "factor", "fold", "groups", "hostid",
        "install", "join", "link", "logname", "mkfifo", "nice", "nl", "nohup", "nproc", "pathchk",
        "pr", "printenv", "ptx", "runcon", "sha224sum", "sha384sum", "sha512sum", "shuf", "stat",
        "stdbuf", "stty", "sum", "timeout", "truncate", "tsort", "unexpand", "unlink", "users",
        "who", "whoami", "yes", "cmp", "diff", "file", "getent", "locale", "openssl", "free",
        "pgrep", "pkill", "uptime", "watch", "rpm", "host",
    }
)  # fmt: skip
_SECTIONS = (
    "%pre", "%pre-install", "%post", "%onerror", "%traceback", "%packages", "%addon", "%anaconda",
    "%certificate",
)  # fmt: skip


@rule(
    "BKS401",
    Severity.ERROR,
    "secret in a file that others may read",
    reason="scripts of a kickstart run with umask 022: between writing and chmod, and often for "
    "ever, every user reads it",
    source="umask(2); bootc documentation, Secrets; " + NOTES,
    remedy="umask 077 before it is written",
)
def readable_secrets(subject: KickstartSubject) -> Iterable[At]:
    """Paths like auth.json, *.key and passwords, written without umask 077 before."""
    for section in subject.parsed.shells:
        for command, masked in _masked(section):
            private = masked or _own_mode(command)
            for path in written_paths(command):
                if _SECRET_PATH.search(path) and not private:
                    yield At(section.line_of(command), path)


def _masked(section: KickstartSection) -> Iterator[tuple[ShellCommand, bool]]:
    """Each command of a script, and whether what it writes is closed to others by then.

    By umask, or because an earlier command has made that very file with a mode of its own.
    """
    masked = False
    closed: set[str] = set()
    for command in section.script.commands:
        if command.name == "umask" and command.operands:
            value = command.operands[0]
            masked = value.endswith("77") or value in ("u=rwx,g=,o=", "go=")
        written = set(written_paths(command))
        yield command, masked or (bool(written) and written <= closed)
        if _own_mode(command):
            closed |= written
        elif command.name == "chmod" and command.operands[:1] and command.operands[0][-2:] == "00":
            closed |= set(command.operands[1:])


def _own_mode(command: ShellCommand) -> bool:
    mode = command.value("-m", "--mode") if command.name == "install" else None
    return mode is not None and mode.endswith("00")


@rule(
    "BKS402",
    Severity.ERROR,
    "secret in the kickstart",
    reason="whoever is on the network when it is fetched has it, and the host keeps a copy in "
    "/root",
    source=NOTES + "; containers-auth.json(5)",
    remedy="declare it under secrets: of the install; make a new one, for this one is known",
)
def secrets(subject: KickstartSubject) -> Iterable[At]:
    """Private keys, tokens, URLs with a password, and the login of an auth.json."""
    data = subject.text.encode("utf-8", "surrogateescape")

    def line(at: int) -> int:
        return data[:at].count(b"\n") + 1

    for match in PRIVATE_KEY.finditer(data):
        yield At(line(match.start()), "a private key begins here")
    for what, pattern in TOKENS:
        for match in re.finditer(pattern, data):
            yield At(line(match.start()), f"it looks like a {what}")
    for match in PASSWORD_URL.finditer(data):
        if not PLACEHOLDER.search(match[2].decode("utf-8", "replace")):
            yield At(line(match.start()), "a URL has a password in it")
    for match in re.finditer(rb'"auth"\s*:\s*"[A-Za-z0-9+/]{4,}={0,2}"', data):
        yield At(line(match.start()), "the login of an auth.json")


@rule(
    "BKS403",
    Severity.WARNING,
    "%pre whose failure nobody notices",
    reason="the installation goes on without what the script was to prepare",
    source="pykickstart's documentation, %pre --erroronfail",
    remedy="%pre --erroronfail, and set -eu in the script",
)
def pre_fails(subject: KickstartSubject) -> Iterable[At]:
    """Without --erroronfail."""
    for section in subject.parsed.sections:
        if section.name in ("%pre", "%pre-install") and not section.head.has("--erroronfail"):
            yield At(section.head.line, f"{section.name} without --erroronfail")


@rule(
    "BKS404",
    Severity.ERROR,
    "packages are installed in %post",
    reason="/usr of an image's system is read-only, and the next update would lose them",
    source="bootc documentation, Building; field note image-build §2.2",
    remedy="install them in the image",
)
def post_packages(subject: KickstartSubject) -> Iterable[At]:
    """dnf, yum, rpm and rpm-ostree inside of the new system."""
    for _, command, line in subject.steps(chrooted=True):
        asks = command.operands[:1] and command.operands[0] in _READS
        if command.name == "rpm":
            asks = command.has("-q", "-V", "--query", "--verify", "--import")
        if command.name in _MANAGERS and not asks:
            yield At(line, " ".join(command.words[:3]))


@rule(
    "BKS405",
    Severity.ERROR,
    "%post speaks to a system that does not run",
    reason="inside of %post there is no systemd and no D-Bus of the new system: it fails, or "
    "changes the installer",
    source="pykickstart's documentation, %post; systemctl(1), chroots",
    remedy="systemctl enable (without --now); firewall-offline-cmd; or a setting in the image",
)
def no_system(subject: KickstartSubject) -> Iterable[At]:
    """systemctl start, enable --now, firewall-cmd, hostnamectl, reboot."""
    for _, command, line in subject.steps(chrooted=True):
        name = command.name
        if name == "systemctl":
            if set(command.operands[:1]) & set(_RUNNING) or command.has("--now"):
                yield At(line, " ".join(command.words[:3]))
        elif name in _NEEDS_SYSTEM or name in ("reboot", "poweroff", "shutdown"):
            offline = name == "nmcli" and command.has("--offline")
            if not offline:
                yield At(line, name)


@rule(
    "BKS406",
    Severity.ERROR,
    "%post writes into the image",
    reason="/usr and what links into it are read-only, and the image's: the next update is "
    "without it",
    source="bootc documentation, Filesystem",
    remedy="write to /etc or /var, or put the file into the image",
)
def writes_usr(subject: KickstartSubject) -> Iterable[At]:
    """/usr, /bin, /lib, … but /usr/local where the image makes it writable is not known here."""
    for section, command, line in subject.steps():
        start = "" if section.chrooted else "/mnt/sysroot"
        if section.name != "%post":
            continue
        for path in written_paths(command):
            if re.match(rf"{start}/(usr|bin|sbin|lib|lib64)/", path):
                yield At(line, path)


@rule(
    "BKS407",
    Severity.ERROR,
    "path of the other side",
    reason="in %post the new system is /, and /mnt/sysroot is not there; outside of it, of an "
    "image's system /mnt/sysimage is the disk, and not the deployment that boots",
    source="Anaconda's documentation, mount points of the target system",
    remedy="/etc/… in %post, /mnt/sysroot/etc/… in %post --nochroot",
)
def other_side(subject: KickstartSubject) -> Iterable[At]:
    """/mnt/sysroot or /mnt/sysimage in %post, /mnt/sysimage in %post --nochroot."""
    for section in subject.parsed.shells:
        if section.name != "%post":
            continue
        wrong = r"/mnt/sys(root|image)\b" if section.chrooted else r"/mnt/sysimage\b"
        for offset, text in enumerate(section.body, 1):
            if (found := re.search(wrong, text)) and not text.lstrip().startswith("#"):
                yield At(section.head.line + offset, found[0])


@rule(
    "BKS408",
    Severity.WARNING,
    "script that cannot be read as shell",
    reason="it stops half-way, at a place that nobody has seen",
    source="bash(1)",
    remedy="correct it, or name its interpreter: --interpreter=/usr/bin/python3",
)
def broken_script(subject: KickstartSubject) -> Iterable[At]:
    """What the grammar does not take."""
    for section in subject.parsed.shells:
        if not section.script.complete:
            yield At(section.head.line, section.name)


@rule(
    "BKS409",
    Severity.ERROR,
    "section that no installer knows, or that does not end",
    reason="the installer stops before it has begun; a section without %end takes all that follows",
    source="pykickstart's documentation, sections",
    remedy="correct its name; end it with %end on a line of its own",
)
def sections(subject: KickstartSubject) -> Iterable[At]:
    """Unknown names, and no %end."""
    for section in subject.parsed.sections:
        if section.name not in _SECTIONS:
            yield At(section.head.line, f"{section.name} is no section")
        elif section.end is None:
            yield At(section.head.line, f"{section.name} has no %end")


@rule(
    "BKS410",
    Severity.WARNING,
    "program that the installer does not have",
    reason="installers are built without it, although the package that it is from is there: the "
    "script fails on the machine, and on no other",
    source="weldr/lorax, runtime-cleanup.tmpl",
    remedy="Python (python3 -c …) is there; for install -m, umask and cp; or a %post inside of the "
    "new system",
)
def removed(subject: KickstartSubject) -> Iterable[At]:
    """In %pre and %post --nochroot: base64, install, stat, timeout, openssl, …"""
    for section, command, line in subject.steps(chrooted=False):
        own = re.compile(rf"^\s*(function\s+)?{re.escape(command.name)}\s*\(\)", re.MULTILINE)
        if command.name in _REMOVED and not own.search("\n".join(section.body)):
            yield At(line, command.name)


@rule(
    "BKS411",
    Severity.ERROR,
    "configuration that whoever fetches the image cannot read",
    reason="ostree and bootc run skopeo without rights: what umask 077 closes is not there for it, "
    "and the registry is refused",
    source="ostreedev/ostree-rs-ext, isolation.rs (skopeo runs by setpriv as another user)",
    remedy="umask 022 before it is written; umask 077 for secrets alone",
)
def unreadable(subject: KickstartSubject) -> Iterable[At]:
    """Files of /etc/containers and /etc/pki, written or made with umask 077 in %pre."""
    for section in subject.parsed.shells:
        if section.name == "%post":
            continue
        for command, masked in _masked(section):
            paths = [
                one for one in written_paths(command) if re.match(r"/etc/(containers|pki)/", one)
            ]
            if command.name == "update-ca-trust":
                paths.append("what update-ca-trust makes")
            for path in paths:
                if masked and not path.endswith("auth.json"):
                    yield At(section.line_of(command), path)
