"""Kickstart templates, and what rendering one for a machine makes of it.

A template is ``NAME.ks.j2`` with ``NAME.yaml`` beside it (its variables, the secrets that it
needs, the verbs that it can use); what templates share is in ``_shared/``. The language, its
limits and its errors are those of Containerfiles (`template_text`, `template_language`).
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import field_validator

from bootcfleet.domain.document import Document, did_you_mean, validate
from bootcfleet.domain.install_host import HostInstall
from bootcfleet.domain.install_network import network_line
from bootcfleet.domain.install_spec import InstallSpec, Payload, choose_verb
from bootcfleet.domain.inventory import Host
from bootcfleet.domain.reference import ImageRef
from bootcfleet.domain.release import Release, Verb
from bootcfleet.domain.template import (
    SHARED,
    SourceFile,
    TemplateInfo,
    Variable,
    VarsError,
    choose_variables,
    path_problem,
)
from bootcfleet.domain.template_text import TextRenderer
from bootcfleet.errors import ConfigError

#: Endings of a template and of the file that describes it.
SUFFIX = ".ks.j2"
METADATA_SUFFIX = ".yaml"
#: Names that rendering defines itself.
OWN_NAMES = frozenset(
    {"host", "payload", "release", "secrets", "network_line", "ca_certificates"}
    | {"insecure_registries", "callback_url", "callback_pin", "install"}
)
#: Variables that the inventory has keys for.
_FROM_INSTALL = ("disk", "data_disks")


class KickstartInfo(TemplateInfo):
    """What ``NAME.yaml`` says."""

    secrets: tuple[str, ...] = ()
    verbs: tuple[Verb, ...] = tuple(Verb)

    @field_validator("variables")
    @classmethod
    def _not_ours(cls, variables: dict[str, Variable]) -> dict[str, Variable]:
        for name in variables:
            if name in OWN_NAMES:
                raise ValueError(f"{name!r} is defined by bootcfleet itself; choose another name")
        return variables


@dataclass(frozen=True)
class KickstartSet:
    """Every file that kickstarts may use, and what is parsed of them.

    `files` is by path (``baremetal.ks.j2``, ``_shared/head.ks.j2``), `metadata` by template.
    Raises `ConfigError` for a path that would leave its folder.
    """

    files: Mapping[str, SourceFile]
    metadata: Mapping[str, Document] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path, file in self.files.items():
            if problem := path_problem(path):
                raise ConfigError(
                    f"the path {path!r} of a template file {problem}", file=file.origin or None
                )

    @property
    def names(self) -> tuple[str, ...]:
        """The templates, sorted."""
        found = (path for path in self.files if path.endswith(SUFFIX) and "/" not in path)
        return tuple(sorted(path.removesuffix(SUFFIX) for path in found))

    def info(self, name: str) -> KickstartInfo:
        """The checked metadata of a template.  Raises `ConfigError` with file and line."""
        document = self.metadata.get(name)
        return KickstartInfo() if document is None else validate(document, KickstartInfo)


@dataclass(frozen=True)
class SecretValue:
    """A secret of an installation: its bytes, or the address where the installer fetches it."""

    content: bytes = field(default=b"", repr=False)
    url: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class KickstartRequest:
    """One kickstart to render.

    `spec` is the install (of a project, or made from options), `release` the medium's,
    `reference` the image; `secrets` and `certificates` are by name. `callback_url` is
    where the installed host reports itself, `callback_pin` the key of its certificate as
    curl's --pinnedpubkey takes it. `error` complains about the install's keys.
    """

    name: str
    spec: InstallSpec
    release: Release
    reference: ImageRef
    host: Host | None = None
    secrets: Mapping[str, SecretValue] = field(default_factory=dict)
    certificates: Mapping[str, bytes] = field(default_factory=dict)
    callback_url: str = ""
    callback_pin: str = ""
    error: VarsError | None = None


@dataclass(frozen=True)
class RenderedKickstart:
    """A kickstart, and what it is for; `secret` says that its text holds a secret."""

    name: str
    template: str
    release: Release
    verb: Verb
    reference: ImageRef
    host: str | None
    text: str = field(repr=False)
    secret: bool = False

    def to_json(self) -> dict[str, Any]:
        """Everything but the text, JSON-ready."""
        return {
            "name": self.name,
            "template": self.template,
            "release": str(self.release),
            "verb": self.verb.value,
            "image": str(self.reference),
            "host": self.host,
            "secret": self.secret,
        }


class KickstartRenderer:
    """Renders kickstarts from one set; parsed templates are kept.  Safe in threads."""

    def __init__(self, templates: KickstartSet) -> None:
        self.templates = templates
        self._texts = TextRenderer(templates.files, "the template's NAME.yaml")

    def render(self, request: KickstartRequest) -> RenderedKickstart:
        """One kickstart.  Raises `ConfigError`."""
        spec, error = request.spec, request.error or _plain_error(request)
        template = spec.template
        if template not in self.templates.names or template == SHARED:
            raise error(
                None,
                f"there is no kickstart template {template!r}",
                hint=did_you_mean(template, self.templates.names),
            )
        info = self.templates.info(template)
        settings = (request.host.install if request.host else HostInstall()).over(spec)
        if problem := settings.network.problem():
            raise error(None, f"network: {problem}")
        for name in info.secrets:
            if name not in request.secrets:
                raise error(
                    None,
                    f"the template {template!r} needs the secret {name!r}",
                    hint=f"say where it is: secrets: {{{name}: {{file: PATH}}}}",
                )
        verb = choose_verb(spec, request.release, info.verbs)
        if verb not in info.verbs or (problem := request.release.verb_problem(verb)):
            raise error(None, problem or f"the template {template!r} cannot use the verb {verb}")
        given = _given(info, spec, request.host, settings)
        chosen = choose_variables(
            info,
            given,
            template,
            _pointing(error, request.host),
            metadata=f"{template}{METADATA_SUFFIX}",
        )
        context = {**copy.deepcopy(chosen), **_own_context(request, settings, verb)}
        text = self._texts.render(f"{template}{SUFFIX}", context)
        return RenderedKickstart(
            name=request.name,
            template=template,
            release=request.release,
            verb=verb,
            reference=request.reference,
            host=request.host.name if request.host else None,
            text=text,
            secret=bool(request.secrets or request.callback_url),
        )


def _given(
    info: KickstartInfo, spec: InstallSpec, host: Host | None, settings: HostInstall
) -> dict[str, Any]:
    """The values of variables: the install's, over them the host's ``vars`` and ``install.vars``.

    Of a host's ``vars`` (an Ansible inventory has many) only those that the template knows.
    """
    given = dict(spec.vars)
    if host is not None:
        given |= {key: value for key, value in host.vars.items() if key in info.variables}
        given |= host.install.vars
    for name in _FROM_INSTALL:
        value = getattr(settings, name)
        if value is not None:
            given[name] = list(value) if isinstance(value, tuple) else value
    return given


def _own_context(request: KickstartRequest, settings: HostInstall, verb: Verb) -> dict[str, Any]:
    """The names that every kickstart sees."""
    host, spec, release = request.host, request.spec, request.release
    hostname = settings.hostname or (host.name if host else "")
    offline = spec.payload is Payload.ISO
    return {
        "install": {"name": request.name, "description": spec.description},
        "host": {
            "name": host.name if host else "",
            "hostname": hostname,
            "labels": dict(host.labels) if host else {},
            "groups": sorted(host.groups) if host else [],
            "mac": settings.mac or "",
            "serial": settings.serial or "",
        },
        "network_line": network_line(settings.network, mac=settings.mac, hostname=hostname),
        "release": {"name": str(release), "family": release.family, "major": release.major},
        "payload": {
            "verb": verb.value,
            "reference": str(request.reference),
            "transport": "oci" if offline else "registry",
            "url": spec.payload_path if offline else str(request.reference),
            "offline": offline,
            "verify_signature": spec.verify_signature,
        },
        "secrets": {
            name: {"base64": _base64(one.content), "url": one.url or ""}
            for name, one in sorted(request.secrets.items())
        },
        "ca_certificates": [
            {"name": name, "base64": _base64(data)}
            for name, data in sorted(request.certificates.items())
        ],
        "insecure_registries": list(spec.insecure_registries),
        "callback_url": request.callback_url,
        "callback_pin": request.callback_pin,
    }


def _base64(data: bytes) -> str:
    """Base64 in lines: nothing in it can end a heredoc or a section of the kickstart."""
    return base64.encodebytes(data).decode("ascii").strip()


def _pointing(error: VarsError, host: Host | None) -> VarsError:
    """Complaints about a value that the inventory gives name the host and not the install."""

    def make(key: str | None, message: str, *, hint: str | None = None) -> ConfigError:
        if host is not None and key is not None:
            for where, values in (
                ("install.vars.", host.install.vars),
                ("install.", host.install.model_dump(exclude_none=True)),
                ("vars.", host.vars),
            ):
                if key in values:
                    return ConfigError(message, field=f"{host.name}.{where}{key}", hint=hint)
        return error(key, message, hint=hint)

    return make


def _plain_error(request: KickstartRequest) -> VarsError:
    """Complaints where no project file is there to point at."""

    def make(key: str | None, message: str, *, hint: str | None = None) -> ConfigError:
        name = f"{request.name}.vars.{key}" if key is not None else request.name
        return ConfigError(message, field=name, hint=hint)

    return make
