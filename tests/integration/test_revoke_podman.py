"""Real builds, then: lineage, why, a revocation that blocks builds and promotions, and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bootcfleet.cli.app import run
from tests.integration.test_build_podman import Site, site

pytestmark = pytest.mark.integration
__all__ = ["site"]


def test_from_build_to_revocation(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    def say(*words: str, ends: int = 0) -> str:
        capsys.readouterr()
        code = run(list(words))
        said = capsys.readouterr()
        assert code == ends, f"{words}: {code}\n{said.out}\n{said.err}"
        return said.out if ends == 0 else said.err

    with (site.root / "bootcfleet.yaml").open("a") as file:
        file.write("channels: {dev: {}}\n")
    say("image", "build", "--push")
    lineage: Any = json.loads(say("image", "lineage", "web", "--json"))
    assert [one["name"] for one in lineage["ancestors"]] == [
        "soe",
        f"{site.registry}/test-build/base",
    ]
    below = json.loads(say("image", "lineage", "soe", "--down", "--json"))["descendants"]
    assert sorted(one["name"] for one in below) == ["database", "web"]
    assert f"  image     web {lineage['digest']}" in say("why", "web").splitlines()

    # Another machine: nothing in its ledger, and labels and layers tell the same.
    (site.root / ".bootcfleet/ledger.db").rename(site.root / "ledger.kept")
    again: Any = json.loads(say("image", "lineage", "web:1.0", "--json"))
    assert again["build"]["proof"] == "layers"
    assert [one["digest"] for one in again["ancestors"]][:1] == [lineage["ancestors"][0]["digest"]]
    for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
        (site.root / ".bootcfleet" / name).unlink(missing_ok=True)
    (site.root / "ledger.kept").rename(site.root / ".bootcfleet/ledger.db")

    base = lineage["ancestors"][-1]["digest"]
    say("channel", "promote", "web", "build", "dev", "--yes")
    out = say("image", "revoke", base, "-m", "bad base", "--yes", "--no-hosts")
    assert f"  channel     web dev #1 {lineage['digest']}" in out.splitlines()
    assert "bad base" in say("channel", "promote", "database", "build", "dev", "--yes", ends=3)
    site.write("containerfiles/plain/files/etc/names/fixed", "2\n")
    refused = say("image", "build", "--push", ends=3)
    assert "bad base" in refused
    say("image", "restore", base, "-m", "good after all", "--yes")
    say("channel", "promote", "database", "build", "dev", "--yes")
