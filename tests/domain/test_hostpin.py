"""Pinning host keys in known_hosts, beside what ssh-keygen itself writes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bootcfleet.domain.hostpin import pin_host
from tests.tools import need

OLD = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "B" * 43
NEW = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43


def test_old_keys_of_the_name_go_and_others_stay_to_the_byte() -> None:
    text = (
        "# mine\n"
        f"web1 {OLD} comment\n"
        f"web2,web1,192.0.2.7 {OLD} three  names\n"
        f"web10 {OLD}\n"
        f"@cert-authority web1 {OLD}\n"
        f"@revoked * {OLD}\n"
        "\n"
    )
    assert pin_host(text, ["web1"], [NEW]) == (
        "# mine\n"
        f"web2,192.0.2.7 {OLD} three  names\n"
        f"web10 {OLD}\n"
        f"@cert-authority web1 {OLD}\n"
        f"@revoked * {OLD}\n"
        "\n"
        f"web1 {NEW}\n"
    )


def test_pinning_twice_changes_nothing() -> None:
    once = pin_host(f"x {OLD}\n", ["[192.0.2.1]:2222"], [NEW])
    assert pin_host(once, ["[192.0.2.1]:2222"], [NEW]) == once


def test_a_revoked_key_is_not_pinned() -> None:
    with pytest.raises(ValueError, match="ssh-ed25519 key is marked as revoked"):
        pin_host(f"@revoked * {NEW}\n", ["web1"], [NEW])


def test_hashed_names_of_ssh_keygen_are_found(tmp_path: Path) -> None:
    keygen = need("ssh-keygen")
    file = tmp_path / "known_hosts"
    file.write_text(f"web1 {OLD}\nweb2 {OLD}\n")
    subprocess.run([keygen, "-q", "-H", "-f", file], check=True, capture_output=True)
    hashed = file.read_text()
    assert "web1" not in hashed
    file.write_text(pin_host(hashed, ["web1"], [NEW]))
    found = subprocess.run([keygen, "-F", "web1", "-f", file], capture_output=True, text=True)
    assert found.stdout.splitlines()[1:] == [f"web1 {NEW}"]
    other = subprocess.run([keygen, "-F", "web2", "-f", file], capture_output=True, text=True)
    assert OLD in other.stdout
