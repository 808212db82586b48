"""`bootcfleet image check` with real podman on the real base: systemd booted, plain, and ^C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bootcfleet.cli.app import run

pytestmark = pytest.mark.integration

SERVICE = """\
[Unit]
Description=a web server of one file
[Service]
ExecStart=/usr/bin/python3 -m http.server --bind 127.0.0.1 --directory /usr/share/www 8080
[Install]
WantedBy=multi-user.target
"""

BROKEN = """\
[Service]
ExecStart=/bin/sh -c "echo no such thing as luck; exit 1"
[Install]
WantedBy=multi-user.target
"""

CONTAINERFILE = """\
FROM {{ base }}
COPY files/ /
RUN systemd-sysusers && chmod 0640 /etc/secret && ln -s a /etc/link && systemctl preset site.service
"""

RIGHT = """\
version: 1
checks:
  - {file: /etc/secret, owner: root, group: root, mode: "0640", type: file, contains: "{{ word }}",
     sha256: 6d4e74e8673103777633d8e0a087807419bb50ac26c8e1eb8fa4c87dcea255a4}
  - {file: /etc/link, type: symlink, target: a}
  - {file: [/usr/etc, "/etc/it's $(not) here"], absent: true}
  - {package: base-standin, version: ">= 1.0"}
  - {package: [telnet-server, firewalld], absent: true}
  - {unit: bootc-fetch-apply-updates.timer, enabled: true, active: true, failed: false}
  - {unit: site.service, enabled: true, active: true, masked: false}
  - {user: site, uid: 979, gid: 979, home: /var/lib/site, sysusers: true}
  - {group: wheel, gid: 10, sysusers: true}
  - {port: 8080, address: 127.0.0.1}
  - {port: 22, absent: true}
  - {kernel_argument: [console=ttyS0, quiet]}
  - kernels: 1
  - {repository: "*", exclude: test}
  - {repository: test, enabled: true}
  - {command: [sh, -c, "echo \\"$0\\" >&2; echo it\\\\'s; exit 3", x], exit_code: 3, equals: "it's"}
  - {command: "test -d /run/systemd/system", needs: boot}
  - {http: "http://127.0.0.1:8080/", contains: "{{ image.name }}"}
  - {http: "http://127.0.0.1:8080/none", status: 404}
  - {system: running, within: 3}
"""

WRONG = """\
version: 1
checks:
  - {file: /etc/secret, mode: "0600", lacks: magic}
  - {package: base-standin, version: "> 1.0"}
  - {unit: site.service, enabled: false}
  - {unit: site.service, active: false, within: 0}
  - {user: site, uid: 1}
  - {port: 8081, within: 0}
  - {http: "http://127.0.0.1:8081/", within: 0}
  - {command: "false", optional: true}
  - {unit: broken.service, failed: false, within: 2}
