"""Rollouts in pull mode over the real docker-registry: while it is away, and when it forgets."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootcfleet.domain.reference import Digest, ImageRef
from bootcfleet.drivers.registryartifact import Artifacts
from bootcfleet.ops.rollout_pull import start_pull
from tests.integration.registryprocess import Registry
from tests.ops.test_pull_kill import GOOD, HALTED, carry, ended, make
from tests.pullfleet import NAMES, PullFleet

pytestmark = pytest.mark.integration


class Restarted:
    """A registry that can be away for a while, and comes back where it was."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.registry = Registry.start(folder / "storage", folder / "registry.log")

    @property
    def address(self) -> str:
        return self.registry.address

    def go(self) -> None:
        self.registry.stop()

    def come_back(self) -> None:
        """On the same port; returns when it listens."""
        log = self.folder / "again.log"
        text = (self.folder / "registry.yaml").read_text()
        config = self.folder / "again.yaml"
        config.write_text(text.replace("127.0.0.1:0", self.address))
        argv = [str(self.registry.process.args[0]), "serve", str(config)]  # type: ignore[index]
        with log.open("wb") as stream:
            process = subprocess.Popen(argv, stdout=stream, stderr=subprocess.STDOUT)
        self.registry = Registry(self.address, self.registry.root, process)
        while b"listening on" not in log.read_bytes():
            assert process.poll() is None, log.read_text()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Restarted]:
    made = Restarted(tmp_path)
    yield made
    made.registry.stop()


@pytest.mark.parametrize(
    ("sick", "after"), [(False, 1), (False, 2), (False, 3), (True, 1), (True, 2)]
)
def test_it_is_away_for_a_while(
    registry: Restarted, tmp_path: Path, sick: bool, after: int
) -> None:
    """Nothing is promoted or put back meanwhile, and all of it afterwards, once."""
    fleet = make(registry, tmp_path / "acme", sick=sick)  # type: ignore[arg-type]
    fire, away = fleet.fire, [False]

    def restart() -> None:
        if len(fleet.slept) == after:
            registry.go()
            away[0] = True
        if len(fleet.slept) == after + 4:
            registry.come_back()
            away[0] = False
        if not away[0]:
            fire()

    fleet.fire = restart  # type: ignore[method-assign]
    carry(fleet)
    fleet.fire = fire  # type: ignore[method-assign]
    assert len(fleet.slept) >= after + 4
    assert ended(fleet) == (HALTED if sick else GOOD)
    assert [event.kind for event in fleet.project.events].count("rollout.retry") >= 3


def test_the_former_digest_is_gone(registry: Restarted, tmp_path: Path) -> None:
    """Its channel cannot go back, and that is said; it does not stay open for that."""
    fleet = PullFleet.make(tmp_path / "acme", registry.address)
    old = fleet.tag("prod-canary")
    assert old is not None
    bad = fleet.publish("3", sick=True)
    web = ImageRef.parse(f"{registry.address}/acme/web")
    fire = fleet.fire

    def forget() -> None:
        if len(fleet.slept) == 1:
            Artifacts(fleet.client).delete(web.with_digest(Digest(old)))
        fire()

    fleet.fire = forget  # type: ignore[method-assign]
    with fleet.tools() as tools:
        end = start_pull(tools, fleet.plan(tools))
    assert end.outcome == "halted"
    assert end.channels[0].left == (
        f"prod-canary could not be put back: {old} is no longer in {web}"
    )
    assert [fleet.tag(name) for name in NAMES] == [bad, None, None]
