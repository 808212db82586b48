"""What `rollout pull` does once its options are read, and `rollout resume` for such a rollout."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from bootcfleet.cli.output import Output, ask_secret
from bootcfleet.cli.rollout_progress import RolloutProgress
from bootcfleet.domain.document import did_you_mean
from bootcfleet.domain.event import Emit, Event
from bootcfleet.domain.gate import span
from bootcfleet.domain.inventory import Host
from bootcfleet.domain.promotion import PromotionPlan
from bootcfleet.domain.pull import PullState
from bootcfleet.domain.pull_policy import PullPlan, PullPolicy, needed, too_short
from bootcfleet.domain.pull_rollout import as_rollout, read_plan
from bootcfleet.domain.rollout_events import JournalEvents
from bootcfleet.domain.rollout_journal import (
    PULL,
    EntryKind,
    JournalEntry,
    NewEntry,
    RolloutRecord,
)
from bootcfleet.domain.rollout_spec import DEFAULT
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.drivers.inventoryfile import load_inventory
from bootcfleet.drivers.rolloutstore import RolloutStore
from bootcfleet.errors import InterruptedRunError, RolloutHaltedError, UsageError
from bootcfleet.ops import connect
from bootcfleet.ops.channel import open_channels
from bootcfleet.ops.metricgate import ask_gate
from bootcfleet.ops.project import LoadedProject, load_project
from bootcfleet.ops.pull_look import PullTools
from bootcfleet.ops.pull_plan import plan_pull, promotion
from bootcfleet.ops.rollout_listen import Metrics, listening
from bootcfleet.ops.rollout_policy import choose_policy
from bootcfleet.ops.rollout_pull import resume_pull, start_pull
from bootcfleet.ops.train import recover


def run_pull(
    image: str,
    policy: str | None,
    source: str | None,
    digest: str | None,
    *,
    inventory: Path | None,
    metrics: Metrics,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Plan, show, confirm, carry out, report.  Raises `RolloutHaltedError` when it halted."""
    output = Output(as_json=as_json)
    if source and digest:
        raise UsageError("what is rolled out is --from a channel or a --digest: not both")
    loaded = load_project()
    rules = choose_pull(loaded, policy)
    path = connect.inventory_path(inventory, loaded)
    ears = _Ears(output)
    with _tools(loaded, _hosts(path), ears.emit) as tools:
        channels = tools.channels
        if not dry_run:
            recover(channels)
        now = channels.clock()
        plan = plan_pull(
            channels,
            tools.hosts,
            image,
            rules,
            rollout_id=f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
            source=digest or source,
            inventory=str(path.absolute()),
        )
        first = promotion(channels, plan, 0)
        notes = too_short(rules, choose_policy(loaded, rules.name).windows, now)
        _show(output, plan, first, notes, dry_run=dry_run)
        if dry_run:
            first.require_green()
            return
        names = ", ".join(rule.name for rule in plan.channels)
        output.confirm(f"roll {image} out through {names}?", yes=yes, changes="channels")
        record = RolloutRecord(plan.id, PULL, now, channels.actor)
        with ears.open(tools, plan, record, (), metrics):
            end = start_pull(tools, plan)
    _report(output, end)


def run_resume_pull(
    record: RolloutRecord,
    *,
    inventory: Path | None = None,
    metrics: Metrics | None = None,
    as_json: bool,
) -> None:
    """Take a rollout in pull mode up again.  Raises `RolloutHaltedError` when it halted."""
    output = Output(as_json=as_json)
    loaded = load_project()
    plan = read_plan(record)
    path = inventory or Path(plan.inventory)
    if inventory is None and not path.is_file():
        # It was begun on another machine.
        path = connect.inventory_path(None, loaded)
    ears = _Ears(output)
    with _tools(loaded, _hosts(path), ears.emit) as tools:
        entries = tools.store.entries(record.id)
        with ears.open(tools, plan, record, entries, metrics):
            end = resume_pull(tools, record)
    _report(output, end)


def choose_pull(loaded: LoadedProject, name: str | None) -> PullPolicy:
    """The policy of this name, ``default``, or the only one that says anything of pull mode.

    Raises `UsageError`.
    """
    rollouts = loaded.project.rollouts
    having = [one for one, spec in rollouts.items() if spec.pull is not None]
    if name is None:
        name = DEFAULT if DEFAULT in having or len(having) != 1 else having[0]
    elif name not in rollouts:
        raise UsageError(
            f"there is no rollout policy {name!r}", hint=did_you_mean(name, rollouts) or None
        )
    found = rollouts[name].pull_policy(name) if name in rollouts else None
    if found is None:
        known = f"those that have: {', '.join(having)}" if having else "none has"
        raise UsageError(
            f"the rollout policy {name} says nothing of pull mode ({known})",
            hint="rollouts: {NAME: {pull: {channels: [prod-canary, prod]}}} in bootcfleet.yaml",
        )
    return found


