"""The options that the fleet commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from bootcfleet.cli.output import DryRunFlag, JsonFlag, YesFlag

InventoryFile = Annotated[
    Path | None,
    typer.Option(
        "--inventory",
        "-i",
        help="inventory.yaml, or an Ansible inventory (INI, YAML, executable). Default: the "
        "project's.",
        show_default=False,
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--selector", "-l", help="Labels: role=web,site!=ams; repeatable.", show_default=False
    ),
]
Groups = Annotated[
    list[str] | None,
    typer.Option("--group", "-g", help="Members of a group; repeatable.", show_default=False),
]
HostNames = Annotated[
    list[str] | None,
    typer.Argument(help="Host names or globs; all hosts without any.", show_default=False),
]
Parallel = Annotated[
    int, typer.Option("--parallel", "-p", help="Hosts worked on at once.", min=1, max=1000)
]

PolicyName = Annotated[
    str | None,
    typer.Option(
        "--policy",
        help="A policy of `rollouts:` in bootcfleet.yaml; `default` where the project has one.",
        rich_help_panel="Policy",
        show_default=False,
    ),
]
Canary = Annotated[
    str | None,
    typer.Option(
        help="Hosts that go first, a count or a percentage; 0 for none. Default: 1.",
        rich_help_panel="Policy",
        show_default=False,
    ),
]
Batch = Annotated[
    str | None,
    typer.Option(
        help="Hosts of a wave, a count or a percentage of all. Default: 25%.",
        rich_help_panel="Policy",
        show_default=False,
    ),
]
Success = Annotated[
    str | None,
    typer.Option(
        help="Least percentage of a wave's hosts that must end well.",
        rich_help_panel="Policy",
        show_default=False,
    ),
]
Bake = Annotated[
    str | None,
    typer.Option(
        help="How long a wave is watched before the next: 30m.",
        rich_help_panel="Policy",
        show_default=False,
    ),
]
MaxFailures = Annotated[
    str | None,
    typer.Option(
        help="Halt when more hosts than this failed; a count or a percentage. Default: 0.",
        rich_help_panel="Policy",
        show_default=False,
    ),
]
MaxUnavailable = Annotated[
    str | None,
    typer.Option(
        help="Hosts that may be away at once, a count or a percentage.",
        rich_help_panel="Policy",
        show_default=False,
    ),
]
Offline = Annotated[
    str | None,
    typer.Option(
        help="How long to stay open for hosts that cannot be reached: 12h.",
        rich_help_panel="Policy",
        show_default=False,
    ),
]
Retries = Annotated[
    int | None,
    typer.Option(
        help="How often what may pass is tried again. Default: 3.",
        rich_help_panel="Policy",
        show_default=False,
        min=0,
    ),
]
BootTimeout = Annotated[
    float | None,
    typer.Option(
        help="Seconds until a rebooting host counts as lost. Default: 900.",
        rich_help_panel="Policy",
        show_default=False,
    ),
]
OnFailure = Annotated[
    str | None,
    typer.Option(
        help="A host that is not healthy: rollback, queue-rollback or leave. Default: rollback.",
        rich_help_panel="Policy",
        show_default=False,
    ),
]
OnHalt = Annotated[
    str | None,
    typer.Option(
        help="Hosts that were updated, when the rollout halts: leave or rollback. Default: leave.",
        rich_help_panel="Policy",
        show_default=False,
    ),
]
SoftReboot = Annotated[
    str | None,
    typer.Option(
        help="Restart userspace alone where the host can: auto or never. Default: never.",
        rich_help_panel="Policy",
        show_default=False,
    ),
]
IgnoreWindows = Annotated[
    bool,
    typer.Option(
        "--ignore-windows",
        help="Reboot now, whatever the policy's maintenance windows say.",
        rich_help_panel="Policy",
    ),
]
NoRevert = Annotated[
    bool,
    typer.Option(
        "--no-revert",
        help="The same as --on-failure leave.",
        rich_help_panel="Policy",
    ),
]
MetricsFile = Annotated[
    Path | None,
    typer.Option(
        "--metrics-file",
        help="Keep Prometheus metrics in this file, for node_exporter's textfile collector.",
        rich_help_panel="Telling others",
        show_default=False,
    ),
]
MetricsListen = Annotated[
    str | None,
    typer.Option(
        "--metrics-listen",
        help="Serve Prometheus metrics at ADDRESS:PORT while the rollout runs.",
        rich_help_panel="Telling others",
        show_default=False,
    ),
]
Accept = Annotated[
    list[str] | None,
    typer.Option(
        "--accept",
        help="What the preflight wants confirmed, by its name: major-release. Repeatable.",
        show_default=False,
    ),
]
ExecutorAt = Annotated[
    str | None,
    typer.Option(
        "--executor",
        help="Where SSH runs: dask://HOST:PORT spreads it over a Dask cluster.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Selection:
    """Which hosts of which inventory a command is about."""

    inventory: Path | None
    labels: list[str] | None
    groups: list[str] | None
    patterns: list[str] | None


@dataclass(frozen=True)
class Pace:
    """The options that say how a rollout goes; None leaves it to the policy."""

    policy: PolicyName = None
    canary: Canary = None
    batch: Batch = None
    success: Success = None
    bake: Bake = None
    max_failures: MaxFailures = None
    max_unavailable: MaxUnavailable = None
    offline: Offline = None
    retries: Retries = None
    boot_timeout: BootTimeout = None
    soft_reboot: SoftReboot = None
    ignore_windows: IgnoreWindows = False


@dataclass(frozen=True)
class Failing:
    """The options that say what a failure leads to, of rollouts that move hosts forward."""

    on_failure: OnFailure = None
    no_revert: NoRevert = False
    on_halt: OnHalt = None


@dataclass(frozen=True)
class Running:
    """The options that say how the controller works."""

    parallel: Parallel = 50
    executor: ExecutorAt = None
    metrics_file: MetricsFile = None
    metrics_listen: MetricsListen = None


@dataclass(frozen=True)
class Asking:
    """The options that say what is asked before, and how it is printed."""

    accept: Accept = None
    dry_run: DryRunFlag = False
    yes: YesFlag = False
    as_json: JsonFlag = False
