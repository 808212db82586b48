"""Rules about what an unattended installation must say of the machine."""

from __future__ import annotations

from collections.abc import Iterable

from bootcfleet.domain.kslint.model import NOTES, KickstartRules, KickstartSubject
from bootcfleet.domain.lint.model import At, Severity

_SET = KickstartRules()
RULES = _SET
rule = _SET.add

_DOCS = "pykickstart's documentation"
#: (command, option that holds a password, option that says it is a hash)
_PASSWORDS = (
    ("bootloader", "--password", "--iscrypted"),
    ("part", "--passphrase", None),
    ("partition", "--passphrase", None),
    ("logvol", "--passphrase", None),
    ("raid", "--passphrase", None),
    ("autopart", "--passphrase", None),
    ("vnc", "--password", None),
    ("rdp", "--password", None),
    ("network", "--wepkey", None),
    ("network", "--wpakey", None),
    ("rhsm", "--activation-key", None),
    ("realm", "--one-time-password", None),
)


@rule(
    "BKS301",
    Severity.WARNING,
    "no network, and the image is in a registry",
    reason="it is then what the boot line (ip=…) has brought up, or nothing",
    source=NOTES,
    remedy="network --bootproto=dhcp --device=link --activate",
)
def no_network(subject: KickstartSubject) -> Iterable[At]:
    """The command is missing."""
    fetched = subject.payloads and not subject.offline and not subject.has_includes
    if fetched and not subject.parsed.all("network"):
        yield At(subject.parsed.last_line, "no network")


@rule(
    "BKS302",
    Severity.ERROR,
    "nothing is said of root or a user",
    reason="Anaconda asks for an account before it begins, and an unattended installation waits",
    source=NOTES,
    remedy="rootpw --lock, where the image brings the accounts",
)
def nobody(subject: KickstartSubject) -> Iterable[At]:
    """Neither rootpw nor user nor sshkey."""
    if not subject.parsed.all("rootpw", "user") and not subject.has_includes:
        yield At(subject.parsed.last_line, "neither rootpw nor user")


@rule(
    "BKS303",
    Severity.ERROR,
    "password in plain text",
    reason="the kickstart is sent over the network, and lies in /root of every host",
    source=f"{NOTES}; {_DOCS}, rootpw and user",
    remedy="rootpw --lock and keys in the image; a passphrase from a file that %pre writes "
    "(template luks)",
)
def plain_passwords(subject: KickstartSubject) -> Iterable[At]:
    """rootpw, user, bootloader, passphrases, and keys of networks."""
    for one in subject.parsed.all("rootpw"):
        words = [word for word in one.words if not word.startswith("-")]
        if words and not one.has("--iscrypted"):
            yield At(one.line, "rootpw")
    for one in subject.parsed.all("user"):
        if one.value("--password") and not one.has("--iscrypted"):
            yield At(one.line, "user --password")
    for name, option, hashed in _PASSWORDS:
        for one in subject.parsed.all(name):
            if one.value(option) and not (hashed and one.has(hashed)):
                yield At(one.line, f"{name} {option}")


@rule(
    "BKS304",
    Severity.WARNING,
    "password hash",
    reason="whoever can read the kickstart can guess at it for as long as they like, and it is the "
    "same on every host",
    source=f"{_DOCS}, rootpw --iscrypted",
    remedy="rootpw --lock, and keys in the image",
)
def hashes(subject: KickstartSubject) -> Iterable[At]:
    """--iscrypted with a hash that could be a password's."""
    for one in subject.parsed.all("rootpw", "user", "bootloader"):
        value = one.value("--password") if one.name != "rootpw" else one.operand or one.words[-1:]
        if one.has("--iscrypted") and value and not one.has("--lock"):
            yield At(one.line, one.name)


@rule(
    "BKS305",
    Severity.ERROR,
    "no end",
    reason="the installer waits for somebody to press a key",
    source=f"{NOTES}; {_DOCS}, reboot",
    remedy="reboot --eject, or poweroff",
)
def no_end(subject: KickstartSubject) -> Iterable[At]:
    """None of reboot, poweroff, shutdown and halt."""
    if (
        not subject.parsed.all("reboot", "poweroff", "shutdown", "halt")
        and not subject.has_includes
    ):
        yield At(subject.parsed.last_line, "neither reboot nor poweroff")


@rule(
    "BKS306",
    Severity.WARNING,
    "language, keyboard or time zone is not said",
    reason="the installer may stop and ask for each of them",
    source=f"{_DOCS}, lang, keyboard and timezone",
    remedy="lang C.UTF-8, keyboard us, timezone UTC --utc",
)
def locale(subject: KickstartSubject) -> Iterable[At]:
    """Each of the three."""
    for name in ("lang", "keyboard", "timezone"):
        if not subject.parsed.all(name) and not subject.has_includes:
            yield At(subject.parsed.last_line, f"no {name}")


@rule(
    "BKS307",
    Severity.WARNING,
    "security is switched off",
    reason="the host then differs from its image, and the next update does not bring it back",
    source="bootc documentation, SELinux; pykickstart's documentation, selinux and firewall",
    remedy="remove it; what a host needs belongs into the image",
)
def switched_off(subject: KickstartSubject) -> Iterable[At]:
    """selinux --disabled and --permissive, firewall --disabled."""
    for one in subject.parsed.all("selinux", "firewall"):
        if one.has("--disabled", "--permissive", "--disable"):
            yield At(one.line, " ".join((one.name, *one.words)))


@rule(
    "BKS308",
    Severity.INFO,
    "setting that belongs into the image",
    reason="it is made once, by this kickstart: hosts from a disk image do not have it, and no "
    "update changes it",
    source="bootc documentation, Users and groups; Configuration",
    remedy="say it in the Containerfile, where all hosts get it",
)
def of_the_image(subject: KickstartSubject) -> Iterable[At]:
    """user, group, services, firewall, authselect."""
    if subject.payloads:
        for one in subject.parsed.all("user", "group", "services", "firewall", "authselect"):
            yield At(one.line, one.name)
