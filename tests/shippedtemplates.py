"""The shipped templates rendered for tests: every template with several sets of variables."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bootcfleet.domain.checkfile import CheckSource
from bootcfleet.domain.render import Renderer, RenderRequest
from bootcfleet.domain.template import TemplateInfo, TemplateSet
from bootcfleet.drivers.templatefiles import load_templates

SHIPPED = Path(__file__).parent.parent / "containerfiles"
NAMES = ("soe", "web", "database", "container-host", "edge", "gpu")

DIGEST = "sha256:" + "ab" * 32
BASE = f"registry.example.com/acme/parent@{DIGEST}"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExampleExampleExampleExampleExampleExampleEx ops@acme"
PUBLIC_KEY = """\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEExampleExampleExampleExample
ExampleExampleExampleExampleExampleExampleExampleExampleExampleE==
-----END PUBLIC KEY-----
"""

_ZONE = {"firewall_services": ["ssh", "cockpit"], "firewall_ports": ["8443/tcp", "5000/udp"]}
_REGISTRIES = [
    {"location": "127.0.0.1:5000", "insecure": True},
    {
        "prefix": "registry.example.com/acme",
        "location": "registry.example.com/acme",
        "mirrors": [{"location": "mirror.site:5000/acme", "insecure": True}],
    },
]

#: The least that each template needs.
MINIMAL: dict[str, dict[str, Any]] = {name: {} for name in NAMES}
MINIMAL["gpu"] = {"driver_version": "580.95.05"}

#: Everything that each template offers, with values that real dnf can install from the test base.
FULL: dict[str, dict[str, Any]] = {
    "soe": {
        "packages": ["chrony", "firewalld"],
        "agents": [
            {
                "name": "monitoring",
                "packages": ["monitoring-agent"],
                "units": ["monitoring-agent.timer"],
            }
        ],
        "users": [
            {
                "name": "ops",
                "uid": 1500,
                "gecos": 'Ops "Team"',
                "groups": ["wheel"],
                "ssh_keys": [KEY, KEY.replace("ops@", "second@")],
                "sudo": True,
            },
            {"name": "backup-agent", "uid": 1501, "shell": "/usr/sbin/nologin"},
            {"name": "root", "ssh_keys": [KEY]},
        ],
        "disable_units": ["fstrim.timer"],
        "timezone": "Europe/Berlin",
        "locale": "C.UTF-8",
        "ca_certificates": [
            "-----BEGIN CERTIFICATE-----\nMIIBfirst\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\nMIIBsecond\n-----END CERTIFICATE-----",
        ],
        "kernel_arguments": ["console=ttyS0,115200", 'x="quoted \\ value"'],
        "sysctl": {"net.ipv4.ip_forward": 1},
        "registries": _REGISTRIES,
        "signing_public_key": PUBLIC_KEY,
        "signing_accept": ["quay.io/tools"],
        "vendor": 'Acme "$HOME" \\ Ltd',
        **_ZONE,
    },
    "web": {
        "server": "httpd",
        "packages": ["mod_ssl"],
        "server_name": "www.example.com",
        "tls_certificate": "/etc/pki/tls/certs/site.pem",
        "tls_key": "/etc/pki/tls/private/site.pem",
        **_ZONE,
    },
    "database": {
        "postgresql_major": "16",
        "packages": ["postgresql"],
        "listen_addresses": "*",
        "port": 5433,
        "settings": {"shared_buffers": "1GB", "log_line_prefix": "it's %m "},
        "allow": [{"database": "app", "user": "app", "address": "10.0.0.0/8"}],
        **_ZONE,
    },
    "container-host": {
        "containers": [
            {
                "name": "proxy",
                "image": f"registry.example.com/proxy@{DIGEST}",
                "description": "The site's proxy",
                "ports": ["8080:80"],
                "volumes": ["proxy-data.volume:/data:Z"],
                "environment": {"MODE": 'it\'s "quoted" $HOME'},
                "exec": "run --verbose",
            },
            {"name": "metrics", "image": f"registry.example.com/metrics@{DIGEST}"},
        ],
        "rootless_users": [{"name": "apps", "uid": 2000, "subid_start": 200000}],
        "registries": _REGISTRIES,
        **_ZONE,
    },
    "edge": {
        "required_units": ["sshd.service", "chronyd.service"],
        "connections": [
            {
                "id": "uplink",
                "interface": "enp1s0",
                "method": "manual",
                "addresses": ["192.0.2.10/24"],
                "gateway": "192.0.2.1",
                "dns": ["192.0.2.53"],
            },
            {"id": "service"},
        ],
        "registries": _REGISTRIES,
        "self_update": True,
        **_ZONE,
    },
    "gpu": {"driver_version": "580.95.05", "fabric_manager": True, **_ZONE},
}

#: Further sets, to render both sides of the switches.
OTHER: dict[str, list[dict[str, Any]]] = {
    "soe": [
        {"automatic_updates": True, "ssh_password_login": True, "packages": []},
        {
            "build_secrets": [{"id": "site.repo"}, {"id": "key", "target": "/etc/key.pem"}],
            "build_repositories": [
                {"id": "site", "url": "https://repo/x?a=1&b=2", "gpgkey": "https://repo/key"}
            ],
            "dnf_options": ["--enablerepo=crb"],
        },
    ],
    "database": [{"module_stream": "postgresql:16"}],
    "edge": [{"watchdog_seconds": 0, "required_units": [], "packages": []}],
}


def variable_sets() -> list[Any]:
    """(template, id of the set, variables) for every set of every template."""
    sets = []
    for name in NAMES:
        every = [MINIMAL[name], FULL[name], *({**MINIMAL[name], **o} for o in OTHER.get(name, []))]
        for number, variables in enumerate(every):
            label = ("minimal", "full")[number] if number < 2 else f"other{number - 1}"
            sets.append((name, label, variables))
    return sets


@dataclass(frozen=True)
class Rendered:
    """A build context: the Containerfile, and path → (content, mode) of its files."""

    containerfile: str
    files: Mapping[str, tuple[bytes, int]] = field(default_factory=dict)

    def text(self, path: str) -> str:
        """The text of one file, by its path in the image."""
        return self.files[f"files{path}"][0].decode()

    def write(self, folder: Path) -> None:
        """Write the context for podman."""
        folder.mkdir(parents=True)
        (folder / "Containerfile").write_text(self.containerfile)
        for path, (content, mode) in self.files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            file.chmod(mode)


@functools.cache
def _templates() -> TemplateSet:
    return load_templates([SHIPPED])


@functools.cache
def _renderer() -> Renderer:
    return Renderer(_templates())


def info(name: str) -> TemplateInfo:
    """What the template.yaml of a shipped template says."""
    return _templates().info(name)


def _request(name: str, variables: Mapping[str, Any], base: str) -> RenderRequest:
    return RenderRequest(
        template=name,
        base=base,
        image={"name": name, "version": "1.2", "description": ""},
        project={"name": "acme", "registry": "registry.example.com/acme"},
        git={"commit": "c" * 40, "short": "c" * 12, "dirty": False, "url": "https://git/x.git"},
        variables=variables,
    )


def check_sources(name: str, variables: Mapping[str, Any]) -> list[CheckSource]:
    """The checks of a shipped template, for an image of the same name."""
    context = _renderer().context(_request(name, variables, BASE))
    return [CheckSource(name, document, context) for document in _renderer().checks(name)]


def render(name: str, variables: Mapping[str, Any], *, base: str = BASE) -> Rendered:
    """Render one shipped template as an image of the same name."""
    rendered = _renderer().render(_request(name, variables, base))
    files = {path: (file.data, file.mode) for path, file in rendered.files.items()}
    return Rendered(rendered.containerfile, files)
