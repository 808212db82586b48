"""qemu on this machine: what is there, and one running machine with its control socket (QMP)."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bootcfleet.domain.qemuargs import Accel, Arch, Firmware, choose_firmware
from bootcfleet.drivers.command import spawn_detached
from bootcfleet.errors import FleetError, ToolMissingError

#: linux/kvm.h: the version that has been the only one since Linux 2.6.22.
_KVM_GET_API_VERSION = 0xAE00
_KVM_API = 12

_FIRMWARE = ("/etc/qemu/firmware", "/usr/share/qemu/firmware")


def qemu_program(arch: Arch) -> str:
    """The qemu for `arch`; RHEL keeps its own outside of PATH.  Raises `ToolMissingError`."""
    name = f"qemu-system-{arch.value}"
    found = shutil.which(name)
    own = "/usr/libexec/qemu-kvm"
    if found is None and arch.value == os.uname().machine and os.access(own, os.X_OK):
        found = own
    if found is None:
        package = "qemu-system-x86" if arch is Arch.X86_64 else "qemu-system-arm"
        raise ToolMissingError(
            f"the program {name!r} is not installed",
            hint=f"install qemu-kvm (Fedora, RHEL) or {package} (Debian, Ubuntu)",
        )
    return found


def kvm_problem(arch: Arch, device: str = "/dev/kvm") -> str | None:
    """Why KVM cannot run a guest of `arch` here, or None."""
    machine = os.uname().machine
    if machine != arch.value:
        return f"this machine is {machine}"
    try:
        descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return f"{device}: {error.strerror}"
    try:
        version = fcntl.ioctl(descriptor, _KVM_GET_API_VERSION, 0)
    except OSError as error:
        return f"{device}: {error.strerror}"
    finally:
        os.close(descriptor)
    return None if version == _KVM_API else f"{device} speaks version {version} of its interface"


def find_firmware(arch: Arch) -> Firmware:
    """UEFI for `arch`, by the descriptions that distributions ship.  Raises `ToolMissingError`."""
    files: dict[str, Path] = {}
    for folder in _FIRMWARE:
        for path in sorted(Path(folder).glob("*.json")):
            files.setdefault(path.name, path)
    described = []
    for _, path in sorted(files.items()):
        with contextlib.suppress(OSError, ValueError):
            # An empty file of the same name in /etc switches a description off.
            described.append(json.loads(path.read_bytes()))
    found = choose_firmware([one for one in described if isinstance(one, dict)], arch)
    if found is None or not Path(found.code).exists():
        package = "ovmf" if arch is Arch.X86_64 else "qemu-efi-aarch64"
        raise ToolMissingError(
            f"there is no UEFI firmware for {arch.value} here",
            hint=f"install edk2-ovmf or edk2-aarch64 (Fedora, RHEL), {package} (Debian, Ubuntu)",
        )
    return found


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Vm:
    """A running qemu.  It is stopped by its own process id, and only by this object."""

    def __init__(self, argv: tuple[str, ...], accel: Accel, log: Path, monitor: Path) -> None:
        """Start it.  Raises `ToolMissingError` when the program does not exist."""
        self.argv = argv
        self.accel = accel
        self._log = log
        self._monitor = monitor
        self._process = spawn_detached(argv, log)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How it ended, as `CommandResult.exit_code`; None while it runs."""
        code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code

    def complaint(self) -> tuple[str, ...]:
        """What qemu itself said, without its words of farewell."""
        with contextlib.suppress(OSError):
            lines = self._log.read_text("utf-8", "replace").splitlines()
            return tuple(line for line in lines if line and "terminating on signal" not in line)
        return ()

    def command(self, name: str, **arguments: Any) -> Any:
        """Ask qemu something over QMP.  Raises `FleetError` when it does not answer or refuses."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(10)
                connection.connect(str(self._monitor))
                with connection.makefile("rwb") as stream:
                    stream.readline()
                    _ask(stream, "qmp_capabilities", {})
                    return _ask(stream, name, arguments)
        except (OSError, ValueError) as error:
            raise FleetError(f"qemu does not answer {name}: {error}") from error

    def screenshot(self, path: Path) -> bool:
        """Write a picture of the screen (PNG, qemu 7.1 and newer); whether that worked."""
        with contextlib.suppress(FleetError):
            self.command("screendump", filename=str(path), format="png")
            return path.exists()
        return False

    def stop(
        self,
        *,
        powerdown: float = 0.0,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> str:
        """End it; returns how: ``powerdown``, ``quit``, ``terminated``, ``killed`` or ``ended``.

        The guest gets `powerdown` seconds after the press of its power button.
        """

        def gone(seconds: float) -> bool:
            deadline = monotonic() + seconds
            while self.running and monotonic() < deadline:
                sleep(0.1)
            return not self.running

        if not self.running:
            return "ended"
        try:
            for word, name, patience in (
                ("powerdown", "system_powerdown", powerdown),
                ("quit", "quit", 5.0),
            ):
                with contextlib.suppress(FleetError):
                    if patience:
                        self.command(name)
                        if gone(patience):
                            return word
            self._process.terminate()
            if gone(5.0):
                return "terminated"
        except BaseException:
            # A second ^C: at once, and nothing stays behind.
            self._process.kill()
            self._process.wait()
            raise
        self._process.kill()
        self._process.wait()
        return "killed"


def _ask(stream: Any, name: str, arguments: dict[str, Any]) -> Any:
    stream.write(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
    stream.flush()
    while True:
        line = stream.readline()
        if not line:
            # It is the answer to quit that may not come any more.
            if name == "quit":
                return {}
            raise OSError("the connection was closed")
        answer = json.loads(line)
        if "return" in answer:
            return answer["return"]
        if "error" in answer:
            raise FleetError(f"qemu refuses {name}: {answer['error'].get('desc', '')}")