class _Ears:
    """Who hears of a rollout: the person at the terminal, webhooks and metrics.

    What they need to know of it beforehand is known only when there are channels, and those
    emit from the beginning.
    """

    def __init__(self, output: Output) -> None:
        self._progress = RolloutProgress(output)
        self._emit: Emit = self._progress.event

    def emit(self, event: Event) -> None:
        """Pass an event on to all."""
        self._emit(event)

    @contextmanager
    def open(
        self,
        tools: PullTools,
        plan: PullPlan,
        record: RolloutRecord,
        entries: Sequence[JournalEntry],
        metrics: Metrics | None,
    ) -> Iterator[None]:
        """Let all of them listen inside; `entries` is what is in the journal already.

        Raises `UsageError` or `FleetError` for metrics that can go nowhere, and
        `InterruptedRunError` that says how to go on after ^C.
        """
        events = JournalEvents.of_rollout(as_rollout(plan, record, entries))
        history = list(events.all(entries))
        for at, event in history:
            self._progress.tally.take(event, at.timestamp())

        def note(message: str) -> None:
            entry = NewEntry(EntryKind.NOTE, "", {"kind": "notify.failed", "message": message})
            at = tools.channels.clock()
            tools.store.append(plan.id, [entry], at=at, actor=tools.channels.actor)

        with (
            self._progress,
            listening(
                self._progress.event,
                history,
                targets=plan.policy.notify,
                metrics=metrics,
                note=note,
            ) as both,
        ):
            self._emit = both
            try:
                yield
            except KeyboardInterrupt as error:
                why = f"{error}: " if str(error) else ""
                raise InterruptedRunError(
                    f"{why}stopped; the rollout {plan.id} is open, and its channels are where they "
                    "are",
                    hint=f"go on with `bootcfleet rollout resume {plan.id}`; `bootcfleet rollout "
                    f"abort {plan.id}` before that takes its channels back",
                ) from None
            finally:
                self._emit = self._progress.event


@contextmanager
def _tools(loaded: LoadedProject, hosts: Sequence[Host], emit: Emit) -> Iterator[PullTools]:
    # Asked for once, however often the sample is reached anew.
    answers: dict[str, str] = {}

    def ask(question: str) -> str:
        if question not in answers:
            answers[question] = ask_secret(question)
        return answers[question]

    with open_channels(loaded, emit=emit) as channels:
        yield PullTools(
            channels,
            RolloutStore.open(channels.store.db),
            hosts,
            lambda few: connect.over_ssh(few, ask),
            ask_gate,
        )


def _hosts(path: Path) -> tuple[Host, ...]:
    return load_inventory(path, LocalExecutor()).hosts


def _show(
    output: Output, plan: PullPlan, first: PromotionPlan, notes: Sequence[str], *, dry_run: bool
) -> None:
    if output.as_json:
        show = output.json if dry_run else output.json_line
        body = {**plan_json(plan), "notes": list(notes), "first": first.to_json()}
        show({"kind": "rollout.planned", **body})
        return
    version = f" (version {plan.version})" if plan.version else ""
    output.line(f"{plan.image}: {plan.source} → {plan.digest}{version}")
    rows = []
    for number, rule in enumerate(plan.channels, 1):
        wanted = plan.wanted(rule)
        gates = [gate.name for gate in rule.gates] + (["approval"] if rule.approve else [])
        rows.append(
            [
                str(number),
                rule.name,
                str(plan.followers[rule.name]),
                f"{needed(rule, wanted)} of {wanted}",
                _time(rule.deadline),
                _time(rule.bake) if rule.bake else "-",
                ", ".join(gates) or "-",
            ]
        )
    output.table(["N", "CHANNEL", "HOSTS", "SAMPLE", "WITHIN", "BAKE", "GATES"], rows)
    for gate in (gate for move in first.moves for gate in move.gates):
        output.line(f"{first.channel}: {gate.name}: {'ok' if gate.ok else 'RED'}: {gate.message}")
    if first.unchanged:
        output.line(f"{first.channel} is at it already")
    for note in notes:
        output.line(f"note: {note}")


def plan_json(plan: PullPlan) -> dict[str, Any]:
    """The plan as JSON-ready data."""
    return {
        "rollout": plan.id,
        "operation": "pull",
        "image": plan.image,
        "digest": plan.digest,
        "version": plan.version,
        "source": plan.source,
        "policy": plan.policy.name,
        "poll": plan.policy.poll,
        "channels": [
            {
                "channel": rule.name,
                "reference": plan.references[rule.name],
                "followers": plan.followers[rule.name],
                "sample": plan.wanted(rule),
                "needed": needed(rule, plan.wanted(rule)),
                "deadline": rule.deadline,
                "bake": rule.bake,
                "approve": rule.approve,
                "gates": [gate.name for gate in rule.gates],
            }
            for rule in plan.channels
        ],
    }


def _report(output: Output, end: PullState) -> None:
    left = [channel.left for channel in end.channels if channel.left]
    for text in left:
        output.line(f"note: {text}")
    if end.outcome == "done":
        return
    raise RolloutHaltedError(
        f"the rollout {end.plan.id} was {end.outcome}: {end.halted or end.aborted}",
        details=left,
        hint=f"see why: bootcfleet rollout show {end.plan.id}",
    )


def _time(seconds: float) -> str:
    return span(timedelta(seconds=seconds))
