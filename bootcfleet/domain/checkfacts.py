"""What checks ask a system, and its answers: questions that many checks may share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Verb(StrEnum):
    """A question that the probe (`drivers/checkprobe.py`) knows."""

    FILE = "file"
    CONTENT = "content"
    SHA256 = "sha256"
    PACKAGE = "package"
    UNIT = "unit"
    UNIT_STATE = "unitstate"
    USER = "user"
    GROUP = "group"
    SYSUSERS = "sysusers"
    LISTEN = "listen"
    KARGS = "kargs"
    CMDLINE = "cmdline"
    KERNELS = "kernels"
    REPOSITORIES = "repositories"
    HTTP = "http"
    SYSTEM = "system"


@dataclass(frozen=True, order=True)
class Question:
    """A verb with its words; no word is empty or has a control character."""

    verb: Verb
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What the probe said: pairs of a key and bytes, in order; a key may come more than once."""

    parts: tuple[tuple[str, bytes], ...] = ()

    def all(self, key: str) -> tuple[bytes, ...]:
        """Everything under a key."""
        return tuple(data for name, data in self.parts if name == key)

    def texts(self, key: str) -> tuple[str, ...]:
        """Everything under a key as text; bytes that are no UTF-8 are shown as such."""
        return tuple(data.decode("utf-8", "backslashreplace") for data in self.all(key))

    def text(self, key: str) -> str | None:
        """The first text under a key, without space at its ends; None when there is none."""
        found = self.texts(key)
        return found[0].strip() if found else None


@dataclass(frozen=True)
class Said:
    """How a command of a check ended; `error` where it could not be run to its end."""

    exit_code: int = 0
    stdout: str = ""
    stderr: str = ""
    error: str = ""


@dataclass(frozen=True)
class Facts:
    """Everything that was found out, by question; commands by their words.

    A question without answer was not asked or could not be (`error` says why).
    """

    answers: Mapping[Question, Answer] = field(default_factory=dict)
    commands: Mapping[tuple[str, ...], Said] = field(default_factory=dict)
    error: str = ""

    def get(self, verb: Verb, *words: str) -> Answer:
        """The answer to a question; empty where there is none."""
        return self.answers.get(Question(verb, words), Answer())


def distinct(questions: Iterable[Question]) -> tuple[Question, ...]:
    """Each question once, in the order of their first."""
    return tuple(dict.fromkeys(questions))
