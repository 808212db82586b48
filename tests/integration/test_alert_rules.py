"""The example rules of the documentation, judged and run by the real promtool."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from bootcfleet.domain.rollout_metrics import families
from bootcfleet.domain.rollout_tally import Tally
from tests.tools import need

pytestmark = pytest.mark.integration

DOCS = Path(__file__).parent.parent.parent / "docs" / "notifications.md"
OF = 'instance="ctl1", rollout="r1"'


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    [text] = re.findall(r"```yaml\n(groups:\n.*?)```", DOCS.read_text(), re.S)
    path = tmp_path / "rules.yml"
    path.write_text(text)
    return path


def promtool(*words: str, folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        [need("promtool"), *words], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_the_rules_are_right_and_name_metrics_that_there_are(rules: Path) -> None:
    code, said = promtool("check", "rules", rules.name, folder=rules.parent)
    assert code == 0, said
    assert "4 rules found" in said
    known = {family.name for family in families(Tally(), 0)}
    used = set(re.findall(r"bootcfleet_rollout_\w+", rules.read_text()))
    assert used
    assert used <= known
    documented = set(re.findall(r"`(bootcfleet_rollout_\w+)`", DOCS.read_text()))
    documented |= {f"bootcfleet_rollout{end}" for end in re.findall(r"`(_\w+)`", DOCS.read_text())}
    assert documented == known


def alert(name: str, severity: str, at: str, *, fires: bool, **annotations: str) -> str:
    found = f"""
        - alertname: {name}
          eval_time: {at}
          exp_alerts:"""
    if not fires:
        return found + " []"
    lines = "".join(f'\n                {key}: "{value}"' for key, value in annotations.items())
    return f"""{found}
            - exp_labels: {{severity: {severity}, {OF.replace("=", ": ")}ANY}}
              exp_annotations:{lines}""".replace(
        "ANY", ', state: "waiting"' if name == "RolloutWaits" else ""
    )


def test_they_fire_when_they_should(rules: Path) -> None:
    """r1 waits for five hours, then four of ten hosts fail and it is halted; then nobody writes."""
    series = {
        f'bootcfleet_rollout_state{{{OF}, state="waiting"}}': "1x300 0x300",
        f"bootcfleet_rollout_halted{{{OF}}}": "0x320 1x280",
        f"bootcfleet_rollout_finished{{{OF}}}": "0x600",
        f"bootcfleet_rollout_failures{{{OF}}}": "0x310 4x290",
        f'bootcfleet_rollout_hosts{{{OF}, phase="updated"}}': "6x600",
        f'bootcfleet_rollout_hosts{{{OF}, phase="failed"}}': "4x600",
        f"bootcfleet_rollout_update_timestamp_seconds{{{OF}}}": "0+60x400 24000x200",
    }
    inputs = "".join(
        f"\n      - series: '{name}'\n        values: '{values}'" for name, values in series.items()
    )
    halted = {
        "summary": "Rollout r1 was halted",
        "description": "bootcfleet rollout show r1",
    }
    gone = {
        "summary": "The controller of rollout r1 is gone",
        "description": "bootcfleet rollout resume r1",
    }
    waits = {"summary": "Rollout r1 has waited for four hours"}
    fail = {"summary": "More than 5 % of the hosts of rollout r1 failed"}
    cases = "".join(
        [
            alert("RolloutWaits", "info", "230m", fires=False, **waits),
            alert("RolloutWaits", "info", "250m", fires=True, **waits),
            alert("RolloutHostsFail", "warning", "300m", fires=False, **fail),
            alert("RolloutHostsFail", "warning", "315m", fires=True, **fail),
            alert("RolloutHalted", "critical", "310m", fires=False, **halted),
            alert("RolloutHalted", "critical", "330m", fires=True, **halted),
            alert("RolloutControllerGone", "warning", "400m", fires=False, **gone),
            alert("RolloutControllerGone", "warning", "410m", fires=True, **gone),
        ]
    )
    test = rules.parent / "test.yml"
    test.write_text(
        f"""
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:{inputs}
    alert_rule_test:{cases}
"""
    )
    code, said = promtool("test", "rules", "test.yml", folder=rules.parent)
    assert code == 0, said
