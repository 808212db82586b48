"""Rules about where an image's files may lie: /usr and /etc are its own, /var is the host's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from bootcfleet.domain.lint.model import At, RuleSet, Severity, Subject, writes

_SET = RuleSet()
RULES = _SET
rule = _SET.add

_NOTES = "field notes image-build §2.2"
_BOOTC_FS = "bootc documentation, Filesystem"


def written(subject: Subject) -> Iterator[tuple[str, At]]:
    """Every path that the image gets: by COPY from the context, or by a command of a RUN."""
    for file in subject.placed:
        yield file.path, At(file.line, f"{file.source} becomes {file.path}")
    for step in subject.final_steps:
        for path in writes(step):
            if path.startswith("/"):
                yield path, At(step.line, f"{step.name or 'a redirect'} writes {path}")
    for one in subject.final:
        if one.keyword in ("COPY", "ADD") and one.words and one.flag("from") is not None:
            target = one.words[-1]
            if target.startswith("/"):
                yield target, At(one.line, f"{one.keyword} --from writes {target}")


def _below(path: str, *folders: str) -> bool:
    return any(path == one or path.startswith(f"{one}/") for one in folders)


def _removed(subject: Subject, at: At, path: str) -> bool:
    """Whether the same RUN takes it away again; after a COPY, any RUN."""
    copied = any(one.line == at.line and one.keyword != "RUN" for one in subject.final)
    for step in subject.final_steps:
        here = step.instruction.line <= at.line <= step.instruction.end
        if step.name == "rm" and step.line >= at.line and (here or copied):
            for word in step.command.operands:
                folder = word.removesuffix("/*").rstrip("/")
                if path == word or _below(path, folder):
                    return True
    return False


def _find(subject: Subject, *folders: str, but: tuple[str, ...] = ()) -> Iterator[At]:
    for path, at in written(subject):
        if _below(path, *folders) and not _below(path, *but) and not _removed(subject, at, path):
            yield at


@rule(
    "BCF301",
    Severity.WARNING,
    "content in /var",
    reason="bootc unpacks /var at the first installation and never again: no update reaches it",
    source=f"{_BOOTC_FS}, /var; {_NOTES} (7); bootc-container-lint(8) var-tmpfiles",
    remedy="put content under /usr/share, and let tmpfiles.d or StateDirectory= make folders",
)
def var(subject: Subject) -> Iterable[At]:
    """Files and folders in /var; /var/tmp and rpm-state are for the build itself."""
    yield from _find(subject, "/var", but=("/var/tmp", "/var/run", "/var/lib/rpm-state"))  # noqa: S108


@rule(
    "BCF302",
    Severity.WARNING,
    "content in a folder that is made anew at boot",
    reason="/run, /tmp, /dev, /proc and /sys are covered by other file systems on a host",
    source=f"{_BOOTC_FS}; {_NOTES} (10); bootc-container-lint(8) nonempty-run-tmp",
    remedy="let tmpfiles.d make it at boot, or remove it in the same RUN",
)
def volatile(subject: Subject) -> Iterable[At]:
    """What is still there at the end of its RUN."""
    found = _find(subject, "/run", "/tmp", "/dev", "/proc", "/sys", but=("/dev/null",))  # noqa: S108
    mounted = {
        (one.line, (mount.get("target") or mount.get("dst") or "").rstrip("/"))
        for one in subject.final
        for mount in one.mounts()
    }
    for at in found:
        path = at.message.rpartition(" ")[2]
        if path.startswith(("/dev/std", "/dev/fd", "/dev/tty", "/proc/self/fd")):
            continue
        inside = any(
            line <= at.line and target and _below(path, target) for line, target in mounted
        )
        if not inside:
            yield at


@rule(
    "BCF303",
    Severity.ERROR,
    "content in /boot",
    reason="/boot belongs to the host's boot loader; bootc itself puts the kernel there",
    source=f"{_NOTES} (10); bootc-container-lint(8) nonempty-boot",
    remedy="kernel and initramfs lie in /usr/lib/modules/VERSION; arguments in "
    "/usr/lib/bootc/kargs.d",
)
def boot(subject: Subject) -> Iterable[At]:
    """Files below /boot and /efi."""
    yield from _find(subject, "/boot", "/efi")


@rule(
    "BCF304",
    Severity.ERROR,
    "/usr/etc",
    reason="bootc makes it out of /etc; an image that has both is refused",
    source=f"bootc-container-lint(8) etc-usretc; {_NOTES} (10)",
    remedy="write to /etc",
)
def usr_etc(subject: Subject) -> Iterable[At]:
    """Files below /usr/etc."""
    yield from _find(subject, "/usr/etc")


@rule(
    "BCF305",
    Severity.ERROR,
    "/var/run and /var/lock as folders",
    reason="they must stay links to /run; a folder in their place makes bootc refuse the image",
    source="bootc-container-lint(8) var-run; file-hierarchy(7)",
    remedy="use /run, by RuntimeDirectory= or tmpfiles.d",
)
def var_run(subject: Subject) -> Iterable[At]:
    """COPY and mkdir there; links in the base lead a redirect to /run, which is no better."""
    yield from _find(subject, "/var/run", "/var/lock")


@rule(
    "BCF306",
    Severity.WARNING,
    "content in /opt",
    reason="/opt is read-only on a host; on bases where it is a link into /var, what a package "
    "installs there never reaches a host",
    source=f"{_BOOTC_FS}, /opt; {_NOTES} (9)",
    remedy="install under /usr/lib or /usr/share; what must be written goes to /var by BindPaths= "
    "or a link",
)
def opt(subject: Subject) -> Iterable[At]:
    """Files below /opt; to make the folder itself, or a link, is the remedy on some bases."""
    for at in _find(subject, "/opt"):
        if not at.message.endswith(" /opt"):
            yield at


@rule(
    "BCF307",
    Severity.INFO,
    "content in /usr/local",
    reason="on some bases it is a link to /var/usrlocal, where no update reaches it",
    source=f"{_BOOTC_FS}, /usr/local; {_NOTES} (9)",
    remedy="use /usr/bin, /usr/libexec and /usr/share",
)
def usr_local(subject: Subject) -> Iterable[At]:
    """Files below /usr/local."""
    yield from _find(subject, "/usr/local")


_TOP = frozenset(
    {"bin", "boot", "dev", "efi", "etc", "home", "lib", "lib64", "media", "mnt", "opt", "ostree"}
    | {"proc", "root", "run", "sbin", "srv", "sys", "sysroot", "tmp", "usr", "var", "afs"}
)


@rule(
    "BCF308",
    Severity.WARNING,
    "new folder at the top",
    reason="SELinux has no label for it, so that services may not read it, and it is read-only",
    source=f"{_NOTES} (10); {_BOOTC_FS}, Other toplevel directories",
    remedy="use /usr/share/NAME, or /var/lib/NAME for what changes",
)
def top_level(subject: Subject) -> Iterable[At]:
    """``/data`` and its like; a file right below / from COPY too."""
    for path, at in written(subject):
        first, _, below = path.lstrip("/").partition("/")
        if not first or first in _TOP or "$" in first:
            continue
        if below or "mkdir" in at.message or at.message.startswith(("files", "COPY")):
            yield at


@rule(
    "BCF309",
    Severity.WARNING,
    "files in home folders",
    reason="/root and /home are links into /var on a bootc host: files there are unpacked once, "
    "and their owner is a number of the build",
    source=f"{_BOOTC_FS}, /var; {_NOTES} (7), (14)",
    remedy="make them by tmpfiles.d at boot (`f+~ PATH 0600 USER GROUP - BASE64`), or use "
    "/etc/skel and /etc/profile.d",
)
def homes(subject: Subject) -> Iterable[At]:
    """COPY and writes below /root and /home; authorized_keys are BCF409's."""
    for at in _find(subject, "/root", "/home"):
        if not re.search(r"/\.ssh(/|$)|/\.(docker|config/containers)/", at.message):
            yield at


