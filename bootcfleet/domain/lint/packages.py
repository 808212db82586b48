"""Rules about packages, repositories and the kernel."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterable, Iterator

from bootcfleet.domain.lint.model import At, RuleSet, Severity, Step, Subject, decoded, writes

_SET = RuleSet()
RULES = _SET
rule = _SET.add

_NOTES = "field notes image-build §2.2"
_MANAGERS = frozenset({"dnf", "dnf5", "dnf-3", "yum", "microdnf"})
#: Options of dnf whose value may be the next word.
_WITH_VALUE = frozenset(
    {"-c", "-d", "-e", "-x", "--config", "--enablerepo", "--disablerepo", "--repo", "--repoid"}
    | {"--installroot", "--releasever", "--exclude", "--setopt", "--repofrompath", "--comment"}
    | {"--enable-repo", "--disable-repo", "--use-host-config", "--forcearch"}
)
_INSTALLS = frozenset({"install", "reinstall", "localinstall", "groupinstall", "swap"})


def dnf(step: Step) -> tuple[str, tuple[str, ...]] | None:
    """What dnf is told to do, and with what; None for another program."""
    if step.name not in _MANAGERS:
        return None
    words: list[str] = []
    before = ""
    for word in step.command.arguments:
        if not word.startswith("-") and before not in _WITH_VALUE:
            words.append(word)
        before = word
    return (words[0], tuple(words[1:])) if words else ("", ())


def installs(step: Step) -> tuple[str, ...] | None:
    """The packages that a command installs; None when it installs nothing."""
    found = dnf(step)
    if found is None:
        return None
    action, words = found
    if action in _INSTALLS:
        return words
    if action in ("group", "groups", "module") and words[:1] == ("install",):
        return words[1:]
    return None


@rule(
    "BCF201",
    Severity.ERROR,
    "dnf update, upgrade or distro-sync",
    reason="it changes kernel and boot loader behind the back of bootc, unpredictably, and "
    "downloads the base a second time",
    source=f"Fedora bootc documentation, Building containers; {_NOTES} (1)",
    remedy="take updates with a new digest of the base; install the fixed package by its name",
)
def updates(subject: Subject) -> Iterable[At]:
    """Without package names everything is updated; a named package may be."""
    for step in subject.steps:
        found = dnf(step)
        if found is None:
            continue
        action, words = found
        everything = action in ("distro-sync", "distrosync", "dsync", "offline-upgrade")
        if everything or (action in ("update", "upgrade", "up", "upgrade-minimal") and not words):
            yield At(step.line, f"`{step.name} {action}` changes kernel and boot loader in a layer")


@rule(
    "BCF202",
    Severity.ERROR,
    "dnf without -y",
    reason="nobody can answer during a build: dnf takes that for a no and fails",
    source="dnf(8) --assumeyes",
    remedy="dnf -y install …",
)
def no_yes(subject: Subject) -> Iterable[At]:
    """Whatever asks: install, remove, swap."""
    for step in subject.steps:
        found = dnf(step)
        if found is None or not (installs(step) or found[0] in ("remove", "erase", "autoremove")):
            continue
        if not step.command.has("-y", "--assumeyes") and step.name != "microdnf":
            yield At(step.line, f"`{step.name} {found[0]}` asks before it does anything")


@rule(
    "BCF203",
    Severity.WARNING,
    "dnf leaves its caches in the layer",
    reason="metadata and logs are downloaded by every host, and what a later RUN removes is still "
    "in the layer before",
    source=f"{_NOTES} (3); hadolint DL3040",
    remedy="end the same RUN with `dnf clean all && rm -rf /var/cache/* /var/log/*`, or use "
    "install() of _shared/dnf.j2",
)
def no_clean(subject: Subject) -> Iterable[At]:
    """An install in the image without a clean after it in the same RUN."""
    for step in subject.final_steps:
        if installs(step) is None:
            continue
        run = subject.same_run(step)
        after = run[run.index(step) + 1 :]
        cached = any(
            mount.get("type") == "cache" and "/var/cache" in _target(mount)
            for mount in step.instruction.mounts()
        )
        cleans = any((found := dnf(s)) and found[0] == "clean" for s in after)
        removes = any(
            s.name == "rm" and any(re.match(r"/var/cache(/|$)", w) for w in s.command.operands)
            for s in after
        )
        if not (cached or cleans or removes):
            yield At(step.line, "there is no `dnf clean all` after it in this RUN")


def _target(mount: dict[str, str]) -> str:
    return mount.get("target") or mount.get("dst") or mount.get("destination") or ""


def sets_option(step: Step, name: str, values: str) -> bool:
    """``--setopt=name=value`` in one of its forms."""
    text = " ".join(step.command.arguments)
    return re.search(rf"--setopt[= ](?:\S+\.)?{name}=({values})\b", text, re.I) is not None


def _in_dnf_conf(subject: Subject, name: str, values: str) -> bool:
    """Whether the image's own dnf configuration says it for every command."""
    for file in subject.placed:
        if re.match(r"/etc/dnf/(dnf\.conf|libdnf5\.conf\.d/|dnf\.conf\.d/)", file.path) and (
            re.search(rf"^\s*{name}\s*=\s*({values})\s*$", decoded(file.file) or "", re.I | re.M)
        ):
            return True
    return False


