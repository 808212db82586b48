"""The RPM packages of the local repository: small, but with the names, units, users and
scriptlets that the shipped templates rely on. Made by the real rpmbuild and createrepo_c.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
KERNEL = "6.12.0-55.9.1.el10_0.x86_64"
DRIVER = "580.95.05"
POSTGRESQL = "16.8"


@dataclass(frozen=True)
class Rpm:
    """One package. `files` is path → content; a path that ends in / is an empty folder."""

    name: str
    version: str = "1.0"
    epoch: int = 0
    files: Mapping[str, str] = field(default_factory=dict)
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    recommends: tuple[str, ...] = ()
    pre: str = ""
    docs: tuple[str, ...] = ()
    release: str = "1.el10"
    arch: str = "noarch"


def unit(description: str, command: str, install: str = "multi-user.target") -> str:
    """A service unit."""
    return (
        f"[Unit]\nDescription={description}\n[Service]\nExecStart={command}\n"
        f"[Install]\nWantedBy={install}\n"
    )


def timer(install: str = "timers.target") -> str:
    """A timer unit."""
    return f"[Timer]\nOnCalendar=daily\n[Install]\nWantedBy={install}\n"


def program(answer: str) -> str:
    """A program that says one line."""
    return f"#!/bin/sh\necho '{answer}'\n"


UNITS = "/usr/lib/systemd/system"

PACKAGES = (
    # Owns what a real base's bash, glibc and shadow-utils own, for the scriptlets below.
    Rpm(
        "base-standin",
        provides=("/bin/sh", "/usr/bin/sh", "system-release = 10"),
        files={"/usr/share/base-standin": "a stand-in\n"},
    ),
    Rpm(
        "chrony",
        files={
            f"{UNITS}/chronyd.service": unit("NTP", "/usr/sbin/chronyd"),
            "/usr/sbin/chronyd": program("chronyd"),
            "/usr/share/doc/chrony/README": "documentation\n",
            "/var/lib/chrony/": "",
            "/usr/lib/tmpfiles.d/chrony.conf": "d /var/lib/chrony 0750 root root -\n",
        },
        docs=("/usr/share/doc/chrony/README",),
        recommends=("chrony-weak",),
    ),
    Rpm("chrony-weak", files={"/usr/share/chrony-weak": "must not be installed\n"}),
    Rpm(
        "firewalld",
        files={
            f"{UNITS}/firewalld.service": unit("firewalld", "/usr/sbin/firewalld"),
            "/usr/sbin/firewalld": program("firewalld"),
            "/usr/lib/firewalld/zones/public.xml": "<zone/>\n",
        },
    ),
    Rpm(
        "monitoring-agent",
        files={
            f"{UNITS}/monitoring-agent.timer": timer(),
            f"{UNITS}/monitoring-agent.service": unit("agent", "/usr/bin/monitoring-agent"),
            "/usr/bin/monitoring-agent": program("agent"),
        },
    ),
    Rpm(
        "nginx",
        version="1.26",
        pre="getent passwd nginx >/dev/null || useradd -r -d /var/lib/nginx nginx",
        files={
            f"{UNITS}/nginx.service": unit("nginx", "/usr/sbin/nginx"),
            "/usr/sbin/nginx": program("nginx"),
            "/etc/nginx/nginx.conf": "# nginx.conf of the package\n",
            "/var/lib/nginx/tmp/": "",
            "/var/log/nginx/": "",
        },
    ),
    Rpm(
        "httpd",
        version="2.4",
        pre="getent passwd apache >/dev/null || useradd -r -u 48 -d /usr/share/httpd apache",
        files={
            f"{UNITS}/httpd.service": unit("httpd", "/usr/sbin/httpd"),
            "/usr/sbin/httpd": program("httpd"),
            "/etc/httpd/conf/httpd.conf": "# httpd.conf of the package\n",
            "/var/www/html/": "",
            "/var/lib/httpd/": "",
            "/var/log/httpd/": "",
            "/var/cache/httpd/": "",
        },
    ),
    Rpm("mod_ssl", requires=("httpd",), files={"/etc/httpd/conf.d/ssl.conf": "# ssl\n"}),
    Rpm(
        "postgresql-server",
        version=POSTGRESQL,
        pre="getent passwd postgres >/dev/null || useradd -r -d /var/lib/pgsql postgres",
        requires=("postgresql",),
        files={
            f"{UNITS}/postgresql.service": unit("PostgreSQL", "/usr/bin/postgres"),
            "/usr/bin/postgres": program(f"postgres (PostgreSQL) {POSTGRESQL}"),
            "/usr/bin/postgresql-setup": program("initdb"),
            "/var/lib/pgsql/data/": "",
            "/var/lib/pgsql/backups/": "",
        },
    ),
    Rpm("postgresql", version=POSTGRESQL, files={"/usr/bin/psql": program("psql")}),
    Rpm(
        "podman",
        version="5.4",
        files={
            f"{UNITS}/podman-auto-update.timer": timer(),
            f"{UNITS}/podman-auto-update.service": unit("update", "/usr/bin/podman auto-update"),
            "/usr/bin/podman": program("podman version 5.4.0"),
        },
    ),
    Rpm(
        "greenboot",
        files={
            f"{UNITS}/greenboot-healthcheck.service": unit("greenboot", "/usr/libexec/greenboot"),
            "/usr/libexec/greenboot": program("greenboot"),
            "/usr/lib/greenboot/check/required.d/": "",
        },
    ),
    Rpm(
        "greenboot-default-health-checks",
        requires=("greenboot",),
        files={"/usr/lib/greenboot/check/required.d/01_repository.sh": program("ok")},
    ),
    Rpm(
        "nvidia-driver-cuda",
        version=DRIVER,
        epoch=3,
        requires=(f"nvidia-kmod-common = 3:{DRIVER}",),
        files={"/usr/bin/nvidia-smi": program("nvidia-smi")},
    ),
    Rpm(
        "nvidia-kmod-common",
        version=DRIVER,
        epoch=3,
        requires=(f"nvidia-kmod = 3:{DRIVER}",),
        files={"/usr/share/nvidia-kmod-common": "firmware\n"},
    ),
    Rpm(
        "nvidia-persistenced",
        version=DRIVER,
        epoch=3,
        files={f"{UNITS}/nvidia-persistenced.service": unit("p", "/usr/bin/nvidia-persistenced")},
    ),
    Rpm(
        "nvidia-fabric-manager",
        version=DRIVER,
        files={f"{UNITS}/nvidia-fabricmanager.service": unit("f", "/usr/bin/nv-fabricmanager")},
    ),
    Rpm("nvidia-container-toolkit", files={"/usr/bin/nvidia-ctk": program("nvidia-ctk")}),
    Rpm(
        "kmod-nvidia-open-dkms",
        version=DRIVER,
        epoch=3,
        requires=("dkms",),
        provides=(f"nvidia-kmod = 3:{DRIVER}",),
        files={f"/usr/src/nvidia-open-{DRIVER}/dkms.conf": "PACKAGE_NAME=nvidia-open\n"},
    ),
    Rpm("dkms", files={"/usr/sbin/dkms": (HERE / "standin" / "dkms").read_text()}),
    Rpm("gcc", files={"/usr/share/gcc-standin": "gcc\n"}),
    Rpm("make", files={"/usr/share/make-standin": "make\n"}),
    Rpm("rpm-build", files={"/usr/share/rpm-build-standin": "Debian's rpmbuild\n"}),
    Rpm("elfutils-libelf-devel", files={"/usr/share/libelf-standin": "libelf\n"}),
    Rpm(
        "kernel-devel",
        version=KERNEL.split("-")[0],
        release=KERNEL.split("-")[1].removesuffix(".x86_64"),
        arch="x86_64",
        files={f"/usr/src/kernels/{KERNEL}/Makefile": "# a stand-in\n"},
    ),
)


def spec_of(rpm: Rpm, sources: Path) -> str:
    """The spec file of a package, whose files lie below `sources`."""
    lines = [
        "%global debug_package %{nil}",
        "%global __os_install_post %{nil}",
        f"Name: {rpm.name}",
        f"Version: {rpm.version}",
        f"Release: {rpm.release}",
        f"Summary: {rpm.name} for tests",
        "License: Apache-2.0",
        "AutoReqProv: no",
    ]
    if rpm.epoch:
        lines.append(f"Epoch: {rpm.epoch}")
    if rpm.arch == "noarch":
        lines.append("BuildArch: noarch")
    lines += [f"Requires: {r}" for r in rpm.requires]
    lines += [f"Provides: {p}" for p in rpm.provides]
    lines += [f"Recommends: {r}" for r in rpm.recommends]
    lines += ["%description", "For tests.", "%install", f"cp -a {sources}/. %{{buildroot}}/"]
    if rpm.pre:
        lines += ["%pre", rpm.pre]
    lines.append("%files")
    for path in rpm.files:
        if path.endswith("/"):
            lines.append(f"%dir {path.rstrip('/')}")
        else:
            lines.append(f"%doc {path}" if path in rpm.docs else path)
    return "\n".join(lines) + "\n"


def make_repository(target: Path, work: Path, packages: Iterable[Rpm] = PACKAGES) -> None:
    """Build every package with rpmbuild into `target`, then its metadata."""
    target.mkdir(parents=True)
    for rpm in packages:
        sources = work / rpm.name / "root"
        sources.mkdir(parents=True)
        for path, content in rpm.files.items():
            file = sources / path.lstrip("/")
            if path.endswith("/"):
                file.mkdir(parents=True, exist_ok=True)
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
            file.chmod(0o755 if content.startswith("#!") else 0o644)
        spec = work / rpm.name / f"{rpm.name}.spec"
        spec.write_text(spec_of(rpm, sources))
        defines = {
            "_topdir": str(work / rpm.name / "build"),
            "_rpmdir": str(target),
            "_build_name_fmt": "%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm",
        }
        words = ["rpmbuild", "-bb", "--quiet", str(spec), "--target", rpm.arch]
        for name, value in defines.items():
            words += ["--define", f"{name} {value}"]
        subprocess.run(words, check=True, capture_output=True, text=True)
    subprocess.run(["createrepo_c", "--quiet", str(target)], check=True, capture_output=True)