@rule(
    "BCF310",
    Severity.ERROR,
    "chcon",
    reason="bootc labels files by the policy when it installs; a label set by hand is lost",
    source=f"{_NOTES} (11); semanage-fcontext(8)",
    remedy="semanage fcontext -a -t TYPE 'PATH(/.*)?'",
)
def chcon(subject: Subject) -> Iterable[At]:
    """chcon, and setfattr of security.selinux."""
    for step in subject.final_steps:
        label = step.name == "setfattr" and "security.selinux" in step.command.arguments
        if step.name == "chcon" or label:
            yield At(step.line, f"the label that {step.name} sets is not in the image")


#: Main files with a place for drop-ins, and that place.
DROP_INS = {
    "/etc/ssh/sshd_config": "/etc/ssh/sshd_config.d/",
    "/etc/ssh/ssh_config": "/etc/ssh/ssh_config.d/",
    "/etc/sudoers": "/etc/sudoers.d/",
    "/etc/sysctl.conf": "/usr/lib/sysctl.d/",
    "/etc/dnf/dnf.conf": "/etc/dnf/libdnf5.conf.d/, or options of the one command",
    "/etc/containers/registries.conf": "/etc/containers/registries.conf.d/",
    "/etc/containers/storage.conf": "/etc/containers/storage.conf.d/",
    "/etc/containers/containers.conf": "/etc/containers/containers.conf.d/",
    "/etc/httpd/conf/httpd.conf": "/etc/httpd/conf.d/",
    "/etc/nginx/nginx.conf": "/etc/nginx/conf.d/",
    "/etc/php.ini": "/etc/php.d/",
    "/etc/my.cnf": "/etc/my.cnf.d/",
    "/etc/rsyslog.conf": "/etc/rsyslog.d/",
    "/etc/logrotate.conf": "/etc/logrotate.d/",
    "/etc/audit/auditd.conf": "/etc/audit/rules.d/ for rules",
    "/etc/security/limits.conf": "/etc/security/limits.d/",
    "/etc/profile": "/etc/profile.d/",
    "/etc/bashrc": "/etc/profile.d/",
    "/etc/crontab": "/etc/cron.d/, or a timer unit",
    "/etc/NetworkManager/NetworkManager.conf": "/usr/lib/NetworkManager/conf.d/",
    "/etc/systemd/system.conf": "/usr/lib/systemd/system.conf.d/",
    "/etc/systemd/user.conf": "/usr/lib/systemd/user.conf.d/",
    "/etc/systemd/journald.conf": "/usr/lib/systemd/journald.conf.d/",
    "/etc/systemd/logind.conf": "/usr/lib/systemd/logind.conf.d/",
    "/etc/systemd/resolved.conf": "/usr/lib/systemd/resolved.conf.d/",
    "/etc/systemd/timesyncd.conf": "/usr/lib/systemd/timesyncd.conf.d/",
    "/etc/default/grub": "/usr/lib/bootc/kargs.d/",
    "/etc/selinux/config": "kernel arguments, where it must be",
    "/etc/fstab": "mount units under /usr/lib/systemd/system",
}


