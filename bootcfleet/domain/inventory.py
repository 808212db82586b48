"""Hosts, groups and how to reach them: what every inventory format is read into."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from bootcfleet.domain.document import did_you_mean
from bootcfleet.domain.install_host import HostInstall
from bootcfleet.domain.policy import HealthCheck
from bootcfleet.domain.reference import ImageRef
from bootcfleet.errors import UsageError

if TYPE_CHECKING:
    from bootcfleet.domain.selector import Selector

# A host's name becomes a word of an ssh command line and a file name: no leading
# dash, nothing that a shell or a path reads as something else.
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_GROUP = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,62})")
_LABEL_KEY = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._/-]{0,252})")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9._:@/+~ -]{0,253}")


@dataclass(frozen=True)
class Connection:
    """How a host is reached.  None leaves the choice to ``~/.ssh/config`` and its defaults.

    `become` uses sudo where the user is not root; `become_password` asks for its
    password once.  Timeouts are in seconds.
    """

    address: str | None = None
    port: int | None = None
    user: str | None = None
    identity_file: str | None = None
    proxy_jump: str | None = None
    become: bool = True
    become_password: bool = False
    connect_timeout: float | None = None
    command_timeout: float | None = None
    known_hosts: str | None = None
    ssh_config: str | None = None

    def over(self, values: Mapping[str, Any]) -> Connection:
        """These settings with those of `values` that are given laid over them."""
        known = {f.name for f in fields(self)}
        given = {k: v for k, v in values.items() if k in known and v is not None}
        return replace(self, **given)


@dataclass(frozen=True)
class Host:
    """A host of the fleet.

    `image` is what it should run; `vars` are for templates.  `image_checks` is whether
    the checks of its image are health checks, too.  `install` is what its kickstart says.
    """

    name: str
    groups: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(default_factory=dict)
    connection: Connection = field(default_factory=Connection)
    image: ImageRef | None = None
    checks: tuple[HealthCheck, ...] = ()
    vars: Mapping[str, Any] = field(default_factory=dict)
    image_checks: bool = True
    install: HostInstall = field(default_factory=HostInstall)


@dataclass(frozen=True)
class Inventory:
    """All hosts in the order of their file, and the groups (which may be empty)."""

    hosts: tuple[Host, ...]
    groups: tuple[str, ...] = ()

    def select(self, selector: Selector) -> tuple[Host, ...]:
        """The hosts that the selector chooses, in the inventory's order.

        Raises `UsageError` for a group or name that does not exist, and when
        nothing is chosen: an empty selection is a typing mistake far more often
        than a wish.
        """
        for group in selector.groups:
            if group not in self.groups and group != "all":
                raise UsageError(
                    f"there is no group {group!r}", hint=did_you_mean(group, self.groups)
                )
        names = [host.name for host in self.hosts]
        for pattern in selector.patterns:
            if not any(fnmatch.fnmatchcase(name, pattern) for name in names):
                raise UsageError(f"no host matches {pattern!r}", hint=did_you_mean(pattern, names))
        chosen = tuple(host for host in self.hosts if selector.matches(host))
        if not chosen:
            raise UsageError(
                f"the selection ({selector}) matches none of {len(self.hosts)} hosts",
                hint=self._why_none(selector),
            )
        return chosen

    def _why_none(self, selector: Selector) -> str:
        """A hint for a selection of nobody: the first condition that is a typing mistake."""
        keys = {key for host in self.hosts for key in host.labels}
        for term in selector.terms:
            if any(term.matches(host) for host in self.hosts):
                continue
            if term.key in keys:
                used = {host.labels[term.key] for host in self.hosts if term.key in host.labels}
                close = did_you_mean(min(term.values, default=""), used)
                return f"label {term.key}: {close or 'no host has such a value'}"
            return f"no host has a label {term.key!r}; " + (
                did_you_mean(term.key, keys) or "see `bootcfleet fleet list`"
            )
        return (
            "each condition holds for some hosts, but for no host all; see `bootcfleet fleet list`"
        )


def host_name_problem(name: str) -> str | None:
    """Why `name` cannot be a host's name, or None."""
    if _HOST.fullmatch(name) and ".." not in name:
        return None
    return (
        f"{name!r} cannot be a host name: letters, digits, '.', '-' and '_', beginning and ending "
        "with a letter or digit"
    )


def address_problem(text: str) -> str | None:
    """Why `text` cannot be an address, a user or a jump host, or None.

    They stand in commands that hints tell people to run.
    """
    if text.startswith("-") or set(text) & set("'\"`$;|&<>()\\") or not text.isprintable():
        return f"{text!r} has characters that a shell reads"
    return f"{text!r} has a space in it" if " " in text else None


def group_name_problem(name: str) -> str | None:
    """Why `name` cannot be a group's name, or None."""
    if name == "all":
        return "'all' is every host already; what holds for all of them stands under defaults:"
    if _GROUP.fullmatch(name):
        return None
    return f"{name!r} cannot be a group name: letters, digits, '.', '-' and '_', at most 63"


def label_problem(key: str, value: str) -> str | None:
    """Why `key` and `value` cannot be a label, or None."""
    if not _LABEL_KEY.fullmatch(key):
        return f"{key!r} cannot be a label's key: letters, digits, '.', '-', '_' and '/'"
    if not _LABEL_VALUE.fullmatch(value):
        return f"{value!r} cannot be the value of label {key}: it has characters that shells read"
    return None
