"""`bootcfleet init`: writes a project that builds as it is."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from bootcfleet.domain.checkschema import checks_schema
from bootcfleet.domain.inventory_native import INVENTORY_MODEL, parse_inventory
from bootcfleet.domain.project import Project, parse_project
from bootcfleet.domain.reference import ImageRef, valid_name
from bootcfleet.drivers import yamlfile
from bootcfleet.drivers.command import write_atomic
from bootcfleet.drivers.shipped import shipped_dir
from bootcfleet.errors import FleetError, UsageError

#: The templates that a new project gets a copy of, so that they are versioned with it.
TEMPLATES = ("_shared", "soe", "web", "database", "container-host")
DEFAULT_BASE = "registry.redhat.io/rhel10/rhel-bootc:10.0"

_PROJECT = """\
# yaml-language-server: $schema=./bootcfleet.schema.json
#
# What this project builds. `bootcfleet image list` shows it, `bootcfleet image build` builds it.
version: 1
name: {name}

# Images are pushed to REGISTRY/NAME. Log in with `podman login`.
registry: {registry}

# A label of every image, shown by `bootc status`, and a tag beside the date and the git commit.
image_version: "1.0"

images:
  # The standard operating environment: what all hosts have in common.
  # Its variables are described in containerfiles/soe/template.yaml.
  soe:
    description: Standard operating environment
    # Any bootc base: registry.redhat.io/rhel10/rhel-bootc, quay.io/centos-bootc/centos-bootc,
    # quay.io/fedora/fedora-bootc. `bootcfleet lock update` writes down its digest, and
    # `image build --locked` builds from that one alone.
    base: {base}
    vars:
      timezone: UTC

  # Roles stand on the SOE: a role is built FROM the exact digest of its parent.
  web:
    description: Web server
    from: soe

  database:
    description: PostgreSQL server
    from: soe

  container-host:
    description: Runs containers as systemd services
    from: soe

# Channels are tags with gates and a history; hosts follow one. The first move of an image is
# `bootcfleet channel promote web build dev`, the next `bootcfleet channel promote web dev test`.
channels:
  dev: {{}}

  test:
    from: dev
    checks: true         # `image check` passed on this very digest

  prod:
    from: test
    checks: 7d           # and not longer ago than that
    lint: true
    soak: 24h            # in test for as long
    # signature: true
    # max_download: 500MiB

# Machines are installed by kickstart (`bootcfleet kickstart render web --host NAME`):
#
# installs:
#   web: {{release: rhel10, image: web, channel: prod, selector: role=web}}
"""

_INVENTORY = """\
# yaml-language-server: $schema=./inventory.schema.json
#
# The hosts of the fleet. `bootcfleet fleet list` shows them, `bootcfleet fleet status` asks them.
# ~/.ssh/config, the agent and known_hosts are used as ssh uses them.
version: 1

defaults:
  connection:
    user: admin          # uses sudo, unless it is root

groups:
  web:
    image: {web}
    labels: {{role: web}}
    checks:
      - name: site answers
        command: curl -fsS -o /dev/null http://localhost/

# Hosts, by name. Remove the braces and write yours:
#
# hosts:
#   web1.example.com:
#     groups: [web]
#     labels: {{site: ams}}
#   web2:
#     groups: [web]
#     labels: {{site: fra}}
#     connection: {{address: 192.0.2.12, port: 2222}}
hosts: {{}}
"""

IGNORE = ".gitignore"

_GITIGNORE = """\
# State of bootcfleet: the ledger, logs, build contexts, a lab.
.bootcfleet/
"""

_TEMPLATES_README = """\
# Templates

Copies of the templates that bootcfleet ships, for this project to change. A file here goes over the
shipped one of the same path; delete what you have not changed, and you get the shipped one again
with the next version of bootcfleet.

