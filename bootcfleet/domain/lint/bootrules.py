"""Rules about kernel arguments, installation settings and the initramfs."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from typing import Any

from bootcfleet.domain.lint.filesystem import written
from bootcfleet.domain.lint.model import At, RuleSet, Severity, Subject, decoded
from bootcfleet.domain.lint.placed import PlacedFile

_SET = RuleSet()
RULES = _SET
rule = _SET.add

_NOTES = "field notes image-build §2.2"
#: std::env::consts::ARCH of the Rust targets that Linux distributions are built for.
_ARCHITECTURES = frozenset(
    {"x86", "x86_64", "arm", "aarch64", "powerpc64", "s390x", "riscv64", "loongarch64"}
)
#: How others call them.
_RUST_NAMES = {
    "amd64": "x86_64", "x86-64": "x86_64", "arm64": "aarch64", "ppc64le": "powerpc64",
    "ppc64": "powerpc64", "powerpc64le": "powerpc64", "i686": "x86", "i386": "x86",
}  # fmt: skip
_KARGS = "/usr/lib/bootc/kargs.d/"
_INSTALL_KEYS = frozenset(
    {"root-fs-type", "block", "filesystem", "kargs", "match-architectures", "ostree", "stateroot"}
    | {"root-mount-spec", "boot-mount-spec", "bootupd", "bootloader", "enforce-container-sigpolicy"}
)


def _toml(
    subject: Subject, folders: tuple[str, ...]
) -> Iterator[tuple[PlacedFile, dict[str, Any] | None, str, int]]:
    """(file, what it says or None, the error, its line) of each TOML file in these folders."""
    for file in subject.placed:
        if not any(file.path.startswith(one) for one in folders) or file.path[-5:] != ".toml":
            continue
        text = decoded(file.file)
        try:
            yield file, tomllib.loads(text if text is not None else "\0"), "", 0
        except tomllib.TOMLDecodeError as error:
            at = re.search(r"\(at line (\d+)", str(error))
            yield file, None, str(error), int(at[1]) if at else 1


def _line(file: PlacedFile, word: str) -> int:
    text = decoded(file.file) or ""
    return next((n for n, line in enumerate(text.split("\n"), 1) if word in line), 1)


@rule(
    "BCF520",
    Severity.ERROR,
    "kernel arguments that bootc cannot read",
    reason="bootc refuses the image (`bootc-kargs`), and a host that has it cannot update",
    source="bootc documentation, Kernel arguments; bootc crates/lib/src/bootc_kargs.rs",
    remedy='kargs = ["console=ttyS0,115200"], and match-architectures = ["x86_64"] where needed',
)
def kargs(subject: Subject) -> Iterable[At]:
    """TOML that is none, unknown keys, no list of strings."""
    for file, body, error, line in _toml(subject, (_KARGS,)):
        if body is None:
            yield At(line, error, file.source)
            continue
        for key in body.keys() - {"kargs", "match-architectures"}:
            yield At(_line(file, key), f"there is no key {key}", file.source)
        if "kargs" not in body:
            yield At(1, "kargs is missing", file.source)
        for key in ("kargs", "match-architectures"):
            if not _strings(body.get(key, [])):
                yield At(_line(file, key), f"{key} is not a list of strings", file.source)


def _strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


@rule(
    "BCF521",
    Severity.ERROR,
    "architecture that bootc does not know by this name",
    reason="names are those of Rust; a file for ppc64le or arm64 is skipped without a word",
    source=f"{_NOTES} (18); Rust std::env::consts::ARCH",
    remedy="x86_64, aarch64, powerpc64, s390x, riscv64",
)
def architectures(subject: Subject) -> Iterable[At]:
    """match-architectures of kargs.d and of install settings."""
    for file, body, _, _ in _toml(subject, (_KARGS, "/usr/lib/bootc/install/")):
        table = (body or {}).get("install", body or {})
        values = table.get("match-architectures", []) if isinstance(table, dict) else []
        for one in values if isinstance(values, list) else []:
            if isinstance(one, str) and one not in _ARCHITECTURES:
                known = _RUST_NAMES.get(one)
                more = f"; its name is {known}" if known else ""
                yield At(_line(file, one), f"{one} matches nothing{more}", file.source)


@rule(
    "BCF522",
    Severity.WARNING,
    "kernel arguments in one string",
    reason="each entry of the list is one argument; bootc compares whole entries when it adds and "
    "removes them with an update",
    source="bootc crates/lib/src/bootc_kargs.rs; kernel-command-line(7)",
    remedy='one string for each: kargs = ["quiet", "nosmt"]',
)
def one_argument(subject: Subject) -> Iterable[At]:
    """Spaces outside of quotes."""
    for file, body, _, _ in _toml(subject, (_KARGS, "/usr/lib/bootc/install/")):
        table = (body or {}).get("install", body or {})
        entries = table.get("kargs", []) if isinstance(table, dict) else []
        for one in entries if _strings(entries) else []:
            if re.search(r"\s", re.sub(r'"[^"]*"', "", one).strip()):
                yield At(_line(file, one.split()[0]), f"{one!r} holds several", file.source)


@rule(
    "BCF523",
    Severity.WARNING,
    "kernel argument that belongs to one host",
    reason="disks have other names and numbers on every host; bootc writes root= itself",
    source="bootc documentation, Kernel arguments; dracut.cmdline(7)",
    remedy="leave it to the installation: bootc install --karg, or the kickstart",
)
def host_argument(subject: Subject) -> Iterable[At]:
    """root=, boot=, resume=, ostree=, ip= with an address."""
    pattern = re.compile(r"(root|boot|ostree|resume|rd\.luks\.uuid|rd\.lvm\.lv)=\S|ip=\d")
    for file, body, _, _ in _toml(subject, (_KARGS,)):
        entries = (body or {}).get("kargs", [])
        for one in entries if _strings(entries) else []:
            if pattern.match(one):
                yield At(_line(file, one), f"{one} is of one host", file.source)


@rule(
    "BCF524",
    Severity.ERROR,
    "installation settings that bootc cannot read",
    reason="`bootc install` stops, and with it every disk image and kickstart installation",
    source="bootc-install-config(5); bootc crates/lib/src/install/config.rs",
    remedy="one table [install], with the keys of bootc-install-config(5)",
)
def install_settings(subject: Subject) -> Iterable[At]:
    """TOML that is none, unknown keys, file systems that bootc does not make."""
    for file, body, error, line in _toml(subject, ("/usr/lib/bootc/install/",)):
        if body is None:
            yield At(line, error, file.source)
            continue
        for key in body.keys() - {"install"}:
            yield At(_line(file, key), f"there is no table {key}, only [install]", file.source)
        table = body.get("install", {})
        if not isinstance(table, dict):
            yield At(1, "install is not a table", file.source)
            continue
        for key in table.keys() - _INSTALL_KEYS:
            yield At(_line(file, key), f"there is no key install.{key}", file.source)
        root = table.get("filesystem", {})
        root = root.get("root", {}) if isinstance(root, dict) else {}
        for kind in (
            table.get("root-fs-type"),
            root.get("type") if isinstance(root, dict) else None,
        ):
            if kind is not None and kind not in ("xfs", "ext4", "btrfs"):
                yield At(_line(file, str(kind)), f"{kind} is not xfs, ext4 or btrfs", file.source)
        for kind in table.get("block", []) if isinstance(table.get("block", []), list) else ["?"]:
            if kind not in ("direct", "tpm2-luks"):
                yield At(
                    _line(file, "block"), f"block: {kind} is not direct or tpm2-luks", file.source
                )


_BOOT_TOOLS = frozenset({"grubby", "grub2-mkconfig", "grub-mkconfig", "kernel-install"})


@rule(
    "BCF525",
    Severity.WARNING,
    "boot loader settings in the image",
    reason="bootc writes the boot entries of each host; grub's own tools change only this layer",
    source=f"bootc documentation, Kernel arguments; {_NOTES} (18)",
    remedy="kernel arguments in /usr/lib/bootc/kargs.d/NN-name.toml",
)
def grub(subject: Subject) -> Iterable[At]:
    """grubby, grub2-mkconfig, /etc/default/grub, /etc/kernel/cmdline."""
    for step in subject.final_steps:
        kargs_there = step.name == "rpm-ostree" and "kargs" in step.command.operands
        if step.name in _BOOT_TOOLS or kargs_there:
            yield At(step.line, f"{step.name} changes no host")
    for path, at in written(subject):
        if re.match(r"/etc/(default/grub|kernel/cmdline|grub\.d/|grub2)", path):
            yield at


@rule(
    "BCF526",
    Severity.WARNING,
    "settings of the initramfs that are not in it",
    reason="the initramfs is part of the image and made once: a setting beside it changes nothing "
    "until dracut runs in the build",
    source=f"bootc documentation, initramfs; ostree-prepare-root(1); {_NOTES} (8), (24)",
    remedy="RUN set -- /usr/lib/modules/*; DRACUT_NO_XATTR=1 dracut -f --no-hostonly "
    '--kver "${1##*/}" "$1/initramfs.img"',
)
def initramfs(subject: Subject) -> Iterable[At]:
    """dracut.conf.d and prepare-root.conf without a dracut in the image's steps."""
    if any(step.name == "dracut" for step in subject.final_steps):
        return
    pattern = re.compile(
        r"/(usr/lib|etc)/(dracut(/dracut)?\.conf\.d/.+|ostree/prepare-root\.conf)|/etc/crypttab"
    )
    for file in subject.placed:
        if pattern.fullmatch(file.path):
            yield At(1, "no dracut runs in this build", file.source)


