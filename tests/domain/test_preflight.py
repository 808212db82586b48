"""The rules of the preflight: one row for each thing that may keep a host out, or is to be said."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from bootcfleet.domain.bootc import BootcStatus, parse_status
from bootcfleet.domain.hostlock import LockHolder
from bootcfleet.domain.hostpolicy import ANYTHING, ENFORCED, REJECT, HostPolicy
from bootcfleet.domain.hosttruth import (
    OSTREE_TIMER,
    UPDATE_SERVICE,
    UPDATE_TIMER,
    Clock,
    HostTruth,
    RegistryAnswer,
    Space,
    StagedBy,
    UnitState,
)
from bootcfleet.domain.image import Resolved
from bootcfleet.domain.imagestanding import ImageStanding
from bootcfleet.domain.lifecycle import Life
from bootcfleet.domain.osrelease import OsRelease
from bootcfleet.domain.preflight import RULES, judge, sentences
from bootcfleet.domain.preflight_case import Finding, Planned, Severity
from bootcfleet.domain.reference import Digest, ImageRef, Platform
from bootcfleet.domain.revocation import Revoked
from bootcfleet.domain.rollout import Operation
from bootcfleet.domain.rollout_standing import Standing
from bootcfleet.errors import HostError, HostFault
from tests.machines import BAD, NEW, OLD, OTHER, REFERENCE, Machine

REF = ImageRef.parse(REFERENCE)
AMD, ARM = Platform("linux", "amd64"), Platform("linux", "arm64")
PLANNED = Planned(
    reference=REF, resolved=Resolved(REF, Digest(NEW), {AMD: Digest(NEW)}), download=10**9
)
BACK = Planned(Operation.ROLLBACK)
AGAIN = Planned(Operation.REBOOT)
SWITCH = replace(PLANNED, operation=Operation.SWITCH)
ON = UnitState("loaded", "active", "enabled")


def status(**slots: Any) -> BootcStatus:
    return parse_status(Machine("h", **slots).status())


def changed(**booted: Any) -> BootcStatus:
    found = status()
    assert found.booted is not None
    return replace(found, booted=replace(found.booted, **booted))


#: As bootc tells of a deployment with layered packages: it has no image, and the host no type.
LAYERED = replace(changed(image=None, incompatible=True), type=None, spec_reference=None)
IS_LAYERED = ("layered-packages", Severity.REFUSE, HostFault.INCOMPATIBLE, "layered packages")

#: A host that nothing is the matter with.
GOOD = HostTruth(
    "h",
    status(rollback=OTHER),
    bootc="1.16.9",
    boot_id="1",
    os_id="rhel",
    os_version="9.6",
    kernel="5.14.0-570.el9.x86_64",
    uptime=86400.0,
    clock=Clock(-0.1, 0.1),
    space=Space(20 * 10**9, 40 * 10**9, 10**9),
    policy=HostPolicy(ENFORCED),
    registry=RegistryAnswer(REFERENCE, "skopeo", True, NEW),
    usr="locked",
    system_state="running",
    units={UPDATE_TIMER: UnitState("loaded", "inactive", "disabled")},
)


def lock(expires: int, rollout: str = "r9") -> LockHolder:
    return LockHolder("alice@desk", rollout, "desk", 100, expires, 150)


def registry(message: str, fault: HostFault | None, *, ok: bool | None = False) -> RegistryAnswer:
    return RegistryAnswer(REFERENCE, "skopeo", ok, None, message, fault)


REFUSE, CONFIRM, WARN = Severity
REVOKED = Revoked(OLD, "web", "CVE-2026-1", datetime(2026, 11, 21, tzinfo=UTC), "bob@desk")
ENDED = Life("web", date(2026, 10, 1), "web", -51, 30)
#: What is said before every rollback.
ETC: tuple[str, Severity, Any, str] = ("etc", WARN, None, "")
#: What is other than in GOOD, what is planned, and the findings: rule, severity, fault, words.
CASES: dict[str, tuple[dict[str, Any], Planned, list[tuple[str, Severity, Any, str]]]] = {
    "nothing": ({}, PLANNED, []),
    "a rollback": ({}, BACK, [("etc", WARN, None, "gets back the /etc of 9.9 dddddddddddd")]),
    "no slot to go back to": (
        {"status": status()},
        BACK,
        [("no-rollback", REFUSE, HostFault.NO_ROLLBACK, "has no rollback deployment")],
    ),
    "a slot of rpm-ostree": (
        {"status": replace(status(), rollback=replace(status().booted, image=None))},  # type: ignore[type-var]
        BACK,
        [("no-rollback", REFUSE, HostFault.NO_ROLLBACK, "without an image")],
    ),
    "the same image in the rollback slot": (
        {"status": status(rollback=OLD)},
        BACK,
        [ETC, ("rollback-slot", WARN, None, "has the same image, 1.0 aaaaaaaaaaaa")],
    ),
    "the same image in the rollback slot, by another name": (
        {
            "status": replace(
                status(),
                rollback=parse_status(
                    Machine("h", reference="r.example/acme/web:dev").status()
                ).booted,
            )
        },
        BACK,
        [
            ETC,
            ("rollback-slot", WARN, None, "has the same image, 1.0 aaaaaaaaaaaa"),
            ("rollback-slot", WARN, None, f"r.example/acme/web:dev again, not {REFERENCE}"),
        ],
    ),
    "a rollback that is queued already": (
        {"status": status(rollback=OTHER, queued=True)},
        BACK,
        [ETC, ("rollback-slot", WARN, None, "only the reboot is missing")],
    ),
    "revoked": (
        {},
        replace(PLANNED, standing=ImageStanding(revoked=REVOKED)),
        [("revoked", CONFIRM, None, "must not be used: web aaaaaaaaaaaa was revoked")],
    ),
    "back to what is revoked": (
        {},
        replace(BACK, standing=ImageStanding(revoked=REVOKED)),
        [("revoked", CONFIRM, None, "must not be used"), ETC],
    ),
    "past its end of life": (
        {},
        replace(PLANNED, standing=ImageStanding(life=ENDED)),
        [("end-of-life", WARN, None, "past its end: web reached its end of life on 2026-10-01")],
    ),
    "near its end of life": (
        {},
        replace(PLANNED, standing=ImageStanding(life=replace(ENDED, days=3))),
        [],
    ),
    "no bootc": (
        {"status": None, "problem": HostError("h", HostFault.NO_BOOTC, "bootc: not found")},
        PLANNED,
        [("bootc", REFUSE, HostFault.NO_BOOTC, "not found")],
    ),
    "not booted by bootc": (
        {"status": replace(status(), booted=None, type=None)},
        PLANNED,
        [("bootc", REFUSE, HostFault.NOT_BOOTC_BOOTED, "is not booted by bootc")],
    ),
    "a bootc that lacks what the policy wants": (
        {"bootc": "1.6.0"},
        replace(PLANNED, wants=("soft_reboot", "download_only", "progress_fd")),
        [
            (
                "abilities",
                WARN,
                None,
                "without soft reboots: it reboots in full (there since 1.7.0)",
            ),
            ("abilities", WARN, None, "held back"),
        ],
    ),
    "a bootc that has what the policy wants": (
        {},
        replace(PLANNED, wants=("soft_reboot", "download_only")),
        [],
    ),
    "a bootc of no known version": (
        {"bootc": "unknown"},
        replace(PLANNED, wants=("soft_reboot",)),
        [("abilities", WARN, None, "bootc unknown without soft reboots")],
    ),
    "layered": ({"status": LAYERED}, replace(PLANNED, reference=None), [IS_LAYERED]),
    "layered and switched": ({"status": LAYERED}, SWITCH, [IS_LAYERED]),
    "layered and rebooted only": ({"status": LAYERED}, AGAIN, [IS_LAYERED]),
    "layered by the next reboot": (
        {"status": replace(status(), staged=LAYERED.booted)},
        replace(PLANNED, reference=None, resolved=None, download=None),
        [
            (*IS_LAYERED[:3], "(layered packages) staged, which"),
            ("staged", WARN, None, "has no digest staged"),
        ],
    ),
    "pinned by digest by the next reboot": (
        {
            "status": replace(
                status(),
                staged=parse_status(Machine("h", reference=f"r.example/a/b@{OLD}").status()).booted,
            )
        },
        replace(PLANNED, reference=None, resolved=None, download=None),
        [
            ("follows", REFUSE, HostFault.WRONG_DIGEST, f"pinned by digest (r.example/a/b@{OLD})"),
            ("staged", WARN, None, "staged"),
        ],
    ),
    "pinned by digest": (
        {"status": parse_status(Machine("h", reference=f"r.example/a/b@{OLD}").status())},
        replace(PLANNED, reference=None, resolved=None, download=None),
        [("follows", REFUSE, HostFault.WRONG_DIGEST, "pinned by digest")],
    ),
    "not from a registry": (
        {"status": parse_status(Machine("h", reference="/srv/image").status())},
        replace(PLANNED, reference=None, resolved=None, download=None),
        [("follows", REFUSE, HostFault.REGISTRY, "not in a registry")],
    ),
    "a rollback queued, and to follow another tag": (
        {"status": status(booted=NEW, rollback=OTHER, queued=True)},
        replace(SWITCH, reference=REF.with_tag("test")),
        [("staged", WARN, None, "which the update undoes")],
    ),
    "nothing new but another tag": (
        {"status": status(booted=NEW), "usr": "unlocked"},
        replace(SWITCH, reference=REF.with_tag("test")),
        [("usr-unlocked", CONFIRM, None, "lost with the reboot")],
    ),
    "nothing new": ({"status": status(booted=NEW), "usr": "unlocked"}, SWITCH, []),
    "something else staged, and runs what is planned": (
        {"status": status(booted=NEW, staged=BAD, rollback=OTHER)},
        PLANNED,
        [("staged", WARN, None, "staged, which is discarded")],
    ),
    "something else staged, runs what is planned, and no slot to go back to": (
        {"status": status(booted=NEW, staged=BAD)},
        PLANNED,
        [("staged", REFUSE, HostFault.WRONG_DIGEST, "bootc cannot drop without a rollback")],
    ),
    "a rollback queued, and runs what is planned": (
        {"status": status(booted=NEW, rollback=OTHER, queued=True)},
        PLANNED,
        [("staged", REFUSE, HostFault.WRONG_DIGEST, "has a rollback queued for its next boot")],
    ),
    "another architecture": (
        {"status": changed(image=replace(status().booted.image, architecture="s390x"))},  # type: ignore[union-attr,type-var]
        replace(
            PLANNED, resolved=Resolved(REF, Digest(NEW), {AMD: Digest(NEW), ARM: Digest(OTHER)})
        ),
        [("platform", REFUSE, HostFault.IMAGE_NOT_FOUND, "linux/amd64, linux/arm64")],
    ),
    "locked": (
        {"lock": lock(200)},
        PLANNED,
        [("locked", REFUSE, HostFault.LOCKED, "rollout r9 of alice@desk")],
    ),
    "locked by a rollback's rival": (
        {"lock": lock(200)},
        BACK,
        [("locked", REFUSE, HostFault.LOCKED, "r9")],
    ),
    "stale lock": (
        {"lock": lock(120)},
        PLANNED,
        [("locked", REFUSE, HostFault.LOCKED, "has a stale lock: rollout r9 of alice@desk")],
    ),
    "a lock that a rollout could not take away": (
        {"lock": lock(200)},
        replace(PLANNED, lock_standing=Standing.HALTED),
        [("locked", REFUSE, HostFault.LOCKED, "that rollout has ended (halted)")],
    ),
    "a lock of a rollout that waits to be resumed": (
        {"lock": lock(200)},
        replace(PLANNED, lock_standing=Standing.LEFT_BEHIND),
        [("locked", REFUSE, HostFault.LOCKED, "nobody carries that rollout out (left-behind)")],
    ),
    "a lock of a rollout at work": (
        {"lock": lock(200)},
        replace(PLANNED, lock_standing=Standing.RUNNING),
        [
            (
                "locked",
                REFUSE,
                HostFault.LOCKED,
                "alice@desk (on desk), since 1970-01-01 00:01 UTC, until 1970-01-01 00:03 UTC",
            )
        ],
    ),
    "our own lock": ({"lock": lock(200)}, replace(PLANNED, rollout="r9"), []),
    "a lock that nobody can read": (
        {"lock": LockHolder("", "", "", 0, 0, 150)},
        replace(PLANNED, rollout=""),
        [("locked", REFUSE, HostFault.LOCKED, "cannot be read")],
    ),
    "clock far ahead": (
        {"clock": Clock(400.0, 401.0)},
        PLANNED,
        [("clock", REFUSE, HostFault.CLOCK_SKEW, "400 s ahead")],
    ),
    "clock a little behind": (
        {"clock": Clock(-20.0, -10.0)},
        BACK,
        [("clock", WARN, None, "10 s behind")],
    ),
    "no room": (
        {"space": Space(10**9, 40 * 10**9, 10**8)},
        PLANNED,
        [("space", REFUSE, HostFault.NO_SPACE, "900.0 MB free for updates, and the update is 1.0")],
    ),
    "full to the reserve": (
        {"space": Space(10**9, 40 * 10**9, 10**9)},
        replace(PLANNED, download=None),
        [("space", REFUSE, HostFault.NO_SPACE, "0 B free")],
    ),
    "perhaps no room": (
        {"space": Space(3 * 10**9, 40 * 10**9, 10**8)},
        PLANNED,
        [("space", WARN, None, "may fill")],
    ),
    "no room for what it may have in part": (
        {"space": Space(10**9, 40 * 10**9, 10**8)},
        replace(PLANNED, exact=False),
        [("space", WARN, None, "may fill")],
    ),
    "no room, and none needed": (
        {"space": Space(0, 1, 1), "status": status(staged=NEW)},
        PLANNED,
        [],
    ),
    "no room for a rollback": ({"space": Space(0, 1, 1)}, BACK, []),
    "registry refuses": (
        {"registry": registry("denied: 403 Forbidden", HostFault.REGISTRY_REFUSED)},
        SWITCH,
        [("registry", REFUSE, HostFault.REGISTRY_REFUSED, f"cannot get {REFERENCE}: denied: 403")],
    ),
    "image is not there": (
        {"registry": registry("manifest unknown", HostFault.IMAGE_NOT_FOUND)},
        PLANNED,
        [("registry", REFUSE, HostFault.IMAGE_NOT_FOUND, "manifest unknown")],
    ),
    "registry limits": (
        {"registry": registry("toomanyrequests: 429 Too Many Requests", HostFault.REGISTRY)},
        PLANNED,
        [("registry", WARN, None, "toomanyrequests")],
    ),
    "registry is ill": (
        {"registry": registry("unexpected HTTP status: 503", HostFault.REGISTRY)},
        PLANNED,
        [("registry", WARN, None, "503")],
    ),
    "registry cannot be reached": (
        {"registry": registry("dial tcp 10.0.0.1:443: connection refused", HostFault.REGISTRY)},
        PLANNED,
        [("registry", REFUSE, HostFault.REGISTRY, "connection refused")],
    ),
    "nobody can ask": (
        {"registry": registry("it has neither skopeo nor curl", None, ok=None)},
        PLANNED,
        [("registry", WARN, None, "neither skopeo nor curl")],
    ),
    "a mirror that lags": (
        {"registry": RegistryAnswer(REFERENCE, "skopeo", True, OTHER)},
        PLANNED,
        [("registry", REFUSE, HostFault.WRONG_DIGEST, "gets sha256:dddddddddddd")],
    ),
    "registry of a rollback": ({"registry": registry("x", HostFault.REGISTRY)}, BACK, []),
    "policy rejects": (
        {"policy": HostPolicy(ENFORCED, {"r.example/acme": REJECT})},
        PLANNED,
        [("signature-policy", REFUSE, HostFault.UNTRUSTED, "rejects")],
    ),
    "policy takes anything": ({"policy": HostPolicy(ANYTHING)}, PLANNED, []),
    "policy takes anything of who signs": (
        {"policy": HostPolicy(ANYTHING)},
        replace(PLANNED, signed=True),
        [("signature-policy", WARN, None, "without a signature")],
    ),
    "usr unlocked": (
        {"usr": "unlocked"},
        BACK,
        [("usr-unlocked", CONFIRM, None, "lost with the reboot")],
    ),
    "usr covered": (
        {"usr": "read-only overlay"},
        PLANNED,
        [("usr-unlocked", WARN, None, "overlay")],
    ),
    "staged by somebody": (
        {
            "status": status(staged=OTHER),
            "staged_by": StagedBy(datetime(2026, 11, 21, 10, tzinfo=UTC), "bob"),
        },
        PLANNED,
        [("staged", WARN, None, "9.9 dddddddddddd staged (staged at 2026-11-21 10:00 UTC by bob)")],
    ),
    "staged and rolled back": (
        {"status": status(staged=OTHER, rollback=OTHER)},
        BACK,
        [("staged", CONFIRM, None, "which is discarded")],
    ),
    "staged already": ({"status": status(staged=NEW)}, PLANNED, []),
    "rollback queued": (
        {"status": status(rollback=OTHER, queued=True)},
        PLANNED,
        [("staged", WARN, None, "a rollback queued")],
    ),
    "pinned deployment": (
        {"status": changed(pinned=True)},
        PLANNED,
        [("pinned-deployments", WARN, None, "has 1 pinned deployment,")],
    ),
    "timer": (
        {"units": {UPDATE_TIMER: ON}},
        BACK,
        [("update-timer", WARN, None, "bootc-fetch-apply-updates.timer is active")],
    ),
    "updates itself now": (
        {"units": {UPDATE_TIMER: ON, UPDATE_SERVICE: replace(ON, active="activating")}},
        PLANNED,
        [("update-timer", REFUSE, HostFault.LOCK_HELD, "at this moment")],
    ),
    "rpm-ostree's timer": (
        {"units": {OSTREE_TIMER: ON}},
        PLANNED,
        [("update-timer", WARN, None, "rpm-ostreed-automatic.timer")],
    ),
    "just booted": ({"uptime": 42.0}, PLANNED, [("uptime", WARN, None, "42 s ago")]),
    "just booted by a rollout": ({"uptime": 42.0}, replace(PLANNED, moved_ago=30.0), []),
    "booted again since": (
        {"uptime": 42.0},
        replace(PLANNED, moved_ago=50.0),
        [("uptime", WARN, None, "42 s ago")],
    ),
    "starts": ({"system_state": "starting"}, PLANNED, [("system", WARN, None, "its start")]),
    "shuts down": (
        {"system_state": "stopping"},
        BACK,
        [("system", REFUSE, HostFault.HEALTH_FAILED, "shuts down")],
    ),
    "rescue": (
        {"system_state": "maintenance"},
        BACK,
        [("system", REFUSE, HostFault.HEALTH_FAILED, "emergency")],
    ),
    "degraded": (
        {"system_state": "degraded", "failed_units": ("a.service", "b.service")},
        PLANNED,
        [("system", WARN, None, "a.service, b.service")],
    ),
    "bound images": (
        {"bound_images": ("r.example/a", "r.example/b")},
        PLANNED,
        [("bound-images", WARN, None, "has 2 logically bound images")],
    ),
    "major release": (
        {},
        replace(PLANNED, release=OsRelease("rhel", "10.0")),
        [("major-release", CONFIRM, None, "from rhel 9.6 to rhel 10.0")],
    ),
    "back to a major release": (
        {"os_version": "10.0"},
        replace(BACK, release=OsRelease("rhel", "9.6")),
        [("major-release", CONFIRM, None, "from rhel 10.0 to rhel 9.6")],
    ),
    "minor release": ({}, replace(PLANNED, release=OsRelease("rhel", "9.8")), []),
    "what a host has no tool for is not held against it": (
        {
            "clock": None,
            "space": None,
            "policy": None,
            "registry": None,
            "usr": None,
            "uptime": None,
            "units": {},
            "system_state": "unknown",
            "os_version": None,
            "kernel": None,
        },
        replace(PLANNED, release=OsRelease("rhel", "10.0")),
        [],
    ),
}


@pytest.mark.parametrize("name", list(CASES))
def test_a_rule(name: str) -> None:
    different, planned, expected = CASES[name]
    found = list(judge(replace(GOOD, **different), planned))
    if ETC[0] not in {row[0] for row in expected}:
        found = [one for one in found if one.rule != ETC[0]]
    assert [(one.rule, one.severity, one.fault) for one in found] == [one[:3] for one in expected]
    for one, (*_, words) in zip(found, expected, strict=True):
        assert words in one.message
        assert one.rule in RULES
        assert (one.fault is not None) is (one.severity is Severity.REFUSE)


def test_every_rule_has_a_row() -> None:
    assert {row[0] for _, _, expected in CASES.values() for row in expected} == set(RULES)


def test_the_refusals_come_first() -> None:
    host = replace(GOOD, usr="unlocked", uptime=1.0, lock=lock(200), clock=Clock(900.0, 901.0))
    severities = [one.severity for one in judge(host, PLANNED)]
    assert severities == [REFUSE, REFUSE, CONFIRM, WARN]


def test_a_host_that_is_there_already_is_left_in_peace() -> None:
    there = replace(GOOD, status=status(booted=NEW), space=Space(0, 1, 1), uptime=1.0)
    assert judge(there, PLANNED) == ()
    staged = replace(there, status=status(booted=NEW, staged=OTHER))
    assert {one.rule for one in judge(staged, PLANNED)} == {"space", "staged", "uptime"}
    assert judge(there, AGAIN) != ()


def test_the_same_of_several_hosts_is_said_once() -> None:
    finding = Finding("major-release", CONFIRM, "goes from 9 to 10")
    other = Finding("usr-unlocked", CONFIRM, "has its /usr unlocked")
    warned = Finding("uptime", WARN, "booted just now")
    found = [(f"h{n}", finding) for n in range(7)] + [("h3", warned), ("h3", other)]
    asked = sentences(found, CONFIRM)
    assert [one.rule for one in asked] == ["major-release", "usr-unlocked"]
    assert asked[0].text == "h0, h1, h2, h3, h4 and 2 more: goes from 9 to 10"
    assert asked[0].hosts == tuple(f"h{n}" for n in range(7))
    assert [one.rule for one in sentences(found)] == ["major-release", "usr-unlocked", "uptime"]
    assert sentences(found[:5])[0].text == "h0, h1, h2, h3, h4: goes from 9 to 10"


@pytest.mark.parametrize(
    ("labels", "host", "words"),
    [
        ({}, OsRelease("rhel", "9.6"), None),
        ({"redhat.id": "rhel", "redhat.version-id": "9.7"}, OsRelease("rhel", "9.6"), None),
        ({"redhat.id": "centos", "redhat.version-id": "9"}, OsRelease("rhel", "9.6"), None),
        (
            {"redhat.id": "rhel", "redhat.version-id": "10.0"},
            OsRelease("rhel", "9.6"),
            ("rhel 9.6", "rhel 10.0"),
        ),
        # Fedora's images have no such labels, but their kernel's.
        (
            {"ostree.linux": "6.17.4-300.fc43.x86_64"},
            OsRelease("fedora", "42", "6.16.1-200.fc42.x86_64"),
            ("fc42", "fc43"),
        ),
        ({"ostree.linux": "6.17.4-300.fc42.x86_64"}, OsRelease("", "42", "6.16.1.fc42"), None),
        ({"ostree.linux": "5.14.0-1.el9_6.x86_64"}, OsRelease("", "", "5.14.0-9.el9.x86_64"), None),
        ({"ostree.linux": "6.12.0-55.el10.x86_64"}, OsRelease("", "9", "6.12.0-lab"), None),
    ],
)
def test_a_jump_of_the_major_release(
    labels: dict[str, str], host: OsRelease, words: tuple[str, str] | None
) -> None:
    new = OsRelease.of_labels(labels)
    assert (host.jump(new) if new else None) == words
