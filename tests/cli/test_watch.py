"""`channel watch`: moves are told once, whoever made them, and again when telling failed."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from bootcfleet.domain.reference import ImageRef
from bootcfleet.domain.watch import Moved
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.drivers.webhook import Webhook
from bootcfleet.errors import FleetError, UsageError
from bootcfleet.ops.channel import open_channels
from bootcfleet.ops.channelwatch import Watcher, watched
from bootcfleet.ops.project import load_project
from tests.acme import Acme, acme_project, push
from tests.drivers.oddregistry import OddRegistry, Reply

CHANNELS = "channels:\n  dev: {}\n  prod: {from: dev}\n"


@pytest.fixture
def acme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Acme]:
    monkeypatch.delenv("BOOTCFLEET_WEBHOOK", raising=False)
    with acme_project(tmp_path, monkeypatch, capsys, more=CHANNELS) as acme:
        yield acme


def by_hand(acme: Acme, digest_of: str = "0.1", tag: str = "dev", image: str = "web") -> None:
    """Somebody moves a channel's tag with another tool."""
    with RegistryClient() as client:
        ref = ImageRef.parse(f"{acme.registry.address}/acme/{image}")
        client.put_manifest(ref.with_tag(tag), client.manifest(ref.with_tag(digest_of)))


def test_once_tells_what_moved_since_the_last_time(acme: Acme) -> None:
    assert acme("channel", "watch", "--once")[0] == ""
    acme("channel", "promote", "web", "0.1", "dev", "--yes", "--reason", "try it")
    by_hand(acme, tag="prod")
    out, _ = acme("channel", "watch", "--once")
    dev, prod = out.splitlines()
    digest = acme.digests["web"]
    assert dev.startswith(f"web: dev moved to {digest} (promote by ")
    assert dev.endswith(": try it)")
    assert prod == f"web: prod moved to {digest}; its history does not know of it"
    assert acme("channel", "watch", "--once")[0] == ""


