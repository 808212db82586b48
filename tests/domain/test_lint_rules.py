"""Every rule against its examples in tests/data/lint: what it must find, and what not."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from bootcfleet.domain.lint.catalogue import RULES, every_rule, table
from bootcfleet.domain.lint.engine import lint
from bootcfleet.domain.lint.model import CONTAINERFILE, Severity, Subject
from bootcfleet.domain.template import ContextFile, RenderedImage
from tests.shippedtemplates import NAMES, render, variable_sets

DATA = Path(__file__).parent.parent / "data/lint"
FROM = "FROM registry.example.com/base@sha256:" + "ab" * 32 + "\n"


def examples() -> dict[str, dict[str, list[Any]]]:
    found: dict[str, dict[str, list[Any]]] = {}
    for path in sorted(DATA.glob("*.yaml")):
        for rule, entry in yaml.safe_load(path.read_text()).items():
            assert rule not in found, f"{rule} is in two files"
            found[rule] = entry
    return found


EXAMPLES = examples()


def subject(example: Any) -> Subject:
    entry = {"containerfile": example} if isinstance(example, str) else dict(example)
    text = entry.pop("containerfile", "")
    if not entry.pop("bare", False) and not re.search(r"^FROM\b", text, re.MULTILINE):
        text = FROM + text
    entry.pop("at", None)
    files = {path: _file(content) for path, content in entry.pop("files", {}).items()}
    return Subject("image", RenderedImage(text, files), **entry)


def _file(content: Any) -> ContextFile:
    if isinstance(content, str):
        return ContextFile(content.encode())
    data = base64.b64decode(content["base64"]) if "base64" in content else content["text"].encode()
    return ContextFile(data, content.get("mode", 0o644))


def cases(kind: str) -> list[Any]:
    return [
        pytest.param(rule, example, id=f"{rule}-{number}")
        for rule, entry in EXAMPLES.items()
        for number, example in enumerate(entry[kind])
    ]


def places(rule: str, one: Subject) -> list[str]:
    found = [finding for finding in lint(one).findings if finding.rule == rule]
    return sorted(f"{finding.file}:{finding.line}" for finding in found)


@pytest.mark.parametrize(("rule", "example"), cases("fails"))
def test_finds(rule: str, example: Any) -> None:
    found = places(rule, subject(example))
    assert found
    if isinstance(example, dict) and "at" in example:
        wanted = [f"{CONTAINERFILE}:{at}" if isinstance(at, int) else at for at in example["at"]]
        assert found == sorted(wanted)


@pytest.mark.parametrize(("rule", "example"), cases("passes"))
def test_finds_nothing(rule: str, example: Any) -> None:
    assert places(rule, subject(example)) == []


def test_every_rule_has_examples_of_both_kinds() -> None:
    assert set(EXAMPLES) == {rule.id for rule in every_rule()}
    for rule, entry in EXAMPLES.items():
        assert set(entry) == {"fails", "passes"}, rule
        assert entry["fails"], rule
        assert entry["passes"], rule


def test_there_are_forty_rules_and_each_says_why_and_what_instead() -> None:
    rules = every_rule()
    assert len(rules) >= 40
    for rule in rules:
        assert re.fullmatch(r"BCF[1-9]\d\d", rule.id)
        for text in (rule.title, rule.reason, rule.source, rule.remedy):
            assert text
            assert text == text.strip()
            assert not text.endswith("."), rule.id
            assert "\n" not in text


def test_ids_are_those_of_their_themes_in_order() -> None:
    assert list(RULES) == sorted(RULES)


def test_the_documented_table_is_the_codes_own() -> None:
    page = Path(__file__).parent.parent.parent / "docs/lint.md"
    assert table() in page.read_text(), "run: python tests/domain/test_lint_rules.py"


@pytest.mark.parametrize(("name", "label", "variables"), variable_sets())
def test_shipped_templates_are_clean(name: str, label: str, variables: dict[str, Any]) -> None:
    """With default variables nothing at all is found; with any, no error."""
    made = render(name, variables)
    files = {path: ContextFile(*file) for path, file in made.files.items()}
    report = lint(Subject(name, RenderedImage(made.containerfile, files), child=name != "soe"))
    bad = [f"{one.file}:{one.line}: {one.rule} {one.message}" for one in report.findings]
    if label == "minimal":
        assert bad == []
    assert report.count(Severity.ERROR) == 0, bad


def test_all_templates_are_linted() -> None:
    assert {name for name, _, _ in variable_sets()} == set(NAMES)


def _write_table() -> None:
    """Put the table of rules into docs/lint.md again."""
    page = Path(__file__).parent.parent.parent / "docs/lint.md"
    start, end = "<!-- rules -->\n", "<!-- end of rules -->\n"
    before, _, rest = page.read_text().partition(start)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{start}\n{table()}\n{end}{after}")


if __name__ == "__main__":
    _write_table()
