"""The options that every lint takes: of images, of kickstarts, of disks."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class LintFormat(StrEnum):
    """How to print findings."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"


How = Annotated[LintFormat, typer.Option("--format", "-f", help="How to print the findings.")]
FindingsFile = Annotated[
    Path | None, typer.Option("--output", "-o", help="Write the findings into this file.")
]
StrictFlag = Annotated[bool, typer.Option("--strict", help="Warnings fail too.")]
ListRulesFlag = Annotated[
    bool, typer.Option("--list-rules", help="Print every rule, with reason and remedy.")
]
