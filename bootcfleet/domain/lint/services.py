"""Rules about units, and about commands that need a running system."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bootcfleet.domain.lint.model import At, RuleSet, Severity, Step, Subject, decoded
from bootcfleet.domain.lint.packages import installs

_SET = RuleSet()
RULES = _SET
rule = _SET.add

_NOTES = "field notes image-build §2.2"
_TIMER = "bootc-fetch-apply-updates"


def systemctl(step: Step) -> tuple[str, tuple[str, ...]] | None:
    """What systemctl is told, and about which units; None for another command."""
    if step.name != "systemctl" or not step.command.operands:
        return None
    return step.command.operands[0], step.command.operands[1:]


_RUNNING = frozenset(
    {"start", "stop", "restart", "try-restart", "reload", "reload-or-restart", "isolate", "kill"}
    | {"reboot", "poweroff", "soft-reboot", "is-active", "status", "suspend", "halt"}
)


@rule(
    "BCF501",
    Severity.ERROR,
    "systemctl talks to a systemd that does not run",
    reason="there is no systemd during a build: the command fails, or speaks to the builder's",
    source=f"systemctl(1); {_NOTES} (17)",
    remedy="`systemctl preset UNIT` or `systemctl enable UNIT`, without --now; it starts at boot",
)
def running_systemd(subject: Subject) -> Iterable[At]:
    """start, stop, restart, ``enable --now``."""
    for step in subject.steps:
        found = systemctl(step)
        if found is None:
            continue
        if found[0] in _RUNNING:
            yield At(step.line, f"systemctl {found[0]}")
        elif step.command.has("--now"):
            yield At(step.line, f"systemctl {found[0]} --now")


@rule(
    "BCF502",
    Severity.INFO,
    "systemctl daemon-reload in a build",
    reason="systemd reads all units at boot; here it does nothing",
    source="systemctl(1) daemon-reload",
    remedy="remove it",
)
def daemon_reload(subject: Subject) -> Iterable[At]:
    """daemon-reload and daemon-reexec."""
    for step in subject.final_steps:
        found = systemctl(step)
        if found and found[0] in ("daemon-reload", "daemon-reexec"):
            yield At(step.line, f"systemctl {found[0]} does nothing")


@rule(
    "BCF503",
    Severity.INFO,
    "units enabled one by one",
    reason="the links in /etc say nothing of the policy; `systemctl preset-all` on a host, or a "
    "package's scriptlet, undoes them",
    source=f"systemd.preset(5); {_NOTES} (17)",
    remedy="a file in /usr/lib/systemd/system-preset, then `systemctl preset UNIT` (units.j2)",
)
def enable(subject: Subject) -> Iterable[At]:
    """``systemctl enable`` and ``disable`` of units that no preset file of the context names."""
    named = set()
    for file in subject.placed:
        if file.path.endswith(".preset"):
            words = re.findall(r"^\s*(?:enable|disable)\s+(\S+)", decoded(file.file) or "", re.M)
            named |= {word.removesuffix(".service") for word in words}
    for step in subject.final_steps:
        found = systemctl(step)
        if found and found[0] in ("enable", "disable") and not step.command.has("--global"):
            left = [unit for unit in found[1] if unit.removesuffix(".service") not in named]
            # The updates' timer is switched off, whatever presets say.
            left = [unit for unit in left if not unit.startswith(_TIMER)]
            if left:
                yield At(step.line, f"systemctl {found[0]} {' '.join(left)}")


@rule(
    "BCF504",
    Severity.WARNING,
    "hosts update themselves",
    reason="bootc-fetch-apply-updates.timer reboots a host into whatever its tag is, outside of "
    "its wave and of every check",
    source=f"bootc-fetch-apply-updates.service(8); {_NOTES} (17)",
    remedy="RUN systemctl mask bootc-fetch-apply-updates.timer",
)
def updates_timer(subject: Subject) -> Iterable[At]:
    """Of images on a base from outside; children have it from their parent."""
    if subject.child or not subject.lineage:
        return
    for step in subject.final_steps:
        found = systemctl(step)
        if found and found[0] in ("mask", "disable") and any(_TIMER in unit for unit in found[1]):
            return
        if step.name == "ln" and any(_TIMER in word for word in step.command.operands):
            return
    for file in subject.placed:
        if f"disable {_TIMER}" in (decoded(file.file) or "") and file.path.endswith(".preset"):
            return
    yield At(subject.last_from, "bootc-fetch-apply-updates.timer is not masked")


_NEEDS_SYSTEM = {
    "firewall-cmd": "firewall-offline-cmd, or a zone file in /etc/firewalld/zones",
    "sysctl": "a file in /usr/lib/sysctl.d",
    "modprobe": "a file in /usr/lib/modules-load.d",
    "hostnamectl": "the name comes by DHCP or kickstart",
    "timedatectl": "a link /etc/localtime",
    "localectl": "/etc/locale.conf",
    "loginctl": "a file in /var/lib/systemd/linger, by tmpfiles.d",
    "nmcli": "a keyfile in /usr/lib/NetworkManager/system-connections",
    "setenforce": "SELinux stays enforcing; semanage permissive for one domain",
    "mount": "a mount unit",
    "swapon": "a swap unit, or zram-generator.conf",
    "reboot": "remove it",
    "shutdown": "remove it",
    "udevadm": "rules in /usr/lib/udev/rules.d are read at boot",
    "resolvectl": "a drop-in in /usr/lib/systemd/resolved.conf.d",
}
#: Of these only some forms change anything.
_MOSTLY_HARMLESS = frozenset({"localectl", "timedatectl", "hostnamectl", "loginctl", "nmcli"})


@rule(
    "BCF505",
    Severity.ERROR,
    "command that needs a running system",
    reason="it changes the machine that builds, or fails: nothing of it is in the image",
    source=f"their manual pages; {_NOTES} (19)",
    remedy="the finding names the file or the offline command",
)
def running_system(subject: Subject) -> Iterable[At]:
    """firewall-cmd, sysctl -w, modprobe, hostnamectl and others."""
    for step in subject.steps:
        instead = _NEEDS_SYSTEM.get(step.name)
        command = step.command
        if instead is None:
            continue
        sets = command.has("-w", "-p", "--system") or any("=" in one for one in command.operands)
        if step.name == "sysctl" and not sets:
            continue
        only_asks = command.operands[:1] in ((), ("status",)) or command.has("--offline")
        if step.name in _MOSTLY_HARMLESS and only_asks:
            continue
        yield At(step.line, f"{step.name} needs a running system: {instead}")


_MAKES_DATA = frozenset(
    {"initdb", "mysql_install_db", "mariadb-install-db", "ipa-server-install", "realm", "cephadm"}
    | {"redis-server", "mongod", "slapadd"}
)


@rule(
    "BCF506",
    Severity.ERROR,
    "data is made in a layer",
    reason="a database that the image brings lies in /var: it is unpacked once, with one "
    "password and key for all hosts, and no update reaches it",
    source=f"{_NOTES}, Roles, database",
    remedy="a unit at first boot, with ConditionDirectoryNotEmpty=! (as the template database has)",
)
def databases(subject: Subject) -> Iterable[At]:
    """initdb, mysql_install_db and others."""
    for step in subject.final_steps:
        setup = step.name == "postgresql-setup" and (
            step.command.has("--initdb") or "initdb" in step.command.operands
        )
        asks = step.command.has("--help", "--version", "-V")
        if setup or (step.name in _MAKES_DATA and not asks):
            yield At(step.line, f"{step.name} makes data in /var")


_UPDATERS = frozenset(
    {"dnf-automatic", "dnf5-plugin-automatic", "yum-cron", "PackageKit", "packagekit"}
)


@rule(
    "BCF507",
    Severity.WARNING,
    "package that updates packages on hosts",
    reason="/usr is read-only on a bootc host: it fails every day, or changes what the image says",
    source=f"dnf-automatic(8); {_NOTES} (1)",
    remedy="leave it out; new packages come with a new image",
)
def automatic_packages(subject: Subject) -> Iterable[At]:
    """dnf-automatic, PackageKit and their timers."""
    for step in subject.final_steps:
        for word in installs(step) or ():
            if word in _UPDATERS:
                yield At(step.line, f"{word} is installed")
        found = systemctl(step)
        if found and found[0] in ("enable", "preset", "unmask"):
            for unit in found[1]:
                if re.match(r"(dnf-automatic|packagekit|rpm-ostreed-automatic)", unit):
                    yield At(step.line, f"{unit} is enabled")


@rule(
    "BCF508",
    Severity.WARNING,
    "cloud-init is installed and never runs",
    reason="its package enables nothing by itself in an image: users and keys of the cloud are "
    "missing at first boot",
    source=f"bootc documentation, cloud-init; {_NOTES} (21)",
    remedy="ln -s ../cloud-init.target /usr/lib/systemd/system/default.target.wants",
)
def cloud_init(subject: Subject) -> Iterable[At]:
    """An install of cloud-init without a link, preset or enable."""
    enabled = any(
        "cloud-init" in " ".join(step.command.arguments)
        for step in subject.final_steps
        if step.name in ("ln", "systemctl")
    ) or any(
        "cloud-init" in (decoded(file.file) or "")
        for file in subject.placed
        if file.path.endswith(".preset")
    )
    for step in subject.final_steps:
        if "cloud-init" in (installs(step) or ()) and not enabled:
            yield At(step.line, "cloud-init is installed, and no unit of it is enabled")


@rule(
    "BCF509",
    Severity.WARNING,
    "unit file that has nothing to start",
    reason="systemd refuses a service without ExecStart=, and a timer without a time",
    source="systemd.service(5), systemd.timer(5)",
    remedy="correct the unit; `systemd-analyze verify FILE` shows more",
)
def empty_units(subject: Subject) -> Iterable[At]:
    """Whole units, not drop-ins: a service without any Exec, a timer without On…="""
    for file in subject.placed:
        name = re.fullmatch(r"/(usr/lib|etc)/systemd/system/([^/]+)\.(service|timer)", file.path)
        text = decoded(file.file)
        if name is None or text is None or not text.strip():
            continue
        starts = re.search(r"^\s*(ExecStart|ExecStop|SuccessAction)\s*=", text, re.M)
        if name[3] == "service" and not starts:
            yield At(1, "there is no ExecStart=", file.source)
        if name[3] == "timer" and not re.search(r"^\s*On\w+\s*=", text, re.M):
            yield At(1, "there is no OnCalendar= or other time", file.source)
