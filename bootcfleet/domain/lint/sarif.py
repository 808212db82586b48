"""Lint reports as SARIF 2.1.0 (OASIS), which GitHub, GitLab and editors show beside the lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, assert_never

from bootcfleet.domain.lint.catalogue import every_rule
from bootcfleet.domain.lint.model import Finding, Rule, Severity
from bootcfleet.domain.lint.report import LintReport, Place

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"


#: (image, file, line) → the place in the project's sources; None where it is not known.
Locate = Callable[[str, str, int], Place | None]


def sarif(
    reports: Sequence[LintReport],
    version: str,
    locate: Locate,
    known: Sequence[Rule] | None = None,
) -> dict[str, Any]:
    """All reports as one run; suppressed findings are in it, marked with their reason.

    `known` are the rules that were tried; those of images without it.
    """
    rules = [sarif_rule(one) for one in (every_rule() if known is None else known)]
    index = {one["id"]: number for number, one in enumerate(rules)}
    results: list[dict[str, Any]] = []
    for report in reports:
        for finding in report.findings:
            if finding.rule not in index:
                index[finding.rule] = len(rules)
                rules.append({"id": finding.rule, "helpUri": finding.remedy.rpartition(" ")[2]})
            results.append(_result(report.image, finding, index, locate))
        for finding, reason in report.suppressed.items():
            result = _result(report.image, finding, index, locate)
            mark = {"kind": "inSource", "justification": reason or "no reason given"}
            results.append({**result, "suppressions": [mark]})
    return sarif_log(rules, results, version, (note for one in reports for note in one.notes))


def sarif_log(
    rules: list[dict[str, Any]],
    results: list[dict[str, Any]],
    version: str,
    notes: Iterable[str] = (),
) -> dict[str, Any]:
    """One run of bootcfleet with its rules and results, and what was not looked at as notes."""
    driver = {"name": "bootcfleet", "semanticVersion": version, "rules": rules}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": results,
        "invocations": [{"executionSuccessful": True, **_notes(notes)}],
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _notes(notes: Iterable[str]) -> dict[str, Any]:
    texts = dict.fromkeys(notes)
    if not texts:
        return {}
    return {
        "toolExecutionNotifications": [
            {"level": "note", "message": {"text": note}} for note in texts
        ]
    }


def sarif_rule(rule: Rule) -> dict[str, Any]:
    """A rule as SARIF describes it."""
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": f"{rule.title}: {rule.reason}"},
        "help": {"text": f"{rule.reason} ({rule.source}). Instead: {rule.remedy}."},
        "defaultConfiguration": {"level": sarif_level(rule.severity)},
    }


def sarif_level(severity: Severity) -> str:
    """SARIF's word for a severity."""
    match severity:
        case Severity.ERROR:
            return "error"
        case Severity.WARNING:
            return "warning"
        case Severity.INFO:
            return "note"
        case _:
            assert_never(severity)


def _result(image: str, finding: Finding, index: dict[str, int], locate: Locate) -> dict[str, Any]:
    place = locate(image, finding.file, finding.line)
    rendered = f"{image}/{finding.file}"
    physical: dict[str, Any]
    if place is None:
        # What is not from a file of the project: the rendered file, by its own name.
        physical = {"artifactLocation": {"uri": rendered}, "region": {"startLine": finding.line}}
    else:
        base = {"uriBaseId": "%SRCROOT%"} if place.in_project else {}
        physical = {"artifactLocation": {"uri": place.uri, **base}}
        if place.line is not None:
            physical["region"] = {"startLine": place.line}
    return {
        "ruleId": finding.rule,
        "ruleIndex": index[finding.rule],
        "level": sarif_level(finding.severity),
        "message": {"text": f"{image}: {finding.message} (rendered {finding.file}:{finding.line})"},
        "locations": [
            {
                "physicalLocation": physical,
                "logicalLocations": [
                    {"fullyQualifiedName": f"{rendered}:{finding.line}", "kind": "module"}
                ],
            }
        ],
    }