@rule(
    "BCF527",
    Severity.ERROR,
    "an initramfs that no host starts",
    reason="bootc takes it from /usr/lib/modules/VERSION/initramfs.img; one for the builder's own "
    "hardware or kernel does not start elsewhere",
    source=f"bootc documentation, initramfs; dracut(8) --no-hostonly; {_NOTES} (24)",
    remedy='dracut -f --no-hostonly --kver "$kver" "/usr/lib/modules/$kver/initramfs.img"',
)
def dracut(subject: Subject) -> Iterable[At]:
    """dracut without --kver, without --no-hostonly, or into /boot."""
    for step in subject.final_steps:
        if step.name != "dracut":
            continue
        command = step.command
        missing = []
        if not command.has("--kver") and not any("/usr/lib/modules" in w for w in command.operands):
            missing.append("--kver")
        if not command.has("--no-hostonly", "-N"):
            missing.append("--no-hostonly")
        if not any("/usr/lib/modules" in word for word in command.arguments):
            missing.append("/usr/lib/modules/VERSION/initramfs.img")
        if missing:
            yield At(step.line, f"dracut without {', '.join(missing)}")


@rule(
    "BCF528",
    Severity.INFO,
    "dracut copies extended attributes",
    reason="inside a container it cannot set SELinux labels, and complains or fails",
    source=f"dracut(8) DRACUT_NO_XATTR; {_NOTES} (24)",
    remedy="DRACUT_NO_XATTR=1 dracut …",
)
def dracut_attributes(subject: Subject) -> Iterable[At]:
    """dracut without DRACUT_NO_XATTR in its RUN."""
    for step in subject.final_steps:
        if step.name == "dracut" and "DRACUT_NO_XATTR" not in step.instruction.text:
            yield At(step.line, "DRACUT_NO_XATTR is not set")
