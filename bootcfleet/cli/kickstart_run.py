"""What `kickstart list` and `kickstart render` do once their options are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bootcfleet.cli.output import Output
from bootcfleet.domain.reference import ImageRef
from bootcfleet.domain.release import Release
from bootcfleet.drivers import yamlfile
from bootcfleet.drivers.command import write_atomic
from bootcfleet.errors import FleetError, UsageError
from bootcfleet.ops.kickstart import KickstartOptions, Kickstarts
from bootcfleet.ops.project import find_project


def kickstart_options(
    release: str | None, image: str | None, variables: Sequence[str]
) -> KickstartOptions:
    """What the command line says over an install.  Raises `UsageError`."""
    given: dict[str, Any] = {}
    for pair in variables:
        key, equals, value = pair.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f"--var {pair!r} is not NAME=VALUE")
        # As in a project's file: numbers, lists and true are what they look like.
        given[key] = yamlfile.parse(value, f"--var {key}").data if value else ""
    return KickstartOptions(
        release=Release.parse(release) if release else None,
        image=ImageRef.parse(image) if image else None,
        variables=given,
    )


def show_kickstarts(inventory: Path | None, *, as_json: bool) -> None:
    """Print the installs with their hosts, and the templates."""
    output = Output(as_json=as_json)
    kickstarts = Kickstarts.open(find_project(), inventory)
    installs = []
    for name, spec in kickstarts.installs.items():
        body = {
            "name": name,
            "template": spec.template,
            "release": str(spec.release),
            "image": str(kickstarts.reference(spec)),
            "payload": spec.payload.value,
            "hosts": [host.name for host in kickstarts.hosts_of(name)],
            "description": spec.description,
        }
        installs.append(body)
    templates = kickstarts.renderer.templates
    described = [
        {"name": name, "description": templates.info(name).description} for name in templates.names
    ]
    if as_json:
        output.json({"installs": installs, "templates": described})
        return
    rows = [
        [
            name,
            spec.template,
            str(spec.release),
            str(kickstarts.reference(spec)),
            str(len(kickstarts.hosts_of(name))),
        ]
        for name, spec in kickstarts.installs.items()
    ]
    if rows:
        output.table(["INSTALL", "TEMPLATE", "RELEASE", "IMAGE", "HOSTS"], rows)
        output.line()
    output.table(["TEMPLATE", "WHAT IT DOES"], [list(one.values()) for one in described])


def render_kickstart(
    name: str,
    *,
    host: str | None,
    inventory: Path | None,
    release: str | None,
    image: str | None,
    variables: Sequence[str],
    file: Path | None,
    as_json: bool,
) -> None:
    """Print or write one kickstart."""
    output = Output(as_json=as_json)
    options = kickstart_options(release, image, variables)
    kickstarts = Kickstarts.open(find_project(), inventory)
    target = kickstarts.host(host) if host else None
    rendered = kickstarts.render(name, target, options=options, show_secrets=file is not None)
    written = file if file is not None and str(file) != "-" else None
    if written is not None:
        mode = 0o600 if rendered.secret else 0o644
        try:
            write_atomic(written, rendered.text.encode(), mode=mode)
        except OSError as error:
            raise FleetError(f"{written} cannot be written: {error.strerror}") from error
    if as_json:
        text = {"file": str(written)} if written else {"text": rendered.text}
        output.json({**rendered.to_json(), **text})
    elif written is not None:
        note = ", for its owner alone: it holds secrets" if rendered.secret else ""
        output.line(f"wrote {written}{note}")
    else:
        output.raw(rendered.text.encode())
        if rendered.secret and file is None:
            Output(as_json=True).line("secrets are left out; --output FILE writes them")
