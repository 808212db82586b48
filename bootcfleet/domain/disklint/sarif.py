"""Findings about disks as SARIF 2.1.0, beside the lines of the user's files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from bootcfleet.domain.disklint.engine import every_rule
from bootcfleet.domain.disklint.model import DiskFinding
from bootcfleet.domain.document import dotted
from bootcfleet.domain.lint.sarif import sarif_level, sarif_log, sarif_rule


def disk_sarif(
    found: Iterable[tuple[str, DiskFinding]], version: str, notes: Iterable[str] = ()
) -> dict[str, Any]:
    """Findings with the disk that each is about; files are relative to the project."""
    rules = [sarif_rule(one) for one in every_rule()]
    index = {one["id"]: number for number, one in enumerate(rules)}
    results = [_result(disk, finding, index) for disk, finding in found]
    return sarif_log(rules, results, version, notes)


def _result(disk: str, finding: DiskFinding, index: dict[str, int]) -> dict[str, Any]:
    location = {"uri": quote(finding.file), "uriBaseId": "%SRCROOT%"}
    if finding.file.startswith("/"):
        location = {"uri": f"file://{quote(finding.file)}"}
    physical: dict[str, Any] = {"artifactLocation": location}
    if finding.line is not None:
        physical["region"] = {"startLine": finding.line}
    field = dotted(finding.path)
    text = f"{disk}: {field}: {finding.message}" if field else f"{disk}: {finding.message}"
    return {
        "ruleId": finding.rule,
        "ruleIndex": index[finding.rule],
        "level": sarif_level(finding.level),
        "message": {"text": f"{text}. Instead: {finding.remedy}."},
        "locations": [
            {
                "physicalLocation": physical,
                "logicalLocations": [{"fullyQualifiedName": field or disk, "kind": "member"}],
            }
        ],
    }
