"""Rules about installers: kickstarts, Anaconda's modules, and disks that are wiped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from bootcfleet.domain.disklint.model import At, DiskRules, Subject, named, text, words
from bootcfleet.domain.disktype import DiskType
from bootcfleet.domain.document import did_you_mean
from bootcfleet.domain.lint.model import Severity

RULES = DiskRules()

_KICKSTART = ("installer", "kickstart", "contents")
_PREFIX = "org.fedoraproject.Anaconda.Modules."
_MODULES = (
    "Localization", "Network", "Payloads", "Runtime", "Security", "Services", "Storage",
    "Subscription", "Timezone", "Users",
)  # fmt: skip
_PARTITIONING = {"autopart", "part", "partition", "mount", "logvol", "btrfs", "reqpart"}
_ACCOUNTS = {"rootpw", "user", "sshkey"}
_QUESTIONS = (
    (_PARTITIONING, "partitioning (autopart, part)"),
    (_ACCOUNTS, "account (user, sshkey, rootpw)"),
    ({"reboot", "poweroff", "shutdown", "halt"}, "end (reboot, poweroff)"),
)
_PAYLOADS = {"ostreecontainer", "bootc", "ostreesetup", "liveimg", "url", "nfs", "harddrive"}
_SECTIONS = re.compile(r"%(pre|pre-install|post|onerror|traceback|packages|addon|anaconda|certs)\b")


@dataclass(frozen=True)
class _Line:
    number: int
    command: str
    words: tuple[str, ...]


def _commands(contents: str) -> Iterator[_Line]:
    """The commands of a kickstart outside of its sections; `number` counts from 0."""
    inside = False
    for number, line in enumerate(contents.splitlines()):
        stripped = line.strip()
        if stripped.startswith("%"):
            inside = bool(_SECTIONS.match(stripped)) or (inside and stripped != "%end")
        elif stripped and not stripped.startswith("#") and not inside:
            parts = tuple(stripped.split())
            yield _Line(number, parts[0], parts)


def _kickstart(subject: Subject) -> str:
    return text(subject.table("installer", "kickstart"), "contents")


def wipes_disks(subject: Subject) -> str:
    """Why an ISO wipes every disk of a machine unasked; empty where it does not.

    Without a kickstart bootc-image-builder's anaconda-iso does (clearpart --all, autopart), and
    with one, what its clearpart says.
    """
    if not subject.isos:
        return ""
    contents = _kickstart(subject)
    if contents:
        lines = list(_commands(contents))
        kept = [one for one in lines if one.command == "ignoredisk"]
        clears = [one for one in lines if one.command == "clearpart" and "--all" in one.words]
        if clears and not kept and not any("--drives" in word for word in clears[0].words):
            return "clearpart --all without --drives wipes every disk of the machine, unasked"
        return ""
    if DiskType.ANACONDA_ISO in subject.types:
        return "without a kickstart the ISO wipes every disk of the machine, unasked"
    if subject.table("installer").get("unattended") is True:
        return "unattended, the ISO wipes every disk of the machine, unasked"
    return ""


@RULES.add(
    "DSK601",
    Severity.WARNING,
    "ISO that wipes every disk, unasked",
    reason="whoever boots a machine from it by mistake loses everything on it",
    source="bootc-image-builder's kickstart: clearpart --all, autopart, reboot --eject; issues "
    "osbuild/bootc-image-builder#898 and #997",
    remedy="write installer.kickstart.contents with ignoredisk --only-use=DISK (see `bootcfleet "
    "kickstart`), or keep the ISO where nobody boots it by mistake",
)
def wipes(subject: Subject) -> Iterable[At]:
    """Installers that wipe all disks without being told which."""
    why = wipes_disks(subject)
    if why:
        path = _KICKSTART if _kickstart(subject) else ("installer",)
        yield At(path if subject.has("installer") else (), why)


@RULES.add(
    "DSK602",
    Severity.ERROR,
    "kickstart beside users or groups",
    reason="the builder writes either its own kickstart, with the users, or yours",
    source='osbuild kickstart.New: "users … not supported when adding custom kickstart '
    'contents"; issue osbuild/bootc-image-builder#528',
    remedy="write user, sshkey and group commands into the kickstart",
)
def kickstart_and_users(subject: Subject) -> Iterable[At]:
    """`installer.kickstart` with `user` or `group`."""
    if subject.isos and _kickstart(subject):
        for key in ("user", "group"):
            if subject.has(key):
                yield At((key,), f"{key} and installer.kickstart exclude each other")


@RULES.add(
    "DSK603",
    Severity.ERROR,
    "kickstart beside what the builder would write into its own",
    reason="unattended and sudo-nopasswd change only the builder's own kickstart",
    source='osbuild/blueprint GetInstaller: "not supported when adding custom kickstart contents"',
    remedy="remove it, and write it into the kickstart",
)
def kickstart_and_options(subject: Subject) -> Iterable[At]:
    """`installer.kickstart` with `unattended` or `sudo-nopasswd`."""
    if _kickstart(subject):
        table = subject.table("installer")
        for key in ("unattended", "sudo-nopasswd"):
            if table.get(key):
                message = f"{key} and installer.kickstart exclude each other"
                yield At(("installer", key), message)


@RULES.add(
    "DSK604",
    Severity.ERROR,
    "users without Anaconda's module for them",
    reason="the Users module makes them",
    source='osbuild/blueprint GetInstaller: "disables the required Users Anaconda module"',
    remedy="do not disable it, or remove user and group",
)
def users_module(subject: Subject) -> Iterable[At]:
    """Users while the module Users is disabled."""
    disabled = words(subject.table("installer", "modules"), "disable")
    if f"{_PREFIX}Users" in disabled and (subject.has("user") or subject.has("group")):
        number = disabled.index(f"{_PREFIX}Users")
        path = ("installer", "modules", "disable", number)
        yield At(path, "Users is disabled, but there are users or groups")


@RULES.add(
    "DSK605",
    Severity.WARNING,
    "module that is enabled and disabled",
    reason="disable wins",
    source="osbuild: disabled modules are taken out of the enabled ones",
    remedy="remove it from one of the two",
)
def both(subject: Subject) -> Iterable[At]:
    """Modules in both lists."""
    table = subject.table("installer", "modules")
    disabled = words(table, "disable")
    for number, one in enumerate(words(table, "enable")):
        if one in disabled:
            yield At(("installer", "modules", "enable", number), f"{one} is disabled below")


@RULES.add(
    "DSK606",
    Severity.WARNING,
    "module that Anaconda does not have",
    reason="the builder does not look at the names, and Anaconda starts nothing for this one",
    source="Anaconda, pyanaconda/modules",
    remedy="correct the name",
)
def unknown_module(subject: Subject) -> Iterable[At]:
    """Names of modules that are unknown."""
    known = [f"{_PREFIX}{one}" for one in _MODULES]
    for key in ("enable", "disable"):
        for number, one in enumerate(words(subject.table("installer", "modules"), key)):
            if one not in known and not one.startswith("org.fedoraproject.Anaconda.Addons."):
                short = one if one.startswith("org.") else f"{_PREFIX}{one}"
                remedy = did_you_mean(short, known)
                yield At(("installer", "modules", key, number), f"{one} is not known", None, remedy)


@RULES.add(
    "DSK607",
    Severity.WARNING,
    "kernel arguments that a kickstart drops",
    reason="with a kickstart of yours the builder does not write kernel.append anywhere",
    source="osbuild anaconda_installer_iso_tree.go",
    remedy="write bootloader --append into the kickstart, or kargs.d into the image",
)
def dropped_arguments(subject: Subject) -> Iterable[At]:
    """`kernel.append` with a kickstart."""
    if subject.isos and _kickstart(subject) and text(subject.table("kernel"), "append"):
        yield At(("kernel", "append"), f"has no effect in {named(subject.isos)} with a kickstart")


@RULES.add(
    "DSK608",
    Severity.ERROR,
    "second payload in the kickstart",
    reason="the builder adds ostreecontainer with the image on the ISO; Anaconda installs one "
    "payload",
    source="bootc-image-builder osbuild-base.ks; pykickstart: ostreecontainer conflicts",
    remedy="remove the command",
)
def second_payload(subject: Subject) -> Iterable[At]:
    """Payload commands in a kickstart for an ISO that has its image with it."""
    if subject.isos:
        for one in _commands(_kickstart(subject)):
            if one.command in _PAYLOADS:
                message = f"line {one.number + 1} of the kickstart is a payload: {one.command}"
                yield At(_KICKSTART, message)


@RULES.add(
    "DSK609",
    Severity.WARNING,
    "kickstart that leaves a question open",
    reason="to a kickstart of yours the builder adds nothing but the payload, so that Anaconda "
    "stops and asks, or stays at its last screen",
    source="bootc-image-builder osbuild-base.ks: no clearpart, network or reboot",
    remedy="write the command into the kickstart, or be there",
)
def open_questions(subject: Subject) -> Iterable[At]:
    """Kickstarts without partitioning, an account, or an end."""
    contents = _kickstart(subject)
    if not subject.isos or not contents or "%include" in contents or "%ksappend" in contents:
        return
    there = {one.command for one in _commands(contents)}
    missing = [what for known, what in _QUESTIONS if not there & known]
    if missing:
        # Neither disk nor account: somebody is meant to be asked.
        asks = _PARTITIONING.isdisjoint(there) and _ACCOUNTS.isdisjoint(there)
        level = Severity.INFO if asks else Severity.WARNING
        yield At(_KICKSTART, f"the kickstart has no {', no '.join(missing)}", level)


@RULES.add(
    "DSK610",
    Severity.ERROR,
    "empty kickstart",
    reason="it counts as none, and the ISO wipes every disk unasked",
    source="bootc-image-builder: a kickstart without contents is not there",
    remedy="write it, or remove it",
)
def empty_kickstart(subject: Subject) -> Iterable[At]:
    """A kickstart with nothing in it."""
    contents = subject.table("installer", "kickstart").get("contents")
    if isinstance(contents, str) and not contents.strip():
        yield At(_KICKSTART, "is empty")


@RULES.add(
    "DSK611",
    Severity.WARNING,
    "password in plain in the kickstart",
    reason="the kickstart is on the ISO, readable for everybody who has it",
    source="kickstart documentation: rootpw and user, --iscrypted",
    remedy="write --iscrypted with the hash that `openssl passwd -6` prints",
)
def plain_in_kickstart(subject: Subject) -> Iterable[At]:
    """rootpw, user and luks passwords.  They are never repeated."""
    for one in _commands(_kickstart(subject)):
        plain = one.command == "rootpw" and len(one.words) > 1 and "--lock" not in one.words
        plain = plain or (
            one.command == "user" and any(word.startswith("--password") for word in one.words)
        )
        if plain and "--iscrypted" not in one.words:
            where = f"line {one.number + 1} of the kickstart"
            yield At(_KICKSTART, f"{where}: {one.command} has a password in plain text")
        if any(word.startswith("--passphrase") for word in one.words):
            yield At(_KICKSTART, f"line {one.number + 1} of the kickstart has a passphrase")


@RULES.add(
    "DSK612",
    Severity.ERROR,
    "volume id that an ISO cannot have",
    reason="letters, digits, -, _, . and $, at most 32 of them",
    source='osbuild/blueprint validateVolumeID: "invalid volume id"; ECMA-119 8.4.7',
    remedy="shorten it, and leave out spaces",
)
def volume_id(subject: Subject) -> Iterable[At]:
    """Volume ids that are too long, or have other characters."""
    value = subject.table("iso").get("volume_id")
    if isinstance(value, str):
        if not re.fullmatch(r"[\w.$-]+", value, re.ASCII):
            yield At(("iso", "volume_id"), f"{value!r} cannot be a volume id")
        elif len(value) > 32:
            yield At(("iso", "volume_id"), f"{value!r} is longer than 32 characters")