@rule(
    "BCF311",
    Severity.WARNING,
    "a package's main file is replaced",
    reason="/etc is merged file by file: what the package's update adds to this file is lost, here "
    "and on every host that changed it",
    source=f"{_BOOTC_FS}, /etc; {_NOTES} (8)",
    remedy="use a drop-in (each finding names its folder)",
)
def main_files(subject: Subject) -> Iterable[At]:
    """COPY and redirects over files that have a drop-in folder."""
    for path, at in written(subject):
        if path in DROP_INS:
            yield At(at.line, f"{path} has a place for drop-ins: {DROP_INS[path]}")


@rule(
    "BCF312",
    Severity.WARNING,
    "sed -i on a file of the system",
    reason="the file is no longer the package's, and its folder's changed time makes hosts "
    "download more after a rechunk",
    source=f"{_NOTES} (8), (12); projectbluefin/dakota#1376",
    remedy="a drop-in, or a whole file of your own",
)
def sed(subject: Subject) -> Iterable[At]:
    """sed -i below /etc and /usr, but not on drop-ins."""
    for step in subject.final_steps:
        if step.name not in ("sed", "perl") or not (
            any(re.match(r"-[a-zA-Z]*i", word) for word in step.command.arguments)
            or step.command.has("--in-place")
        ):
            continue
        command = step.command
        # Without -e or -f the first word is sed's own program, which may begin with a slash.
        files = command.operands[0 if command.has("-e", "-f", "--expression", "--file") else 1 :]
        for path in files:
            if path.startswith(("/etc/", "/usr/")) and not re.search(r"\.d/", path):
                drop = DROP_INS.get(path)
                yield At(step.line, f"{path} is edited" + (f"; drop-ins: {drop}" if drop else ""))


