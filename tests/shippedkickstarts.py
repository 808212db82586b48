"""The shipped kickstarts rendered for tests: each template, release and case of values."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from bootcfleet.domain.install_host import HostInstall
from bootcfleet.domain.install_spec import InstallSecret, InstallSpec, Payload
from bootcfleet.domain.inventory import Host
from bootcfleet.domain.kickstart import (
    KickstartRenderer,
    KickstartRequest,
    RenderedKickstart,
    SecretValue,
)
from bootcfleet.domain.reference import ImageRef
from bootcfleet.domain.release import SHIPPED_RELEASES, Release
from bootcfleet.drivers.kickstartfiles import load_kickstarts

SHIPPED = Path(__file__).parent.parent / "kickstarts"
GOLDEN = Path(__file__).parent / "data/kickstart/golden"
#: Set it to write the golden files anew: `UPDATE_GOLDEN=1 pytest tests/domain/test_kickstart.py`.
UPDATE = bool(os.environ.get("UPDATE_GOLDEN"))

NAMES = ("baremetal", "edge", "luks", "lvm", "vm")
#: `plain` is as little as possible, `full` has static network, secrets, CA and callback,
#: `offline` takes the image from the medium.
CASES = ("plain", "full", "offline")
REFERENCE = ImageRef.parse("registry.example.com/acme/web:prod")
ALL = [(name, release, case) for name in NAMES for release in SHIPPED_RELEASES for case in CASES]

HOST = Host(
    "web1.example.com",
    labels={"role": "web"},
    install=HostInstall.model_validate(
        {
            "disk": "disk/by-id/nvme-A_1",
            "mac": "52:54:00:12:34:56",
            "serial": "ABC123",
            "network": {
                "address": "192.0.2.12/24",
                "gateway": "192.0.2.1",
                "nameservers": ["192.0.2.53", "2001:db8::53"],
                "search": ["example.com"],
                "ipv6_address": "2001:db8::12/64",
                "ipv6_gateway": "2001:db8::1",
                "mtu": 9000,
            },
            "vars": {"kernel_arguments": ["console=ttyS1,115200"]},
        }
    ),
)


@functools.cache
def renderer() -> KickstartRenderer:
    return KickstartRenderer(load_kickstarts([SHIPPED]))


def render_case(name: str, release: str, case: str) -> RenderedKickstart:
    full = case == "full"
    secrets = {"luks_passphrase": SecretValue(b"it's a secret\n")} if name == "luks" else {}
    if full:
        secrets["pull_secret"] = SecretValue(url="https://192.0.2.2:8080/secret/TOKEN")
    more = {"data_disks": ("sdb", "sdc")} if full and name == "lvm" else {}
    spec = InstallSpec.model_validate(
        {
            "template": name,
            "release": release,
            "image": str(REFERENCE),
            "payload": Payload.ISO if case == "offline" else Payload.REGISTRY,
            "secrets": {one: InstallSecret(env="X") for one in secrets},
            "insecure_registries": ["registry.example.com:5000"] if full else [],
            **({} if full or name == "vm" else {"disk": "sda"}),
            **more,
        }
    )
    return renderer().render(
        KickstartRequest(
            name=name,
            spec=spec,
            release=Release.parse(release),
            reference=REFERENCE,
            host=HOST if full else None,
            secrets=secrets,
            certificates={"ca.pem": b"-----BEGIN CERTIFICATE-----\n"} if full else {},
            callback_url="https://192.0.2.2:8080/installed/TOKEN" if full else "",
        )
    )
