"""What a controller says of what it waits for: news alone, and all that is left."""

from __future__ import annotations

from bootcfleet.domain.action import Waiting
from bootcfleet.domain.event import Event
from bootcfleet.domain.rollout_replay import begin
from bootcfleet.domain.rollout_tally import Tally
from bootcfleet.ops.rollout_events import RolloutVoice
from tests.rolloutjournal import plan

WINDOW = Waiting("reboots", "no window is open")
APPROVAL = Waiting("wave 2", "waits for approval")


def test_what_is_waited_for_is_said_once_and_taken_back() -> None:
    said: list[Event] = []
    voice = RolloutVoice(said.append, begin(plan([["a"], ["b"]])))
    tally = Tally()
    for now, news in (
        ((), []),
        ((WINDOW,), ["reboots: no window is open"]),
        ((WINDOW,), []),
        ((WINDOW, APPROVAL), ["wave 2: waits for approval"]),
        ((APPROVAL,), [""]),
        ((APPROVAL,), []),
        ((Waiting("wave 2", "errors: 3 > 1"),), ["wave 2: errors: 3 > 1"]),
        ((), [""]),
        ((), []),
    ):
        said.clear()
        voice.waiting(now)
        assert [event.message for event in said] == news
        for event in said:
            tally.take(event, 1.0)
        assert tally.waits == {one.what: one.why for one in now}
