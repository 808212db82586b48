"""Lint kickstarts: those of installs and templates as they are rendered, and files as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bootcfleet.domain.document import did_you_mean
from bootcfleet.domain.install_host import HostInstall
from bootcfleet.domain.inventory import Host
from bootcfleet.domain.kickstart import SUFFIX
from bootcfleet.domain.kslint.engine import lint_kickstart
from bootcfleet.domain.kslint.model import KickstartSubject
from bootcfleet.domain.lint.report import LintReport, Place
from bootcfleet.domain.reference import ImageRef
from bootcfleet.domain.release import SHIPPED_RELEASES, Release
from bootcfleet.drivers import yamlfile
from bootcfleet.drivers.pykickstart import check_syntax
from bootcfleet.errors import UsageError
from bootcfleet.ops.kickstart import KickstartOptions, Kickstarts

#: What a file is checked for when neither it nor the command line says its release.
DEFAULT_RELEASE = Release.parse("rhel10")
#: Stands for what only an install or a host can say.
_IMAGE = ImageRef.parse("registry.example.com/image:channel")
_DISK = "sda"
_VERSION = re.compile(r"^#\s*version=(RHEL|F)([0-9]+)\s*$", re.MULTILINE)
_FILE = re.compile(r"/|\.(ks|cfg)$")


@dataclass(frozen=True)
class LintedKickstart:
    """One report with the text that it is about; `template` for one that was rendered."""

    report: LintReport
    text: str
    template: str | None = None


def lint_kickstarts(
    kickstarts: Kickstarts,
    names: Sequence[str],
    *,
    options: KickstartOptions | None = None,
    host: Host | None = None,
) -> tuple[LintedKickstart, ...]:
    """Look at installs, templates and files (every install for no name).

    An install is rendered for each of its hosts; hosts of which the same is to be said are
    said once. Raises `UsageError` and `ConfigError`.
    """
    options = options or KickstartOptions()
    if not names and not kickstarts.installs:
        raise UsageError(
            "there are no installs to look at",
            hint="name a template or a file: bootcfleet kickstart lint baremetal my.ks",
        )
    found: list[LintedKickstart] = []
    for name in dict.fromkeys(names or kickstarts.installs):
        if name in kickstarts.installs:
            found += _of_install(kickstarts, name, options, host)
        elif name in kickstarts.renderer.templates.names and not _FILE.search(name):
            found += _of_template(kickstarts, name, options)
        elif _FILE.search(name) or Path(name).exists():
            found.append(_of_file(Path(name), options))
        else:
            known = [*kickstarts.installs, *kickstarts.renderer.templates.names]
            raise UsageError(
                f"there is no install, template or file {name!r}", hint=did_you_mean(name, known)
            )
    return tuple(found)


def _of_install(
    kickstarts: Kickstarts, name: str, options: KickstartOptions, host: Host | None
) -> Iterator[LintedKickstart]:
    said: set[tuple[tuple[str, str], ...]] = set()
    hosts = (host,) if host else kickstarts.hosts_of(name)
    if not hosts:
        yield _rendered(kickstarts, name, name, options, _anybody(kickstarts, name))
    for one in hosts:
        linted = _rendered(kickstarts, name, f"{name}@{one.name}", options, one)
        report = linted.report
        what = tuple(
            sorted((finding.rule, finding.message) for finding in report.findings)
        ) + tuple(sorted((finding.rule, "-") for finding in report.suppressed))
        if what not in said:
            said.add(what)
            yield linted


def _anybody(kickstarts: Kickstarts, name: str) -> Host | None:
    """A host where an install leaves the disk to its hosts, and there are none yet."""
    spec = kickstarts.installs[name]
    if spec.disk or "disk" in spec.vars or spec.template not in kickstarts.renderer.templates.names:
        return None
    variable = kickstarts.renderer.templates.info(spec.template).variables.get("disk")
    needed = variable is not None and variable.required
    return Host("host.example.com", install=HostInstall(disk=_DISK)) if needed else None


def _of_template(
    kickstarts: Kickstarts, name: str, options: KickstartOptions
) -> Iterator[LintedKickstart]:
    disk = kickstarts.renderer.templates.info(name).variables.get("disk")
    given = {"disk": _DISK} if disk is not None and disk.required else {}
    releases = [options.release] if options.release else map(Release.parse, SHIPPED_RELEASES)
    for release in releases:
        chosen = replace(
            options,
            release=release,
            image=options.image or _IMAGE,
            variables={**given, **options.variables},
        )
        yield _rendered(kickstarts, name, f"{name}@{release}", chosen, None)


def _rendered(
    kickstarts: Kickstarts, name: str, label: str, options: KickstartOptions, host: Host | None
) -> LintedKickstart:
    one = kickstarts.render(name, host, options=options, show_secrets=False)
    return LintedKickstart(_lint(label, one.text, one.release), one.text, one.template)


def _of_file(path: Path, options: KickstartOptions) -> LintedKickstart:
    text = yamlfile.read_text(path)
    release, notes = options.release, []
    if release is None and (said := _VERSION.search(text)):
        family = "fedora" if said[1] == "F" else "rhel"
        release = Release.parse(f"{family}{said[2]}")
    if release is None:
        release = DEFAULT_RELEASE
        notes.append(f"{path}: checked for {release}; --release says another")
    return LintedKickstart(_lint(str(path), text, release, notes), text)


def _lint(label: str, text: str, release: Release, notes: Sequence[str] = ()) -> LintReport:
    syntax = check_syntax(text, release)
    notes = [*notes, *([syntax.note] if syntax.note else [])]
    subject = KickstartSubject(label, text, release)
    return lint_kickstart(subject, syntax=syntax.findings, notes=notes)


class KickstartPlaces:
    """Finds the file of a template that a line of a rendered kickstart comes from."""

    def __init__(self, kickstarts: Kickstarts, linted: Sequence[LintedKickstart]) -> None:
        self._files = kickstarts.renderer.templates.files
        self._root = kickstarts.loaded.root if kickstarts.loaded else Path.cwd()
        self._linted = {one.report.image: one for one in linted}

    def place(self, name: str, file: str, line: int) -> Place | None:
        """The file itself; of a rendered one the template, with the line where one alone fits."""
        one = self._linted[name]
        if one.template is None:
            return self._at(Path(file).absolute(), line)
        lines = one.text.split("\n")
        text = lines[line - 1].strip() if line <= len(lines) else ""
        top = f"{one.template}{SUFFIX}"
        found = [
            (path, number)
            for path in (top, *sorted(p for p in self._files if p.startswith("_shared/")))
            for number, source in enumerate(self._files[path].text().split("\n"), 1)
            if text and source.strip() == text
        ]
        path, number = found[0] if len(found) == 1 else (top, None)
        return self._at(Path(self._files[path].origin).absolute(), number)

    def _at(self, path: Path, line: int | None) -> Place:
        if path.is_relative_to(self._root):
            return Place(path.relative_to(self._root).as_posix(), line, in_project=True)
        return Place(path.as_uri(), line, in_project=False)
