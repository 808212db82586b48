"""The update timers: the real script in real shells, on a systemctl whose units are files."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest

from bootcfleet.drivers import updatetimer
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.errors import HostError, HostFault
from tests.machines import said
from tests.tools import need

BOOTC, OSTREE = updatetimer.TIMERS

#: A unit is a folder; the files in it are what holds of it.  Texts and codes are systemctl(1)'s.
SYSTEMCTL = r"""#!/bin/sh
cd "$UNITS" || exit 9
verb= runtime= quiet=
for word do
  shift
  case $word in
  --runtime) runtime=-runtime ;;
  --quiet) quiet=1 ;;
  --) ;;
  *) if [ -z "$verb" ]; then verb=$word; else set -- "$@" "$word"; fi ;;
  esac
done
code=0
[ "$verb" = is-active ] && code=3
for unit do
  case $verb in
  is-active) if [ -e "$unit/active" ]; then echo active; code=0; else echo inactive; fi ;;
  is-enabled)
    if [ -e "$unit/masked" ]; then w=masked; elif [ -e "$unit/masked-runtime" ]; then
      w=masked-runtime; elif [ -e "$unit/enabled" ]; then w=enabled; else w=disabled; fi
    [ -n "$quiet" ] || echo $w
    [ $w = enabled ] || code=1 ;;
  start)
    if [ -e "$unit/masked" ] || [ -e "$unit/masked-runtime" ]; then
      echo "Failed to start $unit: Unit $unit is masked." >&2; code=1
    elif [ ! -d "$unit" ]; then
      echo "Failed to start $unit: Unit $unit not found." >&2; code=5
    elif [ -e "$unit/refuses" ]; then
      echo "Job for $unit failed." >&2; code=1
    else : >"$unit/active"; fi ;;
  stop)
    if [ ! -d "$unit" ]; then echo "Failed to stop $unit: Unit $unit not loaded." >&2; code=5
    elif [ ! -e "$unit/stubborn" ]; then rm -f "$unit/active"; fi
    # As systemd does with a service of Type=oneshot.
    [ "$unit" = "${unit%.service}" ] || : >"$unit/failed" ;;
  reset-failed) rm -f "$unit/failed" ;;
  mask) if [ -d "$unit" ]; then : >"$unit/masked$runtime"; else code=1; fi ;;
  unmask) rm -f "$unit/masked$runtime" ;;
  *) echo "Unknown command verb '$verb'." >&2; code=1 ;;
  esac
