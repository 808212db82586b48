"""The report of a rollout: as JSON, as Markdown, and the text of the page."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest

from bootcfleet.domain.hostevidence import HostEvidence
from bootcfleet.domain.limit import Limit
from bootcfleet.domain.rollout import HostPhase
from bootcfleet.domain.rollout_journal import EntryKind, WavePhase
from bootcfleet.domain.rollout_page import page
from bootcfleet.domain.rollout_page_assets import SCRIPT
from bootcfleet.domain.rollout_policy import (
    Budgets,
    Download,
    HealthKind,
    HealthRule,
    MetricGate,
    OnFailure,
    OnHalt,
    RolloutPolicy,
    SoftReboot,
)
from bootcfleet.domain.rollout_replay import wave_entry
from bootcfleet.domain.rollout_report import (
    evidence_rows,
    markdown,
    policy_of,
    result_of,
    to_json,
)
from bootcfleet.domain.rollout_timeline import Timeline, timeline
from bootcfleet.domain.window import Window, Windows
from bootcfleet.errors import HostFault
from tests.rolloutjournal import EVIDENCE, NEW, OLD, Story, plan, played

MADE = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
#: What a host, a person or a file might say to become part of the page or of the terminal.
HOSTILE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "</style><svg onload=alert(1)>",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "</pre></details></main><h1>owned</h1>",
    "\x1b]0;owned\x07\x1b[2J\x00\x9b31m",
    "\u202egnp.exe",
    "--><!--",
    "]]>",
)  # fmt: skip


class Reader(HTMLParser):
    """The tags and attributes of a page, its text, and whether everything was closed."""

    VOID = frozenset({"meta", "link", "input", "br", "img", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        # Text of a script is no markup.
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    return reader


def story(message: str = "no space left on device", host: str = "web2") -> Timeline:
    """One good host, and one that failed with evidence."""
    one = Story(plan([["web1"], [host]]))
    one.say(EntryKind.STARTED, 1, controller="ctl1", pid=7, version="0.1.0")
    for number, name in enumerate(("web1", host), 1):
        one.write(wave_entry(number, WavePhase.RUNNING), 1)
        one.host(name, HostPhase.STAGING, "staging: upgrade")
        one.now += timedelta(seconds=30)
        end, fault = (
            (HostPhase.UPDATED, None) if number == 1 else (HostPhase.FAILED, HostFault.NO_SPACE)
        )
        one.host(name, end, message, fault=fault, evidence=(message,) if fault else ())
        one.write(wave_entry(number, WavePhase.DONE), 1)
    one.say(EntryKind.EVIDENCE, 1, host, **{**EVIDENCE, "notes": [message]})
    one.say(EntryKind.PAUSED, 1, reason=message)
    one.say(EntryKind.FINISHED, 1, outcome="failed")
    return timeline(one.record, one.entries)


def test_json_has_all_of_it() -> None:
    said = json.loads(json.dumps(to_json(story())))
    assert (said["rollout"], said["result"], said["operation"]) == (
        "20261121-020000-ab12",
        "failed",
        "upgrade",
    )
    assert said["counts"] == {"updated": 1, "failed": 1}
    host = said["hosts"]["web2"]
    assert (host["phase"], host["fault"], host["wave"]) == ("failed", "no-space", 2)
    assert (host["before"], host["planned"]) == (OLD, [NEW])
    assert [(one["phase"], one["seconds"]) for one in host["segments"]] == [
        ("pending", 34),
        ("staging", 30),
    ]
    assert host["seconds_at_work"] == 30
    assert HostEvidence.from_json(host["evidence"]).failed_units == ("nginx.service",)
    assert [one["kind"] for one in said["moments"]] == ["started", "paused", "finished"]
    assert said["moments"][1]["actor"] == "lee@laptop"
    assert said["images"] == [
        {"reference": "registry.example.com/soe/web:prod", "digest": NEW, "version": "9.6.20261120"}
    ]


def test_markdown_is_for_a_ticket() -> None:
    text = markdown(story())
    assert text.startswith("# Rollout 20261121-020000-ab12: failed\n")
    assert "| wave 2 | 1 | 1 failed | 0 s | 31 s | 0 s |" in text
    assert "### web2\n\nfailed (no-space): no space left on device\n" in text
    assert "    Nov 21 02:03:04 web3 nginx[812]: [emerg] bind() to 0.0.0.0:80 failed (98)" in text
    assert "lee@laptop: paused" in text


@pytest.mark.parametrize("said", HOSTILE)
def test_markdown_of_hostile_words_is_no_markup(said: str) -> None:
    text = markdown(story(said, "web-evil"))
    assert all(one.isprintable() or one == "\n" for one in text)
    for line in text.splitlines():
        # Lines of a code block are no markup; elsewhere each of these is escaped.
        if not line.startswith("    "):
            assert not re.search(r"(?<!\\)<", line)


def test_the_page_is_whole_and_has_what_matters() -> None:
    text = page(story(), MADE, "0.1.0")
    reader = read(text)
    assert reader.open == []
    words = " ".join(" ".join(reader.text).split())
    for expected in (
        "Rollout 20261121-020000-ab12 failed",
        "2026-11-21 02:00:00 UTC",
        "What went wrong 1 of 2 hosts",
        "web2 failed no-space no space left on device",
        "upgrade to 9.6.20261120",
        "nginx[812]: [emerg] bind() to 0.0.0.0:80 failed (98)",
        "failed units nginx.service",
        "kim@ctl1",
        "paused no space",
        NEW,
        OLD,
        "Made at 2026-11-21 12:00:00 UTC by bootcfleet 0.1.0",
    ):
        assert expected in words


def test_the_page_fetches_nothing_and_runs_only_its_own_script() -> None:
    text = page(story(), MADE, "0.1.0")
    reader = read(text)
    assert not {"iframe", "img", "object", "embed", "form", "base", "a"} & set(reader.tags)
    for name, value in reader.attributes:
        assert not name.startswith("on")
        assert name != "src"
        assert name != "href" or value == "data:,"
    assert "url(" not in text
    assert "@import" not in text
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    [policy] = [v for n, v in reader.attributes if n == "content" and v and "default-src" in v]
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy
    assert reader.tags.count("script") == 1
    assert f"<script>{SCRIPT}</script>" in text


@pytest.mark.parametrize("said", HOSTILE)
def test_hostile_words_are_shown_and_not_obeyed(said: str) -> None:
    plain, host = read(page(story("x", "web2"), MADE, "0.1.0")), "web<b>evil"
    text = page(story(said, host), MADE, "0.1.0")
    reader = read(text)
    assert reader.tags == plain.tags
    assert [name for name, _ in reader.attributes] == [name for name, _ in plain.attributes]
    assert all(one.isprintable() or one == "\n" for one in text)
    text.encode()
    if said.isprintable():
        assert any(said in one for one in reader.text)
    assert any(host in one for one in reader.text)


def test_a_word_that_no_file_can_hold_does_not_stop_the_page() -> None:
    page(story("\ud800 lone surrogate"), MADE, "0.1.0").encode()
    markdown(story("\ud800 lone surrogate")).encode()


def test_a_page_while_it_is_under_way_and_one_of_a_halt() -> None:
    one = Story(plan([["a"], ["b"]]))
    one.say(EntryKind.STARTED, 1)
    one.write(wave_entry(1, WavePhase.WAITING, "waits for approval"), 1)
    now = one.now + timedelta(minutes=5)
    words = " ".join(
        " ".join(read(page(timeline(one.record, one.entries, now), MADE, "1")).text).split()
    )
    assert "running" in words
    assert "So far 5 min" in words
    assert "waits for approval" in words
    assert "What went wrong" not in words
    one.say(EntryKind.HALTED, 1, reason="the canary a failed")
    words = " ".join(
        " ".join(read(page(timeline(one.record, one.entries), MADE, "1")).text).split()
    )
    assert "Halted the canary a failed" in words


def test_one_that_its_controller_let_go_of_is_stopped() -> None:
    one = Story(plan([["a"]]))
    for kind, result in (
        (EntryKind.STARTED, "running"),
        (EntryKind.STOPPED, "stopped"),
        (EntryKind.STARTED, "running"),
        (EntryKind.PAUSED, "paused"),
        (EntryKind.HALTED, "halted"),
    ):
        one.say(kind, 1, reason="because")
        assert result_of(timeline(one.record, one.entries)) == result


def test_many_hosts_stay_few_to_look_at_and_the_page_small() -> None:
    record, entries = played(1000, bad=0.02, waves=8)
    line = timeline(record, entries)
    text = page(line, MADE, "0.1.0")
    assert len(text) < 1_500_000
    assert text.count('class="row"') == 1002
    assert re.search(r"\d+ more that need no look", text)
    bad = sum(host.state.phase in {HostPhase.FAILED, HostPhase.ROLLED_BACK} for host in line.hosts)
    assert text.count('<details class="failure" open>') == 8
    assert text.count('<details class="failure"') == bad + 1


def test_a_policy_in_words() -> None:
    policy = RolloutPolicy(
        name="careful",
        success=95,
        bake=600,
        budgets=Budgets(
            Limit(2), Limit(10, True), ("site",), Limit(1), downloads=50, reboots=5
        ),
        windows=Windows((Window("0 22 * * 1-5", 14400),), "host"),
        download=Download.AHEAD,
        health=(HealthRule(HealthKind.SYSTEM), HealthRule(HealthKind.HTTP, name="front page")),
        gates=(MetricGate("errors", "http://p", "x", "<", 1),),
        on_failure=OnFailure.QUEUE,
        on_halt=OnHalt.ROLLBACK,
        soft_reboot=SoftReboot.AUTO,
    )  # fmt: skip
    assert {fact.name: fact.value for fact in policy_of(policy)} == {
        "Policy": "careful",
        "Failures allowed": "2",
        "After failed checks": "rollback queued for the next reboot",
        "When it halts": "updated hosts go back",
        "Waves": "canary 1, then 25% at a time",
        "Success of a wave": "95 %",
        "Bake time": "10 min",
        "Unavailable at once": "10%",
        "Unavailable in a group": "1 of each site",
        "Downloads at once": "50",
        "Reboots at once": "5",
        "Windows": "0 22 * * 1-5",
        "Downloads": "ahead of the waves",
        "Soft reboot": "where the host can",
        "Health rules": "system, front page",
        "Metric gates": "errors",
    }


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        ({}, []),
        (EVIDENCE | {"greenboot": "absent", "slots": {}, "boots": [], "reboots": [],
                     "journal": {}, "notes": [], "system_state": None, "host": "x"},
         [("failed units", ["nginx.service"]), ("boot id", [EVIDENCE["boot_id"]])]),
        ({"journal": {"a.service": ["1", "2"], "b": []}}, [("journal: a.service", ["1", "2"])]),
        ({"slots": {"booted": "x", "staged": None}}, [("slots", ["booted: x"])]),
        ({"of_a_later_version": {"deep": {"er": "1"}}, "n": 0, "list": [{"a": 1}]},
         [("of a later version: deep", ["er: 1"]), ("n", ["0"]), ("list", ["a: 1"])]),
    ],
)  # fmt: skip
def test_evidence_of_any_version_is_told(
    body: dict[str, object], rows: list[tuple[str, list[str]]]
) -> None:
    assert evidence_rows(body) == rows
