"""bootc's status in every published form, and in none."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.bootc import BootcStatus, StatusError, parse_status

DIGEST = "sha256:" + "a" * 64
ENTRY: dict[str, Any] = {
    "image": {
        "image": {"image": "r.example/acme/soe:1", "transport": "registry"},
        "version": "1.0",
        "timestamp": "2026-11-01T10:00:00Z",
        "imageDigest": DIGEST,
        "architecture": "amd64",
    },
    "cachedUpdate": None,
    "incompatible": False,
    "pinned": False,
    "ostree": {"checksum": "c" * 64, "deploySerial": 0, "stateroot": "default"},
}


def document(api: str = "v1", **status: Any) -> dict[str, Any]:
    return {
        "apiVersion": f"org.containers.bootc/{api}",
        "kind": "BootcHost",
        "metadata": {"name": "host"},
        "spec": {"image": ENTRY["image"]["image"], "bootOrder": "default"},
        "status": {
            "booted": ENTRY,
            "staged": None,
            "rollback": None,
            "type": "bootcHost",
            **status,
        },
    }


def parse(body: dict[str, Any]) -> BootcStatus:
    return parse_status(json.dumps(body))


def test_the_plain_case() -> None:
    status = parse(document(rollbackQueued=False))
    assert status.booted is not None
    assert (status.booted.digest, status.booted.version) == (DIGEST, "1.0")
    assert status.booted.timestamp == datetime(2026, 11, 1, 10, tzinfo=UTC)
    assert str(status.booted.ref) == "r.example/acme/soe:1"
    assert status.booted_by_bootc
    assert (status.staged, status.rollback, status.rollback_queued) == (None, None, False)


def test_v1alpha1_has_fewer_fields_and_some_of_its_own() -> None:
    image = {key: value for key, value in ENTRY["image"].items() if key != "architecture"}
    image["image"] = {**image["image"], "signature": "insecure"}
    old = {"image": image, "incompatible": False, "pinned": False, "ostree": None}
    body = document("v1alpha1", booted=old, isContainer=False)
    del body["status"]["type"]
    del body["spec"]["bootOrder"]
    status = parse(body)
    assert status.booted is not None
    assert status.booted.architecture is None
    assert status.booted_by_bootc
    assert status.api_version == "v1alpha1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2023-10-14T19:22:15.42Z", datetime(2023, 10, 14, 19, 22, 15, 420000, UTC)),
        ("2023-10-14T19:22:15.123456789Z", datetime(2023, 10, 14, 19, 22, 15, 123456, UTC)),
        ("2023-10-14T19:22:15+02:00", datetime(2023, 10, 14, 17, 22, 15, 0, UTC)),
        ("yesterday", None),
        (None, None),
    ],
)
def test_timestamps(text: str | None, expected: datetime | None) -> None:
    entry = {**ENTRY, "image": {**ENTRY["image"], "timestamp": text}}
    status = parse(document(booted=entry))
    assert status.booted is not None
    assert status.booted.timestamp == expected


def test_composefs() -> None:
    composefs = {"verity": "f" * 128, "bootType": "Uki", "bootloader": "systemd"}
    entry = {**ENTRY, "ostree": None, "store": None, "composefs": composefs}
    booted = parse(document(booted=entry)).booted
    assert booted is not None
    assert (booted.store, booted.verity, booted.checksum) == ("composefs", "f" * 128, None)


def test_an_rpm_ostree_origin_has_no_image() -> None:
    entry = {**ENTRY, "image": None, "incompatible": True}
    status = parse(document(booted=entry, type=None))
    assert status.booted is not None
    assert status.booted.incompatible
    assert (status.booted.digest, status.booted.ref) == (None, None)
    assert not status.booted_by_bootc


def test_a_host_that_bootc_did_not_boot() -> None:
    body = document(booted=None, type=None)
    body["spec"] = {"image": None, "bootOrder": "default"}
    status = parse(body)
    assert not status.booted_by_bootc
    assert status.spec_reference is None


def test_missing_parts_and_unknown_ones() -> None:
    status = parse({"apiVersion": "org.containers.bootc/v1", "kind": "BootcHost"})
    assert status.booted is None
    status = parse(document(novelty={"a": [1]}, otherDeployments=[{**ENTRY, "pinned": True}]))
    assert [entry.pinned for entry in status.others] == [True]


def test_all_slots_and_flags() -> None:
    staged = {**ENTRY, "downloadOnly": True, "softRebootCapable": True}
    overlay = {"accessMode": "readWrite", "persistence": "transient"}
    body = document(staged=staged, rollback=ENTRY, rollbackQueued=True, usrOverlay=overlay)
    status = parse(body)
    assert status.staged is not None
    assert status.staged.download_only
    assert status.staged.soft_reboot_capable
    assert status.rollback_queued
    assert status.usr_overlay == "readWrite transient"


def test_a_rollback_that_only_the_spec_names() -> None:
    body = document()
    body["spec"]["bootOrder"] = "rollback"
    assert parse(body).rollback_queued


def release(version: str) -> str:
    """What that release prints for a host with every slot, by what came when (field note)."""
    number = tuple(map(int, version.split(".")))
    image = {"image": "r.example/acme/soe:1", "transport": "registry"}

    def entry(letter: str, **more: Any) -> dict[str, Any]:
        made: dict[str, Any] = {
            "image": {
                "image": image,
                "version": f"1.{letter}",
                "timestamp": "2026-11-01T10:00:00.123456789Z",
                "imageDigest": "sha256:" + letter * 64,
            },
            "cachedUpdate": None,
            "incompatible": False,
            "pinned": False,
            "store": "ostreeContainer",
            "ostree": {"checksum": letter * 64, "deploySerial": 0},
        }
        if number >= (1, 1, 7):
            made["image"]["architecture"] = "amd64"
        if number >= (1, 3, 0):
            made["ostree"]["stateroot"] = "default"
        if number >= (1, 7, 0):
            made["softRebootCapable"] = False
        if number >= (1, 9, 0):
            made["composefs"] = None
        if number >= (1, 12, 0):
            made["downloadOnly"] = False
        return made | more

    status: dict[str, Any] = {
        "staged": entry("b"),
        "booted": entry("a"),
        "rollback": entry("c"),
        "rollbackQueued": False,
        "type": "bootcHost",
    }
    if number >= (1, 3, 0):
        status["otherDeployments"] = [entry("d", pinned=True)]
    if number >= (1, 14, 0):
        status["usrOverlay"] = None
    if number >= (1, 16, 7):
        status["readOnly"] = False
    body = {
        "apiVersion": "org.containers.bootc/v1",
        "kind": "BootcHost",
        "metadata": {"name": "host"},
        "spec": {"image": image, "bootOrder": "default"},
        "status": status,
    }
    # Canonical since 1.5.0, in the order of its source before.
    canonical = number >= (1, 5, 0)
    return json.dumps(body, sort_keys=canonical, separators=(",", ":"))


@pytest.mark.parametrize(
    "version", ["0.1.15", "1.1.2", "1.1.7", "1.3.0", "1.5.0", "1.7.0", "1.12.0", "1.14.0", "1.16.9"]
)
def test_a_host_with_every_slot_by_release(version: str) -> None:
    status = parse_status(release(version))
    number = tuple(map(int, version.split(".")))
    slots = (status.booted, status.staged, status.rollback)
    assert [slot.digest[-1] for slot in slots if slot and slot.digest] == ["a", "b", "c"]
    assert status.booted is not None
    assert status.booted.architecture == ("amd64" if number >= (1, 1, 7) else None)
    assert status.booted.timestamp == datetime(2026, 11, 1, 10, 0, 0, 123456, UTC)
    assert [other.pinned for other in status.others] == [True] * (number >= (1, 3, 0))
    assert (status.booted_by_bootc, status.rollback_queued) == (True, False)
    assert status.followed == (status.staged and status.staged.image)


def test_a_composefs_host_of_a_newer_release() -> None:
    composefs = {
        "verity": "f" * 128,
        "bootType": "Bls",
        "bootloader": "grub-cc",
        "bootDigest": "e" * 64,
        "missingVerityAllowed": False,
    }
    entry = {**ENTRY, "ostree": None, "store": None, "composefs": composefs, "downloadOnly": True}
    status = parse(document(staged=entry, type="somethingNew"))
    assert status.staged is not None
    assert (status.staged.store, status.staged.download_only) == ("composefs", True)
    assert status.booted_by_bootc


@pytest.mark.parametrize(
    ("signature", "enforced"),
    [("containerPolicy", True), ("insecure", False), ({"ostreeRemote": "x"}, False), (None, False)],
)
def test_whether_a_host_insists_on_signatures(signature: object, enforced: bool) -> None:
    image = {**ENTRY["image"], "image": {**ENTRY["image"]["image"], "signature": signature}}
    followed = parse(document(booted={**ENTRY, "image": image})).followed
    assert followed is not None
    assert followed.enforced is enforced


@pytest.mark.parametrize(("held", "queued"), [(False, False), (True, True)])
def test_what_is_staged_boots_before_a_rollback_that_is_queued(held: bool, queued: bool) -> None:
    """bootc says rollbackQueued by the order of the deployments, without the staged one."""
    staged = {**ENTRY, "downloadOnly": held}
    body = document(staged=staged, rollback=ENTRY, rollbackQueued=True)
    body["spec"]["bootOrder"] = "rollback"
    assert parse(body).rollback_queued is queued


@pytest.mark.parametrize("transport", ["oci", "containers-storage", "oci-archive"])
def test_what_is_not_in_a_registry_has_no_registry_reference(transport: str) -> None:
    image = {**ENTRY["image"], "image": {"image": "/var/mnt/usb", "transport": transport}}
    booted = parse(document(booted={**ENTRY, "image": image})).booted
    assert booted is not None
    assert booted.ref is None
    assert booted.reference == "/var/mnt/usb"


def test_lines_of_a_login_script_before_it_are_passed_over() -> None:
    status = parse_status("Authorized users only\n\n" + json.dumps(document()))
    assert status.booted is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "System is not deployed via bootc.",
        "{broken",
        "[]",
        "null",
        '{"kind": "Pod", "apiVersion": "v1"}',
        json.dumps({**document(), "status": []}),
        json.dumps(document()) + "\ntrailing",
        '{"kind": "BootcHost", "apiVersion": "org.containers.bootc/v1", "status": {"booted": 1}}',
        "[" * 5000,
    ],
)
def test_what_is_no_status(text: str) -> None:
    with pytest.raises(StatusError) as caught:
        parse_status(text)
    assert "bootc status" in (caught.value.hint or "")


@pytest.mark.parametrize("text", ["1.0\x1b[2J", "1.0\n", "1.0\ud800", "1\u202e0"])
def test_a_word_of_a_host_does_not_command_a_terminal(text: str) -> None:
    image = {**ENTRY["image"], "version": text}
    booted = parse(document(booted={**ENTRY, "image": image})).booted
    assert booted is not None
    assert (booted.version or "").isprintable()
    assert (booted.version or "").startswith("1")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


@given(json_values)
def test_any_json_alone_is_no_status(value: Any) -> None:
    with pytest.raises(StatusError):
        parse_status(json.dumps(value))


@given(st.text(max_size=80))
def test_any_text_is_no_status(text: str) -> None:
    with pytest.raises(StatusError):
        parse_status(text)


FIELDS = ["image", "cachedUpdate", "incompatible", "pinned", "store", "ostree", "composefs"]


@given(st.dictionaries(st.sampled_from(FIELDS), json_values))
def test_any_entry_is_one_or_a_clear_error(entry: dict[str, Any]) -> None:
    with contextlib.suppress(StatusError):
        assert isinstance(parse(document(staged=entry)), BootcStatus)


@given(
    st.dictionaries(
        st.sampled_from(["booted", "staged", "rollback", "type", "rollbackQueued", "x"]),
        json_values,
    )
)
def test_any_json_is_a_status_or_a_clear_error(status: dict[str, Any]) -> None:
    body = {**document(), "status": status}
    with contextlib.suppress(StatusError):
        assert isinstance(parse(body), BootcStatus)
