"""The demo's story, scene by scene."""

from __future__ import annotations

import time
from pathlib import Path

from bootcfleet.cli.app import run
from bootcfleet.cli.demo import command_line, expect
from bootcfleet.cli.output import Output
from bootcfleet.domain.event import Event
from bootcfleet.drivers.command import write_atomic
from bootcfleet.errors import ExitCode
from bootcfleet.ops.demo import RELEASES, REPOSITORY, TAG, Publisher
from bootcfleet.ops.lab import Lab

_PROJECT = """\
version: 1
name: demo
registry: {registry}/demo
inventory: lab/inventory.yaml
images: {{}}
"""


class Story:
    """Runs the demo in `directory`; every scene is a command that a user could type."""

    def __init__(self, output: Output, directory: Path, hosts: int, boot_seconds: float) -> None:
        self._output = output
        self._directory = directory
        self._hosts = hosts
        self._boot_seconds = boot_seconds

    def tell(self) -> None:
        """Tell it all.  Raises `FleetError` when a command does not end as it must."""
        started = time.monotonic()
        first, second, bad = RELEASES
        lab = Lab(self._directory / "lab")
        try:
            lab.start_registry()
            publisher = Publisher(lab.registry_address, self._directory)
            self._say(f"A registry on {lab.registry_address}; {publisher.how}.")
            digest = publisher.publish(first)
            self._say(f"demo/web:{TAG} is version {first.version}, {digest.short}.")
            lab.start_hosts(
                self._hosts,
                image=f"{lab.registry_address}/{REPOSITORY}:{TAG}",
                boot_seconds=self._boot_seconds,
            )
            project = _PROJECT.format(registry=lab.registry_address)
            write_atomic(self._directory / "bootcfleet.yaml", project.encode())
            self._scene(f"{self._hosts} bootc hosts, each behind an SSH server of its own")
            self._run("fleet", "status")

            digest = publisher.publish(second)
            self._scene(f"Version {second.version} is in the registry ({digest.short})")
            self._run("fleet", "upgrade", "--canary", "1", "--batch", "50%", "--yes")

            digest = publisher.publish(bad)
            self._scene(f"Version {bad.version} is bad, and nobody knows it yet ({digest.short})")
            self._run(
                "fleet", "upgrade", "--canary", "1", "--batch", "50%", "--yes", ends=ExitCode.HALTED
            )

            self._scene("The canary went back by itself, and nobody else was touched")
            self._run("fleet", "status")
            self._scene("Who moved what, when, and to which digest")
            self._run("audit", "--action", "fleet.upgrade", "--subject", "host1")
            took = time.monotonic() - started
            self._scene(f"That was the main job, in {took:.0f} seconds")
            self._say("Next: `bootcfleet init acme`, or `bootcfleet lab up` to rehearse on.")
        finally:
            lab.stop()

    def _scene(self, title: str) -> None:
        self._output.line()
        self._say(f"== {title}")

    def _say(self, text: str) -> None:
        self._output.event(Event("demo", "", text))

    def _run(self, *words: str, ends: ExitCode = ExitCode.DONE) -> None:
        line = [*words, "--json"] if self._output.as_json else list(words)
        self._say(command_line(line))
        expect(run(line), ends, line)
