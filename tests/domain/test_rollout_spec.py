"""``rollouts:`` in the project: what is read from it, and file, line and field of every mistake."""

from __future__ import annotations

import re
from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, TypeAdapter

from bootcfleet.domain.budget_spec import BudgetSpec, PerLabelSpec
from bootcfleet.domain.health_spec import GateSpec, HealthSpec
from bootcfleet.domain.hook_spec import HookSpec, NotifySpec
from bootcfleet.domain.limit import Limit
from bootcfleet.domain.project import Project, parse_project
from bootcfleet.domain.rollout_policy import (
    Budgets,
    Download,
    HealthKind,
    HealthRule,
    Hook,
    HookKind,
    MetricGate,
    NotifyEvent,
    NotifyForm,
    NotifyTarget,
    OnFailure,
    OnHalt,
    Retries,
    RolloutPolicy,
    SoftReboot,
    Timeouts,
    WaveRule,
)
from bootcfleet.domain.rollout_spec import RetrySpec, RolloutSpec, TimeoutSpec
from bootcfleet.domain.wave_spec import BlueGreenSpec, WaveSpec
from bootcfleet.domain.window import Window, Windows
from bootcfleet.domain.window_spec import WindowSpec
from bootcfleet.drivers import yamlfile
from bootcfleet.errors import ConfigError

HEAD = "version: 1\nname: acme\nregistry: r.example/acme\n"
DOCS = (Path(__file__).parents[2] / "docs/rollout-policy.md").read_text()


def example() -> str:
    match = re.search(r"```yaml\n(.*?)```", DOCS, re.DOTALL)
    assert match
    return match[1]


def read(text: str) -> Project:
    return parse_project(yamlfile.parse(HEAD + text, "bootcfleet.yaml"))


def policy(text: str) -> RolloutPolicy:
    """The policy that flow YAML stands for."""
    return read(f"rollouts:\n  default: {text}\n").rollouts["default"].policy()


def local(*argv: str, timeout: float = 300.0) -> Hook:
    return Hook(HookKind.LOCAL, argv, timeout=timeout)


def test_the_example_of_the_documentation() -> None:
    rollouts = read(example()).rollouts
    assert rollouts["default"].policy() == RolloutPolicy(
        name="default",
        waves=(
            WaveRule("canary", "role=web", limit=Limit(1, True), success=100, bake=1800.0),
            WaveRule("web", "role=web"),
            WaveRule(
                "databases",
                "role in (db, cache)",
                approve=True,
                before=local("./announce", "{wave} of {rollout} begins"),
                after=Hook(HookKind.WEBHOOK, url="https://chat.example.com/hooks/done"),
            ),
        ),
        success=95,
        bake=600.0,
        budgets=Budgets(
            max_failures=Limit(2),
            max_unavailable=Limit(10, True),
            group_by=("cluster", "site"),
            per_group=Limit(1),
            downloads=50,
            reboots=20,
            downloads_label="site",
            downloads_per=5,
        ),
        windows=Windows(
            (
                Window("0 2 * * sat", 4 * 3600.0),
                Window("30 22 * * 1,2,3,4", 5.5 * 3600, wall=True),
            ),
            "Europe/Amsterdam",
            ((date(2026, 12, 20), date(2027, 1, 3)), (date(2027, 4, 27), date(2027, 4, 27))),
        ),
        download=Download.AHEAD,
        timeouts=Timeouts(offline=86400.0),
        health=(
            HealthRule(HealthKind.SYSTEM, allow=("kdump.service",)),
            HealthRule(HealthKind.GREENBOOT),
            HealthRule(
                HealthKind.HTTP, url="http://{address}:8080/healthz", status=(200, 204), retries=20
            ),
            HealthRule(HealthKind.TCP, port=5432),
            HealthRule(
                HealthKind.COMMAND,
                "replication",
                argv=("/usr/local/bin/check-replication", "--max-lag", "30"),
                timeout=60.0,
            ),
        ),
        gates=(
            MetricGate(
                "errors",
                "http://prometheus.example.com:9090",
                'sum(rate(http_requests_total{code=~"5.."}[5m])) / '
                "sum(rate(http_requests_total[5m]))",
                "<",
                0.01,
            ),
        ),
        soft_reboot=SoftReboot.AUTO,
        drain=(
            local("./lb", "drain", "{host}", timeout=120.0),
            Hook(HookKind.REMOTE, ("systemctl", "stop", "worker")),
        ),
        undrain=(local("./lb", "enable", "{host}"),),
        notify=(
            NotifyTarget(
                NotifyForm.SLACK,
                url_env="OPS_SLACK",
                events=(NotifyEvent.HALTED, NotifyEvent.APPROVAL, NotifyEvent.FINISHED),
            ),
        ),
    )
    assert rollouts["switch-over"].policy("switch-over") == RolloutPolicy(
        name="switch-over",
        waves=(
            WaveRule("green", "slot=green", success=100, bake=3600.0),
            WaveRule("blue", "slot=blue", approve=True, before=local("./lb", "switch", "green")),
        ),
        exclusive=True,
    )


