"""Options that are written once and taken by several commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from bootcfleet.cli.bundle import bundled


@dataclass(frozen=True)
class Speed:
    fast: Annotated[bool, typer.Option("--fast", help="At once.")] = False
    steps: Annotated[int, typer.Option(help="How many.", min=1)] = 3


def go(where: str, speed: Speed, twice: Annotated[bool, typer.Option("--twice")] = False) -> None:
    """Go there."""
    typer.echo(f"{where} {speed} {twice}")


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command()(bundled(go))
    app.command("other")(bundled(go))
    return app


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["there"], "there Speed(fast=False, steps=3) False"),
        (["there", "--fast", "--steps", "7", "--twice"], "there Speed(fast=True, steps=7) True"),
    ],
)
def test_the_fields_are_options(app: typer.Typer, words: list[str], said: str) -> None:
    for name in ("go", "other"):
        done = CliRunner().invoke(app, [name, *words])
        assert done.exit_code == 0, done.output
        assert done.output.strip() == said


def test_their_rules_hold_and_the_help_has_them(app: typer.Typer) -> None:
    assert CliRunner().invoke(app, ["go", "there", "--steps", "0"]).exit_code == 2
    help_ = CliRunner().invoke(app, ["go", "--help"], env={"COLUMNS": "120"}).output
    assert "At once." in help_
    assert "Go there." in help_


def test_two_options_of_one_name_are_a_defect() -> None:
    def twice(speed: Speed, fast: bool = False) -> None:
        """Two of them."""

    with pytest.raises(ValueError, match="duplicate parameter name: 'fast'"):
        bundled(twice)
