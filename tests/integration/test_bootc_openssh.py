"""bootc's driver against a real sshd: progress on the way, and evidence of a host."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootcfleet.domain.abilities import Abilities
from bootcfleet.domain.bootcprogress import DownloadProgress
from bootcfleet.domain.hostevidence import Source
from bootcfleet.drivers.bootc import BootcHost
from bootcfleet.drivers.hostevidence import gather_evidence
from bootcfleet.errors import HostError, HostFault
from tests.integration.onehost import OneHost, one_host

pytestmark = pytest.mark.integration

#: Like bootc: it refuses a descriptor that is no pipe, and waits between its reports until it is
#: told to go on.
BOOTC = r"""
case "$*" in
"upgrade --progress-fd 3") ;;
*) echo "error: unexpected argument" >&2; exit 2 ;;
esac
test -p /proc/self/fd/3 || { echo "error: Not a pipe" >&2; exit 1; }
echo "layers already present: 64; layers needed: 2"
report() {
  printf '{"bytes":%s,"bytesTotal":9,"steps":0,"stepsTotal":2,"subtasks":[{"id":"a"}],' "$1" >&3
  printf '"task":"pulling","type":"ProgressBytes"}\n' >&3
}
echo '{"type":"Start","version":"0.1.0"}' >&3
report 3
while [ ! -e "$GO" ]; do sleep 0.05; done
report 9
test ! -e "$GO.fail" || { echo "error: Upgrading: No space left on device" >&2; exit 1; }
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OneHost]:
    with one_host(tmp_path, monkeypatch, "127.0.25.1") as found:
        yield found


@pytest.mark.parametrize("fails", [False, True])
def test_progress_comes_on_the_way(host: OneHost, tmp_path: Path, fails: bool) -> None:
    go = tmp_path / "go"
    host.program("bootc", f"GO={go}\n{BOOTC}")
    if fails:
        Path(f"{go}.fail").touch()
    told: list[DownloadProgress] = []

    def tell(report: DownloadProgress) -> None:
        told.append(report)
        # bootc waits for this: a report that came at the end would come never.
        go.touch()

    executor = host.executor()
    bootc = BootcHost(executor, "web1")
    try:
        if fails:
            with pytest.raises(HostError) as caught:
                bootc.stage_upgrade(abilities=Abilities.of("1.1.4"), on_progress=tell, timeout=30)
            assert caught.value.fault is HostFault.NO_SPACE
            assert (
                caught.value.message == "bootc upgrade failed: Upgrading: No space left on device"
            )
        else:
            bootc.stage_upgrade(abilities=Abilities.of("1.1.4"), on_progress=tell, timeout=30)
    finally:
        executor.close()
    assert told == [DownloadProgress("pulling", n, 9, 0, 2) for n in (3, 9)]


def test_evidence_of_a_host(host: OneHost) -> None:
    host.program("journalctl", 'case "$*" in *finalize*) echo "ostree[1]: error: why";; esac')
    host.program(
        "systemctl", 'case "$*" in *Count*) echo SoftRebootsCount=0; echo Version=257;; esac'
    )
    executor = host.executor()
    try:
        started = time.monotonic()
        found = gather_evidence(executor, "web1", previous_boot=True)
        assert time.monotonic() - started < 60
        marker = BootcHost(executor, "web1").boot_id()
    finally:
        executor.close()
    assert found.finalize_failure == "why"
    assert found.lines(Source.FINALIZE) == ("ostree[1]: error: why",)
    assert found.boot_id == marker == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
