"""Looks at the tags of channels, and tells a command or a webhook when one moves."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bootcfleet.domain.channel import Pair
from bootcfleet.domain.event import Event
from bootcfleet.domain.watch import Backoff, Moved
from bootcfleet.drivers.command import LocalExecutor, write_atomic
from bootcfleet.errors import FleetError, UsageError
from bootcfleet.ops.channel import Channels
from bootcfleet.ops.fanout import gather
from bootcfleet.ops.project import LoadedProject, state_dir

#: Tags that are asked for at the same time.
_PARALLEL = 8
#: The longest wait before a failed delivery is tried again, in seconds.
_MOST = 600.0
#: Seconds that a command may take for one move.
_COMMAND_TIMEOUT = 3600.0

#: Tells somebody of a move; raises `FleetError` when that did not work.
Deliver = Callable[[Moved], None]


def run_command(argv: Sequence[str], root: Path) -> Deliver:
    """Runs a command for each move, in the project's directory."""

    def deliver(moved: Moved) -> None:
        executor = LocalExecutor(env=moved.environment, cwd=root)
        result = executor.run(argv, timeout=_COMMAND_TIMEOUT)
        if not result.ok:
            said = (result.stderr or result.stdout).strip().splitlines()
            raise FleetError(
                f"{argv[0]} ended with exit code {result.exit_code}", details=said[-3:]
            )

    return deliver


def watched(channels: Channels, images: Collection[str], names: Collection[str]) -> list[Pair]:
    """The channels that are watched: declared ones, imports, and those with a history.

    Raises `UsageError` for a name that none has.
    """
    imports = [(name, spec.tag) for name, spec in channels.loaded.project.imports.items()]
    pairs = list(dict.fromkeys([*channels.pairs(), *imports]))
    for index, asked in ((0, images), (1, names)):
        for name in asked:
            if all(pair[index] != name for pair in pairs):
                what = "image" if index == 0 else "channel"
                raise UsageError(f"there is no {what} {name!r} to watch")
    return [
        pair
        for pair in pairs
        if (not images or pair[0] in images) and (not names or pair[1] in names)
    ]


@dataclass
class Watcher:
    """What was told last of each channel, and what could not be told yet.

    A move is what a tag points at now against what was told last: a delivery that
    failed is a move still, until it works or the channel comes back.  `told` has None for
    a tag that was not there; a channel that is not in it is looked at for the first time.
    """

    deliver: Deliver
    interval: float
    told: dict[Pair, str | None] = field(default_factory=dict)
    _failed: dict[Pair, Backoff] = field(default_factory=dict)
    _silent: dict[str, Backoff] = field(default_factory=dict)

    def look(self, channels: Channels, pairs: Sequence[Pair], now: float) -> int:
        """One look at all channels; how many things failed.  `now` is in seconds."""
        failures = 0
        for pair, found in self._ask(channels, pairs, now).items():
            if isinstance(found, FleetError):
                failures += 1
                continue
            if pair not in self.told:
                self.told[pair] = found
                continue
            if found == self.told[pair]:
                self._failed.pop(pair, None)
                continue
            waiting = self._failed.get(pair)
            if waiting is not None and now < waiting.due:
                continue
            if self._tell(channels, self._moved(channels, pair, found)):
                self.told[pair] = found
                self._failed.pop(pair, None)
            else:
                failures += 1
                self._failed[pair] = Backoff.after(
                    waiting, now, first=self.interval, most=max(_MOST, self.interval)
                )
        return failures

    def _ask(
        self, channels: Channels, pairs: Sequence[Pair], now: float
    ) -> Mapping[Pair, str | FleetError | None]:
        """What each tag points at; a registry that failed is left alone for a while."""
        tags = {"/".join(pair): channels.tag(*pair) for pair in pairs}
        by_key = dict(zip(tags, pairs, strict=True))
        silent = {name for name, wait in self._silent.items() if now < wait.due}
        asked = tuple(key for key, tag in tags.items() if tag.registry not in silent)
        answers = gather(asked, lambda key: channels.found(tags[key]), parallel=_PARALLEL)
        broken: dict[str, FleetError] = {}
        for key, answer in answers.items():
            if isinstance(answer, FleetError):
                broken.setdefault(tags[key].registry, answer)
        for registry in {tags[key].registry for key in asked}:
            if registry not in broken:
                self._silent.pop(registry, None)
                continue
            self._silent[registry] = Backoff.after(
                self._silent.get(registry),
                now,
                first=self.interval,
                most=max(_MOST, self.interval),
            )
            channels.emit(Event("watch.unknown", registry, broken[registry].message))
        return {by_key[key]: answer for key, answer in answers.items()}

    def _moved(self, channels: Channels, pair: Pair, found: str | None) -> Moved:
        entry = channels.store.current(*pair)
        if entry is not None and entry.digest != found:
            entry = None
        return Moved(
            *pair,
            str(channels.tag(*pair)),
            self.told[pair],
            found,
            channels.clock().astimezone(UTC),
            entry,
        )

    def _tell(self, channels: Channels, moved: Moved) -> bool:
        if moved.pair not in self._failed:
            channels.emit(Event("channel.moved", moved.image, moved.message, moved.to_json()))
        try:
            self.deliver(moved)
        except FleetError as error:
            said = "; ".join([error.message, *error.details])
            channels.emit(
                Event("watch.failed", moved.image, f"{moved.channel}: {said}", moved.to_json())
            )
            return False
        return True


def read_told(loaded: LoadedProject) -> dict[Pair, str | None]:
    """What was told by the last single look; nothing where that cannot be read."""
    try:
        body = json.loads(_file(loaded).read_text(encoding="utf-8"))
        return {(str(one["image"]), str(one["channel"])): one["digest"] for one in body["channels"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def write_told(loaded: LoadedProject, told: Mapping[Pair, str | None], at: datetime) -> None:
    """Remember what was told, for the next single look."""
    body = {
        "version": 1,
        "at": at.isoformat(),
        "channels": [
            {"image": image, "channel": channel, "digest": digest}
            for (image, channel), digest in told.items()
        ],
    }
    write_atomic(_file(loaded), (json.dumps(body, indent=2) + "\n").encode())


def _file(loaded: LoadedProject) -> Path:
    return state_dir(loaded) / "watch.json"
