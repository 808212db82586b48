"""The lab's faults, as they are written."""

from __future__ import annotations

import pytest

from bootcfleet.domain.faults import COUNTED, DESCRIPTIONS, NUMBERED, Fault, FaultSpec, spelled
from bootcfleet.errors import UsageError


@pytest.mark.parametrize(
    ("text", "number"),
    [("disk-full", 0), ("returns-after=2.5", 2.5), ("registry-5xx=3", 3), ("rate-limited=0", 0)],
)
def test_what_is_written_is_read(text: str, number: float) -> None:
    spec = FaultSpec.parse(text)
    assert (spec.number, str(spec)) == (number, text)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("disk-full=3", "write disk-full"),
        ("returns-after", "write returns-after=20"),
        ("slow-pull=", "write slow-pull=20"),
        ("slow-pull=soon", "write slow-pull=20"),
        ("registry-5xx=2.5", "write registry-5xx=3"),
        ("registry-5xx=-1", "write registry-5xx=3"),
        ("lock-held-for=1e9", "write lock-held-for=20"),
        ("disk-ful", "disk-full"),
    ],
)
def test_a_mistake_says_how_it_is_written(text: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        FaultSpec.parse(text)
    assert hint in (caught.value.hint or "")


def test_every_fault_has_its_sentence_and_its_number() -> None:
    assert set(DESCRIPTIONS) == set(Fault)
    assert set(NUMBERED) >= COUNTED
    for fault in Fault:
        assert (" N " in DESCRIPTIONS[fault]) == (fault in NUMBERED)
        assert spelled(fault) == (f"{fault}=N" if fault in NUMBERED else str(fault))
        FaultSpec.parse(spelled(fault).replace("N", "1") if fault in NUMBERED else str(fault))
