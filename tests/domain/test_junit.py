"""JUnit XML: by the schema, with everything escaped, and red where the image is not green."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path

import pytest
import xmlschema
from hypothesis import given, settings
from hypothesis import strategies as st

from bootcfleet.domain.check import Check, CheckReport, CheckResult, Mode, Outcome
from bootcfleet.domain.checkkinds import PackageCheck
from bootcfleet.domain.junit import junit_xml

SCHEMA = xmlschema.XMLSchema11(Path(__file__).parent.parent / "data/checks/junit.xsd")
AT = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
DIGEST = "sha256:" + "a" * 64


def result(outcome: Outcome, name: str = "x", optional: bool = False) -> CheckResult:
    spec = PackageCheck(package=("x",))
    check = Check(name, "x", spec, optional=optional, image="web.site", file="checks.yaml", line=7)
    return CheckResult(check, outcome, "installed", "not installed")


def report(*results: CheckResult, name: str = "web.site") -> CheckReport:
    return CheckReport(name, f"r/web@{DIGEST}", DIGEST, Mode.PLAIN, results, "h", "why", 1.5)


def written(*reports: CheckReport) -> ET.Element:
    text = junit_xml(reports, AT).decode()
    SCHEMA.validate(text)
    return ET.fromstring(text)


def test_a_suite_for_each_image() -> None:
    root = written(
        report(
            result(Outcome.PASSED, "a"),
            result(Outcome.FAILED, "b"),
            result(Outcome.FAILED, "c", optional=True),
            result(Outcome.SKIPPED, "d"),
            result(Outcome.SKIPPED, "e", optional=True),
            result(Outcome.NOT_HERE, "f"),
        ),
        report(name="empty"),
    )
    assert root.attrib == {
        "name": "bootcfleet image check", "tests": "6", "failures": "2", "errors": "0",
        "time": "3.000",
    }  # fmt: skip
    first, second = root
    assert first.attrib == {
        "name": "web.site", "tests": "6", "failures": "2", "errors": "0", "skipped": "3",
        "time": "1.500", "timestamp": "2026-11-21T09:00:00",
    }  # fmt: skip
    said = {p.get("name"): p.get("value") for p in first.iterfind("properties/property")}
    assert said == {
        "digest": DIGEST, "reference": f"r/web@{DIGEST}", "mode": "plain", "mode_reason": "why",
        "outcome": "failed", "checks_hash": "h",
    }  # fmt: skip
    cases = {}
    for case in first.iterfind("testcase"):
        assert case.get("classname") == "web_site"
        kinds = [(child.tag, child.get("message")) for child in case]
        cases[case.get("name")] = kinds[0] if kinds else None
    assert cases == {
        "a": None,
        "b": ("failure", "expected installed, found not installed"),
        "c": ("skipped", "optional, failed: expected installed, found not installed"),
        "d": ("failure", "skipped, which is not green: not installed"),
        "e": ("skipped", "not installed"),
        "f": ("skipped", "not installed"),
    }
    failure = first.find("testcase/failure")
    assert failure is not None
    assert failure.text == "checks.yaml:7\nexpected installed, found not installed"
    assert second.get("tests") == "0"


def test_an_image_that_could_not_be_checked_is_an_error() -> None:
    text = junit_xml([report(result(Outcome.PASSED))], AT, {"db.main": "no container <starts>"})
    SCHEMA.validate(text.decode())
    root = ET.fromstring(text)
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("2", "0", "1")
    case = root.find("testsuite[@name='db.main']/testcase")
    assert case is not None
    assert case.attrib == {"name": "the image", "classname": "db_main"}
    assert [child.get("message") for child in case] == ["no container <starts>"]


@settings(max_examples=40)
@given(st.text(), st.text())
def test_any_text_is_xml_and_comes_back(name: str, found: str) -> None:
    spec = PackageCheck(package=("x",))
    check = Check(name, "x", spec, image="web", file="c.yaml", line=1)
    case = written(report(CheckResult(check, Outcome.FAILED, "a", found))).find("*/testcase")
    assert case is not None
    failure = case.find("failure")
    assert failure is not None

    def as_xml(text: str) -> str:
        return "".join(c if c in "\t\n\r" or possible(ord(c)) else "\ufffd" for c in text)

    assert case.get("name") == as_xml(name)
    assert failure.get("message") == f"expected a, found {as_xml(found)}"


def possible(code: int) -> bool:
    """Whether XML 1.0 can hold a character (production 2 of its grammar)."""
    return (0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD) or code >= 0x10000


def test_the_schema_would_see_a_mistake() -> None:
    good = junit_xml([report(result(Outcome.PASSED))], AT).decode()
    for wrong in (
        good.replace('tests="1"', 'tests="one"'),
        good.replace("testcase", "case"),
        good.replace(' name="x"', ""),
    ):
        assert wrong != good
        with pytest.raises(xmlschema.XMLSchemaException):
            SCHEMA.validate(wrong)
