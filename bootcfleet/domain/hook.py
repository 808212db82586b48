"""What the words of hooks, and the addresses of probes, may name in braces."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from bootcfleet.domain.document import did_you_mean
from bootcfleet.domain.rollout_policy import Hook, HookKind

#: What a hook for one host may name.
HOST_NAMES = ("host", "address", "rollout", "wave", "operation")
#: What a hook between waves may name: there is no host.
WAVE_NAMES = ("rollout", "wave", "operation")
#: What the URL of a probe may name.
PROBE_NAMES = ("host", "address")

#: ``{{word}}`` stands for ``{word}`` itself; other braces stand for themselves.
_WORD = re.compile(r"\{\{([A-Za-z][\w./-]*)\}\}|\{([A-Za-z][\w./-]*)\}")
_LABEL = "label."


@dataclass(frozen=True)
class HookContext:
    """What a hook is told.

    `event` is what it is for: ``drain``, ``undrain``, ``wave.before``, ``wave.after``.  Between
    waves `host` and `address` are empty.  Local commands run in `directory`, the project's, or
    without it where the controller was started.
    """

    host: str = ""
    address: str = ""
    rollout: str = ""
    wave: str = ""
    operation: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    event: str = ""
    directory: str = ""

    def values(self) -> dict[str, str]:
        """What each word in braces stands for."""
        named = {name: getattr(self, name) for name in HOST_NAMES}
        return named | {_LABEL + key: value for key, value in self.labels.items()}

    def environment(self) -> dict[str, str]:
        """The same for a local command, as variables; labels are left out: any name may be one."""
        names = ("event", *HOST_NAMES)
        return {f"BOOTCFLEET_{name.upper()}": getattr(self, name) for name in names}

    def to_json(self) -> dict[str, object]:
        """The same for a webhook; null for what is empty."""
        names = ("event", *HOST_NAMES)
        body: dict[str, object] = {name: getattr(self, name) or None for name in names}
        return body | {"labels": dict(self.labels)}


def check_words(words: Sequence[str], names: Sequence[str] = HOST_NAMES) -> None:
    """See that every word in braces is known; labels are, where hosts are.

    Raises `ValueError` with the sentence for the user: a mistake is to be found when the policy
    is read, and not between a host's drain and its reboot.
    """
    for word in words:
        for match in _WORD.finditer(word):
            name = match.group(2)
            if name is None or name in names:
                continue
            if name.startswith(_LABEL) and name != _LABEL and tuple(names) == HOST_NAMES:
                continue
            known = [*names, "label.NAME"] if tuple(names) == HOST_NAMES else names
            hint = did_you_mean(name, known)
            raise ValueError(
                f"{{{name}}} stands for nothing here; {hint}; write {{{{{name}}}}} for "
                f"{{{name}}} itself"
            )


def check_hook(hook: Hook, names: Sequence[str] = HOST_NAMES) -> None:
    """See that a hook can be carried out as far as its text tells.  Raises `ValueError`."""
    if hook.kind is HookKind.WEBHOOK:
        if not hook.url or hook.argv:
            raise ValueError("a webhook has a url, and no command")
        if not hook.url.startswith(("http://", "https://")):
            raise ValueError("a webhook's url begins with https:// or http://")
        # What it may name is in its path: a label must not choose who is spoken to.
        start = re.split(r"(?<=[^:/])/", hook.url, maxsplit=1)[0]
        if _WORD.search(start):
            raise ValueError("a webhook's url names its machine without braces")
    elif not hook.argv or hook.url:
        raise ValueError(f"a {hook.kind} hook has a command, and no url")
    elif hook.kind is HookKind.REMOTE and "host" not in names:
        raise ValueError("between waves a hook is local or a webhook: there is no host to run it")
    elif _WORD.search(hook.argv[0]):
        raise ValueError("the program of a hook is named without braces")
    check_words([*hook.argv, hook.url], names)


def missing_labels(hook: Hook, labels: Mapping[str, str]) -> tuple[str, ...]:
    """The labels that a hook names and a host does not have."""
    named = (
        match.group(2) or "" for word in (*hook.argv, hook.url) for match in _WORD.finditer(word)
    )
    wanted = [name.removeprefix(_LABEL) for name in named if name.startswith(_LABEL)]
    return tuple(dict.fromkeys(name for name in wanted if name not in labels))


def fill(word: str, values: Mapping[str, str]) -> str:
    """A word with what is in braces put in.  Raises `KeyError` for what has no value."""
    return _WORD.sub(lambda m: values[m.group(2)] if m.group(2) else f"{{{m.group(1)}}}", word)


def fill_url(url: str, values: Mapping[str, str]) -> str:
    """The same for a URL: values are percent-encoded, so that each stays the part that it is."""
    return fill(url, {name: quote(value, safe="") for name, value in values.items()})


def fill_authority(url: str, values: Mapping[str, str]) -> str:
    """The same where values may be the machine of the URL: IPv6 addresses come into brackets."""
    return fill(
        url, {name: f"[{v}]" if ":" in v else quote(v, safe="") for name, v in values.items()}
    )
