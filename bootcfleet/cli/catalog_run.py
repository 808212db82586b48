"""What `catalog` does once its options are read."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from bootcfleet.cli.output import Output, ask_secret
from bootcfleet.domain.catalog import html, markdown
from bootcfleet.domain.impact import HostSurvey
from bootcfleet.domain.reference import Platform
from bootcfleet.drivers.command import LocalExecutor, write_atomic
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.ops.catalog import make_catalog
from bootcfleet.ops.imagecontents import Reader
from bootcfleet.ops.plan import this_platform
from bootcfleet.ops.project import load_project
from bootcfleet.ops.render import ProjectImages
from bootcfleet.ops.survey import find_hosts, survey_hosts


def run_catalog(
    how: str,
    file: Path | None,
    inventory: Path | None,
    *,
    hosts: bool,
    packages: bool,
    as_json: bool,
) -> None:
    """Gather the catalogue, and print it or write it into a file."""
    output = Output(as_json=as_json)
    loaded = load_project()
    survey = HostSurvey(False, "--no-hosts")
    if hosts:
        survey = survey_hosts(find_hosts(inventory, loaded), ask_secret)
    executor = LocalExecutor()
    with RegistryClient() as client:
        platform = Platform.parse(this_platform())
        reader = Reader.of(loaded, client, executor, platform, output.passing)
        made = make_catalog(
            ProjectImages.open(loaded, executor),
            survey,
            datetime.now(UTC),
            reader=reader if packages else None,
        )
    text = (html(made) if how == "html" else markdown(made)).rstrip("\n") + "\n"
    if file is not None:
        write_atomic(file, text.encode(), mode=0o644)
    if as_json:
        output.json(made.to_json())
    elif file is not None:
        output.line(f"wrote {file}: {len(made.images)} images")
    else:
        output.line(text.rstrip("\n"))
