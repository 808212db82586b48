"""A rollout in pull mode, over a real registry, with hosts that follow their channel."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bootcfleet.domain.event import Event
from bootcfleet.domain.gate import GateResult
from bootcfleet.domain.inventory import Host
from bootcfleet.domain.limit import Limit
from bootcfleet.domain.pull import PullState
from bootcfleet.domain.pull_policy import PullPlan
from bootcfleet.domain.rollout_journal import EntryKind, NewEntry
from bootcfleet.domain.rollout_policy import MetricGate
from bootcfleet.drivers.labregistry import LabRegistry
from bootcfleet.drivers.ledgerdb import LedgerDb
from bootcfleet.drivers.registryhttp import Answer, Endpoint, RegistryError, RegistryHttp, Request
from bootcfleet.errors import ChecksFailedError, FleetError, UsageError
from bootcfleet.ops import pull_run, rollout_pull
from bootcfleet.ops.fleet import Fleet
from bootcfleet.ops.promote import promote_now
from bootcfleet.ops.pull_look import PullTools
from bootcfleet.ops.rollout_pull import read_state, resume_pull, start_pull
from tests.pullfleet import CHANNELS, ID, NAMES, PullFleet


@pytest.fixture(scope="module")
def lab() -> Iterator[LabRegistry]:
    with LabRegistry() as lab:
        yield lab


@pytest.fixture
def fleet(lab: LabRegistry, tmp_path: Path) -> PullFleet:
    return PullFleet.make(tmp_path / "acme", f"{lab.address}/{tmp_path.name}")


def test_from_channel_to_channel(fleet: PullFleet) -> None:
    with fleet.tools() as tools:
        end = start_pull(tools, fleet.plan(tools, bake=6.0))
    assert end.outcome == "done"
    assert fleet.tags() == ["2", "2", "2"]
    assert [fleet.history(name) for name in NAMES] == [["1", "2"]] * 3
    waves = [
        (entry.body["wave"], entry.body["phase"])
        for entry in fleet.journal()
        if entry.kind is EntryKind.WAVE
    ]
    assert waves == [(wave, phase) for wave in (1, 2, 3) for phase in ("running", "baking", "done")]
    assert fleet.versions("prod-canary") == ["2", "2", "2"]


def test_nobody_is_asked_but_the_sample(fleet: PullFleet) -> None:
    with fleet.tools() as tools:
        start_pull(tools, fleet.plan(tools))
    asked = [host.rpartition("-h")[0] for host in set(fleet.contacts)]
    assert sorted(asked) == sorted(NAMES * 2)
    silent = [host for host, machine in fleet.machines.items() if not machine.log]
    assert len(silent) == 3


def test_the_sample_is_the_rollouts_own(fleet: PullFleet) -> None:
    """Begun, killed and taken up again it asks the same hosts."""
    fleet.frozen = True
    with fleet.tools() as tools:
        plan = fleet.plan(tools)
        tools.sleep.__self__.slept.clear()  # type: ignore[attr-defined]
        stop_after(fleet, 2)
        with pytest.raises(KeyboardInterrupt):
            start_pull(tools, plan)
    first = set(fleet.contacts)
    fleet.contacts.clear()
    fleet.frozen = False
    with fleet.tools() as tools:
        end = resume_pull(tools, tools.store.record(ID))
    assert end.outcome == "done"
    assert {host for host in fleet.contacts if host.startswith("prod-canary-h")} == first
    assert [fleet.history(name) for name in NAMES] == [["1", "2"]] * 3
    stopped = [entry.body for entry in fleet.journal() if entry.kind is EntryKind.STOPPED]
    assert stopped == [{"reason": "stopped by the user"}]


def stop_after(fleet: PullFleet, sleeps: int) -> None:
    """^C in one of the next sleeps."""
    left = [sleeps]
    fire = fleet.fire

    def interrupt() -> None:
        left[0] -= 1
        if left[0] < 0:
            fleet.fire = fire  # type: ignore[method-assign]
            raise KeyboardInterrupt

    frozen = fleet.frozen
    fleet.frozen = False
    fleet.fire = lambda: interrupt() or (None if frozen else fire())  # type: ignore[method-assign]


def test_a_bad_image_halts_in_the_first_channel_and_is_taken_back(fleet: PullFleet) -> None:
    fleet.publish("3", sick=True)
    with fleet.tools() as tools:
        end = start_pull(tools, fleet.plan(tools))
    assert end.outcome == "halted"
    assert end.halted is not None
    assert end.halted.startswith("prod-canary: 2 of 2 sampled hosts failed, and 0 may: prod-canary")
    assert "systemd says degraded (failed units: web.service)" in end.halted
    assert fleet.tags() == ["1", "1", "1"]
    assert [fleet.history(name) for name in NAMES] == [["1", "3", "1"], ["1"], ["1"]]
    assert fleet.versions("prod-canary") == ["3", "3", "3"]
    fleet.fire()
    assert fleet.versions("prod-canary") == ["1", "1", "1"]
    assert fleet.versions("prod-1") == fleet.versions("prod") == ["1", "1", "1"]
    assert [machine.reboots for machine in fleet.machines.values()] == [2, 2, 2, *[0] * 6]


def test_a_failure_later_takes_every_channel_back_newest_first(fleet: PullFleet) -> None:
    with fleet.tools() as tools:
        plan = fleet.plan(tools)
        for host, machine in fleet.machines.items():
            if host.startswith("prod-h"):
                machine.sick_on = frozenset({plan.digest})
        end = start_pull(tools, plan)
    assert end.outcome == "halted"
    back = [
        entry.body["wave"]
        for entry in fleet.journal()
        if entry.kind is EntryKind.NOTE and entry.body["kind"] == "put-back"
    ]
    assert back == [3, 2, 1]
    assert fleet.tags() == ["1", "1", "1"]
    with fleet.tools() as tools:
        (start, end_entry) = tools.channels.ledger.entries(action="fleet.pull")
        assert (start.outcome, end_entry.outcome) == ("started", "halted")
        assert resume_pull(tools, tools.store.record(ID)).outcome == "halted"


@pytest.mark.parametrize("methods", [("HEAD", "GET", "PUT"), ("PUT",)])
def test_a_channel_that_cannot_go_back_is_tried_until_it_does(
    fleet: PullFleet, monkeypatch: pytest.MonkeyPatch, methods: tuple[str, ...]
) -> None:
    """However long that takes; the others go back meanwhile."""
    send, sleep, away, looks = RegistryHttp.send, fleet.sleep, [False], [0]

    def refuse(http: RegistryHttp, endpoint: Endpoint, request: Request) -> Answer:
        if away[0] and request.method in methods and request.path.endswith("/manifests/prod"):
            raise RegistryError("r.example.com does not answer")
        return send(http, endpoint, request)

    def wait(seconds: float) -> None:
        sleep(seconds)
        looks[0] += away[0]
        if looks[0] == 15:
            away[0], fleet.frozen = False, False
            assert fleet.tags() == ["1", "1", "2"]

    def halt(event: Event) -> None:
        fleet.project.events.append(event)
        if event.kind == "rollout.halted":
            away[0] = fleet.frozen = True

    monkeypatch.setattr(RegistryHttp, "send", refuse)
    monkeypatch.setattr(fleet, "sleep", wait)
    with fleet.tools() as tools:
        plan = fleet.plan(tools)
        for host, machine in fleet.machines.items():
            if host.startswith("prod-h"):
                machine.sick_on = frozenset({plan.digest})
        watched = replace(tools, channels=replace(tools.channels, emit=halt))
        assert start_pull(watched, plan).outcome == "halted"
    assert looks[0] == 15
    assert fleet.tags() == ["1", "1", "1"]
    assert [fleet.history(name) for name in NAMES] == [["1", "2", "1"]] * 3
    retries = [event for event in fleet.project.events if event.kind == "rollout.retry"]
    assert [(event.message, event.data["wave"]) for event in retries] == [
        ("prod is not back yet, and tried again: r.example.com does not answer", 3)
    ]


def test_hosts_that_cannot_be_asked_before_are_replaced(fleet: PullFleet) -> None:
    """Offline, without a timer, or on another tag: they could say nothing of the new digest."""
    with fleet.tools() as tools:
        plan = fleet.plan(tools)
        order = sampled(fleet, tools, plan)
        fleet.machines[order[0]].down, fleet.machines[order[0]].never_returns = 1, True
        end = start_pull(tools, plan)
    assert end.outcome == "done"
    passed = [
        (entry.host, entry.body["message"])
        for entry in fleet.journal()
        if entry.kind is EntryKind.HOST and entry.body["phase"] == "refused"
    ]
    assert passed == [(order[0], "is not asked: connection refused")]
    assert set(end.channels[0].sample) == set(order[1:])


def sampled(fleet: PullFleet, tools: object, plan: object) -> list[str]:
    """The hosts of the first channel, in the order in which they are chosen."""
    from bootcfleet.domain.pull_policy import candidates

    names = [host for host in fleet.machines if host.startswith("prod-canary-h")]
    return candidates(names, rollout=ID, channel="prod-canary", count=3)


def test_too_few_to_be_asked_and_nothing_moves(fleet: PullFleet) -> None:
    for host in ("prod-canary-h0", "prod-canary-h1"):
        fleet.machines[host].timer = False
    with fleet.tools() as tools, pytest.raises(FleetError) as caught:
        start_pull(tools, fleet.plan(tools))
    assert caught.value.message == (
        "prod-canary: only 1 of its hosts can be asked, and 2 must be good"
    )
    assert "prod-canary-h0: has no active bootc-fetch-apply-updates.timer" in caught.value.details
    assert fleet.tags() == ["1", "1", "1"]
    # It is open still: with the timers on, it goes on.
    for machine in fleet.machines.values():
        machine.timer = True
    with fleet.tools() as tools:
        assert resume_pull(tools, tools.store.record(ID)).outcome == "done"


@pytest.mark.parametrize(("success", "outcome"), [(100, "halted"), (50, "done")])
def test_a_sampled_host_that_goes_away(fleet: PullFleet, success: int, outcome: str) -> None:
    """It does not hold the rollout up for ever: at the deadline it counts as failed."""
    with fleet.tools() as tools:
        plan = fleet.plan(tools, success=success)
        gone = fleet.machines[sampled(fleet, tools, plan)[0]]
        fire = fleet.fire

        def lose() -> None:
            gone.down, gone.never_returns = 1, True
            fire()

        fleet.fire = lose  # type: ignore[method-assign]
        end = start_pull(tools, plan)
    assert end.outcome == outcome
    if outcome == "halted":
        assert end.halted is not None
        assert end.halted.endswith(
            ": prod-canary-h" + gone.name[-1] + " does not answer: connection refused"
        )
        times = [
            entry.at
            for entry in fleet.journal()
            if entry.kind in (EntryKind.WAVE, EntryKind.HALTED)
        ]
        assert (times[-1] - times[0]).total_seconds() >= 60


def request(fleet: PullFleet, kind: EntryKind, **body: object) -> None:
    """What another process writes into the journal."""
    with fleet.tools() as tools:
        tools.store.append(ID, [NewEntry(kind, body=body)], at=fleet.project.now, actor="ann@ops")


def when(fleet: PullFleet, number: int, act: object) -> None:
    """Do something in the sleep of this number."""
    fire = fleet.fire

    def then() -> None:
        if len(fleet.slept) == number:
            act()  # type: ignore[operator]
        fire()

    fleet.fire = then  # type: ignore[method-assign]


def test_it_waits_for_approval_and_asks_no_host_meanwhile(fleet: PullFleet) -> None:
    when(fleet, 3, lambda: (fleet.contacts.clear(), fleet.contacts.append("-")))
    when(fleet, 6, lambda: fleet.contacts.append("-"))
    when(fleet, 7, lambda: request(fleet, EntryKind.APPROVED, wave=1))
    with fleet.tools() as tools:
        end = start_pull(tools, fleet.plan(tools, first={"approve": True}))
    assert end.outcome == "done"
    assert fleet.contacts[:2] == ["-", "-"]
    waiting = fleet.journal()[1]
    assert (waiting.kind, waiting.body["phase"]) == (EntryKind.WAVE, "waiting")
    assert waiting.body["message"] == "prod-canary waits for an approval"
    phases = [entry.body["phase"] for entry in fleet.journal() if entry.kind is EntryKind.WAVE]
    assert phases.count("waiting") == 1


def test_a_pause_holds_the_next_promotion(fleet: PullFleet) -> None:
    when(fleet, 1, lambda: request(fleet, EntryKind.PAUSED, reason="fair"))
    when(fleet, 9, lambda: request(fleet, EntryKind.UNPAUSED))
    with fleet.tools() as tools:
        end = start_pull(tools, fleet.plan(tools))
    assert end.outcome == "done"
    (paused,) = [event for event in fleet.project.events if event.kind == "rollout.paused"]
    assert paused.message == "ann@ops paused it: fair"
    assert (paused.data["wave"], paused.data["channel"]) == (2, "prod-1")


def during(fleet: PullFleet, name: str, act: object) -> None:
    """Do something once, while hosts of a channel are spoken to."""
    connect, done = fleet.connect, [False]

    def then(hosts: Sequence[Host]) -> Fleet:
        if not done[0] and hosts and hosts[0].name.startswith(f"{name}-h"):
            done[0] = True
            act()  # type: ignore[operator]
        return connect(hosts)

    fleet.connect = then  # type: ignore[method-assign]


def order(fleet: PullFleet) -> list[str]:
    """The journal in words: who asked for what, and what began or ended."""
    told = (EntryKind.PAUSED, EntryKind.UNPAUSED, EntryKind.ABORTED, EntryKind.HALTED)
    return [
        str(entry.body["phase"]) + str(entry.body["wave"])
        if entry.kind is EntryKind.WAVE
        else str(entry.kind)
        for entry in fleet.journal()
        if entry.kind in (*told, EntryKind.WAVE, EntryKind.FINISHED)
    ]


def test_a_pause_while_the_sample_is_chosen_holds_that_promotion(fleet: PullFleet) -> None:
    """Hosts that do not answer take minutes: who asks meanwhile is not overtaken."""
    during(fleet, "prod-1", lambda: request(fleet, EntryKind.PAUSED))
    when(fleet, 6, lambda: request(fleet, EntryKind.UNPAUSED))
    with fleet.tools() as tools:
        end = start_pull(tools, fleet.plan(tools))
    assert end.outcome == "done"
    assert order(fleet)[:7] == [
        "running1", "done1", "paused", "waiting2", "unpaused", "running2", "done2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "waves"),
    [
        ("prod-canary", []),
        ("prod-1", ["running1", "done1"]),
    ],
)
def test_an_abort_while_the_sample_is_chosen(fleet: PullFleet, name: str, waves: list[str]) -> None:
    during(fleet, name, lambda: request(fleet, EntryKind.ABORTED))
    with fleet.tools() as tools:
        end = start_pull(tools, fleet.plan(tools))
    assert end.outcome == "aborted"
    assert order(fleet) == [*waves, "aborted", "halted", "finished"]
    assert fleet.tags() == ["1", "1", "1"]
    assert [fleet.history(name) for name in NAMES[1:]] == [["1"], ["1"]]


def test_an_abort_just_before_the_end(fleet: PullFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was accepted, so that it is carried out."""
    look, count = pull_run.look, [0]

    def looked(*words: object) -> object:
        seen = look(*words)  # type: ignore[arg-type]
        state = words[1]
        assert isinstance(state, PullState)
        if state.current is None and not count[0]:
            count[0] = 1
            monkeypatch.setattr(LedgerDb, "write", writing)
        return seen

    write = LedgerDb.write

    def writing(db: LedgerDb) -> object:
        monkeypatch.setattr(LedgerDb, "write", write)
        request(fleet, EntryKind.ABORTED)
        return write(db)

    monkeypatch.setattr(pull_run, "look", looked)
    with fleet.tools() as tools:
        end = start_pull(tools, fleet.plan(tools))
    assert count == [1]
    assert end.outcome == "aborted"
    assert fleet.tags() == ["1", "1", "1"]