A template is a folder: `template.yaml` describes its variables, `Containerfile.j2` is rendered with
them, `files/` is copied into the image (`*.j2` rendered first). `bootcfleet image render NAME`
shows the result, `--diff` what has changed since the last build. `checks.yaml` says what each image
of the template must have, and every host that runs it: `bootcfleet image check NAME`.
"""


@dataclass(frozen=True)
class Written:
    """What `init` did: the files that it wrote, and those of them that were there.

    `replaced` had another content, `extended` kept theirs; `unchanged` were there with the
    very same content, and were left alone.
    """

    directory: Path
    files: tuple[str, ...]
    replaced: tuple[str, ...] = ()
    extended: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()


def init_project(
    directory: Path, *, registry: str, base: str, force: bool, name: str | None = None
) -> Written:
    """Write a project into `directory`, named after it unless `name` is given.

    Refuses to overwrite unless `force`; everything is checked before the first
    byte is written.  What has the same content is not in the way, so that a run that was
    interrupted is finished by the same run.  Raises `UsageError`, and `FleetError` when the
    disk refuses.
    """
    name = directory.name if name is None else name
    if not valid_name(name):
        raise UsageError(
            f"{name!r} cannot be a project's name",
            hint="lower-case letters, digits, '.', '-' and '_', beginning and ending with a letter "
            "or digit; --name gives it another name than its directory's",
        )
    # Written as they were understood: an option cannot bring in a line of its own.
    prefix = ImageRef.parse(f"{registry.rstrip('/')}/image").name.removesuffix("/image")
    files = _files(name, prefix, str(ImageRef.parse(base)))
    _read_back(files)
    _refuse_obstacles(directory, files)
    extended = _extend_gitignore(directory, files)
    unchanged = sorted(path for path in files if _has(directory / path, files[path]))
    files = {path: data for path, data in files.items() if path not in unchanged}
    # A link that leads nowhere is there, too.
    there = sorted(path for path in files if os.path.lexists(directory / path))
    if extended and IGNORE in there:
        there.remove(IGNORE)
    if there and not force:
        shown = there[:5] + ([f"and {len(there) - 5} more"] if len(there) > 5 else [])
        raise UsageError(
            f"{directory} has files that would be overwritten",
            details=shown,
            hint="choose another name, or replace them with --force",
        )
    for path, data in files.items():
        source_mode = 0o755 if data.startswith(b"#!") else 0o644
        try:
            write_atomic(directory / path, data, mode=source_mode)
        except OSError as error:
            raise FleetError(
                f"{directory / path} cannot be written: {error.strerror}",
                hint="when that is mended, run it again",
            ) from error
    return Written(
        directory,
        tuple(sorted(files)),
        replaced=tuple(there),
        extended=(IGNORE,) if extended and IGNORE in files else (),
        unchanged=tuple(unchanged),
    )


def _has(path: Path, data: bytes) -> bool:
    """Whether a file (no link to one) has this very content."""
    try:
        return path.is_file() and not path.is_symlink() and path.read_bytes() == data
    except OSError:
        return False


def _extend_gitignore(directory: Path, files: dict[str, bytes]) -> bool:
    """Keep what a repository ignores already, and add what it does not; whether there is one."""
    path = directory / IGNORE
    if not path.is_file() or path.is_symlink():
        return False
    try:
        found = path.read_bytes()
    except OSError as error:
        raise FleetError(f"{path} cannot be read: {error.strerror}") from error
    names = {line.strip().strip(b"/") for line in found.splitlines()}
    gap = b"" if not found else b"\n" if found.endswith(b"\n") else b"\n\n"
    files[IGNORE] = found if b".bootcfleet" in names else found + gap + files[IGNORE]
    return True


def _read_back(files: Mapping[str, bytes]) -> None:
    """Refuse to write what could not be read: the project and the inventory."""
    for name, parse in (("bootcfleet.yaml", parse_project), ("inventory.yaml", parse_inventory)):
        parse(yamlfile.parse(files[name].decode(), name))


def _refuse_obstacles(directory: Path, files: Mapping[str, bytes]) -> None:
    """Raise `UsageError` for a directory in a file's place, and a file in a directory's."""
    for path in (directory / path for path in files):
        if path.is_dir() and not path.is_symlink():
            raise UsageError(
                f"{path} is a directory where a file is to be", hint="move it away first"
            )
        for folder in path.parents:
            if os.path.lexists(folder):
                if not folder.is_dir():
                    raise UsageError(
                        f"{folder} is there and is not a directory", hint="choose another name"
                    )
                break


def _plain(name: str) -> str:
    """A text in YAML: in quotes where it would be read as a number, as true, or as a list."""
    bare = not name.startswith("[") and yamlfile.parse(name, "name").data == name
    return name if bare else f'"{name}"'


def schema(which: str) -> dict[str, object]:
    """The JSON Schema of ``bootcfleet.yaml``, ``inventory.yaml`` or ``checks.yaml``."""
    models: dict[str, type[BaseModel]] = {"project": Project, "inventory": INVENTORY_MODEL}
    body = checks_schema() if which == "checks" else models[which].model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **body}


def _files(name: str, registry: str, base: str) -> dict[str, bytes]:
    """Everything that a new project has: path → bytes."""
    found = {
        IGNORE: _GITIGNORE.encode(),
        "containerfiles/README.md": _TEMPLATES_README.encode(),
    }
    templates = shipped_dir("containerfiles")
    for template in TEMPLATES:
        found |= _tree(templates / template, f"containerfiles/{template}")
    found |= _tree(shipped_dir("kickstarts"), "kickstarts")
    # In this order: a directory is a project when its last file is there.
    return found | {
        "bootcfleet.schema.json": _dump(schema("project")),
        "inventory.schema.json": _dump(schema("inventory")),
        "checks.schema.json": _dump(schema("checks")),
        "inventory.yaml": _INVENTORY.format(web=_plain(f"{registry}/web:1.0")).encode(),
        "bootcfleet.yaml": _PROJECT.format(
            name=_plain(name), registry=_plain(registry), base=_plain(base)
        ).encode(),
    }


def _tree(folder: Path, prefix: str) -> dict[str, bytes]:
    return {
        f"{prefix}/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and path.name != ".gitkeep"
    }


def _dump(body: object) -> bytes:
    return (json.dumps(body, indent=2) + "\n").encode()
