"""The lock against the real docker-registry: an index, a moved tag, a pin that was deleted."""

from __future__ import annotations

import json
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bootcfleet.cli.app import run
from bootcfleet.drivers.labimage import push_index
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.drivers.registryconf import RegistriesConf
from bootcfleet.ops.lock import load_lock

pytestmark = pytest.mark.integration
CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_lock_move_and_lose(
    docker_registry: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    base = f"{docker_registry}/lock/base"
    Path("bootcfleet.yaml").write_text(
        f"version: 1\nname: acme\nregistry: {docker_registry}/acme\n"
        f"images:\n  soe: {{base: '{base}:10'}}\n"
    )

    with RegistryClient(conf=RegistriesConf([])) as client:

        def push(version: str) -> str:
            files = {"etc/v": version.encode()}
            pushed = push_index(client, base, "10", version=version, files=files, created=CREATED)
            return str(pushed)

        first = push("10.0")
        assert run(["lock", "update"]) == 0
        assert run(["lock", "verify"]) == 0
        second = push("10.1")  # the tag moves; the digest stays where it is
        assert run(["lock", "verify"]) == 0
    capsys.readouterr()
    lock = load_lock(tmp_path)
    assert lock is not None
    pin = lock.pins[f"{base}:10"]
    assert (str(pin.digest), pin.version, len(pin.platforms)) == (first, "10.0", 2)

    delete(docker_registry, first)
    assert run(["lock", "verify", "--json"]) == 3
    (problem,) = json.loads(capsys.readouterr().out)["bases"]
    assert problem == {
        "base": f"{base}:10",
        "ok": False,
        "message": f"{docker_registry} no longer has {first}",
        "hint": "bootcfleet lock update, or push it again: skopeo copy --all",
    }
    assert run(["lock", "update", "--json"]) == 0  # the remedy
    (moved,) = json.loads(capsys.readouterr().out)["moved"]
    assert (moved["before"]["digest"], moved["digest"]) == (first, second)
    assert run(["lock", "verify"]) == 0

    lost = moved["platforms"]["linux/arm64"]
    delete(docker_registry, lost)
    assert run(["lock", "verify"]) == 3
    assert f"no longer has its image for linux/arm64, {lost}" in capsys.readouterr().err


def delete(address: str, digest: str) -> None:
    """Delete a manifest as whoever tidies a registry does."""
    request = urllib.request.Request(
        f"http://{address}/v2/lock/base/manifests/{digest}", method="DELETE"
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 202