def test_a_command_with_the_move_in_its_environment(acme: Acme) -> None:
    script = acme.root / "hook.sh"
    script.write_text('#!/bin/sh\nenv | grep ^BOOTCFLEET_ | sort > "$1"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    acme("channel", "watch", "--once")
    by_hand(acme)
    acme("channel", "watch", "web", "--once", "--exec", "./hook.sh 'seen here.txt'")
    assert (acme.root / "seen here.txt").read_text().splitlines() == [
        "BOOTCFLEET_ACTOR=",
        "BOOTCFLEET_BEFORE=",
        "BOOTCFLEET_CHANNEL=dev",
        f"BOOTCFLEET_DIGEST={acme.digests['web']}",
        "BOOTCFLEET_IMAGE=web",
        "BOOTCFLEET_REASON=",
        f"BOOTCFLEET_REFERENCE={acme.registry.address}/acme/web:dev",
    ]


def test_what_was_not_told_is_told_the_next_time(acme: Acme) -> None:
    acme("channel", "watch", "--once")
    by_hand(acme)
    out, err = acme("channel", "watch", "--once", "--exec", "sh -c 'echo no >&2; exit 3'", ends=1)
    assert out.splitlines()[1] == "web: dev: sh ended with exit code 3; no"
    assert err == (
        "error: 1 channel could not be looked at or told about\n"
        "hint: run it again: what was not told counts as moved still\n"
    )
    out, _ = acme("channel", "watch", "--once", "--exec", "true")
    assert len(out.splitlines()) == 1
    assert acme("channel", "watch", "--once", "--exec", "false")[0] == ""


def test_a_webhook(acme: Acme, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOTCFLEET_WEBHOOK_TOKEN", "s3cret")
    status = [204, 500]
    with OddRegistry(lambda _: Reply(status[0])) as server:
        url = f"http://{server.address}/hook?key=geheim"
        acme("channel", "watch", "--once", "--webhook", url)
        by_hand(acme)
        acme("channel", "watch", "--once", "--webhook", url)
        (seen,) = server.seen
        body = json.loads(seen.body)
        assert seen.authorization == "Bearer s3cret"
        assert (body["kind"], body["image"], body["channel"]) == ("channel.moved", "web", "dev")
        assert body["digest"] == acme.digests["web"]
        status.pop(0)
        push(acme.registry.address, "acme/web", "dev", [b"new"], {})
        out, _ = acme("channel", "watch", "--once", "--webhook", url, ends=1)
        assert f"the webhook at {server.address} answers HTTP 500" in out
        assert "geheim" not in out
        assert "s3cret" not in out
    monkeypatch.setenv("BOOTCFLEET_WEBHOOK", url)
    out, _ = acme("channel", "watch", "--once", "--json", ends=1)
    kinds = [json.loads(line)["kind"] for line in out.splitlines()]
    assert kinds == ["channel.moved", "watch.failed"]
    assert "geheim" not in out


@pytest.mark.parametrize("url", ["ftp://x/y", "x", "http://", "http://[/", "http://h:port/"])
def test_what_is_no_webhook(url: str) -> None:
    with pytest.raises(UsageError, match="is no address"):
        Webhook(url)


def test_names(acme: Acme) -> None:
    _, err = acme("channel", "watch", "nginx", "--once", ends=2)
    assert err == "error: there is no image 'nginx' to watch\n"
    _, err = acme("channel", "watch", "--channel", "staging", "--once", ends=2)
    assert err == "error: there is no channel 'staging' to watch\n"
    _, err = acme("channel", "watch", "--once", "--exec", "'", ends=2)
    assert err.startswith("error: --exec cannot be read")


def test_a_failed_delivery_waits_longer_and_longer(acme: Acme) -> None:
    told: list[Moved] = []
    broken = True

    def deliver(moved: Moved) -> None:
        told.append(moved)
        if broken:
            raise FleetError("no")

    with open_channels(load_project()) as channels:
        pairs = watched(channels, ["web"], ["dev"])
        assert pairs == [("web", "dev")]
        watcher = Watcher(deliver, 60.0)
        assert watcher.look(channels, pairs, 0.0) == 0
        by_hand(acme)
        tries = [(now, watcher.look(channels, pairs, float(now))) for now in range(60, 700, 60)]
        # At 60, then 60, 120, 240 … seconds after each failure.
        assert [now for now, failed in tries if failed] == [60, 120, 240, 480]
        broken = False
        watcher.look(channels, pairs, 1000.0)
        assert (len(told), told[-1].before, told[-1].digest) == (5, None, acme.digests["web"])
        watcher.look(channels, pairs, 2000.0)
        assert len(told) == 5


def test_a_channel_that_comes_back_is_no_move(acme: Acme) -> None:
    told: list[Moved] = []

    def deliver(moved: Moved) -> None:
        told.append(moved)
        raise FleetError("no")

    by_hand(acme)
    with open_channels(load_project()) as channels:
        pairs = watched(channels, ["web"], ["dev"])
        watcher = Watcher(deliver, 60.0)
        watcher.look(channels, pairs, 0.0)
        push(acme.registry.address, "acme/web", "dev", [b"new"], {})
        assert watcher.look(channels, pairs, 60.0) == 1
        by_hand(acme)
        assert watcher.look(channels, pairs, 10_000.0) == 0
        assert len(told) == 1


def test_a_registry_that_does_not_answer_is_left_alone_for_a_while(acme: Acme) -> None:
    events: list[str] = []
    with open_channels(load_project(), emit=lambda event: events.append(event.kind)) as channels:
        pairs = watched(channels, ["web"], ["dev"])
        watcher = Watcher(lambda _: None, 60.0)
        watcher.look(channels, pairs, 0.0)
        acme.registry.refuse("acme/web", 403)
        before = acme.registry.requests()
        assert [watcher.look(channels, pairs, float(now)) for now in (60, 90, 120)] == [1, 0, 1]
        assert acme.registry.requests() > before
        acme.registry.refuse("acme/web", None)
        by_hand(acme)
        assert watcher.look(channels, pairs, 1000.0) == 0
    assert events == ["watch.unknown", "watch.unknown", "channel.moved"]


def test_it_goes_on_until_it_is_interrupted(acme: Acme, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    def sleep(seconds: float) -> None:
        nonlocal looks
        looks += 1
        assert seconds == 5.0
        if looks == 2:
            raise KeyboardInterrupt
        by_hand(acme)

    # Not time.sleep itself: other threads wait as well.
    clock = SimpleNamespace(sleep=sleep, monotonic=time.monotonic)
    monkeypatch.setattr("bootcfleet.cli.watch_run.time", clock)
    out, err = acme("channel", "watch", "web", "--interval", "5", "--json", ends=130)
    (line,) = out.splitlines()
    assert json.loads(line)["data"]["digest"] == acme.digests["web"]
    assert err.splitlines()[0] == "watching 2 channels every 5 s; ^C ends it"
