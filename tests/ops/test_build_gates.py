"""What a build refuses before it starts, and what it warns of."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from bootcfleet.domain.plan import BuildAction, BuildPlan, BuildStep, Known
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.errors import ChecksFailedError
from bootcfleet.ops.audit import open_ledger
from bootcfleet.ops.build_gates import BuildGuard
from bootcfleet.ops.project import LoadedProject, load_project

NOW = datetime(2026, 11, 21, tzinfo=UTC)
BASE = "registry.example.com/base@sha256:" + "1a" * 32
SOE = "registry.example.com/acme/soe@sha256:" + "2b" * 32
WEB = "registry.example.com/acme/web@sha256:" + "3c" * 32


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedProject:
    (tmp_path / "bootcfleet.yaml").write_text(
        "version: 1\nname: acme\nregistry: registry.example.com/acme\nimages:\n"
        f"  soe: {{base: '{BASE}', end_of_life: 2026-12-31}}\n"
        "  web: {from: soe}\n"
    )
    return load_project(tmp_path)


@pytest.fixture
def ledger(loaded: LoadedProject) -> Ledger:
    ledger = open_ledger(loaded)
    for name, image, base in (("soe", SOE, BASE), ("web", WEB, SOE)):
        digests = {"image": image.partition("@")[2], "base": base}
        ledger.record("image.build", name, "built", actor="me", now=NOW, digests=digests)
    return ledger


def revoke(ledger: Ledger, reference: str) -> None:
    ledger.record(
        "image.revoke", "soe", "revoked", actor="eve@host", now=NOW,
        digests={"image": reference.partition("@")[2]}, details={"reason": "CVE-1"},
    )  # fmt: skip


def build(image: str, base: str | None, parent: str | None = None) -> BuildStep:
    return BuildStep(image, BuildAction.BUILD, "never built", parent, base)


def skip(image: str, reference: str, parent: str | None = None) -> BuildStep:
    known = Known(reference, "0" * 64, digest=reference.partition("@")[2])
    return BuildStep(image, BuildAction.SKIP, "unchanged", parent, known=known)


def guard(loaded: LoadedProject, ledger: Ledger, at: datetime = NOW) -> BuildGuard:
    return BuildGuard.of(loaded, ledger, at.date())


def test_an_end_that_is_near_is_a_warning(loaded: LoadedProject, ledger: Ledger) -> None:
    plan = BuildPlan((build("soe", BASE), build("web", None, "soe")))
    assert guard(loaded, ledger).require(plan) == (
        "soe reaches its end of life in 40 days, on 2026-12-31",
        "web with soe, its ancestor, reaches its end of life in 40 days, on 2026-12-31",
    )


def test_an_end_that_is_over_blocks_what_would_be_built(
    loaded: LoadedProject, ledger: Ledger
) -> None:
    late = guard(loaded, ledger, datetime(2027, 1, 1, tzinfo=UTC))
    with pytest.raises(ChecksFailedError) as caught:
        late.require(BuildPlan((build("soe", BASE), build("web", None, "soe"))))
    assert caught.value.message == "2 images of this plan must not be built"
    assert caught.value.details[0] == "soe reached its end of life on 2026-12-31"
    # What is not built is not refused, and it is no secret either.
    assert late.require(BuildPlan((skip("soe", SOE), skip("web", WEB, "soe")))) == (
        "soe reached its end of life on 2026-12-31",
        "web with soe, its ancestor, reached its end of life on 2026-12-31",
    )


@pytest.mark.parametrize("revoked", [BASE, SOE])
def test_nothing_is_built_on_what_is_revoked_or_stands_on_it(
    loaded: LoadedProject, ledger: Ledger, revoked: str
) -> None:
    revoke(ledger, revoked)
    plan = BuildPlan((skip("soe", SOE), build("web", SOE, "soe")))
    with pytest.raises(ChecksFailedError) as caught:
        guard(loaded, ledger).require(plan)
    assert caught.value.details[0].startswith("soe: the image that it has is revoked, ")
    assert caught.value.details[1].startswith("web: its base is revoked: ")
    assert "by eve@host: CVE-1" in caught.value.details[1]
    assert caught.value.hint == "give soe another `rebuild:` in bootcfleet.yaml to build it anew"


def test_a_revoked_leaf_that_is_not_built_on_is_a_warning(
    loaded: LoadedProject, ledger: Ledger
) -> None:
    revoke(ledger, WEB)
    plan = BuildPlan((skip("soe", SOE), skip("web", WEB, "soe")))
    warnings = guard(loaded, ledger).require(plan)
    assert warnings[-1].startswith("web: the image that it has is revoked, ")
    assert "give web another `rebuild:`" in warnings[-1]


def test_what_was_restored_is_built_on(loaded: LoadedProject, ledger: Ledger) -> None:
    revoke(ledger, SOE)
    ledger.record(
        "image.restore", "soe", "restored", actor="me", now=NOW,
        digests={"image": SOE.partition("@")[2]}, details={"reason": "wrong"},
    )  # fmt: skip
    plan = BuildPlan((skip("soe", SOE), build("web", SOE, "soe")))
    assert len(guard(loaded, ledger).require(plan)) == 2
