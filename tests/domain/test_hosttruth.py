"""What the probe's sections come to: each with answers of real hosts, of odd ones, and of none."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.hostpolicy import ANYTHING, ENFORCED, REJECT, HostPolicy
from bootcfleet.domain.hosttruth import (
    GREENBOOT,
    Clock,
    HostTruth,
    Space,
    StagedBy,
    UnitState,
)
from bootcfleet.domain.hosttruth_read import (
    clock_of,
    read_registry,
    read_space,
    read_staged,
    read_truth,
    read_units,
    read_usr,
    read_zone,
)
from bootcfleet.domain.reference import ImageRef

GIB = 2**30
DF = "Filesystem     1024-blocks     Used Available Capacity Mounted on\n"
ROW = "/dev/vda4        10485760  5242880   5242880      50% /sysroot\n"


@pytest.mark.parametrize(
    ("df", "config", "expected"),
    [
        (DF + ROW, "ostree\n", Space(5 * GIB, 10 * GIB, 10 * GIB * 3 // 100)),
        # Without a repository of ostree (the composefs backend) nobody keeps anything free.
        (DF + ROW, "", Space(5 * GIB, 10 * GIB, 0)),
        (DF + ROW, "min-free-space-percent=5\n", Space(5 * GIB, 10 * GIB, GIB // 2)),
        (DF + ROW, "min-free-space-percent = 0\n", Space(5 * GIB, 10 * GIB, 0)),
        (DF + ROW, "min-free-space-size=500MB\n", Space(5 * GIB, 10 * GIB, 500 * 2**20)),
        # The size decides where both are set, unless it is 0 (ostree.repo-config(5)).
        (
            DF + ROW,
            "min-free-space-percent=50\nmin-free-space-size=1GB\n",
            Space(5 * GIB, 10 * GIB, GIB),
        ),
        (
            DF + ROW,
            "min-free-space-size=0MB\nmin-free-space-percent=10\n",
            Space(5 * GIB, 10 * GIB, GIB),
        ),
        ("", "", None),
        ("df: /sysroot: No such file or directory\n", "", None),
        (DF + "/dev/vda4 - - - - /sysroot\n", "", None),
        (DF, "", None),
    ],
)
def test_space(df: str, config: str, expected: Space | None) -> None:
    assert read_space(df, config) == expected


def test_what_ostree_reserves_is_not_usable() -> None:
    assert Space(5 * GIB, 10 * GIB, GIB).usable == 4 * GIB
    assert Space(GIB, 10 * GIB, 2 * GIB).usable == 0


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        ("../usr/share/zoneinfo/Europe/Amsterdam\n", "Europe/Amsterdam"),
        ("/usr/share/zoneinfo/America/Argentina/Buenos_Aires\n", "America/Argentina/Buenos_Aires"),
        ("/usr/share/zoneinfo/posix/Etc/GMT+5\n", "Etc/GMT+5"),
        ("UTC\n", "UTC"),
        ("", None),
        ("/etc/somewhere else\n", None),
        ("\x1b[31mred\n", None),
    ],
)
def test_zone(text: str, zone: str | None) -> None:
    assert read_zone(text) == zone


@given(
    offset=st.floats(-1e6, 1e6),
    begin=st.floats(0, 60),
    within=st.floats(0.002, 60),
    end=st.floats(0, 60),
    whole=st.booleans(),
)
def test_the_clock_is_not_accused_of_the_network(
    offset: float, begin: float, within: float, end: float, whole: bool
) -> None:
    """Whatever time the way there and back takes, the true offset is between the two bounds."""
    before = 1_790_000_000.25
    after = before + begin + within + end
    first, last = before + begin + offset, before + begin + within + offset
    if whole:
        first, last = float(int(first)), float(int(last))
    clock = clock_of(before, after, first, last)
    assert clock is not None
    slack = 1.0 if whole else 1e-3
    assert clock.least - slack <= offset <= clock.most + slack
    assert abs(clock.skew) <= abs(offset) + slack


def test_clock() -> None:
    assert clock_of(100.0, 101.0, None, None) is None
    exact = clock_of(100.0, 101.0, 130.5, 130.75)
    assert exact == Clock(29.75, 30.5)
    assert exact.skew == 29.75
    assert Clock(-31.0, -30.0).skew == -30.0
    assert Clock(-0.2, 0.5).skew == 0.0
    # A clock that was set back between the two is judged by its first word.
    assert clock_of(100.0, 101.0, 130.5, 90.5) == Clock(29.5, 30.5)


OVERLAY = "overlay /usr overlay rw,relatime,lowerdir=usr,upperdir=/x 0 0\n"


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        ("", "locked"),
        ("/dev/vda4 /usr xfs ro,relatime 0 0\n", "locked"),
        (OVERLAY, "unlocked"),
        (OVERLAY.replace(" rw,", " ro,"), "read-only overlay"),
        # systemd-sysext mounts one that nobody writes to.
        (OVERLAY.replace("overlay ", "sysext ", 1), "locked"),
        (None, None),
    ],
)
def test_usr(mounts: str | None, expected: str | None) -> None:
    assert read_usr(mounts, None) == expected


SKOPEO_REFUSED = (
    'r.example/web:prod\n=tool=skopeo\ntime="2026-11-21T11:17:42Z" level=fatal msg="Error '
    'parsing image name \\"docker://r.example/web:prod\\": pinging: connection refused"\n'
    "=code=1\n=sha256=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n"
)


def test_registry() -> None:
    assert read_registry("") is None
    good = read_registry("r.example/web:prod\n=tool=skopeo\n=code=0\n=sha256=" + "a" * 64 + "\n")
    assert good is not None
    assert (good.ok, good.digest, good.message) == (True, "sha256:" + "a" * 64, "")
    bad = read_registry(SKOPEO_REFUSED)
    assert bad is not None
    assert (bad.ok, bad.digest) == (False, None)
    assert bad.message == (
        'Error parsing image name "docker://r.example/web:prod": pinging: connection refused'
    )
    late = read_registry("r.example/web:prod\n=tool=skopeo\n=code=124\n=sha256=\n")
    assert late is not None
    assert late.message == "the registry does not answer"
    silent = read_registry("r.example/web:prod\n=tool=skopeo\n=code=2\n")
    assert silent is not None
    assert silent.message == "skopeo ended with exit code 2"
    none = read_registry("r.example/web:prod\n")
    assert none is not None
    assert (none.ok, none.tool) == (None, None)
    for http, ok in (("200", True), ("401", True), ("503", False), ("000", False)):
        curl = read_registry(f"r.example/web:prod\n=tool=curl\n=http={http}\n")
        assert curl is not None
        assert curl.ok is ok
        assert curl.digest is None


def test_staged_by() -> None:
    assert read_staged("") == StagedBy()
    at = datetime(2026, 11, 21, 10, tzinfo=UTC)
    sudo = (
        f"{int(at.timestamp())}\n2026-11-21T10:00:00+0000 web1 sudo[42]:    alice : TTY=pts/0 ; "
        "PWD=/home/alice ; USER=root ; COMMAND=/usr/bin/bootc upgrade\n"
    )
    assert read_staged(sudo) == StagedBy(at, "alice")
    assert read_staged(sudo).title == "at 2026-11-21 10:00 UTC by alice"
    timer = (
        f"{int(at.timestamp())}\n2026-11-21T10:00:00+0000 web1 systemd[1]: Starting "
        "bootc-fetch-apply-updates.service - Apply bootc updates...\n"
    )
    assert read_staged(timer).who == "bootc-fetch-apply-updates.service"
    assert read_staged("999999999999\n").at is None


def test_units() -> None:
    text = (
        "Id=a.timer\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\n\n"
        "Id=b.service\nLoadState=not-found\nActiveState=inactive\nUnitFileState=\n"
    )
    units = read_units(text)
    assert units == {
        "a.timer": UnitState("loaded", "active", "enabled"),
        "b.service": UnitState("not-found", "inactive", ""),
    }
    assert units["a.timer"].running
    assert not units["b.service"].installed
    assert read_units("System has not been booted with systemd\n") == {}


def policy(default: str, **docker: str) -> HostPolicy | None:
    scopes = {scope: [{"type": kind}] for scope, kind in docker.items()}
    body = {"default": [{"type": default}], "transports": {"docker": scopes}}
    return HostPolicy.parse(json.dumps(body))


@pytest.mark.parametrize(
    ("scopes", "verdict"),
    [
        ({}, ANYTHING),
        ({"r.example": "reject"}, REJECT),
        ({"r.example": "reject", "r.example/acme": "sigstoreSigned"}, ENFORCED),
        (
            {"r.example/acme": "reject", "r.example/acme/web:prod": "insecureAcceptAnything"},
            ANYTHING,
        ),
        ({"*.example": "signedBy"}, ENFORCED),
        ({"r.example/ac": "reject"}, ANYTHING),
        ({"": "reject"}, REJECT),
        ({"": "reject", "r.example/acme/web": "signedBy"}, ENFORCED),
    ],
)
def test_the_most_particular_scope_of_a_policy_decides(
    scopes: dict[str, str], verdict: str
) -> None:
    found = policy("insecureAcceptAnything", **scopes)
    assert found is not None
    assert found.of(ImageRef.parse("r.example/acme/web:prod")) == verdict


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"default": []}', '{"default": [{}]}', '{"default": 3}', "[" * 9999]
)
def test_a_policy_that_is_none(text: str) -> None:
    assert HostPolicy.parse(text) is None


@given(st.dictionaries(
    st.sampled_from(
        ["clock", "os", "uname", "uptime", "zone", "space", "repo", "policy", "mounts", "lock",
         "bound", "staged", "units", "system", "failed", "registry", "clock_end"]
    ),
    st.text() | st.from_regex(r"[0-9.]{0,15}\n(=[a-z]+=.{0,9}\n){0,3}"),
))  # fmt: skip
def test_whatever_a_host_says_is_taken_or_left(sections: dict[str, str]) -> None:
    truth = read_truth(HostTruth("h"), sections, before=1e9, after=1e9 + 1)
    json.dumps(truth.to_json())
    for text in (truth.os_name, truth.kernel, truth.zone, *truth.bound_images, truth.system_state):
        assert text is None or text.isprintable()


@pytest.mark.parametrize(
    ("load", "active", "enabled", "judges"),
    [
        ("loaded", "active", "enabled", True),
        ("loaded", "failed", "enabled", True),
        # Linked by the image alone.
        ("loaded", "active", "disabled", True),
        ("loaded", "inactive", "disabled", False),
        ("masked", "inactive", "masked", False),
        ("not-found", "inactive", "", False),
    ],
)
def test_whether_greenboot_judges(load: str, active: str, enabled: str, judges: bool) -> None:
    assert HostTruth("h", units={GREENBOOT: UnitState(load, active, enabled)}).greenboot is judges
