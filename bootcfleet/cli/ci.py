"""`bootcfleet ci`: pipelines for continuous integration."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from bootcfleet.cli.output import DryRunFlag, JsonFlag, Output

app = typer.Typer(no_args_is_help=True, help="Write pipelines for continuous integration.")


class ProviderName(StrEnum):
    """The names of `domain.pipeline.Provider`."""

    GITHUB = "github"
    GITLAB = "gitlab"
    JENKINS = "jenkins"
    TEKTON = "tekton"


@app.callback()
def group() -> None:
    """Write pipelines for continuous integration."""


@app.command()
def init(
    provider: Annotated[
        ProviderName, typer.Option("--provider", "-p", help="Who runs it.", show_default=False)
    ],
    branch: Annotated[str, typer.Option(help="The branch that is built.")] = "main",
    package: Annotated[
        str | None,
        typer.Option(
            help="What pip installs on the runners. Default: this version.", show_default=False
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    dry_run: DryRunFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Write a pipeline that plans, lints, builds, checks and promotes the images of the project.

    Changes are planned and linted, the main branch is built and promoted to the first channel,
    further promotions are started by hand, and a scheduled job moves the lock.
    """
    from bootcfleet.domain.pipeline import Provider
    from bootcfleet.ops.ci import plan_ci, write_ci
    from bootcfleet.ops.project import load_project

    output = Output(as_json=as_json)
    planned = plan_ci(load_project(), Provider(provider.value), branch=branch, package=package)
    if not dry_run:
        write_ci(planned, force=force)
    written = not dry_run and not planned.same
    if as_json:
        output.json(
            {
                "file": str(planned.path),
                "written": written,
                "replaced": written and planned.there,
                "text": planned.text,
                "jobs": [
                    {
                        "name": job.name,
                        "when": [when.value for when in job.when],
                        "needs": list(job.needs),
                    }
                    for job in planned.pipeline.jobs
                ],
                "secrets": list(planned.pipeline.secrets),
                "notes": list(planned.notes),
            }
        )
        return
    if dry_run:
        output.line(planned.text.rstrip("\n"))
        return
    if planned.same:
        output.line(f"{planned.path} is there already")
    else:
        output.line(f"{'replaced' if planned.there else 'wrote'} {planned.path}")
    if planned.pipeline.secrets:
        output.line("it needs these in the provider's secret store:")
        for name in planned.pipeline.secrets:
            output.line(f"  {name}")
    for note in planned.notes:
        output.line(f"note: {note}")