def test_an_empty_policy_is_what_holds_without_one() -> None:
    assert policy("{}") == RolloutPolicy()


def test_the_journal_gives_a_policy_back() -> None:
    """A rollout keeps its policy as JSON."""
    adapter = TypeAdapter(RolloutPolicy)
    for spec in read(example()).rollouts.values():
        written = adapter.dump_json(spec.policy())
        assert adapter.validate_json(written) == spec.policy()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{canary: 0}", RolloutPolicy(canary=None)),
        ("{canary: 5%, batch: 10}", RolloutPolicy(canary=Limit(5, True), batch=Limit(10))),
        ("{success: 95}", RolloutPolicy(success=95)),
        ("{bake: 0}", RolloutPolicy(bake=0.0)),
        ("{bake: 90s}", RolloutPolicy(bake=90.0)),
        ("{offline: 2w}", RolloutPolicy(timeouts=Timeouts(offline=14 * 86400.0))),
        (
            "{timeouts: {stage: 1h, boot: 20m, settle: 90s, hook: 10s}, drain: [{local: [x, 1]}]}",
            RolloutPolicy(
                timeouts=Timeouts(3600.0, 1200.0, 90.0, 10.0),
                drain=(local("x", "1", timeout=10.0),),
            ),
        ),
        (
            "{retries: {attempts: 0, first: 1s, most: 1s}}",
            RolloutPolicy(retries=Retries(0, 1.0, 1.0)),
        ),
        (
            "{on_failure: queue-rollback, on_halt: rollback}",
            RolloutPolicy(on_failure=OnFailure.QUEUE, on_halt=OnHalt.ROLLBACK),
        ),
        (
            "{budgets: {max_failures: 5%, group_by: [cluster]}}",
            RolloutPolicy(
                budgets=Budgets(Limit(5, True), group_by=("cluster",), per_group=Limit(1))
            ),
        ),
        (
            "{budgets: {reboots_per: {label: rack, limit: 2}}}",
            RolloutPolicy(budgets=Budgets(reboots_label="rack", reboots_per=2)),
        ),
        (
            "{waves: [{groups: [dmz, all], hosts: ['web*', db1], bake: 0}]}",
            RolloutPolicy(
                waves=(WaveRule(groups=("dmz", "all"), hosts=("web*", "db1"), bake=0.0),)
            ),
        ),
        # As YAML reads 22:00 without quotes; a window over midnight; all days.
        (
            "{windows: [{from: 22:00, to: 06:00}]}",
            RolloutPolicy(windows=Windows((Window("0 22 * * *", 8 * 3600.0, wall=True),))),
        ),
        (
            "{windows: [{from: '00:00', to: '24:00', days: [sun, sat]}], time_zone: host}",
            RolloutPolicy(windows=Windows((Window("0 0 * * 0,6", 86400.0, wall=True),), "host")),
        ),
        (
            "{windows: [{from: '02:15', to: '02:15'}]}",
            RolloutPolicy(windows=Windows((Window("15 2 * * *", 86400.0, wall=True),))),
        ),
        (
            "{gates: [{name: a, server: 'http://p:9090/', query: up, threshold: '>=-1e-3', "
            "empty_ok: true, interval: 1m, timeout: 5s}]}",
            RolloutPolicy(
                gates=(MetricGate("a", "http://p:9090", "up", ">=", -0.001, True, 60.0, 5.0),)
            ),
        ),
        (
            "{notify: [{url: 'https://x.example/hook', token_env: T}]}",
            RolloutPolicy(notify=(NotifyTarget(url="https://x.example/hook", token_env="T"),)),
        ),
    ],
)
def test_a_policy(text: str, expected: RolloutPolicy) -> None:
    assert policy(text) == expected
    assert valid(text), "the published schema refuses it"


