"""The options that the fleet commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

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
Canary = Annotated[
    str, typer.Option(help="Hosts that go first, a count or a percentage; 0 for none.")
]
Batch = Annotated[str, typer.Option(help="Hosts of a wave, a count or a percentage of all.")]
MaxFailures = Annotated[int, typer.Option(help="Halt when more hosts than this failed.", min=0)]
Parallel = Annotated[
    int, typer.Option("--parallel", "-p", help="Hosts worked on at once.", min=1, max=1000)
]

BootTimeout = Annotated[
    float, typer.Option(help="Seconds until a rebooting host counts as lost.", min=1)
]
NoRevert = Annotated[
    bool, typer.Option("--no-revert", help="Leave a host with failed checks on the new image.")
]


@dataclass(frozen=True)
class Selection:
    """Which hosts of which inventory a command is about."""

    inventory: Path | None
    labels: list[str] | None
    groups: list[str] | None
    patterns: list[str] | None
