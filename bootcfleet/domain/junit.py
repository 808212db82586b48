"""Check reports as JUnit XML, as CI systems read it (Jenkins' junit-10.xsd, GitLab, GitHub)."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from bootcfleet.domain.check import CheckReport, CheckResult, Outcome

#: What XML 1.0 cannot hold, however it is escaped.
_IMPOSSIBLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(
    reports: Sequence[CheckReport], at: datetime, problems: Mapping[str, str] | None = None
) -> bytes:
    """One ``testsuite`` an image, one ``testcase`` a check; `at` is when it began (aware).

    `problems` are the images that could not be checked, and why: each is a suite
    with an error. An optional check that failed is skipped here: CI would turn red otherwise.
    """
    root = ET.Element("testsuites", {"name": "bootcfleet image check"})
    suites = [_suite(report, at) for report in reports]
    suites += [_error(name, why, at) for name, why in (problems or {}).items()]
    for key in ("tests", "failures", "errors"):
        root.set(key, str(sum(int(suite.get(key, "0")) for suite in suites)))
    root.set("time", f"{sum(report.seconds for report in reports):.3f}")
    root.extend(suites)
    ET.indent(root)
    body: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return body + b"\n"


def _suite(report: CheckReport, at: datetime) -> ET.Element:
    cases = [_case(result, report) for result in report.results]
    suite = ET.Element(
        "testsuite",
        {
            "name": _text(report.image),
            "tests": str(len(cases)),
            "failures": str(sum(case.find("failure") is not None for case in cases)),
            "errors": "0",
            "skipped": str(sum(case.find("skipped") is not None for case in cases)),
            "time": f"{report.seconds:.3f}",
            "timestamp": _stamp(at),
        },
    )
    properties = ET.SubElement(suite, "properties")
    for name, value in (
        ("digest", report.digest),
        ("reference", report.reference),
        ("mode", report.mode.value),
        ("mode_reason", report.mode_reason),
        ("outcome", report.outcome.value),
        ("checks_hash", report.checks_hash),
    ):
        ET.SubElement(properties, "property", {"name": name, "value": _text(value)})
    suite.extend(cases)
    return suite


def _error(name: str, why: str, at: datetime) -> ET.Element:
    counts = {"tests": "1", "failures": "0", "errors": "1", "skipped": "0", "time": "0.000"}
    suite = ET.Element("testsuite", {"name": _text(name), **counts, "timestamp": _stamp(at)})
    owner = _text(name.replace(".", "_"))
    case = ET.SubElement(suite, "testcase", {"name": "the image", "classname": owner})
    ET.SubElement(case, "error", {"type": "error", "message": _text(why)}).text = _text(why)
    return suite


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _case(result: CheckResult, report: CheckReport) -> ET.Element:
    check = result.check
    # CI systems split a class name at its points; an image's name may have some.
    owner = check.image.replace(".", "_")
    case = ET.Element("testcase", {"name": _text(check.name), "classname": _text(owner)})
    if result.outcome is Outcome.PASSED:
        return case
    failed = result.outcome is Outcome.FAILED and not check.optional
    # A skipped check that keeps the image from being green must not look green.
    failed |= result.outcome is Outcome.SKIPPED and result.counts and not report.ok
    said = result.message
    if result.outcome is Outcome.SKIPPED and failed:
        said = f"skipped, which is not green: {said}"
    if result.outcome is Outcome.FAILED and not failed:
        said = f"optional, failed: {said}"
    kind = "failure" if failed else "skipped"
    detail = ET.SubElement(case, kind, {"type": result.outcome.value, "message": _text(said)})
    detail.text = _text(f"{check.where}\n{said}")
    return case


def _text(value: str) -> str:
    return _IMPOSSIBLE.sub("\ufffd", value)