@rule(
    "BCF204",
    Severity.WARNING,
    "weak dependencies are installed",
    reason="packages that nobody chose come into the image, and change with the repository",
    source=f"{_NOTES} (3); dnf.conf(5) install_weak_deps",
    remedy="--setopt=install_weak_deps=0",
)
def weak_dependencies(subject: Subject) -> Iterable[At]:
    """Installs in the image; a build stage may take what it likes."""
    for step in subject.final_steps:
        if not installs(step) or _in_dnf_conf(subject, "install_weak_deps", "0|no|false"):
            continue
        if not sets_option(step, "install_weak_deps", "0|no|false"):
            yield At(step.line, "recommended packages come with it")


@rule(
    "BCF205",
    Severity.INFO,
    "documentation is installed",
    reason="manual pages and examples of every package are on every host's disk",
    source=f"{_NOTES} (3); dnf.conf(5) tsflags",
    remedy="--setopt=tsflags=nodocs, or --nodocs",
)
def documentation(subject: Subject) -> Iterable[At]:
    """Installs in the image without nodocs."""
    for step in subject.final_steps:
        if not installs(step) or _in_dnf_conf(subject, "tsflags", "nodocs"):
            continue
        if step.command.has("--nodocs", "--no-docs"):
            continue
        if not sets_option(step, "tsflags", "nodocs"):
            yield At(step.line, "documentation comes with it")


@rule(
    "BCF206",
    Severity.WARNING,
    "a folder is removed that the next install needs",
    reason="scriptlets of RPM packages write into /var/tmp and /var/lib/rpm-state and fail "
    "without them, here or in a child image",
    source=f"{_NOTES} (3)",
    remedy="remove what is in them (`/var/tmp/*`), or leave them alone",
)
def needed_folders(subject: Subject) -> Iterable[At]:
    """``rm -rf /var/tmp``, ``/var/lib/rpm-state``, ``/var/*``."""
    for step in subject.final_steps:
        if step.name == "rm":
            for word in step.command.operands:
                if re.fullmatch(r"/var/(tmp|lib/rpm-state|lib|lib/\*)/?|/var(/\*?)?|/tmp/?", word):
                    yield At(step.line, f"`rm {word}` takes it away")


