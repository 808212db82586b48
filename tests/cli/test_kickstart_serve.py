"""`bootcfleet kickstart serve`, `hosts` and `again`: the program itself, and its mistakes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import urllib3

from bootcfleet.cli.app import run
from tests.bootmachines import CLOSE, boot_tree
from tests.tools import need

COMMAND = [sys.executable, "-m", "bootcfleet", "kickstart", "serve", "--json"]
PROJECT = """\
version: 1
name: acme
registry: registry.example.com/acme
images:
  soe: {base: quay.io/centos-bootc/centos-bootc:stream9}
installs:
  metal:
    release: rhel9
    image: soe
    disk: sda
    selector: role!=vault
  vault:
    release: rhel9
    image: soe
    disk: sda
    selector: role=vault
    secrets:
      pull_secret: {env: PULL}
"""
INVENTORY = """\
version: 1
# The fleet.
hosts:
  web1:          # the first
    labels: {role: web}
    install: {mac: 52-54-00-00-00-01, serial: SN1}
  vault1:
    labels: {role: vault}
    install: {mac: 52-54-00-00-00-02}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "bootcfleet.yaml").write_text(PROJECT)
    (tmp_path / "inventory.yaml").write_text(INVENTORY)
    boot_tree(tmp_path / "iso")
    monkeypatch.chdir(tmp_path)
    # ~/.ssh/known_hosts
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PULL", "pull-secret")
    return tmp_path


