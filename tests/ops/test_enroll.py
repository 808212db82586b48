"""Enrolling machines that were installed: the inventory, known_hosts and the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bootcfleet.domain.boothost import BootHost
from bootcfleet.domain.callback import Callback
from bootcfleet.domain.event import Event
from bootcfleet.errors import UsageError
from bootcfleet.ops.bootservice import Finished, Installed
from bootcfleet.ops.enroll import Enroller, check_inventory
from tests.bootmachines import ED25519

NOW = datetime(2026, 8, 1, tzinfo=UTC)


class Run:
    """An enroller with what it recorded and said."""

    def __init__(self, folder: Path, inventory: str | None) -> None:
        self.path = folder / "inventory.yaml"
        if inventory is not None:
            self.path.write_text(inventory.replace("KNOWN", str(folder / "known")))
        self.known = folder / "known"
        self.records: list[tuple[str, str, str, Mapping[str, Any]]] = []
        self.events: list[Event] = []
        self.enroller = Enroller(self.path, record=self.record, emit=self.events.append)

    def record(
        self,
        action: str,
        subject: str,
        outcome: str,
        *,
        digests: Mapping[str, str],
        details: Mapping[str, Any],
    ) -> object:
        self.records.append((action, subject, outcome, details))
        return None

    def enroll(self, host: BootHost, callback: Callback) -> Finished:
        return self.enroller.enroll(Installed(host, "192.0.2.9", callback, NOW))


WEB1 = BootHost("web1", ("52:54:00:00:00:01",))
NEW = BootHost("52-54-00-00-00-09", ("52:54:00:00:00:09",))
INVENTORY = """\
version: 1
defaults: {connection: {known_hosts: KNOWN, ssh_config: /dev/null}}
hosts:
  web1: {connection: {address: 192.0.2.1, port: 2222}}
"""


def test_a_host_of_the_inventory_is_pinned_under_what_ssh_looks_up(tmp_path: Path) -> None:
    run = Run(tmp_path, INVENTORY)
    before = run.path.read_text()
    assert run.enroll(WEB1, Callback(keys=(ED25519,))) == Finished("web1")
    assert run.path.read_text() == before
    assert run.known.read_text() == f"[192.0.2.1]:2222 {ED25519}\n"
    assert run.known.stat().st_mode & 0o777 == 0o600
    action, subject, outcome, details = run.records[0]
    assert (action, subject, outcome) == ("host.enrolled", "web1", "pinned")
    assert details["ssh_host_keys"][0].startswith("ssh-ed25519 SHA256:")


def test_a_reinstalled_host_has_its_new_key_only(tmp_path: Path) -> None:
    run = Run(tmp_path, INVENTORY)
    old = ED25519[:-4] + "BBBB"
    run.known.write_text(f"[192.0.2.1]:2222 {old}\nother {old}\n")
    run.enroll(WEB1, Callback(keys=(ED25519,)))
    assert run.known.read_text() == f"other {old}\n[192.0.2.1]:2222 {ED25519}\n"


def test_a_newcomer_is_called_as_it_calls_itself_where_that_is_free(tmp_path: Path) -> None:
    run = Run(tmp_path, INVENTORY)
    assert run.enroll(NEW, Callback("db9.example.com", serial="SN")).name == "db9.example.com"
    assert run.enroll(NEW, Callback("web1")).name == "52-54-00-00-00-09"
    assert run.records[0][1:3] == ("db9.example.com", "enrolled")
    again = Run(tmp_path / "b", None) if (tmp_path / "b").mkdir() is None else run
    assert again.enroll(NEW, Callback("localhost.localdomain")).name == "52-54-00-00-00-09"
    assert again.path.read_text().startswith("version: 1\nhosts:\n  52-54-00-00-00-09:\n")
    text = run.path.read_text()
    assert '      serial: "SN"\n' in text
    assert text.index("web1") < text.index("db9")


def test_what_cannot_be_enrolled_stays_installed_and_is_said(tmp_path: Path) -> None:
    run = Run(tmp_path, "version: 1\nhosts: [1, 2\n")
    done = run.enroll(NEW, Callback("db9"))
    assert done.name == NEW.name
    assert done.problem is not None
    assert done.problem.startswith("is installed but could not be enrolled: ")
    assert run.events[0].kind == "host.enroll-failed"
    assert run.records == []


def test_a_revoked_key_is_never_pinned(tmp_path: Path) -> None:
    run = Run(tmp_path, INVENTORY)
    run.known.write_text(f"@revoked * {ED25519}\n")
    done = run.enroll(WEB1, Callback(keys=(ED25519,)))
    assert done.problem == (
        "is installed but could not be enrolled: ssh-ed25519 key is marked as revoked"
    )
    assert run.known.read_text() == f"@revoked * {ED25519}\n"


def test_an_inventory_of_ansible_is_refused_before_anything_is_served(tmp_path: Path) -> None:
    check_inventory(tmp_path / "none.yaml")
    for name, text in (("hosts.ini", "[web]\nweb1\n"), ("a.yaml", "all: {hosts: {web1: {}}}\n")):
        (tmp_path / name).write_text(text)
        with pytest.raises(UsageError, match="--enroll adds hosts to bootcfleet's own inventory"):
            check_inventory(tmp_path / name)
