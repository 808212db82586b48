"""systemd's state and greenboot's verdict, as they are judged."""

from __future__ import annotations

import pytest

from bootcfleet.domain.health import (
    GREENBOOT_UNITS,
    Verdict,
    judge_system,
    read_greenboot,
    with_system,
)
from bootcfleet.domain.rollout_policy import HealthKind, HealthRule


@pytest.mark.parametrize(
    ("state", "failed", "more", "why"),
    [
        ("running", (), {}, None),
        ("running", (), {"before_state": "degraded"}, None),
        ("degraded", ("a.service",), {}, "degraded (failed units: a.service)"),
        ("degraded", ("a.service", "b.service"), {"allow": ("a*",)}, "(failed units: b.service)"),
        ("degraded", ("a.service", "b.timer"), {"allow": ("a*", "*.timer")}, None),
        ("degraded", ("a.service",), {"allow": ("A*", "a")}, "(failed units: a.service)"),
        # Before: by what was not said, by the same, by others.
        ("degraded", ("a.service",), {"before_state": "degraded"}, None),
        (
            "degraded",
            ("a.service",),
            {"before_state": "degraded", "before_units": ("a.service", "b.service")},
            None,
        ),
        (
            "degraded",
            ("a.service", "c.service"),
            {"before_state": "degraded", "before_units": ("a.service",)},
            "degraded (failed units: c.service)",
        ),
        (
            "degraded",
            ("a.service", "c.service"),
            {"before_state": "degraded", "before_units": ("a.service",), "allow": ("c.*",)},
            None,
        ),
        # A unit that failed and was reset meanwhile.
        ("degraded", (), {}, "systemd says degraded"),
        ("degraded", (), {"allow": ("*",)}, "systemd says degraded"),
        ("degraded", (), {"before_state": "degraded"}, None),
        ("starting", (), {}, "systemd says starting"),
        ("maintenance", (), {}, "systemd says maintenance"),
        ("maintenance", (), {"before_state": "maintenance"}, None),
        ("starting", (), {"before_state": "starting"}, "systemd says starting"),
        ("stopping", (), {"before_state": "degraded"}, "systemd says stopping"),
        ("", (), {}, "systemd says nothing"),
    ],
)
def test_the_system(
    state: str, failed: tuple[str, ...], more: dict[str, object], why: str | None
) -> None:
    found = judge_system(state, failed, **more)  # type: ignore[arg-type]
    if why is None:
        assert found is None
    else:
        assert found is not None
        assert found.endswith(why)


def test_the_system_is_asked_first_once_and_always() -> None:
    tcp = HealthRule(HealthKind.TCP, port=22)
    assert with_system(()) == (HealthRule(HealthKind.SYSTEM),)
    rules = (tcp, HealthRule(HealthKind.SYSTEM, allow=("a", "b")))
    both = (*rules, HealthRule(HealthKind.SYSTEM, allow=("b", "c")))
    assert with_system(both) == (HealthRule(HealthKind.SYSTEM, allow=("a", "b", "c")), tcp)


def shown(check: str, complete: str = "loaded static inactive success") -> str:
    blocks = []
    for name, words in zip(GREENBOOT_UNITS, (check, complete), strict=True):
        load, file, active, result = words.split()
        file = "" if file == "-" else file
        blocks.append(
            f"Result={result}\nId={name}\nLoadState={load}\nActiveState={active}\n"
            f"UnitFileState={file}\n"
        )
    return "\n".join(blocks)


@pytest.mark.parametrize(
    ("text", "verdict", "message"),
    [
        ("", Verdict.NONE, ""),
        ("Failed to connect to bus\n", Verdict.NONE, ""),
        (shown("not-found - inactive success"), Verdict.NONE, ""),
        (shown("masked masked inactive success"), Verdict.NONE, ""),
        (shown("loaded disabled inactive success"), Verdict.NONE, ""),
        (shown("loaded enabled inactive success"), Verdict.RUNNING, "service is inactive"),
        (shown("loaded enabled activating success"), Verdict.RUNNING, "service is activating"),
        (shown("loaded enabled active success"), Verdict.RUNNING, "target is not reached"),
        (
            shown("loaded enabled active success", "loaded static active success"),
            Verdict.PASSED,
            "",
        ),
        # Where it does not remain after its end, the target tells.
        (
            shown("loaded enabled inactive success", "loaded static active success"),
            Verdict.PASSED,
            "",
        ),
        (
            shown("loaded enabled active success", "not-found - inactive success"),
            Verdict.PASSED,
            "",
        ),
        (shown("loaded enabled failed exit-code"), Verdict.FAILED, "service failed (exit-code)"),
        (
            shown("loaded disabled failed timeout", "loaded static active success"),
            Verdict.FAILED,
            "service failed (timeout)",
        ),
    ],
)
def test_greenboot(text: str, verdict: Verdict, message: str) -> None:
    found = read_greenboot(text)
    assert found.verdict is verdict
    assert found.message.endswith(message)
