"""What is told of a rollout, and how each chat wants it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.event import Event
from bootcfleet.domain.notify import FailedHost, Notice, Notices, body_of, wanted
from bootcfleet.domain.rollout_events import JournalEvents
from bootcfleet.domain.rollout_policy import NotifyEvent, NotifyForm, NotifyTarget
from bootcfleet.domain.rollout_spec import RolloutSpec
from bootcfleet.domain.rollout_tally import Tally
from bootcfleet.domain.waves import Wave
from tests.rolloutjournal import played

AT = datetime(2026, 11, 21, 2, 30, tzinfo=UTC)
WAVES = (Wave(1, ("a",), canary=True), Wave(2, ("b", "c"), approve=True))


def told(*events: Event) -> list[Notice]:
    """What is told of these events, one after the other."""
    tally, notices = Tally.of("r1", "upgrade", WAVES), Notices()
    made = []
    for event in events:
        tally.take(event, AT.timestamp())
        made.append(notices.of(event, tally, AT))
    return [one for one in made if one is not None]


def waits(what: str, why: str) -> Event:
    return Event("rollout.waiting", "", f"{what}: {why}", {"what": what, "why": why})


STARTED = Event("rollout.started", "", "ctl1")
CANARY = [
    Event("wave.started", "", "", {"wave": 1}),
    Event("host.staging", "a", "staging: upgrade"),
    Event("host.updated", "a", "updated: runs 9.6"),
    Event("wave.finished", "", "", {"wave": 1}),
]
CASES: list[tuple[list[Event], list[tuple[NotifyEvent, str, str]]]] = [
    ([STARTED], [(NotifyEvent.STARTED, "upgrade of 3 hosts began", "")]),
    (
        [STARTED, *CANARY],
        [
            (NotifyEvent.STARTED, "upgrade of 3 hosts began", ""),
            (NotifyEvent.WAVE_FINISHED, "canary finished: 1 of 1 updated", ""),
        ],
    ),
    (
        [Event("host.refused", "b", "refused: is pinned"), STARTED, *CANARY, STARTED],
        [
            (NotifyEvent.STARTED, "upgrade of 3 hosts began", ""),
            (NotifyEvent.WAVE_FINISHED, "canary finished: 1 of 1 updated", ""),
            (NotifyEvent.STARTED, "taken up again, 2 of 3 hosts ended", ""),
        ],
    ),
    (
        [*CANARY[:3], waits("wave 2", "waits for approval")],
        [],  # it is not its turn yet
    ),
    (
        [*CANARY[3:], waits("wave 2", "waits for approval"), waits("wave 2", "still")],
        [
            (NotifyEvent.WAVE_FINISHED, "canary finished: 0 of 1 updated", ""),
            (
                NotifyEvent.APPROVAL,
                "wave 2 (2 hosts) waits for approval",
                "bootcfleet rollout approve r1 --wave 2",
            ),
        ],
    ),
    (
        [
            *CANARY[3:],
            Event("rollout.paused", "", "lunch"),
            waits("wave 2", "the rollout is paused"),
            Event("rollout.resumed"),
            Event("rollout.approved", "", "", {"wave": 2}),
            waits("wave 2", "errors: 3 > 1"),
        ],
        [(NotifyEvent.WAVE_FINISHED, "canary finished: 0 of 1 updated", "")],
    ),
    ([waits("reboots", "no window is open")], []),
    (
        [Event("host.failed", "b", "failed: no space", {"fault": "no-space", "wave": 2})],
        [(NotifyEvent.HOST_FAILED, "b: no space", "")],
    ),
    (
        [Event("host.rolled-back", "b", "rolled-back: sick")],
        [(NotifyEvent.HOST_FAILED, "b: sick", "")],
    ),
    (
        [Event("rollout.halted", "", "the canary a failed")],
        [(NotifyEvent.HALTED, "halted: the canary a failed", "bootcfleet rollout show r1")],
    ),
    (
        [Event("rollout.finished", "", "done", {"outcome": "done"})],
        [(NotifyEvent.FINISHED, "finished: done", "")],
    ),
    (
        [Event("rollout.finished", "", "", {"outcome": "failed"})],
        [(NotifyEvent.FINISHED, "finished: failed", "bootcfleet rollout report r1")],
    ),
    (
        [
            Event("host.refused", "b", "is pinned"),
            Event("host.retry", "b", "again"),
            Event("rollout.note", "", "x"),
            Event("notify.failed", "", "x"),
            Event("wave.baking", "", "", {"wave": 1}),
        ],
        [],
    ),
]


@pytest.mark.parametrize(("events", "expected"), CASES)
def test_what_is_told(events: list[Event], expected: list[tuple[NotifyEvent, str, str]]) -> None:
    assert [(one.event, one.message, one.hint) for one in told(*events)] == expected


def test_a_whole_rollout_is_told_in_a_few_notices() -> None:
    record, entries = played(40, bad=0.2)
    tally, notices, kinds = Tally(), Notices(), []
    for at, event in JournalEvents(record).all(entries):
        tally.take(event, at.timestamp())
        notice = notices.of(event, tally, at)
        if notice is not None:
            kinds.append(notice.event)
            assert notice.rollout == record.id
            assert notice.at == at
    assert kinds[0] is NotifyEvent.STARTED
    assert kinds[-1] is NotifyEvent.FINISHED
    assert kinds.count(NotifyEvent.APPROVAL) == 1
    assert kinds.count(NotifyEvent.WAVE_FINISHED) == 4
    failed = sum(host.phase in {"failed", "rolled-back"} for host in tally.hosts.values())
    assert kinds.count(NotifyEvent.HOST_FAILED) == failed


def test_hosts_that_fail_together_are_one_notice() -> None:
    one, two, other = told(
        Event("host.failed", "b", "failed: no space", {"fault": "no-space", "wave": 2}),
        Event("host.failed", "c", "failed: lost", {"fault": "did-not-return", "wave": 2}),
        Event("rollout.halted", "", "2 hosts failed"),
    )
    both = one.merge(two)
    assert both is not None
    assert [host.host for host in both.hosts] == ["b", "c"]
    assert both.message == "2 hosts failed"
    assert both.counts == two.counts
    assert both.merge(other) is None
    assert other.merge(other) is None


def test_who_wants_to_know() -> None:
    [notice] = told(STARTED)
    assert wanted(NotifyTarget(), notice)
    assert wanted(NotifyTarget(events=(NotifyEvent.STARTED,)), notice)
    assert not wanted(NotifyTarget(events=(NotifyEvent.HALTED,)), notice)


def failures(hosts: Iterable[tuple[str, str]]) -> Notice:
    failed = tuple(FailedHost(host, "failed", "no-space", said) for host, said in hosts)
    return Notice(
        NotifyEvent.HOST_FAILED,
        "20261121-020000-ab12",
        "upgrade",
        AT,
        f"{len(failed)} hosts failed",
        wave="wave 2 (databases)",
        hint="bootcfleet rollout show 20261121-020000-ab12",
        hosts=failed,
        counts={"updated": 5, "failed": len(failed), "pending": 0},
    )


def test_json_is_for_programs() -> None:
    assert body_of(NotifyForm.JSON, failures([("web1", "no space")])) == {
        "event": "host-failed",
        "rollout": "20261121-020000-ab12",
        "operation": "upgrade",
        "at": "2026-11-21T02:30:00.000+00:00",
        "message": "1 hosts failed",
        "wave": "wave 2 (databases)",
        "outcome": None,
        "hint": "bootcfleet rollout show 20261121-020000-ab12",
        "hosts": [{"host": "web1", "phase": "failed", "fault": "no-space", "message": "no space"}],
        "more_hosts": 0,
        "counts": {"updated": 5, "failed": 1, "pending": 0},
    }
    many = body_of(NotifyForm.JSON, failures((f"h{n}", "") for n in range(1500)))
    assert (len(many["hosts"]), many["more_hosts"]) == (1000, 500)


def test_slack_gets_blocks_and_a_text_for_notifications() -> None:
    body = body_of(NotifyForm.SLACK, failures([("web1", "<!channel> & <@U1> *x*")]))
    assert body == {
        "text": "Rollout 20261121-020000-ab12: 1 hosts failed",
        "blocks": [
            {
                "type": "header",
                "text": {
                    "type": "plain_text",
                    "text": "Rollout 20261121-020000-ab12: 1 hosts failed",
                    "emoji": False,
                },
            },
            {
                "type": "section",
                "text": {
                    "type": "mrkdwn",
                    "text": "• web1: &lt;!channel&gt; &amp; &lt;@U1&gt; *x* (no-space)\n"
                    "`bootcfleet rollout show 20261121-020000-ab12`",
                    "verbatim": True,
                },
            },
            {
                "type": "context",
                "elements": [{"type": "mrkdwn", "text": "5 updated, 1 failed", "verbatim": True}],
            },
        ],
    }


def test_mattermost_gets_an_attachment_whose_words_are_no_markup() -> None:
    body = body_of(NotifyForm.MATTERMOST, failures([("web_1", "@channel **x** [a](http://b)")]))
    [part] = body["attachments"]
    assert body["text"] == "**Rollout 20261121-020000-ab12: 1 hosts failed**"
    assert part["fallback"] == "Rollout 20261121-020000-ab12: 1 hosts failed"
    assert part["color"] == "#c9252d"
    assert part["text"] == (
        "- web\\_1: @\u200bchannel \\*\\*x\\*\\* \\[a\\]\\(http://b\\) \\(no-space\\)\n\n"
        "`bootcfleet rollout show 20261121-020000-ab12`"
    )
    assert part["fields"][1] == {
        "short": True,
        "title": "Wave",
        "value": "wave 2 \\(databases\\)",
    }


HOSTS = st.lists(st.tuples(st.text(max_size=300), st.text(max_size=3000)), max_size=40)


@given(HOSTS, st.text(max_size=5000))
def test_documented_limits_hold_and_nobody_is_mentioned(
    hosts: list[tuple[str, str]], message: str
) -> None:
    made = failures(hosts)
    if not hosts:
        made = Notice(NotifyEvent.HALTED, "r1", "upgrade", AT, message)
    slack = body_of(NotifyForm.SLACK, made)
    header, section = slack["blocks"][:2]
    assert 0 < len(header["text"]["text"]) <= 150
    assert len(section["text"]["text"]) <= 3000
    assert section["text"]["text"]
    assert len(json.dumps(slack["blocks"], ensure_ascii=False)) < 13000
    for text in (slack["text"], section["text"]["text"]):
        assert "<" not in text
        assert ">" not in text
    mattermost = body_of(NotifyForm.MATTERMOST, made)
    [part] = mattermost["attachments"]
    for text in (mattermost["text"], part["text"], *(one["value"] for one in part["fields"])):
        assert len(text) <= 16383
        assert "@" not in text.replace("@\u200b", "")
    assert all(line.isprintable() for line in section["text"]["text"].splitlines())


def test_the_example_of_the_documentation_is_a_policy() -> None:
    text = (Path(__file__).parent.parent.parent / "docs" / "notifications.md").read_text()
    [example] = re.findall(r"```yaml\n(rollouts:\n.*?)```", text, re.S)
    spec = RolloutSpec.model_validate(yaml.safe_load(example)["rollouts"]["careful"])
    assert spec.policy("careful").notify == (
        NotifyTarget(
            NotifyForm.SLACK,
            url_env="CHAT_WEBHOOK",
            events=(NotifyEvent.APPROVAL, NotifyEvent.HALTED, NotifyEvent.FINISHED),
        ),
        NotifyTarget(url="https://events.example.com/bootcfleet", token_env="EVENTS_TOKEN"),
    )
    for word in (*NotifyEvent, *NotifyForm):
        assert f"`{word}`" in text
