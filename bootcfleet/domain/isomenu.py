"""Boot menus of installer ISOs: their entries, and kernel arguments added to each of them.

Sources: GNU GRUB's manual (Shell-like scripting), the SYSLINUX wiki (CONFIG), udev's names below
/dev/disk/by-label, Anaconda's boot options. A menu is edited in place: what is not an argument
keeps every byte, so that timeout, default and comments stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from bootcfleet.domain.bootmenu import argument_problem

#: Where the kickstart lies on the medium; mkksiso puts a file of this name there as well.
KICKSTART_PATH = "/ks.cfg"

#: What udev writes as it is in a name below /dev/disk/by-label; the rest of ASCII as \xHH.
_UDEV_PLAIN = re.compile(r"[A-Za-z0-9#+.:=@_-]|[^\x00-\x7f]")
_HEX = re.compile(r"\\x([0-9a-fA-F]{2})")
_LABEL = re.compile(r"""LABEL=([^\s:'"]+)""")
#: Old media have a copy of grub.cfg that is called BOOT.conf.
_GRUB_NAMES = frozenset({"grub.cfg", "boot.conf"})
_ISOLINUX_NAMES = frozenset({"isolinux.cfg", "syslinux.cfg"})
_GRUB_KERNEL = frozenset({"linux", "linuxefi"})
#: Words after which a command begins.
_GRUB_BEFORE = frozenset({"if", "then", "elif", "else", "while", "until", "do", "!"})
_APPEND = re.compile(r"^([ \t]*append[ \t]+)(.*?)([ \t]*\r?)$", re.IGNORECASE)
_KICKSTART_WORD = re.compile(r"(?:inst\.)?ks=")


class MenuKind(StrEnum):
    """The two languages of menus."""

    GRUB = "grub"
    ISOLINUX = "isolinux"

    @classmethod
    def of(cls, path: str) -> MenuKind | None:
        """The language of a file by its name, or None when it is no menu."""
        name = path.rpartition("/")[2].lower()
        if name in _GRUB_NAMES:
            return cls.GRUB
        return cls.ISOLINUX if name in _ISOLINUX_NAMES else None


@dataclass(frozen=True)
class Word:
    """A word of a menu: where it is, and what the boot loader makes of it."""

    start: int
    end: int
    value: str


@dataclass(frozen=True)
class BootLine:
    """A line that gives a kernel its arguments; `arguments` are those words."""

    keyword: str
    arguments: tuple[Word, ...]

    @property
    def text(self) -> str:
        """The arguments as the kernel gets them."""
        return " ".join(word.value for word in self.arguments)

    @property
    def kickstarts(self) -> tuple[str, ...]:
        """The kickstarts that it names."""
        found = (word.value for word in self.arguments if _KICKSTART_WORD.match(word.value))
        return tuple(value.partition("=")[2] for value in found)


def boot_lines(text: str, kind: MenuKind) -> tuple[BootLine, ...]:
    """The lines of a menu that boot a kernel with arguments."""
    match kind:
        case MenuKind.GRUB:
            return tuple(_grub_lines(text))
        case MenuKind.ISOLINUX:
            return tuple(_isolinux_lines(text))
        case _:
            assert_never(kind)


def edit_menu(text: str, kind: MenuKind, words: Sequence[str]) -> str:
    """The menu with `words` at the end of every kernel's arguments.

    Where `words` name a kickstart, other kickstarts are taken out: one is to be followed.
    """
    ours = any(_KICKSTART_WORD.match(word) for word in words)
    quoted = [_grub_word(word) if kind is MenuKind.GRUB else word for word in words]
    changes: list[tuple[int, int, str]] = []
    for line in boot_lines(text, kind):
        changes += [
            (_before(text, word.start), word.end, "")
            for word in line.arguments
            if ours and _KICKSTART_WORD.match(word.value)
        ]
        end = line.arguments[-1].end
        changes.append((end, end, " " + " ".join(quoted)))
    for start, end, new in sorted(changes, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _before(text: str, start: int) -> int:
    """Where the blanks before a word begin."""
    while start and text[start - 1] in " \t":
        start -= 1
    return start


def _grub_word(word: str) -> str:
    """A word in GRUB's script. A label's \\xHH goes unquoted: Red Hat's GRUB hands that on."""
    return f"'{word}'" if set(word) & set("*?[]~!") else word


def udev_escape(label: str) -> str:
    """A label as udev names it below /dev/disk/by-label, where Anaconda looks."""
    return "".join(c if _UDEV_PLAIN.match(c) else f"\\x{ord(c):02x}" for c in label)


def label_problem(label: str) -> str | None:
    """Why Anaconda could not find a kickstart by this label, or None."""
    if not label:
        return "the ISO has no volume id, by which the kickstart would be found"
    if ":" in label or not label.isprintable():
        return f"the volume id {label!r} cannot stand in inst.ks=hd:LABEL=…:/ks.cfg"
    return None


def menu_label(label: str, menus: Sequence[str]) -> str:
    """The label as the menus themselves spell it (inst.stage2=hd:LABEL=…), else as udev does.

    Their spelling is known to pass through the boot loader of that medium.
    """
    for text in menus:
        for found in _LABEL.findall(text):
            if _HEX.sub(lambda hit: chr(int(hit[1], 16)), found) == label:
                return str(found)
    return udev_escape(label)


def kickstart_word(label: str, menus: Sequence[str]) -> str:
    """The argument that names the kickstart on the medium with this volume id."""
    return f"inst.ks=hd:LABEL={menu_label(label, menus)}:{KICKSTART_PATH}"


def split_arguments(given: Sequence[str]) -> tuple[str, ...]:
    """The words of ``--append``.  Raises `ValueError` for what a menu cannot carry."""
    words = tuple(word for text in given for word in text.split())
    for word in words:
        if problem := argument_problem(word):
            raise ValueError(problem)
        if _KICKSTART_WORD.match(word):
            raise ValueError(f"{word!r}: the kickstart is the one that is embedded")
    return words


def _isolinux_lines(text: str) -> Iterator[BootLine]:
    start = 0
    for line in text.split("\n"):
        if match := _APPEND.match(line):
            words = [
                Word(
                    start + match.start(2) + hit.start(), start + match.start(2) + hit.end(), hit[0]
                )
                for hit in re.finditer(r"\S+", match[2])
            ]
            # `append -` means: no arguments, not even the global ones.
            if words and [word.value for word in words] != ["-"]:
                yield BootLine("append", tuple(words))
        start += len(line) + 1


def _grub_lines(text: str) -> Iterator[BootLine]:
    for command in _grub_commands(text):
        while command and command[0].value in _GRUB_BEFORE:
            command = command[1:]
        if len(command) > 1 and command[0].value in _GRUB_KERNEL:
            yield BootLine(command[0].value, tuple(command[1:]))


def _grub_commands(text: str) -> Iterator[list[Word]]:
    """The commands of a script, each as its words; variables are left as they are written."""
    words: list[Word] = []
    at, length = 0, len(text)
    while at < length:
        char = text[at]
        if char in " \t\r":
            at += 1
        elif text.startswith("\\\n", at):
            at += 2
        elif char in "\n;{}|&<>":
            yield words
            words = []
            at += 1
        elif char == "#":
            end = text.find("\n", at)
            at = length if end < 0 else end
        else:
            word = _grub_read_word(text, at)
            words.append(word)
            at = word.end
    yield words


def _grub_read_word(text: str, start: int) -> Word:
    at, length, value = start, len(text), ""
    while at < length and text[at] not in " \t\r\n;{}|&<>":
        char = text[at]
        if char == "\\":
            if text.startswith("\\\n", at):
                break
            # Red Hat's GRUB passes \xHH straight through; elsewhere the backslash goes.
            value += text[at : at + 2] if _HEX.match(text, at) else text[at + 1 : at + 2]
            at = min(at + 2, length)
        elif char in "'\"":
            end = at + 1
            while end < length and text[end] != char:
                end += 2 if char == '"' and text[end] == "\\" else 1
            value += text[at + 1 : end]
            at = min(end + 1, length)
        elif text.startswith("${", at):
            end = text.find("}", at)
            end = length if end < 0 else end + 1
            value += text[at:end]
            at = end
        else:
            value += char
            at += 1
    return Word(start, at, value)
