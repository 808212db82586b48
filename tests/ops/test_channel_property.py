"""Whatever people do and whenever they are killed: the chain holds, and the tag is its end."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from bootcfleet.domain.channel import check_history
from bootcfleet.drivers.labregistry import LabRegistry
from bootcfleet.errors import FleetError, UsageError
from bootcfleet.ops.channel import Channels
from bootcfleet.ops.channelback import plan_rollback
from bootcfleet.ops.channelverify import repair, verify
from bootcfleet.ops.promote import plan_promotion, promote
from bootcfleet.ops.train import recover
from tests.channelproject import ChannelProject
from tests.ops.test_train_kill import Killed, Killer

IMAGES = ["soe", "web"]
CHANNELS = ["dev", "test"]
VERSIONS = ["1", "2", "3"]
#: How far somebody comes before the kill; mostly nobody is killed.
KILL = st.one_of(st.none(), st.integers(0, 60))


class ChannelLife(RuleBasedStateMachine):
    """One project; each rule is a command of its own, and may be killed."""

    killer: Killer
    lab: LabRegistry
    number = 0

    @initialize()
    def start(self) -> None:
        type(self).number += 1
        self.folder = tempfile.TemporaryDirectory(prefix="bootcfleet-channels-")
        self.project = ChannelProject.make(
            Path(self.folder.name), f"{self.lab.address}/p{self.number}", images=",".join(IMAGES)
        )
        for image in IMAGES:
            for version in VERSIONS:
                self.project.push(image, version)
        #: What the histories must have: grows only by what came to its end.
        self.known: dict[tuple[str, str], tuple[Any, ...]] = {}
        self.settled = True

    def teardown(self) -> None:
        self.killer.at = None
        if hasattr(self, "folder"):
            self.folder.cleanup()

    def command(self, kill: int | None, act: Any) -> None:
        """Run one command as the command line does, and be killed at a step of it."""
        if kill is not None:
            self.killer.arm(kill)
        self.settled = False
        with suppress(Killed, UsageError):
            with self.project.open() as channels:
                recover(channels)
                act(channels)
                self.settled = True
        self.killer.at = None

    @rule(kill=KILL, version=st.sampled_from(VERSIONS))
    def train(self, kill: int | None, version: str) -> None:
        def act(channels: Channels) -> None:
            plan = plan_promotion(channels, [], f"v{version}", "dev", everything=True)
            promote(channels, plan)

        self.command(kill, act)

    @rule(kill=KILL, image=st.sampled_from(IMAGES))
    def onwards(self, kill: int | None, image: str) -> None:
        def act(channels: Channels) -> None:
            with suppress(FleetError):
                promote(channels, plan_promotion(channels, [image], "dev", "test"))

        self.command(kill, act)

    @rule(
        kill=KILL,
        image=st.sampled_from(IMAGES),
        channel=st.sampled_from(CHANNELS),
        to=st.one_of(st.none(), st.sampled_from(["1", "2", "3"])),
    )
    def back(self, kill: int | None, image: str, channel: str, to: str | None) -> None:
        self.command(kill, lambda c: promote(c, plan_rollback(c, image, channel, to)))

    @rule(image=st.sampled_from(IMAGES), channel=st.sampled_from(CHANNELS))
    def somebody_else(self, image: str, channel: str) -> None:
        """Moves a tag behind the history's back; repair brings it back."""
        with self.project.open() as channels:
            recover(channels)
            if channels.store.current(image, channel) is None:
                return
        self.project.push(image, "9", tag=channel)
        self.command(None, lambda c: repair(c, verify(c)))

    @invariant()
    def histories_only_grow_and_tags_are_their_ends(self) -> None:
        if not hasattr(self, "project"):
            return
        with self.project.open() as channels:
            histories = channels.store.all()
            for pair, before in self.known.items():
                assert histories[pair][: len(before)] == before
            self.known = dict(histories)
            for entries in histories.values():
                assert check_history(entries) is None
            if not self.settled:
                recover(channels)
                # A copy may be behind after a kill; nothing else may be wrong.
                repair(channels, verify(channels))
                histories = self.known = channels.store.all()
            assert verify(channels) == ()
            for (image, channel), entries in histories.items():
                found = channels.found(channels.tag(image, channel))
                assert found == entries[-1].digest
                kept = {channels.repository(image).with_tag(one.keep) for one in entries}
                assert all(channels.found(tag) for tag in kept)


def test_any_sequence_of_commands_and_kills(monkeypatch: pytest.MonkeyPatch) -> None:
    with LabRegistry() as lab:
        ChannelLife.killer, ChannelLife.lab = Killer(monkeypatch), lab
        run_state_machine_as_test(
            ChannelLife,
            settings=settings(
                max_examples=10,
                stateful_step_count=8,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