#: What the file says, the line after `rollouts:` that the error points at, its field (or the
#: beginning of it), words of its message and of its hint, and whether an editor can tell, too.
BAD: list[tuple[str, str, str, str | None, bool]] = [
    ("{wave: []}", "wave", "unknown key", "'waves'", True),
    ("{canary: many}", "canary", "'many' is not a number of hosts", "25%", True),
    ("{canary: -1}", "canary", "not a number of hosts", "25%", True),
    ("{batch: 0}", "batch", "not a number of hosts", "25%", True),
    ("{batch: 101%}", "batch", "not a number of hosts", "25%", False),
    ("{batch: true}", "batch", "not a number of hosts", "25%", True),
    ("{batch: 2.5}", "batch", "not a number of hosts", "25%", True),
    ("{success: 0}", "success", "is not a percentage", "95%", True),
    ("{success: 101}", "success", "is not a percentage", "95%", True),
    ("{bake: 30}", "bake", "30 is not a length of time", "30s", True),
    ("{bake: 30min}", "bake", "is not a length of time", "30s", True),
    ("{bake: 53w}", "bake", "is not a length of time", "30s", False),
    ("{bake: false}", "bake", "is not a length of time", "30s", True),
    ("{timeouts: {boot: 0s}}", "timeouts.boot", "too little", "30s", False),
    ("{timeouts: {reboot: 5m}}", "timeouts.reboot", "unknown key", "boot", True),
    ("{retries: {attempts: -1}}", "retries.attempts", "greater than or equal", None, True),
    ("{retries: {first: 10m}}", "retries.most", "is less than first", None, False),
    ("{on_failure: panic}", "on_failure", "'rollback'", None, True),
    ("{download: never}", "download", "'ahead'", None, True),
    # Waves.
    ("{waves: {a: 1}}", "waves", "", None, True),
    (
        "{waves: [{selector: 'role=(web'}]}",
        "waves[0].selector",
        "is not a condition",
        "role=web",
        False,
    ),
    ("{waves: [{groups: ['a b']}]}", "waves[0].groups[0]", "cannot be a group name", None, False),
    ("{waves: [{approve: yes}]}", "waves[0].approve", "'manual'", None, True),
    ("{waves: [{limit: 0}]}", "waves[0].limit", "not a number of hosts", None, True),
    (
        "{waves: [{name: a, limit: 1}, {name: a}]}",
        "waves",
        "two waves have the name 'a'",
        None,
        False,
    ),
    ("{waves: [{}, {selector: a}]}", "waves[0]", "takes every host", "a limit", False),
    ("{waves: [{limit: 1}], canary: 2}", "canary", "no effect beside waves", "limit: 1%", False),
    (
        "{waves: [{before: {remote: [x]}}]}",
        "waves[0].before",
        "there is no host to run it",
        None,
        False,
    ),
    (
        "{waves: [{after: {local: [x, '{host}']}}]}",
        "waves[0].after",
        "{host} stands for nothing here",
        None,
        False,
    ),
    # Blue-green.
    ("{blue_green: {green: a}}", "blue_green.blue", "is required", None, True),
    ("{blue_green: {green: a, blue: ''}}", "blue_green.blue", "not a condition", None, False),
    ("{blue_green: {green: a=1, blue: 'a=1 '}}", "blue_green", "the same set", None, False),
    ("{blue_green: {green: a, blue: '=1'}}", "blue_green.blue", "not a condition", None, False),
    (
        "{blue_green: {green: a, blue: b}, waves: [{limit: 1}]}",
        "waves",
        "no effect beside blue_green",
        "keep one",
        False,
    ),
    ("{blue_green: {green: a, blue: b}, batch: 1}", "batch", "no effect", None, False),
    # Budgets.
    ("{budgets: {max_unavailable: 0}}", "budgets.max_unavailable", "not a number", None, True),
    ("{budgets: {group_by: ['a b']}}", "budgets.group_by[0]", "a label's key", None, False),
    (
        "{budgets: {max_unavailable_per_group: 1}}",
        "budgets",
        "needs group_by",
        None,
        False,
    ),
    ("{budgets: {reboots: 0}}", "budgets.reboots", "greater than or equal", None, True),
    ("{budgets: {downloads_per: {label: a}}}", "budgets.downloads_per.limit", "is req", None, True),
    # Windows.
    ("{time_zone: Europe/Amsterdm}", "time_zone", "no time zone", "'Europe/Amsterdam'", False),
    ("{time_zone: UTC}", "time_zone", "no effect without windows", None, False),
    ("{windows: [{}]}", "windows[0]", "exactly one of cron, from; here: none", None, True),
    (
        "{windows: [{cron: 0 2 * * sat, from: '02:00'}]}",
        "windows[0]",
        "here: cron and from",
        None,
        True,
    ),
    ("{windows: [{cron: 0 2 * * sat}]}", "windows[0]", "needs a duration", None, False),
    ("{windows: [{cron: 0 2 * *, duration: 4h}]}", "windows[0]", "five fields", "0 2", False),
    ("{windows: [{cron: 0 25 * * *, duration: 4h}]}", "windows[0]", "wrong hour", "0 2", False),
    ("{windows: [{cron: 0 2 * * *, duration: 0s}]}", "windows[0].duration", "too l", None, False),
    (
        "{windows: [{cron: 0 2 * * *, duration: 1h, days: [sat]}]}",
        "windows[0]",
        "days and to go with from",
        None,
        False,
    ),
    ("{windows: [{from: '02:00'}]}", "windows[0]", "needs to", None, False),
    ("{windows: [{from: '02:00', to: '6'}]}", "windows[0].to", "not a time of day", '"02', True),
    ("{windows: [{from: '24:01', to: '06:00'}]}", "windows[0].from", "not a time of", None, False),
    ("{windows: [{from: '24:00', to: '06:00'}]}", "windows[0]", "write from: 00:00", None, False),
    ("{windows: [{from: 2, to: '06:00'}]}", "windows[0].from", "not a time of day", None, True),
    (
        "{windows: [{from: '02:00', to: '06:00', duration: 1h}]}",
        "windows[0]",
        "duration goes with cron",
        None,
        False,
    ),
    ("{windows: [{from: 02:00, to: 03:00, days: []}]}", "windows[0]", "no day", None, False),
    (
        "{windows: [{from: 02:00, to: 03:00, days: [caturday]}]}",
        "windows[0].days[0]",
        "'sat'",
        None,
        True,
    ),
    ("{blackout: [christmas]}", "blackout[0]", "no day and no days", "2026-12-24", True),
    ("{blackout: [2026-02-30]}", "", "is not valid YAML", None, False),
    ("{blackout: [2026-02-01..2026-02-30]}", "blackout[0]", "no day", None, False),
    ("{blackout: [2026-12-24..2026-12-20]}", "blackout[0]", "is before the first", None, False),
    # Health and gates.
    ("{health: [{}]}", "health[0]", "exactly one of system", None, True),
    ("{health: [{system: false}]}", "health[0]", "here: none", None, False),
    ("{health: [{tcp: 1, http: 'http://{host}'}]}", "health[0]", "tcp", None, True),
    ("{health: [{tcp: 0}]}", "health[0].tcp", "greater than or equal", None, True),
    ("{health: [{tcp: 22, allow: [x]}]}", "health[0]", "allow goes with system", None, False),
    ("{health: [{tcp: 22, status: [200]}]}", "health[0]", "status goes with http", None, False),
    ("{health: [{http: '{address}/'}]}", "health[0].http", "is not an address", None, False),
    ("{health: [{http: 'http://a:b@h/'}]}", "health[0].http", "user and password", None, False),
    (
        "{health: [{http: 'http://{adress}/'}]}",
        "health[0].http",
        "did you mean 'address'?",
        None,
        False,
    ),
    ("{health: [{command: systemctl status}]}", "health[0].command", "list of", "[sy", True),
    ("{health: [{command: []}]}", "health[0].command", "one word at least", None, True),
    ("{gates: [{name: a}]}", "gates[0].", "is required", None, True),
    (
        "{gates: [{name: a, server: 'http://p', query: up, threshold: 1}]}",
        "gates[0].threshold",
        "1 is not a threshold",
        "< 0.01",
        True,
    ),
    (
        "{gates: [{name: a, server: 'http://p', query: up, threshold: '=> 1'}]}",
        "gates[0].threshold",
        "is not a threshold",
        "< 0.01",
        True,
    ),
    (
        "{gates: [{name: a, server: 'p:9090', query: up, threshold: '< 1'}]}",
        "gates[0].server",
        "is not an address",
        "https://",
        False,
    ),
    (
        "{gates: [{name: a, server: 'http://me:secret@p', query: up, threshold: '< 1'}]}",
        "gates[0].server",
        "do not belong into this file",
        None,
        False,
    ),
    # Hooks and notifications.
    ("{drain: [{}]}", "drain[0]", "a hook is exactly one of", None, True),
    ("{drain: [{local: [a], remote: [b]}]}", "drain[0]", "local and remote", None, True),
    ("{drain: [{local: './lb drain {host}'}]}", "drain[0].local", "list of words", None, True),
    ("{drain: [{local: [x, '{hots}']}]}", "drain[0]", "stands for nothing here", None, False),
    ("{drain: [{webhook: 'ftp://x'}]}", "drain[0].webhook", "not an address", "https", False),
    ("{undrain: [{local: [x]}]}", "undrain", "no effect without drain", None, False),
    ("{notify: [{form: slack}]}", "notify[0]", "exactly one of url, url_env", None, True),
    (
        "{notify: [{form: slack, url: 'https://hooks.example/secret'}]}",
        "notify[0]",
        "is a secret",
        "url_env",
        False,
    ),
    ("{notify: [{url_env: 'A-B'}]}", "notify[0].url_env", "environment variable", None, False),
    ("{notify: [{url_env: A, events: [x]}]}", "notify[0].events[0]", "'halted'", None, True),
]