def test_two_that_begin_at_once(fleet: PullFleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both saw no other rollout; one of them is first all the same."""
    first = rollout_pull.require_first

    def another(tools: PullTools, plan: PullPlan) -> None:
        first(tools, plan)
        monkeypatch.setattr(rollout_pull, "require_first", first)
        with fleet.tools() as theirs:
            stop_after(fleet, 0)
            with pytest.raises(KeyboardInterrupt):
                start_pull(theirs, replace(plan, id="20261121-040000-ffff"))

    monkeypatch.setattr(rollout_pull, "require_first", another)
    with fleet.tools() as tools:
        plan = fleet.plan(tools)
        with pytest.raises(UsageError, match="the rollout 20261121-040000-ffff of web is not"):
            start_pull(tools, plan)
        assert [record.id for record, _ in tools.store.all()] == ["20261121-040000-ffff"]
        audit = tools.channels.ledger.entries(action="fleet.pull")
        assert [entry.subject for entry in audit] == ["20261121-040000-ffff"]


def test_who_was_good_before_a_crash_may_reboot_after_the_deadline(fleet: PullFleet) -> None:
    """The bake is longer than the deadline; the controller is stopped in it, and taken up again."""
    with fleet.tools() as tools:
        plan = fleet.plan(tools, bake=300.0)
        stop_after(fleet, 40)
        with pytest.raises(KeyboardInterrupt):
            start_pull(tools, plan)
    with fleet.tools() as tools:
        (sampled, _) = read_state(tools.store, tools.store.record(ID)).channels[0].sample
        fleet.machines[sampled].down = 1
        end = resume_pull(tools, tools.store.record(ID))
    assert end.outcome == "done"


def test_a_digest_that_was_taken_back_is_rolled_out_again(fleet: PullFleet) -> None:
    """It is in the hosts' rollback slots; a reboot for another reason is no failure."""
    with fleet.tools() as tools:
        plan = fleet.plan(tools)
        when(fleet, 1, lambda: request(fleet, EntryKind.ABORTED))
        assert start_pull(tools, plan).outcome == "aborted"
    fleet.fire()
    assert fleet.versions("prod-canary") == ["1", "1", "1"]
    fleet.slept.clear()
    fire = fleet.fire

    def reboots_first() -> None:
        if len(fleet.slept) == 1:
            for machine in fleet.machines.values():
                machine.boot_id = str(uuid.uuid4())
        else:
            fire()

    fleet.fire = reboots_first  # type: ignore[method-assign]
    with fleet.tools() as tools:
        again = replace(fleet.plan(tools), id="20261121-050000-abcd")
        assert again.digest == plan.digest
        assert start_pull(tools, again).outcome == "done"


def test_an_abort_takes_the_channels_back(fleet: PullFleet) -> None:
    fleet.frozen = True
    with fleet.tools() as tools:
        plan = fleet.plan(tools)
        fleet.frozen = False
        when(fleet, 3, lambda: request(fleet, EntryKind.ABORTED, reason="wrong image"))
        end = start_pull(tools, plan)
    assert (end.outcome, end.halted) == ("aborted", "ann@ops aborted it: wrong image")
    assert fleet.tags() == ["1", "1", "1"]


def test_the_gates_of_the_first_channel_refuse_before_anything(
    lab: LabRegistry, tmp_path: Path
) -> None:
    channels = (
        "  test: {}\n  prod-canary: {from: test, lint: true}\n  prod-1: {from: prod-canary}\n"
    )
    channels += "  prod: {from: prod-1}\n"
    with pytest.raises(ChecksFailedError):
        PullFleet.make(tmp_path / "x", f"{lab.address}/{tmp_path.name}", channels=channels)
    fleet = PullFleet.make(tmp_path / "y", f"{lab.address}/{tmp_path.name}y")
    fleet.gates["errors"] = GateResult("errors", False, "7 is not < 1")
    gate = MetricGate("errors", "http://127.0.0.1:9", "errors", "<", 1)
    with fleet.tools() as tools:
        plan = fleet.plan(tools, first={"gates": (gate,)})
        with pytest.raises(ChecksFailedError, match="errors: 7 is not < 1; nothing was moved"):
            start_pull(tools, plan)
        assert tools.store.all() == []
    assert fleet.contacts == []


def test_a_metric_gate_halts_while_it_bakes(fleet: PullFleet) -> None:
    gate = MetricGate("errors", "http://127.0.0.1:9", "errors", "<", 1)

    def worse() -> None:
        fleet.gates["errors"] = GateResult("errors", False, "7 is not < 1")

    with fleet.tools() as tools:
        when(fleet, 4, worse)
        end = start_pull(tools, fleet.plan(tools, bake=3600.0, gates=(gate,)))
    assert end.halted == "prod-canary: errors: 7 is not < 1"
    assert fleet.tags() == ["1", "1", "1"]


def test_a_soak_is_waited_for(lab: LabRegistry, tmp_path: Path) -> None:
    """The gate turns green by itself; any other red one halts."""
    channels = (
        "  test: {}\n  prod-canary: {from: test}\n  prod-1: {from: prod-canary, soak: 1m}\n"
        "  prod: {from: prod-1}\n"
    )
    fleet = PullFleet.make(
        tmp_path / "acme",
        f"{lab.address}/{tmp_path.name}",
        channels=channels.replace(", soak: 1m", ""),
    )
    text = (tmp_path / "acme/bootcfleet.yaml").read_text()
    (tmp_path / "acme/bootcfleet.yaml").write_text(
        text.replace("from: prod-canary}", "from: prod-canary, soak: 1m}")
    )
    with fleet.tools() as tools:
        end = start_pull(tools, fleet.plan(tools))
    assert end.outcome == "done"
    (said,) = [
        event
        for event in fleet.project.events
        if event.kind == "wave.waiting" and "soak" in event.message
    ]
    assert said.message.startswith("prod-1: soak: it is in prod-canary since ")


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_channel_before_moves_on_while_an_approval_is_waited_for(
    lab: LabRegistry, tmp_path: Path, elsewhere: bool
) -> None:
    """Maybe because the digest was no good: it is said, and nothing is promoted."""
    address = f"{lab.address}/{tmp_path.name}"
    channels = CHANNELS
    if elsewhere:
        channels = channels.replace("test: {}", f"test: {{repository: {address}/tried}}")
    fleet = PullFleet.make(tmp_path / "acme", address, channels=channels)
    new: list[str] = []
    when(fleet, 2, lambda: new.append(fleet.publish("3")))
    when(fleet, 4, lambda: request(fleet, EntryKind.APPROVED, wave=1))
    with fleet.tools() as tools:
        end = start_pull(tools, fleet.plan(tools, first={"approve": True}))
    assert end.outcome == "halted"
    assert end.halted == (
        f"prod-canary: from: test has moved on to {new[0]} since the rollout began"
    )
    assert fleet.tags() == ["1", "1", "1"]


def test_somebody_else_moves_a_channel(fleet: PullFleet) -> None:
    """Then it is not ours any more: the others go back, and that one is left."""

    def interfere() -> None:
        other = fleet.project.push("web", "9")
        from tests import machines

        machines.VERSIONS[other] = "9"
        with fleet.project.open() as theirs:
            promote_now(theirs, ["web"], other, "test")
            promote_now(theirs, ["web"], "test", "prod-canary")

    with fleet.tools() as tools:
        when(fleet, 2, interfere)
        end = start_pull(tools, fleet.plan(tools))
    assert end.outcome == "halted"
    assert end.halted == "somebody else moved prod-canary"
    assert end.channels[0].left == "somebody else moved prod-canary meanwhile: it is left as it is"
    assert fleet.tags()[0] == "9"
    assert fleet.tags()[1:] == ["1", "1"]


def test_somebody_moves_a_tag_behind_the_histories_back(fleet: PullFleet) -> None:
    with fleet.tools() as tools:
        plan = fleet.plan(tools)
        when(fleet, 2, lambda: fleet.project.push("web", "1", tag="prod-canary"))
        end = start_pull(tools, plan)
    assert end.halted == "somebody else moved prod-canary"
    assert fleet.history("prod-canary") == ["1", "2"]


def test_what_was_there_already_is_not_taken_back(fleet: PullFleet) -> None:
    """A channel that was at the digest before the rollout is none that it moved."""
    with fleet.project.open() as channels:
        promote_now(channels, ["web"], "test", "prod-canary")
    fleet.fire()
    with fleet.tools() as tools:
        plan = fleet.plan(tools)
        for host, machine in fleet.machines.items():
            if host.startswith("prod-1-h"):
                machine.sick_on = frozenset({plan.digest})
        end = start_pull(tools, plan)
    assert end.outcome == "halted"
    assert fleet.tags() == ["2", "1", "1"]


def test_one_at_a_time(fleet: PullFleet) -> None:
    stop_after(fleet, 0)
    with fleet.tools() as tools:
        plan = fleet.plan(tools)
        with pytest.raises(KeyboardInterrupt):
            start_pull(tools, plan)
        with pytest.raises(UsageError, match=f"the rollout {ID} of web is not finished"):
            start_pull(tools, plan)
        with tools.store.hold(ID):
            with fleet.tools() as others, pytest.raises(FleetError, match="another controller"):
                resume_pull(others, others.store.record(ID))


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (
            {"names": ("prod-1", "prod-canary")},
            "prod-canary is promoted from test, and stands after prod-1",
        ),
        ({"names": ("prd",)}, "the project has no channel 'prd'"),
        ({"hosts": "site=ams"}, "no host of the inventory follows prod-canary"),
    ],
)
def test_what_cannot_be(fleet: PullFleet, rules: dict[str, object], message: str) -> None:
    with fleet.tools() as tools, pytest.raises(UsageError) as caught:
        fleet.plan(tools, **rules)
    assert caught.value.message.startswith(message)


def test_without_a_sample_time_alone_decides(fleet: PullFleet) -> None:
    with fleet.tools() as tools:
        end = start_pull(tools, fleet.plan(tools, sample=Limit(0), bake=4.0))
    assert end.outcome == "done"
    assert fleet.contacts == []
