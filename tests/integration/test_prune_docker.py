"""Revocation and pruning in the real docker-registry, which has no referrers API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bootcfleet.domain.impact import HostSurvey
from bootcfleet.domain.lineage import Lineage
from bootcfleet.domain.reference import Digest, ImageRef
from bootcfleet.domain.revocation import ARTIFACT_TYPE
from bootcfleet.drivers.labimage import push_image
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.ops import prune
from bootcfleet.ops.channel import open_channels
from bootcfleet.ops.lineage import Located
from bootcfleet.ops.project import load_project
from bootcfleet.ops.promote import promote_now
from bootcfleet.ops.revocation import load_revocations
from bootcfleet.ops.revoke import plan_revocation, revoke

pytestmark = pytest.mark.integration
OLD = datetime.now(UTC) - timedelta(days=9)


def test_revoke_move_back_and_prune(docker_registry: str, tmp_path: Path) -> None:
    prefix = f"{docker_registry}/prune"
    (tmp_path / "bootcfleet.yaml").write_text(
        f"version: 1\nname: acme\nregistry: {prefix}\nchannels: {{dev: {{}}}}\n"
        "images: {web: {base: 'quay.io/fedora/fedora-bootc:42'}}\n"
    )
    loaded = load_project(tmp_path)
    ledger = Ledger.open(loaded.project.ledger, base=tmp_path)
    digests = []
    for number in range(4):
        digest = push_image(
            docker_registry, "prune/web", f"bf-{number:032x}", version=str(number),
            files={"v": str(number).encode()}, created=OLD,
        )  # fmt: skip
        ledger.record(
            "image.build", "web", "built", actor="ci@x", now=OLD + timedelta(hours=number),
            digests={"image": str(digest)},
        )  # fmt: skip
        digests.append(str(digest))
    ledger.close()
    web = ImageRef.parse(f"{prefix}/web")
    with open_channels(loaded) as channels:
        for digest in digests[:2]:
            promote_now(channels, ["web"], digest, "dev")
        bad = Digest(digests[1])
        plan = plan_revocation(
            channels, Lineage.of(channels.ledger), load_revocations(channels.ledger),
            Located(str(bad), web.with_digest(bad)), "bad", HostSurvey(False), rollback=True,
        )  # fmt: skip
        entries, problem = revoke(channels, plan)
        assert problem is None
        assert [entry.digest for entry in entries] == [digests[0]]
        (notice,) = channels.artifacts.referrers(web, bad, ARTIFACT_TYPE)

        found = prune.plan(channels, HostSurvey(True), keep=1, younger_than=timedelta(hours=0))
        gone = {one.stored.digest for one in found.delete}
        # Kept: the channel's, and the newest build. The notice goes with its image.
        assert gone & set(digests) == {digests[1], digests[2]}
        assert str(notice.digest) in gone
        assert prune.prune(channels, found) == len(found.delete)
        for digest in digests:
            there = channels.registry.exists(web.with_digest(Digest(digest)))
            assert there == (digest in (digests[0], digests[3]))
        assert channels.found(web.with_tag("dev")) == digests[0]
        again = prune.plan(channels, HostSurvey(True), keep=1, younger_than=timedelta(hours=0))
        assert again.delete == ()
