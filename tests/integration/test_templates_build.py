"""All shipped templates, built by real podman with real dnf on the real base, then looked at."""

from __future__ import annotations

import functools
import http.server
import json
import re
import stat
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bootcfleet.domain.check import Mode, Outcome
from bootcfleet.domain.checkfile import checks_of
from bootcfleet.domain.labels import image_labels
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.drivers.container import running
from bootcfleet.ops.check import check_system
from tests.integration.realbase.packages import DRIVER, KERNEL, Rpm, make_repository
from tests.shippedtemplates import DIGEST, FULL, KEY, MINIMAL, NAMES, check_sources, render
from tests.tools import need

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Built:
    """One image: its id, its digest reference in the registry, what the build said, its root."""

    image_id: str
    ref: str
    log: str
    root: Path
    labels: dict[str, str]

    def path(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def text(self, path: str) -> str:
        return self.path(path).read_text()

    def enabled(self, unit: str) -> str:
        """What systemd says of a unit: enabled, disabled, masked, …"""
        return podman_run(self.image_id, "systemctl", "is-enabled", unit, check=False).strip()

    def run(self, *words: str) -> str:
        return podman_run(self.image_id, *words)


def podman(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["podman", *words], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"
    return done


def podman_run(image: str, *words: str, check: bool = True) -> str:
    return podman("run", "--rm", "--network=none", image, *words, check=check).stdout


def build(
    folder: Path, name: str, variables: dict[str, Any], base: str, *options: str
) -> subprocess.CompletedProcess[str]:
    """Render and build; the last line of stdout is the image's id."""
    render(name, variables, base=base).write(folder)
    parent = base.partition("@")[0]
    labels = image_labels(
        name,
        "0" * 64,
        base,
        declared=parent,
        revision="c" * 40,
        source="https://git/x.git",
        timestamp=None,
    )
    options += tuple(f"--label={key}={value}" for key, value in labels.items())
    return podman("build", *options, "--pull=never", str(folder), check=False)


def finish(folder: Path, registry: str, tag: str, done: subprocess.CompletedProcess[str]) -> Built:
    """Push a build that worked, and mount it."""
    assert done.returncode == 0, done.stdout + done.stderr
    image_id = done.stdout.split()[-1]
    digestfile = folder / "digest"
    target = f"{registry}/shipped/{tag}"
    podman("push", f"--digestfile={digestfile}", image_id, f"docker://{target}:t")
    ref = f"{target}@{digestfile.read_text().strip()}"
    podman("pull", ref)
    root = Path(podman("image", "mount", image_id).stdout.strip())
    labels = json.loads(podman("image", "inspect", image_id).stdout)[0]["Labels"]
    return Built(image_id, ref, done.stdout + done.stderr, root, labels)


@pytest.fixture(scope="module")
def soe(real_base: str, docker_registry: str, tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("soe")
    podman("pull", real_base)
    done = build(folder / "context", "soe", FULL["soe"], real_base)
    return finish(folder, docker_registry, "soe", done)


@pytest.fixture(scope="module")
def roles(
    soe: Built, docker_registry: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Built]:
    """Every role on the SOE's digest, two at a time: by its name (full), and web as nginx."""
    folder = tmp_path_factory.mktemp("roles")
    jobs = {name: (name, FULL[name]) for name in NAMES if name != "soe"}
    jobs["web-nginx"] = ("web", MINIMAL["web"])

    def one(tag: str) -> tuple[str, Built]:
        name, variables = jobs[tag]
        done = build(folder / tag / "context", name, variables, soe.ref)
        return tag, finish(folder / tag, docker_registry, tag, done)

    with ThreadPoolExecutor(2) as pool:
        return dict(pool.map(one, jobs))


@pytest.fixture(scope="module")
def every(soe: Built, roles: dict[str, Built]) -> dict[str, Built]:
    return {"soe": soe, **roles}


ALL = [*NAMES, "web-nginx"]


@pytest.mark.parametrize("tag", ALL)
def test_lint_runs_last_and_is_content(every: dict[str, Built], tag: str) -> None:
    steps = re.findall(r"^(?:\[\d/\d\] )?STEP \d+/\d+: (.*)$", every[tag].log, re.MULTILINE)
    # Only the labels of the build come after it.
    assert [step.partition(" ")[0] for step in steps if not step.startswith("LABEL")][-1] == "RUN"
    at = every[tag].log.rindex("RUN bootc container lint")
    said = every[tag].log[at : every[tag].log.find("STEP ", at)]
    assert "Warnings: 0" in said, every[tag].log[-3000:]
    assert "Checks passed: 13" in said


@pytest.mark.parametrize("tag", ALL)
def test_labels_are_the_images_own(every: dict[str, Built], soe: Built, tag: str) -> None:
    built = every[tag]
    prefix = "org.opencontainers.image."
    own = {k.removeprefix(prefix): v for k, v in built.labels.items() if k.startswith(prefix)}
    parent = None if tag == "soe" else soe
    assert built.labels["containers.bootc"] == "1"
    assert built.labels["ostree.bootable"] == "true"
    assert own["title"] == ("web" if tag == "web-nginx" else tag)
    assert own["version"] == "1.2"
    assert own["revision"] == "c" * 40
    assert own["source"] == "https://git/x.git"
    assert own["vendor"] == (FULL["soe"]["vendor"] if tag == "soe" else "acme")
    # Set on the base of the tests, known to nobody here: not inherited.
    assert own["created"] == own["ref.name"] == own["licenses"] == own["documentation"] == ""
    assert own["authors"] == own["vendor"]
    if parent is not None:
        assert f"{own['base.name']}@{own['base.digest']}" == parent.ref
        assert own["description"] != parent.labels[prefix + "description"]


@pytest.mark.parametrize("tag", ALL)
def test_var_is_as_empty_as_in_the_base(every: dict[str, Built], tag: str) -> None:
    var = every[tag].path("/var")
    found = {p.relative_to(var).as_posix() for p in var.rglob("*") if "chrony" not in p.parts}
    assert found <= {"cache", "lib", "log", "run", "tmp", "lib/rpm-state"}


@pytest.mark.parametrize("tag", ALL)
def test_nobody_has_a_password_and_nothing_strange_changed(
    every: dict[str, Built], tag: str
) -> None:
    built = every[tag]
    for line in built.text("/etc/shadow").splitlines():
        assert line.split(":")[1] in ("*", "!", "!*", "!!"), line
    # COPY of a folder must not change the folders that the base has.
    assert stat.S_IMODE(built.root.stat().st_mode) == 0o555
    for folder in ("/etc", "/usr", "/usr/lib", "/usr/lib/systemd"):
        info = built.path(folder).stat()
        assert (stat.S_IMODE(info.st_mode), info.st_uid) == (0o755, 0), folder
    assert not [p for p in built.path("/run").rglob("*") if p.name != ".containerenv"]
    repositories = [p.name for p in built.path("/etc/yum.repos.d").iterdir()]
    assert repositories == ["test.repo"]


@pytest.mark.parametrize("tag", ALL)
def test_the_shipped_checks_pass(every: dict[str, Built], tag: str) -> None:
    """Without a boot: the packages here are stand-ins, whose servers end at once."""
    name, variables = ("web", MINIMAL["web"]) if tag == "web-nginx" else (tag, FULL[tag])
    chain = [("soe", FULL["soe"]), (name, variables)][name == "soe" :]
    checks = checks_of([check_sources(each, given) for each, given in chain])
    with running(LocalExecutor(), every[tag].image_id, label=tag, boot=False) as container:
        results = check_system(checks, container.executor, Mode.PLAIN)
    assert [f"{r.check.name}: {r.message}" for r in results if r.outcome is Outcome.FAILED] == []
    assert sum(result.outcome is Outcome.PASSED for result in results) > 10


@pytest.mark.parametrize("tag", ALL)
def test_systemd_accepts_all_units(every: dict[str, Built], tag: str) -> None:
    built = every[tag]
    own = [
        p.name
        for p in built.path("/usr/lib/systemd/system").iterdir()
        if p.name.startswith(("postgresql", "nvidia", "nginx", "httpd", "chronyd", "greenboot"))
        and p.is_file()
    ]
    done = podman(
        "run", "--rm", "--network=none", built.image_id, "systemd-analyze", "verify", *own,
        check=False,
    )  # fmt: skip
    complaints = [
        line
        for line in done.stderr.splitlines()
        if any(name in line for name in own) and "is not executable" not in line
    ]
    assert own
    assert not complaints


def test_soe_installs_only_what_it_was_told(soe: Built) -> None:
    installed = set(soe.run("rpm", "-qa", "--qf", "%{NAME}\\n").split())
    assert installed == {"base-standin", "chrony", "firewalld", "monitoring-agent"}
    assert not soe.path("/usr/share/doc/chrony/README").exists()


def test_soe_units_follow_the_preset(soe: Built) -> None:
    assert soe.enabled("chronyd.service") == "enabled"
    assert soe.enabled("firewalld.service") == "enabled"
    assert soe.enabled("monitoring-agent.timer") == "enabled"
    assert soe.enabled("fstrim.timer") == "disabled"
    assert soe.enabled("bootc-fetch-apply-updates.timer") == "masked"


def test_soe_users_exist_with_fixed_uids_and_keys_come_at_boot(soe: Built) -> None:
    assert "ops:x:1500:1500:Ops 'Team':/var/home/ops:/bin/bash" in soe.text("/etc/passwd")
    assert "backup-agent:x:1501:1501::/var/home/backup-agent:/usr/sbin/nologin" in soe.text(
        "/etc/passwd"
    )
    assert re.search(r"^wheel:x:10:ops$", soe.text("/etc/group"), re.MULTILINE)
    # Not today's date: the layer is the same whenever it is built.
    assert re.search(r"^ops:!\*?:1:", soe.text("/etc/shadow"), re.MULTILINE)
    script = (
        "systemd-tmpfiles --create --prefix=/var/home --prefix=/var/roothome"
        " && cat /var/home/ops/.ssh/authorized_keys && echo ="
        " && cat /var/roothome/.ssh/authorized_keys && echo ="
        " && stat -c '%a %U %G' /var/home/ops /var/home/ops/.ssh /var/home/ops/.ssh/authorized_keys"
    )
    ops, root, modes = soe.run("sh", "-c", script).split("=\n")
    assert ops == f"{KEY}\n{KEY.replace('ops@', 'second@')}\n"
    assert root == f"{KEY}\n"
    assert modes.splitlines() == ["700 ops ops", "700 ops ops", "600 ops ops"]


def test_soe_sudo_and_ssh(soe: Built) -> None:
    sudoers = soe.path("/etc/sudoers.d/50-soe")
    assert sudoers.read_text() == "ops ALL=(ALL) NOPASSWD: ALL\n"
    assert stat.S_IMODE(sudoers.stat().st_mode) == 0o440
    assert "NOPASSWD: ALL" in soe.run("sudo", "-l", "-U", "ops")


def test_soe_sshd_settings_are_read_by_sshd(soe: Built, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run([need("ssh-keygen"), "-qN", "", "-t", "ed25519", "-f", str(key)], check=True)
    file = soe.path("/etc/ssh/sshd_config.d/40-soe.conf")
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd wants it; its unit makes it
    said = subprocess.run(
        [need("sshd"), "-T", "-f", str(file), "-h", str(key)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "passwordauthentication no" in said
    assert "permitrootlogin without-password" in said


def test_soe_settings_are_in_the_image(soe: Built) -> None:
    assert soe.path("/etc/localtime").readlink() == Path("../usr/share/zoneinfo/Europe/Berlin")
    assert "CE" in soe.run("date", "+%Z")
    assert soe.text("/etc/locale.conf") == "LANG=C.UTF-8\n"
    bundle = soe.text("/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem")
    assert bundle.count("BEGIN CERTIFICATE") == 2
    assert "ip_forward = 1" in soe.text("/usr/lib/sysctl.d/60-soe.conf")
    assert "mirror.site:5000" in soe.text("/etc/containers/registries.conf.d/50-soe.conf")


@pytest.mark.parametrize(
    ("tag", "user", "uid", "unit"),
    [("web", "apache", 48, "httpd.service"), ("web-nginx", "nginx", 979, "nginx.service")],
)
def test_web_server(roles: dict[str, Built], tag: str, user: str, uid: int, unit: str) -> None:
    built = roles[tag]
    assert built.enabled(unit) == "enabled"
    assert re.search(rf"^{user}:x:{uid}:{uid}:", built.text("/etc/passwd"), re.MULTILINE)
    assert "1.2" in built.text("/usr/share/www/index.html")
    zone = built.text("/etc/firewalld/zones/public.xml")
    assert ('<service name="http"/>' in zone) == (tag == "web-nginx")
    server = unit.removesuffix(".service")
    made = built.run(
        "sh", "-c", f"systemd-tmpfiles --create --prefix=/var && stat -c %a /var/log/{server}"
    )
    assert made.split() == ["700" if tag == "web" else "711"]


def test_database_starts_empty_and_keeps_its_data(roles: dict[str, Built]) -> None:
    built = roles["database"]
    assert built.enabled("postgresql.service") == "enabled"
    assert re.search(r"^postgres:x:26:26:", built.text("/etc/passwd"), re.MULTILINE)
    assert built.labels["bootcfleet.postgresql.major"] == "16"
    conf = "/var/lib/pgsql/data/postgresql.conf"
    script = (
        "systemd-tmpfiles --create --prefix=/var/lib/pgsql"
        " && stat -c '%a %u' /var/lib/pgsql/data"
        f" && touch {conf} && for i in 1 2; do /usr/libexec/postgresql-use-image-settings; done"
        # `--clean` with any age in a line would take the file away.
        f" && touch -d '5 years ago' {conf} && systemd-tmpfiles --clean --prefix=/var/lib/pgsql"
        f" && cat {conf}"
    )
    assert built.run("sh", "-c", script).splitlines() == [
        "700 26",
        "include_dir = '/etc/postgresql/conf.d'",
    ]
    assert "host app app 10.0.0.0/8 scram-sha-256" in built.text("/etc/postgresql/pg_hba.conf")


def test_container_host_binds_its_images(roles: dict[str, Built]) -> None:
    built = roles["container-host"]
    links = sorted(built.path("/usr/lib/bootc/bound-images.d").iterdir())
    assert [p.name for p in links] == ["metrics.container", "proxy.container"]
    for link in links:
        assert link.readlink() == Path("/usr/share/containers/systemd") / link.name
    quadlet = built.text("/usr/share/containers/systemd/proxy.container").splitlines()
    assert f"Image=registry.example.com/proxy@{DIGEST}" in quadlet
    assert "GlobalArgs=--storage-opt=additionalimagestore=/usr/lib/bootc/storage" in quadlet
    assert 'Environment="MODE=it\'s \\"quoted\\" $HOME"' in quadlet
    assert quadlet[-1] == "WantedBy=multi-user.target"
    assert built.enabled("podman-auto-update.timer") == "disabled"
    assert built.text("/etc/subuid") == built.text("/etc/subgid") == "apps:200000:65536\n"
    script = "systemd-tmpfiles --create --prefix=/var && ls /var/lib/systemd/linger"
    assert built.run("sh", "-c", script).split() == ["apps"]


def test_edge_host(roles: dict[str, Built]) -> None:
    built = roles["edge"]
    check = built.path("/usr/lib/greenboot/check/required.d/50-required-units.sh")
    assert stat.S_IMODE(check.stat().st_mode) == 0o755
    assert built.run("sh", "-n", "/" + str(check.relative_to(built.root))) == ""
    keyfiles = sorted(built.path("/usr/lib/NetworkManager/system-connections").iterdir())
    assert [p.name for p in keyfiles] == ["service.nmconnection", "uplink.nmconnection"]
    assert {stat.S_IMODE(p.stat().st_mode) for p in keyfiles} == {0o600}
    assert "address1=192.0.2.10/24\ngateway=192.0.2.1\n" in keyfiles[1].read_text()
    assert built.enabled("greenboot-healthcheck.service") == "enabled"
    # This site updates itself: the SOE's mask is off again.
    assert built.enabled("bootc-fetch-apply-updates.timer") == "enabled"
    assert "RuntimeWatchdogSec=60" in built.text(
        "/usr/lib/systemd/system.conf.d/50-edge-watchdog.conf"
    )


def test_gpu_host_has_modules_of_its_kernel_and_no_compiler(roles: dict[str, Built]) -> None:
    built = roles["gpu"]
    module = f"/usr/lib/modules/{KERNEL}/extra/nvidia/nvidia.ko"
    assert built.text(module) == f"nvidia {DRIVER} for {KERNEL}\n"
    owner = built.run("rpm", "-qf", "--qf", "%{NAME} %{EPOCH}:%{VERSION}", module)
    assert owner == f"nvidia-kmod-bootc 3:{DRIVER}"
    installed = set(built.run("rpm", "-qa", "--qf", "%{NAME}\\n").split())
    assert {"nvidia-driver-cuda", "nvidia-container-toolkit", "nvidia-persistenced"} <= installed
    assert not installed & {"gcc", "make", "dkms", "kernel-devel", "kmod-nvidia-open-dkms"}
    assert not list(built.path("/usr/src").iterdir())
    assert "nvidia.ko" in built.text("/usr/share/nvidia-kmod-bootc/kmod.sha256")
    for unit in ("nvidia-persistenced", "nvidia-cdi", "nvidia-fabricmanager"):
        assert built.enabled(f"{unit}.service") == "enabled"


FAILING: dict[str, tuple[str, dict[str, Any], str]] = {
    "a quadlet by tag": (
        "container-host",
        {"containers": [{"name": "x", "image": "registry.example.com/x:1"}]},
        "x.container: Image= must be pinned by a digest",
    ),
    "another major version of PostgreSQL": ("database", {"postgresql_major": "17"}, ""),
    "a uid that is in use": ("web", {"service_uid": 1500}, ""),
    "a unit that nothing brings": (
        "web",
        {"enable_units": ["missing.service"]},
        "missing.service does not exist",
    ),
    "a time zone outside its folder": ("soe", {"timezone": "../../../etc/shadow; id"}, ""),
    "a secret that is not given": ("web", {"build_secrets": [{"id": "rhsm"}]}, "rhsm"),
}


@pytest.mark.parametrize("case", FAILING)
def test_a_mistake_stops_the_build(soe: Built, tmp_path: Path, case: str) -> None:
    name, variables, message = FAILING[case]
    done = build(tmp_path / "context", name, {**MINIMAL[name], **variables}, soe.ref)
    assert done.returncode != 0
    assert message in done.stdout + done.stderr
    assert "bootc container lint" not in done.stdout


def test_lint_stops_the_build(soe: Built, tmp_path: Path) -> None:
    rendered = render("web", MINIMAL["web"], base=soe.ref)
    files = {**rendered.files, "files/usr/etc/x": (b"x", 0o644)}
    type(rendered)(rendered.containerfile, files).write(tmp_path / "context")
    done = podman("build", "--pull=never", str(tmp_path / "context"), check=False)
    assert done.returncode != 0
    assert "etc-usretc" in done.stdout + done.stderr


@pytest.fixture
def http_server(tmp_path: Path) -> Iterator[str]:
    """A web server on loopback with the files of `tmp_path`/www."""
    (tmp_path / "www").mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            return

    handler = functools.partial(Quiet, directory=str(tmp_path / "www"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def signed_repository(tmp_path: Path, http_server: str) -> str:
    """A repository over http with one signed and one unsigned package, and its key."""
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    gpg = [need("gpg"), "--homedir", str(home), "--batch", "--quiet"]
    subprocess.run(
        [*gpg, "--passphrase", "", "--quick-generate-key", "test@example.com", "rsa3072", "sign"],
        check=True, capture_output=True,
    )  # fmt: skip
    repository = tmp_path / "www/repo"
    packages = (
        Rpm("site-tool", files={"/usr/bin/site-tool": "#!/bin/sh\n"}),
        Rpm("site-unsigned", files={"/usr/bin/site-unsigned": "#!/bin/sh\n"}),
    )
    make_repository(repository, tmp_path / "rpm", packages)
    subprocess.run(
        [
            need("rpmsign"), "--addsign", "--define", "_gpg_name test@example.com",
            "--define", f"_gpg_path {home}", "--define", f"__gpg {need('gpg')}",
            str(next(repository.glob("site-tool*.rpm"))),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    subprocess.run([need("createrepo_c"), "-q", str(repository)], check=True, capture_output=True)
    key = subprocess.run([*gpg, "--armor", "--export"], check=True, capture_output=True).stdout
    (repository / "key.asc").write_bytes(key)
    subprocess.run(
        [need("gpgconf"), "--homedir", str(home), "--kill", "all"], capture_output=True, check=False
    )
    return f"{http_server}/repo"


def test_build_repositories_are_checked_and_leave_nothing(
    soe: Built, tmp_path: Path, signed_repository: str
) -> None:
    repository = {"id": "site", "url": signed_repository, "gpgkey": f"{signed_repository}/key.asc"}
    for package, works in (("site-tool", True), ("site-unsigned", False)):
        variables = {"packages": ["greenboot", package], "build_repositories": [repository]}
        done = build(tmp_path / package, "edge", variables, soe.ref)
        assert (done.returncode == 0) == works, done.stdout + done.stderr
        if works:
            image = done.stdout.split()[-1]
            assert podman_run(image, "ls", "/etc/yum.repos.d").split() == ["test.repo"]
            assert "site-tool" in podman_run(image, "rpm", "-qa")
        else:
            assert "is not signed" in done.stdout + done.stderr


def test_a_secret_repository_is_used_and_in_no_layer(soe: Built, tmp_path: Path) -> None:
    token = "entitlement-token-5b1f"
    secret = tmp_path / "site.repo"
    secret.write_text(
        f"# {token}\n[secret]\nname=secret\nbaseurl=file:///usr/share/bootcfleet-test-repo\ngpgcheck=0\n"
    )
    variables = {
        "build_secrets": [{"id": "site.repo"}],
        "dnf_options": ["--setopt=reposdir=/run", "--repo=secret"],
    }
    done = build(
        tmp_path / "context", "web", variables, soe.ref, f"--secret=id=site.repo,src={secret}"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    archive = tmp_path / "image"
    podman("save", "--format=docker-dir", "-o", str(archive), done.stdout.split()[-1])
    own = sorted(archive.iterdir(), key=lambda p: p.stat().st_size)[:-1]  # the largest is the base
    assert len(own) > 5
    for layer in own:
        assert token.encode() not in layer.read_bytes(), layer
    names = [
        name
        for layer in own
        for name in subprocess.run(
            ["tar", "-tf", str(layer)], capture_output=True, text=True, check=False
        ).stdout.split()
    ]
    assert any(name.endswith("nginx.conf") for name in names)
    assert not [name for name in names if name.startswith("run/") and name != "run/"]
