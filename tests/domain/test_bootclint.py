"""`bootc container lint`: what is read from it, and which warnings are new."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.bootclint import BootcFinding, BootcLint, new_warnings, parse_bootc_lint

#: As bootc 1.x prints it (ublue-os/bluefin-lts#919, playtron-os/gameos#217).
OUTPUT = """\
Lint warning: sysusers: Found /etc/passwd entry without corresponding systemd sysusers.d:
  avahi
  wsdd
Found /etc/group entry without corresponding systemd sysusers.d:
  avahi

Lint warning: var-log: Found non-empty logfile: /var/log/akmods/akmods.log (and 5 more)
Lint warning: var-tmpfiles: Found content in /var missing systemd tmpfiles.d entries:
  d /var/lib/dnf 0755 root root - -
  ...and 21 more
Found non-directory/non-symlink files in /var:
  var/lib/flatpak/.changed

Checks passed: 9
Checks skipped: 1
Warnings: 3
"""
PASSWD = "Found /etc/passwd entry without corresponding systemd sysusers.d"


def read(text: str) -> BootcLint:
    found = parse_bootc_lint(text)
    assert found is not None
    return found


def test_what_bootc_prints() -> None:
    found = read(OUTPUT)
    assert found.errors == ()
    assert found.cut == {"var-log", "var-tmpfiles"}
    assert [one for one in found.warnings if one.lint == "sysusers"] == [
        BootcFinding("sysusers", PASSWD, "avahi"),
        BootcFinding("sysusers", PASSWD, "wsdd"),
        BootcFinding("sysusers", PASSWD.replace("passwd", "group"), "avahi"),
    ]
    (log,) = [one for one in found.warnings if one.lint == "var-log"]
    assert str(log) == "var-log: Found non-empty logfile: /var/log/akmods/akmods.log"
    assert {one.lint for one in found.without(["sysusers", "var-log"]).warnings} == {"var-tmpfiles"}


def test_errors() -> None:
    text = (
        "Failed lint: etc-usretc: Found /usr/etc - this is bad\nChecks passed: 12\nerror: Linting"
    )
    assert read(text).errors == (BootcFinding("etc-usretc", "Found /usr/etc - this is bad"),)


@pytest.mark.parametrize(
    "text",
    ["", "error: unexpected argument '--no-truncate' found", "Lint warning: var-log: a\n"],
)
def test_a_run_that_did_not_end_says_nothing(text: str) -> None:
    assert parse_bootc_lint(text) is None


def test_an_item_that_the_parent_does_not_have_is_new() -> None:
    child = OUTPUT.replace("  wsdd\n", "  wsdd\n  mine\n")
    assert new_warnings(read(child), read(OUTPUT)) == (BootcFinding("sysusers", PASSWD, "mine"),)
    assert new_warnings(read(OUTPUT), read(child)) == ()


def test_a_lint_that_does_not_name_all_is_compared_by_its_name() -> None:
    # Which log is named first is chance, once there are more.
    child = OUTPUT.replace("akmods.log (and 5 more)", "other.log (and 2 more)")
    assert new_warnings(read(child), read(OUTPUT)) == ()
    (new,) = new_warnings(read(OUTPUT), read(OUTPUT).without(["var-log"]))
    assert new.lint == "var-log"


_ITEMS = st.lists(st.sampled_from(["/var/a", "/var/b", "/var/c"]), unique=True)


@given(st.dictionaries(st.sampled_from(["var-log", "sysusers"]), _ITEMS), st.booleans())
def test_nothing_is_new_against_itself_and_everything_against_nothing(
    lints: dict[str, list[str]], colon: bool
) -> None:
    text = ""
    for name, items in lints.items():
        text += f"Lint warning: {name}:{' Found' if colon else ''}{':' if items else ''}\n"
        text += "".join(f"  {item}\n" for item in items)
    found = read(text + "Checks passed: 3\n")
    assert new_warnings(found, found) == ()
    assert new_warnings(found, BootcLint()) == found.warnings
    assert len(found.warnings) == sum(max(1, len(items)) for items in lints.values())