@rule(
    "BCF207",
    Severity.WARNING,
    "a third-party repository stays enabled",
    reason="hosts would ask it, and so does every child image's install, whatever it serves then",
    source=f"{_NOTES} (23); ublue-os/bluefin validate-repos",
    remedy="give it to one command: build_repositories of the template (--repofrompath), or write "
    "enabled=0 and use --enablerepo",
)
def repositories(subject: Subject) -> Iterable[At]:
    """``.repo`` files that are enabled, and commands that add repositories."""
    for path, parser in _repositories(subject):
        for name in parser.sections():
            if parser.get(name, "enabled", fallback="1").strip().lower() in ("1", "yes", "true"):
                yield At(_section_line(subject, path, name), f"[{name}] is enabled", path)
    removed = " ".join(
        word
        for step in subject.final_steps
        if step.name == "rm" or "disable" in step.command.words or "setopt" in step.command.words
        for word in step.command.arguments
    )
    for step in subject.final_steps:
        if not _adds_repository(step):
            continue
        if "/etc/yum.repos.d" in removed or re.search(r"enabled=(0|false)|\bcopr\b", removed):
            continue
        yield At(step.line, f"`{' '.join(step.command.words[:3])}` leaves a repository enabled")


def _adds_repository(step: Step) -> bool:
    found = dnf(step)
    words = step.command.arguments
    if found is not None and found[0] == "config-manager":
        return "addrepo" in words or step.command.has("--add-repo")
    if found is not None and found[0] == "copr":
        return "enable" in words
    return any(re.match(r"/etc/yum\.repos\.d(/|$)", path) for path in writes(step))


def _repositories(subject: Subject) -> Iterator[tuple[str, configparser.RawConfigParser]]:
    for file in subject.placed:
        if re.fullmatch(r"/etc/yum\.repos\.d/[^/]+\.repo", file.path):
            parser = configparser.RawConfigParser(strict=False)
            try:
                parser.read_string(decoded(file.file) or "")
            except configparser.Error:
                continue
            yield file.source, parser


def _section_line(subject: Subject, path: str, name: str) -> int:
    lines = (subject.text(path) or "").split("\n")
    return next((n for n, line in enumerate(lines, 1) if line.strip() == f"[{name}]"), 1)


_OFF = re.compile(r"^\s*gpgcheck\s*=\s*(0|no|false)\s*$", re.I)


@rule(
    "BCF208",
    Severity.ERROR,
    "packages are installed without checking their signature",
    reason="whoever can answer for the repository, or stands between, decides what runs as root "
    "on every host",
    source=f"{_NOTES} (23); dnf.conf(5) gpgcheck",
    remedy="gpgcheck=1 with gpgkey=…",
)
def signatures(subject: Subject) -> Iterable[At]:
    """``gpgcheck=0`` in files and on command lines, ``--nogpgcheck``, ``rpm --nosignature``."""
    for file in subject.placed:
        if re.match(r"/etc/(yum\.repos\.d|dnf)/", file.path):
            for number, line in enumerate((decoded(file.file) or "").split("\n"), 1):
                if _OFF.match(line):
                    yield At(number, "gpgcheck is off", file.source)
    for step in subject.steps:
        if dnf(step) is not None and (
            step.command.has("--nogpgcheck", "--no-gpgchecks", "--no-gpg-checks")
            or sets_option(step, "(?:pkg_)?gpgcheck", "0|no|false")
        ):
            yield At(step.line, "signatures are not checked")
        if step.name == "rpm" and step.command.has("--nosignature", "--nodigest"):
            yield At(step.line, "signatures are not checked")


_KERNEL = re.compile(
    r"kernel(-(core|modules|modules-core|modules-extra|rt|rt-core|uki-virt))?(-\d.*)?"
)


