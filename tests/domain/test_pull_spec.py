"""``pull:`` of a rollout policy: what it stands for, and what cannot be."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel, TypeAdapter

from bootcfleet.domain.limit import Limit
from bootcfleet.domain.project import Project, parse_project
from bootcfleet.domain.pull_policy import PullChannel, PullPlan, PullPolicy
from bootcfleet.domain.pull_spec import PullChannelSpec, PullSpec
from bootcfleet.domain.rollout_policy import MetricGate
from bootcfleet.drivers import yamlfile
from bootcfleet.errors import ConfigError

DOCS = (Path(__file__).parents[2] / "docs/pull-mode.md").read_text()
HEAD = "version: 1\nname: acme\nregistry: r.example/acme\nimages: {web: {base: 'r.example/b:1'}}\n"
CHANNELS = "channels: {test: {}, prod-canary: {from: test}, prod: {from: prod-canary}}\n"


def read(text: str) -> Project:
    return parse_project(yamlfile.parse(HEAD + text, "bootcfleet.yaml"))


def policy(text: str) -> PullPolicy:
    found = read(f"{CHANNELS}rollouts:\n  edge: {text}\n").rollouts["edge"].pull_policy("edge")
    assert found is not None
    return found


def test_the_example_of_the_documentation() -> None:
    match = re.search(r"```yaml\n(.*?)```", DOCS, re.DOTALL)
    assert match
    found = read(match[1]).rollouts["edge"].pull_policy("edge")
    errors = MetricGate("errors", "http://prometheus.example:9090", "job:errors:rate5m", "<", 0.01)
    rest = {"success": 95, "bake": 43200.0, "gates": (errors,)}
    assert found == PullPolicy(
        (
            PullChannel("prod-canary", Limit(5), 100, 86400.0, gates=(errors,)),
            PullChannel("prod-1", approve=True, **rest),  # type: ignore[arg-type]
            PullChannel("prod", **rest),  # type: ignore[arg-type]
        ),
        name="edge",
    )


def test_names_alone() -> None:
    assert policy("{pull: {channels: [prod-canary, prod]}}") == PullPolicy(
        (PullChannel("prod-canary"), PullChannel("prod")), name="edge"
    )
    assert read("rollouts: {edge: {bake: 1h}}\n").rollouts["edge"].pull_policy("edge") is None


def test_all_of_it() -> None:
    gate = "{name: g, server: 'http://p', query: up, threshold: '> 0'}"
    found = policy(
        "{pull: {poll: 1m, silence: 0, channels: [{channel: prod-canary, sample: 5%, "
        "success: 80%, bake: 0, deadline: 8d, hosts: 'ring=0', approve: manual, "
        f"gates: [{gate}]}}]}}}}"
    )
    assert found == PullPolicy(
        (
            PullChannel(
                "prod-canary", Limit(5, True), 80, 0.0, 8 * 86400.0, "ring=0",
                (MetricGate("g", "http://p", "up", ">", 0.0),), True,
            ),
        ),
        60.0, 0.0, "edge",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("pull", "message"),
    [
        ("{channels: []}", "at least 1 item"),
        ("{channels: [prod-cnary]}", "there is no channel 'prod-cnary'"),
        ("{channels: [prod, prod-canary]}", "prod-canary is promoted from test, and stands after"),
        ("{channels: [prod, prod]}", "two channels have the name 'prod'"),
        ("{channels: [{channel: prod, smaple: 3}]}", "smaple"),
        ("{channels: [{channel: prod, deadline: 0}]}", "no time at all is too little"),
        ("{channels: [{channel: prod, hosts: '='}]}", "is not a condition"),
    ],
)
def test_what_cannot_be(pull: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        policy(f"{{pull: {pull}}}")
    assert message in caught.value.message
    assert caught.value.line is not None


@pytest.mark.parametrize("model", [PullSpec, PullChannelSpec])
def test_every_field_is_described_and_documented(model: type[BaseModel]) -> None:
    for name, info in model.model_fields.items():
        assert info.description
        assert f"| `{name}` |" in DOCS, f"{name} is not in docs/pull-mode.md"


def test_the_journal_gives_a_plan_back() -> None:
    plan = PullPlan(
        "r1", "web", "sha256:" + "a" * 64, frozenset({"a", "b"}), "test",
        policy("{pull: {channels: [{channel: prod-canary, sample: 5%}, prod]}}"),
        {"prod": "r/web:prod"}, {"prod": 7}, "1.0", "/x",
    )  # fmt: skip
    adapter = TypeAdapter(PullPlan)
    assert adapter.validate_json(adapter.dump_json(plan)) == plan


def test_every_option_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    from bootcfleet.cli.app import run

    everywhere = {"--help", "--json", "--inventory", "--selector", "--group", "--yes", "--parallel"}
    for words in (["fleet", "enroll"], ["rollout", "pull"]):
        assert run([*words, "--help"]) == 0
        options = set(re.findall(r"(--[a-z][a-z-]+)", capsys.readouterr().out))
        for option in options - everywhere:
            assert option in DOCS, f"{option} of {' '.join(words)} is not in docs/pull-mode.md"