class Program:
    """A running `kickstart serve --json`: its events as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []
        self.url = ""
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.http = urllib3.PoolManager(retries=False, headers=CLOSE)
        self.url = self.event("kickstart.listening")["data"]["url"]

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.events.append(json.loads(line))
                self._changed.notify_all()

    def event(self, kind: str, subject: str | None = None) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            for one in self.events:
                if one["kind"] == kind and subject in (None, one["subject"]):
                    return one
            return None

        with self._changed:
            assert self._changed.wait_for(lambda: found() is not None, timeout=60), (
                f"no {kind}: {self.events}"
            )
            return found() or {}

    def get(self, path: str) -> tuple[int, str]:
        answer = self.http.request("GET", self.url + path)
        return answer.status, answer.data.decode()

    def end(self, number: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(number)
        code = self.process.wait(60)
        self._reader.join()
        assert self.process.stderr is not None
        return code, self.process.stderr.read()


@contextmanager
def program(*words: str) -> Iterator[Program]:
    process = subprocess.Popen(
        [*COMMAND, "--listen", "127.0.0.1:0", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)},
    )
    try:
        yield Program(process)
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def install(served: Program, key: str, folder: Path, name: str) -> list[str]:
    """Play the installed host: run the %post of the kickstart that calls back.

    Its /etc is a folder, and ssh-keygen writes there. Returns its public keys.
    """
    status, kickstart = served.get(f"/ks/{key}")
    assert status == 200, kickstart
    found = re.search(r"%post --interpreter=/usr/bin/bash\n(.*?)\n%end", kickstart, re.DOTALL)
    assert found
    etc = folder / name / "etc"
    (etc / "ssh").mkdir(parents=True)
    (etc / "hostname").write_text(f"{name}\n")
    script = found.group(1).replace("ssh-keygen -A", f"ssh-keygen -A -f {folder / name} >/dev/null")
    script = script.replace("/etc/", f"{etc}/").replace("restorecon", "true restorecon")
    need("ssh-keygen")
    need("curl")
    subprocess.run(["bash", "-c", script], check=True, capture_output=True, timeout=120)
    texts = [path.read_text() for path in sorted((etc / "ssh").glob("*.pub"))]
    return [" ".join(text.split()[:2]) for text in texts]


def test_a_machine_from_its_menu_to_the_inventory(project: Path) -> None:
    known = project / ".ssh/known_hosts"
    known.parent.mkdir()
    known.write_text("elsewhere ssh-rsa AAAA\n")
    with program("--boot", "iso", "--enroll", "--unknown", "metal") as served:
        assert served.get("/ipxe/52-54-00-00-00-01?arch=i386")[0] == 200
        keys = install(served, "web1", project, "web1")
        assert served.event("host.enrolled", "web1")["data"]["new"] is False
        new = install(served, "52:54:00:00:00:09", project, "web9.example.com")
        assert served.event("host.enrolled", "web9.example.com")["data"]["new"] is True
        # What was enrolled is known at once.
        assert served.event("host.installed", "52-54-00-00-00-09")
        for _ in range(600):
            if "web9.example.com is installed" in served.get("/ipxe/52-54-00-00-00-09")[1]:
                break
            threading.Event().wait(0.1)
        assert "sanboot" in served.get("/ipxe/52-54-00-00-00-09")[1]
        code, errors = served.end(signal.SIGINT)
    assert code == 130
    assert "Traceback" not in errors
    inventory = (project / "inventory.yaml").read_text()
    assert inventory.startswith(INVENTORY)
    added = inventory.removeprefix(INVENTORY).splitlines()
    assert re.fullmatch(r"    # installed \d{4}-\d\d-\d\d; enrolled by itself", added.pop(1))
    # The serial number is the one of the machine that runs this test, if it has one.
    assert [line for line in added if "serial" not in line] == [
        "  web9.example.com:",
        "    connection:",
        '      address: "127.0.0.1"',
        "    install:",
        '      mac: "52:54:00:00:00:09"',
    ]
    lines = known.read_text().splitlines()
    assert lines[0] == "elsewhere ssh-rsa AAAA"
    assert {f"web1 {key}" for key in keys} <= set(lines)
    assert {f"127.0.0.1 {key}" for key in new} <= set(lines)
    assert len(keys) >= 3


def test_the_table_and_installing_again(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["kickstart", "hosts"]) == 0
    assert capsys.readouterr().out == (
        "no machine has asked for anything yet; start `bootcfleet kickstart serve`\n"
    )
    with program("--boot", "iso") as served:
        served.get("/ks/52:54:00:00:00:ff")
        served.get("/ipxe/52-54-00-00-00-ff")
        install(served, "web1", project, "web1")
        # It is looked at while it runs.
        assert run(["kickstart", "hosts", "--json"]) == 0
        rows = {one["host"]: one for one in json.loads(capsys.readouterr().out)}
        assert "sanboot" in served.get("/ipxe/52-54-00-00-00-01")[1]
        assert run(["kickstart", "again", "web1"]) == 0
        assert capsys.readouterr().out == (
            "web1: its next boot from the network installs it again\n"
        )
        assert "kernel http" in served.get("/ipxe/52-54-00-00-00-01")[1]
        assert served.end(signal.SIGTERM)[0] == 0
    assert rows["web1"]["state"] == "installed"
    assert len(rows["web1"]["ssh_host_keys"]) >= 3
    assert rows["52:54:00:00:00:ff"]["state"] == "unknown"
    assert rows["52:54:00:00:00:ff"]["problem"] == (
        "no machine with MAC 52:54:00:00:00:ff is in the inventory"
    )
    assert run(["kickstart", "again", "wep1"]) == 2
    assert capsys.readouterr().err == (
        "error: wep1 has never asked for anything here\nhint: did you mean 'web1'?\n"
    )
    assert run(["audit", "--json"]) == 0
    assert '"host.installed"' in capsys.readouterr().out
    assert run(["kickstart", "hosts"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^web1 +menu +127\.0\.0\.1 ", out, re.MULTILINE), out


def test_secrets_of_the_project_go_out_once(project: Path) -> None:
    with program("--boot", "iso") as served:
        assert served.get("/ks/vault1")[0] == 403
        menu = served.get("/ipxe/52-54-00-00-00-02")[1]
        found = re.search(r"inst\.ks=\S+(/ks/\S+)", menu)
        assert found
        assert "pull_secret" in served.get(found.group(1))[1]
        assert served.get(found.group(1))[0] == 403
        assert served.event("kickstart.given", "vault1")["data"]["secret"] is True
        served.end(signal.SIGINT)
    refused = [one["message"] for one in served.events if one["kind"] == "kickstart.refused"]
    assert len(refused) == 2
    assert "is given for the token of a menu only" in refused[0]
    assert "it was used at" in refused[1]
    log = (project / ".bootcfleet/kickstart/access.log").read_text()
    assert "pull-secret" not in log
    assert found.group(1).rpartition("/")[2] not in log
    assert (project / ".bootcfleet/kickstart/state.db").stat().st_mode & 0o077 == 0


def test_hosts_that_are_added_are_known_without_a_restart(project: Path) -> None:
    with program("--boot", "iso") as served:
        assert served.get("/ks/web7")[0] == 404
        text = INVENTORY + "  web7:\n    install: {mac: 52-54-00-00-00-07}\n"
        (project / "inventory.yaml").write_text(text)
        for _ in range(600):
            if served.get("/ks/web7")[0] == 200:
                break
            threading.Event().wait(0.1)
        assert served.get("/ks/web7")[0] == 200
        served.event("kickstart.reloaded")
        (project / "inventory.yaml").write_text("version: 1\nhosts: [broken\n")
        for _ in range(600):
            assert served.get("/ks/web7")[0] == 200
            if any(one["kind"] == "kickstart.failed" for one in served.events):
                break
            threading.Event().wait(0.1)
        message = served.event("kickstart.failed")["message"]
        assert message.endswith("; what was read before is served")
        served.end(signal.SIGINT)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--listen", "8000"], "--listen '8000' is not ADDRESS:PORT"),
        (["--listen", "localhost:1"], "--listen localhost is not an IP address"),
        (["--listen", "127.0.0.1:99999"], "--listen '127.0.0.1:99999' is not ADDRESS:PORT"),
        (["--url", "http://x/y"], "--url 'http://x/y' is not the URL of a server"),
        (["--boot", "iso", "--boot", "iso"], "two --boot directories are for x86_64"),
        (["--boot", "none"], "--boot none: there is no such directory"),
        (["--append", "a b"], "--append: 'a b' cannot be a kernel argument"),
        (["--tls-cert", "x"], "--tls-cert and --tls-key belong together; give both"),
        (["--unknown", "x"], "--unknown: there is no install 'x'; there is: metal, vault"),
        (["--tftp-root", "x"], "--tftp-root is for --dnsmasq; give both"),
        (["--enroll", "-i", "ansible.ini"], "--enroll adds hosts to bootcfleet's own inventory"),
        (
            ["--dnsmasq", "d", "--listen", "0.0.0.0:8000"],
            "--dnsmasq needs the address that machines reach this server at, and 0.0.0.0 is none",
        ),
        (
            ["--dnsmasq", "d", "--url", "http://boot.example.com"],
            "--dnsmasq needs an IPv4 address, and boot.example.com is none",
        ),
    ],
)
def test_mistakes(
    project: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    (project / "ansible.ini").write_text("web1\n")
    assert run(["kickstart", "serve", *words]) == 2
    assert f"error: {message}" in capsys.readouterr().err
    assert not (project / "d").exists()


def test_without_the_extra_it_says_what_to_install(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("drivers.bootserver", "drivers.bootconnection", "cli.kickstart_serve_run"):
        monkeypatch.delitem(sys.modules, f"bootcfleet.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    assert run(["kickstart", "serve"]) == 5
    assert capsys.readouterr().err == (
        "error: kickstart serve needs aiohttp, which is not installed\n"
        "hint: pip install 'bootcfleet[serve]'\n"
    )
    # The table needs none.
    assert run(["kickstart", "hosts"]) == 0


def test_dnsmasqs_files_are_written_and_what_is_missing_is_said(project: Path) -> None:
    with program(
        "--boot", "iso", "--dnsmasq", "d.conf", "--url", "http://192.0.2.1:8000/"
    ) as served:
        assert "inst.stage2=http://192.0.2.1:8000/" in served.get("/ipxe/52-54-00-00-00-01")[1]
        tftp = project / ".bootcfleet/kickstart/tftp"
        said = [one["message"] for one in served.events if one["kind"] == "kickstart.dnsmasq"]
        served.end(signal.SIGINT)
    assert said == [f"wrote d.conf; its TFTP folder is {tftp}"]
    assert f"tftp-root={tftp}\n" in (project / "d.conf").read_text()
    assert (tftp / "x86_64/BOOTX64.EFI").read_bytes() == b"shim"
    assert (tftp / "x86_64/grub.cfg").read_text() == (
        "set root=(http,192.0.2.1:8000)\nconfigfile ($root)/grub/grub.cfg\n"
    )


def test_who_can_reach_it_is_said_loudly(project: Path) -> None:
    from bootcfleet.ops.kickstart_serve import Listen, ServePlan, warnings

    plan = ServePlan(Listen.parse("192.0.2.1:8000"), project, project / "log")
    assert warnings(plan, secrets=True) == [
        "192.0.2.1 is not this machine alone: whoever reaches it can fetch menus, boot files and "
        "the kickstarts of every host",
        "kickstarts with secrets go over the network as plain text; use --tls-cert and --tls-key, "
        "or a network that nobody else is in",
    ]
    assert len(warnings(plan, secrets=False)) == 1
    home = ServePlan(Listen.parse("[::1]:8000"), project, project / "log")
    assert warnings(home, secrets=True) == []
    assert home.listen.url(secure=True) == "https://[::1]:8000"