"""


def podman(*words: str) -> str:
    done = subprocess.run(["podman", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def containers() -> str:
    return podman("ps", "--all", "--quiet", "--filter", "label=io.bootcfleet.check")


@pytest.fixture(scope="module")
def project(
    real_base: str, docker_registry: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("checked")
    template = root / "containerfiles/site"
    files = {
        "files/etc/secret": "the magic word\n",
        "files/usr/share/www/index.html.j2": "<p>{{ image.name }}\n",
        "files/usr/lib/systemd/system/site.service": SERVICE,
        "files/usr/lib/systemd/system-preset/10-site.preset": "enable site.service\n",
        "files/usr/lib/sysusers.d/site.conf": 'g site 979\nu site 979:979 "Site" /var/lib/site\n',
        "files/usr/lib/bootc/kargs.d/site.toml": 'kargs = ["console=ttyS0", "quiet"]\n',
        "template.yaml": "variables: {word: {default: magic}}\n",
        "Containerfile.j2": CONTAINERFILE,
        "checks.yaml": RIGHT,
    }
    for path, text in files.items():
        (template / path).parent.mkdir(parents=True, exist_ok=True)
        (template / path).write_text(text)
    child = root / "containerfiles/child"
    child.mkdir()
    (child / "files/usr/lib/systemd/system").mkdir(parents=True)
    (child / "files/usr/lib/systemd/system/broken.service").write_text(BROKEN)
    (child / "Containerfile.j2").write_text(
        "FROM {{ base }}\nCOPY files/ /\nRUN echo 2 > /etc/two && systemctl enable broken.service\n"
    )
    (child / "checks.yaml").write_text(WRONG)
    (root / "bootcfleet.yaml").write_text(
        f"version: 1\nname: acme\nregistry: {docker_registry}/checked\nimages:\n"
        f"  site: {{base: '{real_base}', bootc_lint: errors}}\n"
        "  child: {from: site, bootc_lint: errors, checks: [{file: /etc/two, contains: '2'}]}\n"
    )
    before = Path.cwd()
    os.chdir(root)
    try:
        assert run(["image", "build", "--push"]) == 0
        yield root
    finally:
        os.chdir(before)


def checked(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[dict[str, Any]]]:
    capsys.readouterr()
    code = run(["image", "check", "--json", *words])
    captured = capsys.readouterr()
    assert captured.out, captured.err
    images: list[dict[str, Any]] = json.loads(captured.out)["images"]
    return code, images


def bad(report: dict[str, Any]) -> dict[str, str]:
    return {
        one["name"]: f"{one['outcome']}: {one['expected']} / {one['found']}"
        for one in report["checks"]
        if one["outcome"] != "passed"
    }


def test_right_facts_in_a_booted_container(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, (report,) = checked(capsys, "site")
    if report["mode"] == "plain":
        pytest.skip(f"systemd does not run in a container here: {report['mode_reason']}")
    assert bad(report) == {}
    assert (code, report["outcome"], report["local"]) == (0, "passed", False)
    assert report["counts"]["passed"] == 25
    assert containers() == ""
    assert run(["image", "check", "--status", "site"]) == 0
    assert report["digest"] in capsys.readouterr().out


def test_wrong_facts_and_the_parents_checks_in_the_child(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, (report,) = checked(capsys, "child")
    if report["mode"] == "plain":
        pytest.skip(f"systemd does not run in a container here: {report['mode_reason']}")
    assert code == 3
    assert bad(report) == {
        "file /etc/secret": "failed: mode 0600; no 'magic' in the file / mode 0640; it is there",
        "package base-standin": "failed: version > 1.0 / base-standin 1.0-1.el10",
        "unit site.service not enabled": "failed: not enabled / enabled",
        "unit site.service not active": "failed: not active / active (running)",
        "user site": "failed: uid 1 / uid 979",
        "port 8081/tcp": "failed: something listens / nothing listens",
        "http http://127.0.0.1:8081/": (
            "failed: status 200 / <urlopen error [Errno 111] Connection refused>"
        ),
        "command false": "failed: exit code 0 / exit code 1",
        "unit broken.service not failed": (
            "failed: not failed / failed (failed), which said last: no such thing as luck"
        ),
        "system running": "failed: running / degraded (failed: broken.service)",
    }
    assert report["mode_reason"] == "systemd says degraded, failed units: broken.service"
    by_image = {one["image"] for one in report["checks"]}
    assert by_image == {"site", "child"}


def test_without_a_boot_what_needs_one_is_skipped_and_that_is_not_green(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, (report,) = checked(capsys, "site", "--no-boot")
    assert (code, report["mode"], report["outcome"]) == (3, "plain", "skipped")
    skipped = [one["name"] for one in report["checks"] if one["outcome"] == "skipped"]
    assert skipped == list(bad(report))
    assert "unit site.service active" in skipped
    assert "unit site.service enabled masked" not in skipped
    assert report["counts"]["skipped"] == 8
    assert run(["image", "check", "--status", "site"]) == 3
    assert "skipped" in capsys.readouterr().out


def test_an_image_without_systemd_is_checked_plain_and_says_why(
    project: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    base = json.loads((project / ".bootcfleet/builds.json").read_text())["images"]["site"]
    (tmp_path / "Containerfile").write_text(
        f"FROM {base['image_id']}\nRUN rm -f /sbin/init /usr/sbin/init\n"
    )
    image_id = podman("build", "--quiet", str(tmp_path))
    from bootcfleet.drivers.command import LocalExecutor
    from bootcfleet.drivers.container import running

    with running(LocalExecutor(), image_id, label="x") as container:
        assert not container.booted
        assert "/sbin/init" in container.reason
        inside = container.executor
        inside.put(b"it's\0\xff", "/etc/a file", mode=0o600, as_root=True)
        assert inside.get("/etc/a file") == b"it's\0\xff"
        assert inside.run(["stat", "-c", "%a", "/etc/a file"]).stdout == "600\n"
        words = ["a b", "$HOME", "'", '"', "\\n", "*", ""]
        said = inside.run(["printf", "%s|", *words]).stdout
        assert said == "|".join(words) + "|"
    assert containers() == ""


def test_interrupted_while_checking_nothing_is_left(project: Path) -> None:
    more = project / "containerfiles/site/checks.d"
    more.mkdir()
    try:
        (more / "slow.yaml").write_text(
            "version: 1\nchecks:\n  - {command: [sleep, '600'], timeout: 700}\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "bootcfleet", "image", "check", "site", "--no-boot"],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        try:
            while not containers():
                assert process.poll() is None
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
        finally:
            process.kill()
        assert containers() == ""
    finally:
        (more / "slow.yaml").unlink()
        more.rmdir()