@rule(
    "BCF313",
    Severity.ERROR,
    "identity of one host in the image",
    reason="every host would have the same name, machine id or SSH host key",
    source="machine-id(5); bootc-container-lint(8) buildah-injected; sshd(8)",
    remedy="leave it to the first boot: systemd and sshd make it; names come by DHCP or kickstart",
)
def host_identity(subject: Subject) -> Iterable[At]:
    """machine-id, hostname, SSH host keys, random seed."""
    pattern = re.compile(
        r"/etc/(machine-id|hostname|resolv\.conf|hosts|ssh/ssh_host_.*)|/var/lib/systemd/random-seed"
    )
    for path, at in written(subject):
        # An empty machine-id is what an image should have.
        empty = any(one.path == path and not one.file.data.strip() for one in subject.placed)
        if pattern.fullmatch(path) and not (empty and path == "/etc/machine-id"):
            yield at
    for step in subject.final_steps:
        keys = step.name == "ssh-keygen" and step.command.has("-A")
        if keys or step.name == "systemd-machine-id-setup":
            yield At(step.line, f"{step.name} makes it once, for all hosts")


@rule(
    "BCF314",
    Severity.WARNING,
    "file that does not belong into an image",
    reason="editors, merges and operating systems leave such files; on hosts some are read",
    source="names that editors, patch(1), rpm(8), git and Python give",
    remedy="remove it from files/",
)
def leftovers(subject: Subject) -> Iterable[At]:
    """Backups, patches' rejects, version control, templates that were not rendered."""
    pattern = re.compile(
        r"(^|/)(\.git|\.svn|\.DS_Store|Thumbs\.db|__pycache__|\.idea|\.vscode)(/|$)"
        r"|(~|\.swp|\.swo|\.orig|\.rej|\.bak|\.tmp|\.rpmnew|\.rpmsave|\.rpmorig|\.j2|\.pyc)$"
    )
    for path in subject.files:
        if pattern.search(path):
            yield At(1, "it looks like something that was left behind", path)


@rule(
    "BCF315",
    Severity.ERROR,
    "file name that a host cannot have",
    reason="bootc refuses names that are not UTF-8; control characters and spaces at the ends "
    "break whatever reads the folder",
    source="bootc-container-lint(8) utf8, bootc#975",
    remedy="rename the file",
)
def names(subject: Subject) -> Iterable[At]:
    """Bytes that are no UTF-8 (surrogates), control characters, spaces at the ends of a part."""
    for path in subject.files:
        try:
            path.encode("utf-8")
        except UnicodeEncodeError:
            yield At(1, "the name is not UTF-8", path)
            continue
        if any(not char.isprintable() for char in path):
            yield At(1, "the name has a control character", path)
        elif any(part != part.strip() for part in path.split("/")):
            yield At(1, "a part of the name begins or ends with a space", path)


@rule(
    "BCF316",
    Severity.INFO,
    "unit or drop-in of the image in /etc/systemd",
    reason="/etc is the host's: what is there is merged, and wins over the image's next version "
    "once a host has changed it",
    source=f"systemd.unit(5), Unit File Load Path; {_NOTES} (8)",
    remedy="put it under /usr/lib/systemd",
)
def units_in_etc(subject: Subject) -> Iterable[At]:
    """Units and drop-ins that COPY puts into /etc/systemd/system."""
    for file in subject.placed:
        if re.match(r"/etc/systemd/(system|user)/", file.path):
            yield At(1, f"{file.path} may lie under /usr/lib/systemd", file.source)


@rule(
    "BCF317",
    Severity.INFO,
    "alternatives in a build",
    reason="the state of the choice lies in /var/lib/alternatives, which no update reaches; the "
    "links in /etc are merged with the host's",
    source=f"alternatives(8); {_NOTES} (6)",
    remedy="a link of your own under /usr/bin, or the full path in the unit",
)
def alternatives(subject: Subject) -> Iterable[At]:
    """alternatives and update-alternatives that change something."""
    for step in subject.final_steps:
        if step.name in ("alternatives", "update-alternatives") and step.command.has(
            "--set", "--install", "--config", "--auto", "--remove"
        ):
            yield At(step.line, f"{step.name} keeps its state in /var")