@rule(
    "BCF210",
    Severity.ERROR,
    "the kernel is replaced without the steps that belong to it",
    reason="with two kernels in /usr/lib/modules bootc refuses the image, and without a new "
    "initramfs the host does not find its root",
    source=f"{_NOTES} (24); bootc-container-lint(8) kernel; ublue-os/bluefin#2845",
    remedy="in one RUN: rpm -e --nodeps the old kernel, install the new one, make sure there is "
    "one folder in /usr/lib/modules, DRACUT_NO_XATTR=1 dracut -f --no-hostonly --kver …",
)
def kernel_swap(subject: Subject) -> Iterable[At]:
    """An install of kernel packages needs a removal, a dracut and a count beside it."""
    for step in subject.final_steps:
        packages = installs(step) or ()
        if not any(_KERNEL.fullmatch(word) for word in packages):
            continue
        run = subject.same_run(step)
        text = step.instruction.text
        missing = []
        if not any(s.name in ("rpm", *_MANAGERS) and _removes_kernel(s) for s in run):
            missing.append("the old kernel's removal")
        if not any(s.name == "dracut" for s in subject.final_steps):
            missing.append("dracut for the new one")
        if "/usr/lib/modules" not in text and "rpm -q" not in text:
            missing.append("a check that there is exactly one")
        if missing:
            yield At(step.line, f"the kernel is installed without {', '.join(missing)}")


def _removes_kernel(step: Step) -> bool:
    words = step.command.arguments
    removing = step.command.has("-e", "--erase") or bool({"remove", "erase", "swap"} & set(words))
    return removing and any("kernel" in word for word in words)


_COMPILERS = frozenset(
    {"gcc", "gcc-c++", "make", "cmake", "golang", "rust", "cargo", "clang", "meson", "autoconf"}
)


@rule(
    "BCF211",
    Severity.INFO,
    "compilers and headers in the image",
    reason="they are on every host, and of use to whoever breaks in",
    source=f"{_NOTES} (6)",
    remedy="build in a stage of its own (FROM … AS build) and COPY --from it",
)
def compilers(subject: Subject) -> Iterable[At]:
    """Packages that compile, and ``-devel``."""
    for step in subject.final_steps:
        removed = {
            word
            for later in subject.same_run(step)
            if (found := dnf(later)) and found[0] in ("remove", "erase", "history")
            for word in ("*" if found[0] == "history" else "", *found[1])
        }
        found_packages = [
            word
            for word in installs(step) or ()
            if (word in _COMPILERS or word.endswith("-devel")) and not removed & {word, "*"}
        ]
        if found_packages:
            yield At(step.line, f"{', '.join(found_packages)} stay in the image")


@rule(
    "BCF214",
    Severity.ERROR,
    "the builder stays subscribed",
    reason="the consumer's identity and certificates are in the layer, and each build uses up one "
    "more subscription",
    source=f"{_NOTES} (25); subscription-manager(8)",
    remedy="unregister in the same RUN, or mount the entitlement as a secret (build_secrets)",
)
def subscription(subject: Subject) -> Iterable[At]:
    """``subscription-manager register`` or ``rhc connect`` without the opposite in that RUN."""
    for step in subject.steps:
        words = step.command.operands
        if step.name == "subscription-manager" and words[:1] == ("register",):
            back, opposite = "subscription-manager", ("unregister",)
        elif step.name == "rhc" and words[:1] == ("connect",):
            back, opposite = "rhc", ("disconnect",)
        else:
            continue
        after = subject.same_run(step)
        if not any(one.name == back and one.command.operands[:1] == opposite for one in after):
            yield At(step.line, f"`{step.name} {words[0]}` without `{opposite[0]}` in this RUN")


@rule(
    "BCF215",
    Severity.INFO,
    "a command of rpm-ostree that bootc images do not need",
    reason="`ostree container commit` cleans up for images before bootc; bootc checks instead",
    source="bootc documentation, Relationship with rpm-ostree; ostree-rs-ext container commit",
    remedy="end with `bootc container lint`, and install with dnf",
)
def rpm_ostree(subject: Subject) -> Iterable[At]:
    """``ostree container commit`` and ``rpm-ostree install``."""
    for step in subject.final_steps:
        words = step.command.operands
        if step.name == "ostree" and words[:2] == ("container", "commit"):
            yield At(step.line, "`ostree container commit` does nothing for a bootc image")
        if step.name == "rpm-ostree" and words[:1] in (("install",), ("override",)):
            yield At(step.line, f"`rpm-ostree {words[0]}` is for hosts; an image uses dnf")