@pytest.mark.parametrize(
    ("text", "field", "words", "hint", "_editor"), BAD, ids=[one[0] for one in BAD]
)
def test_a_mistake_has_file_line_and_field(
    text: str, field: str, words: str, hint: str | None, _editor: bool
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(f"rollouts:\n  other: {{}}\n  default: {text}\n")
    if field:
        assert caught.value.message.startswith(f"bootcfleet.yaml:6: rollouts.default.{field}")
    assert words in caught.value.message
    assert "secret@" not in caught.value.message
    if hint:
        assert hint in (caught.value.hint or "")


def test_a_mistake_on_its_own_line() -> None:
    text = "rollouts:\n  default:\n    waves:\n      - name: a\n        selector: '='\n"
    with pytest.raises(ConfigError, match=r"bootcfleet.yaml:8: rollouts.default.waves\[0\]"):
        read(text)


def test_the_name_of_a_policy() -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a policy"):
        read("rollouts: {Prod: {}}\n")


def body(text: str) -> dict[str, Any]:
    data = yamlfile.parse(HEAD + f"rollouts:\n  default: {text}\n", "x").data
    assert isinstance(data, dict)
    return data


SCHEMA = Draft202012Validator(Project.model_json_schema(by_alias=True))


def valid(text: str) -> bool:
    return SCHEMA.is_valid(body(text))


def test_the_published_schema_takes_the_example() -> None:
    Draft202012Validator.check_schema(SCHEMA.schema)
    data = yamlfile.parse(HEAD + example().replace(", 2027-04-27", ""), "x").data
    assert [error.message for error in SCHEMA.iter_errors(data)] == []


@pytest.mark.parametrize(
    ("text", "editor"),
    [(one[0], one[4]) for one in BAD if one[1]],
    ids=[one[0] for one in BAD if one[1]],
)
def test_what_an_editor_can_tell(text: str, editor: bool) -> None:
    assert valid(text) is not editor


def test_every_default_of_the_schema_is_valid() -> None:
    """An editor offers the defaults: what it writes must be taken."""
    definitions = SCHEMA.schema["$defs"]
    for model in MODELS:
        for name, part in definitions[model.__name__]["properties"].items():
            if part.get("default") is not None:
                check = Draft202012Validator({**part, "$defs": definitions})
                assert check.is_valid(part["default"]), f"{model.__name__}.{name}"


MODELS: list[type[BaseModel]] = [
    RolloutSpec,
    WaveSpec,
    BlueGreenSpec,
    BudgetSpec,
    PerLabelSpec,
    WindowSpec,
    TimeoutSpec,
    RetrySpec,
    HealthSpec,
    GateSpec,
    HookSpec,
    NotifySpec,
]


@pytest.mark.parametrize("model", MODELS)
def test_every_field_is_described_and_documented(model: type[BaseModel]) -> None:
    words = re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", DOCS, flags=re.DOTALL))
    for name, info in model.model_fields.items():
        key = info.alias or name
        assert info.description, f"{model.__name__}.{key}"
        found = any(re.search(rf"(?:^|\.){re.escape(key)}(?:$|:)", word) for word in words)
        assert found, f"{model.__name__}: {key} is not in docs/rollout-policy.md"


def test_every_part_of_a_policy_can_be_written() -> None:
    """No field of the dataclasses is out of reach of the file."""
    given = {"exclusive", "name"}
    assert {one.name for one in fields(RolloutPolicy)} - given <= {*RolloutSpec.model_fields}
