"""All rules, by id; and their table for docs/lint.md."""

from __future__ import annotations

from collections.abc import Iterable

from bootcfleet.domain.lint import (
    bootrules,
    downloads,
    filesystem,
    identity,
    labels,
    modes,
    network,
    packages,
    secretrules,
    services,
    structure,
    vendorfiles,
)
from bootcfleet.domain.lint.model import Check, Rule, Severity

_THEMES = (
    ("The Containerfile", structure.RULES),
    ("Packages and repositories", packages.RULES),
    ("Downloads", downloads.RULES),
    ("Where files lie", filesystem.RULES),
    ("Modes and owners", modes.RULES),
    ("tmpfiles.d, sysusers.d and their like", vendorfiles.RULES),
    ("Users and logins", identity.RULES),
    ("Secrets", secretrules.RULES),
    ("Units and running systems", services.RULES),
    ("Boot and installation", bootrules.RULES),
    ("Firewall, containers and registries", network.RULES),
    ("Labels", labels.RULES),
)

_ALL = (entry for _, rules in _THEMES for entry in rules.rules.items())
RULES: dict[str, tuple[Rule, Check]] = dict(sorted(_ALL))

#: Rules about suppressions themselves; these cannot be suppressed.
ABOUT_SUPPRESSIONS = (
    Rule(
        "BCF901",
        Severity.WARNING,
        "suppression without a reason",
        "whoever reads it later cannot tell whether it still holds",
        "docs/lint.md",
        "write the reason after the id: # bootcfleet: ignore=BCF101 why",
    ),
    Rule(
        "BCF902",
        Severity.WARNING,
        "suppression that suppresses nothing",
        "it would hide the next finding of that rule, which nobody has looked at",
        "docs/lint.md",
        "remove it",
    ),
    Rule(
        "BCF903",
        Severity.WARNING,
        "suppression of a rule that does not exist",
        "a mistyped id suppresses nothing; hadolint's rules have their own comment",
        "docs/lint.md; hadolint's README, section Ignoring Rules",
        "correct the id (bootcfleet image lint --list-rules); for DL and SC ids write "
        "# hadolint ignore=DL3041",
    ),
)


def every_rule() -> tuple[Rule, ...]:
    """All rules in the order of their ids."""
    return (*(rule for rule, _ in RULES.values()), *ABOUT_SUPPRESSIONS)


def table() -> str:
    """The rules as Markdown, by theme; docs/lint.md has it."""
    lines: list[str] = []
    for title, rules in _THEMES:
        lines += [f"### {title}", "", *rows(rule for rule, _ in rules.rules.values()), ""]
    lines += ["### Suppressions", "", *rows(ABOUT_SUPPRESSIONS), ""]
    return "\n".join(lines)


def rows(rules: Iterable[Rule]) -> Iterable[str]:
    """Rules as a Markdown table, by their id."""
    yield "| rule | severity | what | why, and where that is said | instead |"
    yield "|---|---|---|---|---|"
    for rule in sorted(rules, key=lambda rule: rule.id):
        why = f"{rule.reason} ({rule.source})"
        cells = (rule.id, rule.severity.value, rule.title, why, rule.remedy)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