done
exit $code
"""


class Host(LocalExecutor):
    """A host whose systemctl is the one above."""

    def __init__(self, folder: Path, shell: Sequence[str]) -> None:
        self.folder, self.units, self.shell = folder, folder / "units", shell
        bin_ = folder / "bin"
        bin_.mkdir()
        self.units.mkdir()
        (bin_ / "systemctl").write_text(SYSTEMCTL)
        (bin_ / "systemctl").chmod(0o755)
        super().__init__(env={"UNITS": str(self.units), "PATH": f"{bin_}:/usr/bin:/bin"})
        self.reboot()

    def run(self, argv, *, as_root=False, **more):  # type: ignore[no-untyped-def]
        words = [*self.shell, *argv[1:]] if argv[0] == "sh" else argv
        return super().run(words, **more)

    def install(self, unit: str, *words: str) -> None:
        for one in (unit, unit.replace(".timer", ".service")):
            (self.units / one).mkdir(exist_ok=True)
        for word in words:
            (self.units / unit / word).touch()

    def reboot(self) -> None:
        """Runtime masks go, enabled timers run."""
        (self.folder / "boot_id").write_text(f"{uuid.uuid4()}\n")
        for unit in self.units.glob("*.timer"):
            (unit / "masked-runtime").unlink(missing_ok=True)
            (unit / "active").unlink(missing_ok=True)
            if (unit / "enabled").exists() and not (unit / "masked").exists():
                (unit / "active").touch()

    def what(self, unit: str) -> set[str]:
        return {path.name for path in (self.units / unit).iterdir()}

    @property
    def notes(self) -> set[str]:
        folder = self.folder / "lib"
        return {path.name for path in folder.iterdir()} if folder.exists() else set()


@pytest.fixture(params=[["dash"], ["bash", "--posix"], ["busybox", "sh"]], ids=lambda p: str(p[0]))
def host(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(updatetimer, "DIRECTORY", str(tmp_path / "lib"))
    monkeypatch.setattr(updatetimer, "_BOOT_ID", str(tmp_path / "boot_id"))
    return Host(tmp_path, [need(request.param[0]), *request.param[1:]])


def test_an_active_timer_stands_still_and_goes_on(host: Host) -> None:
    host.install(BOOTC, "enabled", "active")
    (host.units / BOOTC.replace(".timer", ".service") / "active").touch()
    assert updatetimer.active(host, "h1")
    assert updatetimer.inhibit(host, "h1") == (BOOTC,)
    assert host.what(BOOTC) == {"enabled", "masked-runtime"}
    # An update under way would have rebooted the host.
    assert host.what(BOOTC.replace(".timer", ".service")) == set()
    assert not updatetimer.active(host, "h1")
    assert updatetimer.restore(host, "h1") == (BOOTC,)
    assert host.what(BOOTC) == {"enabled", "active"}
    assert host.notes == set()


def test_both_are_idempotent(host: Host) -> None:
    host.install(BOOTC, "active")
    assert updatetimer.inhibit(host, "h1") == (BOOTC,)
    assert updatetimer.inhibit(host, "h1") == ()
    assert updatetimer.restore(host, "h1") == (BOOTC,)
    assert updatetimer.restore(host, "h1") == ()
    assert host.what(BOOTC) == {"active"}


def test_over_reboots(host: Host) -> None:
    host.install(BOOTC, "enabled", "active")
    for _ in range(3):
        assert updatetimer.inhibit(host, "h1") == (BOOTC,)
        host.reboot()
        assert updatetimer.active(host, "h1")
    assert updatetimer.inhibit(host, "h1") == (BOOTC,)
    updatetimer.restore(host, "h1")
    assert host.what(BOOTC) == {"enabled", "active"}
    assert host.notes == set()


def test_a_reboot_that_nobody_inhibited_after(host: Host) -> None:
    host.install(BOOTC, "enabled", "active")
    updatetimer.inhibit(host, "h1")
    host.reboot()
    assert updatetimer.restore(host, "h1") == (BOOTC,)
    assert host.what(BOOTC) == {"enabled", "active"}


def test_an_image_that_turns_the_timer_off_means_it(host: Host) -> None:
    host.install(BOOTC, "enabled", "active")
    updatetimer.inhibit(host, "h1")
    (host.units / BOOTC / "enabled").unlink()
    host.reboot()
    updatetimer.restore(host, "h1")
    assert host.what(BOOTC) == set()
    assert host.notes == set()


def test_without_timers(host: Host) -> None:
    assert not updatetimer.active(host, "h1")
    assert updatetimer.inhibit(host, "h1") == ()
    assert updatetimer.restore(host, "h1") == ()
    assert host.notes == set()


@pytest.mark.parametrize(
    "words", [(), ("masked",), ("masked", "enabled"), ("enabled",), ("masked-runtime",)]
)
def test_what_was_not_active_is_left_alone(host: Host, words: tuple[str, ...]) -> None:
    host.install(BOOTC, *words)
    assert updatetimer.inhibit(host, "h1") == ()
    assert updatetimer.restore(host, "h1") == ()
    assert host.what(BOOTC) == set(words)


def test_an_admin_who_masks_it_meanwhile_keeps_the_mask(host: Host) -> None:
    host.install(BOOTC, "enabled", "active")
    updatetimer.inhibit(host, "h1")
    (host.units / BOOTC / "masked").touch()
    assert updatetimer.restore(host, "h1") == (BOOTC,)
    assert host.what(BOOTC) == {"enabled", "masked"}


def test_each_timer_for_itself(host: Host) -> None:
    host.install(BOOTC, "enabled")
    host.install(OSTREE, "enabled", "active")
    assert updatetimer.active(host, "h1")
    assert updatetimer.inhibit(host, "h1") == (OSTREE,)
    assert host.what(BOOTC) == {"enabled"}
    assert updatetimer.restore(host, "h1") == (OSTREE,)
    assert host.what(OSTREE) == {"enabled", "active"}


def test_a_timer_that_does_not_stop_is_said(host: Host) -> None:
    host.install(BOOTC, "active", "stubborn")
    with pytest.raises(HostError, match=f"cannot be stopped: {BOOTC} is still active"):
        updatetimer.inhibit(host, "h1")


def test_a_timer_that_does_not_start_is_said_and_still_due(host: Host) -> None:
    host.install(BOOTC, "active", "refuses")
    updatetimer.inhibit(host, "h1")
    with pytest.raises(HostError, match=f"cannot be started again: Job for {BOOTC} failed"):
        updatetimer.restore(host, "h1")
    (host.units / BOOTC / "refuses").unlink()
    assert updatetimer.restore(host, "h1") == (BOOTC,)
    assert "active" in host.what(BOOTC)


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (said("", "sh: systemctl: not found\n", 127), "systemctl: not found"),
        (said("", "Failed to connect to bus\n", 1), "Failed to connect to bus"),
    ],
)
def test_a_host_without_systemd(result: object, text: str) -> None:
    class Odd(LocalExecutor):
        def run(self, argv, **more):  # type: ignore[no-untyped-def]
            return result

    with pytest.raises(HostError, match=text) as caught:
        updatetimer.active(Odd(), "h1")
    assert caught.value.fault is HostFault.COMMAND_FAILED
