"""Evidence of a host: what is read from its words, made safe, kept small, and read back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bootcfleet.domain.hostevidence import (
    MAX_SIZE,
    GreenbootVerdict,
    HostEvidence,
    Source,
    read_evidence,
)

#: Lines as these programs write them.
FALLBACK = "greenboot-status[905]: FALLBACK BOOT DETECTED! Default bootc deployment has been rolled"
SCRIPT = "greenboot[77]: Script '01-web.sh' FAILURE (exit code '1'). Continuing..."
RUST = "greenboot[9]: required script /etc/greenboot/check/required.d/02.sh failed!"


def read(**parts: str) -> HostEvidence:
    return read_evidence(
        "web1", "b", {name.replace("_", "-"): text for name, text in parts.items()}
    )


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        ({}, "absent"),
        ({"motd": "Boot Status is GREEN - Health Check SUCCESS"}, "green"),
        ({"motd": "Greenboot healthcheck passed - status is GREEN."}, "green"),
        ({"motd": "Boot Status is RED - Health Check FAILURE!"}, "red"),
        ({"greenboot": "x greenboot[1]: Boot Status is RED - Health Check FAILURE!"}, "red"),
        ({"motd": f"Boot Status is GREEN\n{FALLBACK}"}, "rolled-back"),
        ({"greenboot_before": "greenboot[9]: Rollback successful"}, "rolled-back"),
        # A red boot before a green one is history.
        ({"greenboot_before": "Boot Status is RED", "motd": "Boot Status is GREEN"}, "green"),
    ],
)
def test_greenboots_verdict(parts: dict[str, str], verdict: str) -> None:
    assert read(**parts).greenboot == verdict


@pytest.mark.parametrize(
    ("line", "script"),
    [(SCRIPT, "01-web.sh"), (RUST, "/etc/greenboot/check/required.d/02.sh"), ("fine", None)],
)
def test_the_check_that_failed(line: str, script: str | None) -> None:
    assert read(greenboot_before=line).greenboot_reason == script


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        (
            {"boot_complete": "ostree[86]: error: ostree-finalize-staged.service failed on "
             "previous boot: Finalizing SELinux policy: no bwrap"},
            "Finalizing SELinux policy: no bwrap",
        ),
        (
            {"finalize": "ostree[18]: Copying /etc changes: 19 modified\nostree[18]: error: "
             "Bootloader write config: grub2-mkconfig: Child process exited with code 1"},
            "Bootloader write config: grub2-mkconfig: Child process exited with code 1",
        ),
        (
            {"finalize": "systemd[1]: ostree-finalize-staged.service: Failed with result "
             "'timeout'."},
            "ostree-finalize-staged.service failed",
        ),
        (
            {"finalize": "bootc[18]: error: Merging: a path led outside of the filesystem\n"
             "systemd[1]: bootc-finalize-staged.service: Failed with result 'exit-code'."},
            "Merging: a path led outside of the filesystem",
        ),
        (
            {"finalize": "systemd[1]: bootc-finalize-staged.service: Failed with result "
             "'timeout'."},
            "bootc-finalize-staged.service failed",
        ),
        ({"finalize": "ostree[18]: Bootloader updated; bootconfig swap: yes"}, None),
        ({"warnings": "kernel: error: something else"}, None),
    ],
)  # fmt: skip
def test_why_the_finalisation_failed(parts: dict[str, str], why: str | None) -> None:
    assert read(**parts).finalize_failure == why


def test_everything_has_its_place() -> None:
    status = {
        "apiVersion": "org.containers.bootc/v1",
        "kind": "BootcHost",
        "spec": {"bootOrder": "rollback"},
        "status": {
            "booted": {"image": {"image": {"image": "r/a"}, "imageDigest": "sha256:aa"}},
            "rollback": {"image": {"image": {"image": "r/a"}, "imageDigest": "sha256:bb"}},
        },
    }
    found = read(
        state="degraded\n",
        failed="web.service loaded failed failed Web\n\ndb.service loaded failed failed DB\n",
        grubenv="boot_counter=2\nboot_success=0\ngreenboot_rollback_trigger=1\nkernelopts=x y",
        boots="-1 aaaa Fri\n 0 bbbb Sat",
        last="reboot   system boot",
        warnings="kernel: one\n\nkernel: two",
        status=json.dumps(status),
        previous="1",
    )
    assert found.system_state == "degraded"
    assert found.failed_units == ("web.service", "db.service")
    assert found.boot_counters == {
        "boot_counter": "2",
        "boot_success": "0",
        "greenboot_rollback_trigger": "1",
    }
    assert found.boots == ("-1 aaaa Fri", "0 bbbb Sat")
    assert found.lines(Source.WARNINGS) == ("kernel: one", "kernel: two")
    assert found.slots == {"booted": "sha256:aa", "rollback": "sha256:bb", "next": "rollback"}
    assert found.notes == ()
    assert found.summary()[0] == "failed units: web.service, db.service"


def test_what_is_not_there_is_said() -> None:
    found = read(previous="1", boots="0 bbbb Sat", status="<<<")
    assert "keeps no earlier boot" in found.notes[1]
    assert "not a status of bootc" in found.notes[0]
    assert read(boots="0 bbbb Sat", status="").notes == ("bootc status did not answer",)


def test_nothing_that_a_terminal_obeys_is_kept() -> None:
    found = read(
        warnings="\x1b]0;owned\x07\x1b[31mred\u202edlrow\x00", failed="\x1b[31mx.service a"
    )
    text = json.dumps(found.to_json(), ensure_ascii=False)
    assert not set(text) & set("\x1b\x07\x00\u202e")


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*Source, "boots", "last", "failed", "motd", "state", "grubenv", "status"]),
        st.one_of(
            st.text(),
            st.text(min_size=1, max_size=20).map(lambda text: (text * 40 + "\n") * 60),
        ),
    )
)
def test_it_fits_a_journal_and_is_read_back(parts: dict[str, str]) -> None:
    found = read_evidence("web1", "b", parts)
    text = json.dumps(found.to_json())
    assert len(text) <= MAX_SIZE
    assert HostEvidence.from_json(json.loads(text)) == found
    assert all(line.isprintable() for line in found.summary())


def test_what_an_older_version_wrote_is_read() -> None:
    assert HostEvidence.from_json({"host": "web1"}) == HostEvidence("web1")
    with pytest.raises(ValueError):
        HostEvidence.from_json({"host": "web1", "greenboot": "blue"})
    assert GreenbootVerdict("absent") is HostEvidence("web1").greenboot
