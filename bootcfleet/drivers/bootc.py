"""bootc on a host, through any executor: what it says, staging, reboots and the wait for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from bootcfleet.domain.abilities import NONE, Abilities
from bootcfleet.domain.bootc import BootcStatus, StatusError, parse_status
from bootcfleet.drivers import bootmarker
from bootcfleet.drivers.bootcprogress import OnProgress, listener, with_progress
from bootcfleet.drivers.bootmarker import BOOT_ID
from bootcfleet.drivers.command import CommandResult
from bootcfleet.drivers.hostsystem import HostSystem, SystemState
from bootcfleet.errors import HostError, HostFault

__all__ = [
    "FACTS_SCRIPT",
    "MARK",
    "STATUS",
    "BootcHost",
    "HostFacts",
    "SystemState",
    "facts_parts",
]

STATUS = ("bootc", "status", "--format=json", "--format-version=1")
#: The same for bootc up to 0.1.14, which speaks v1alpha1 and refuses the options above.
_OLD_STATUS = ("bootc", "status", "--json")
_REFUSES_FORMAT = re.compile(r"Unsupported format version|unexpected argument '--format")

#: One round trip for all that a look at a host needs.  No pipes or redirections, so that any
#: shell can run it; each part begins with a line that no command prints.  A shell's profile may
#: have spoken before it, without an end of its line.
MARK = "--8<-- bootcfleet"
_BOOT = f"echo; echo '{MARK} boot_id'; cat {BOOT_ID}; echo '{MARK} systemd'; " + " ".join(
    bootmarker.ASK_SYSTEMD
)
FACTS_SCRIPT = "; ".join(
    [
        _BOOT,
        f"echo '{MARK} stat'",
        "cat /proc/stat",
        f"echo '{MARK} version'",
        "bootc --version",
        f"echo '{MARK} status'",
        " ".join(STATUS),
    ]
)

#: What a reboot never looks like: the host must not be spoken to any further.
_ANOTHER_HOST = frozenset({HostFault.HOST_KEY_CHANGED, HostFault.HOST_KEY_UNKNOWN})
#: How often a host that comes back may refuse us before we believe that it means it.
_REFUSALS = 10


@dataclass(frozen=True)
class HostFacts:
    """What one look at a host tells.  `boot_time` is None where the kernel did not say it.

    `boot_id` is the kernel's, with ``+N`` behind it after the N-th soft reboot (`bootmarker`).
    """

    version: str
    boot_id: str
    boot_time: datetime | None
    status: BootcStatus


class BootcHost(HostSystem):
    """One host's bootc.  `timeout` (seconds) bounds every question; staging has its own."""

    def facts(self) -> HostFacts:
        """Boot id, boot time, version and status, in one round trip.

        Raises `HostError` whose fault says what is the matter.
        """
        return self.read_facts(
            self._run(
                ["sh", "-c", FACTS_SCRIPT],
                self._timeout,
                waits_for_lock=True,
                called="bootc status",
            )
        )

    def read_facts(self, result: CommandResult) -> HostFacts:
        """What `FACTS_SCRIPT` said, by itself or within a longer script (`drivers/hostprobe.py`).

        Its exit code and standard error must be those of ``bootc status``.  Raises `HostError`.
        """
        parts = facts_parts(result.stdout)
        # What is said of a failure is bootc's own words, not the counters of /proc/stat; or
        # those of an account that runs no commands.
        said = parts.get("status", "") if parts else result.stdout
        status = self._status(replace(result, stdout=said))
        return HostFacts(
            version=_version(parts.get("version", "")),
            boot_id=self._marker(parts),
            boot_time=_boot_time(parts.get("stat", "")),
            status=status,
        )

    def status(self) -> BootcStatus:
        """What bootc says of the deployments.  Raises `HostError`."""
        return self._status(self._run(STATUS, self._timeout, waits_for_lock=True))

    def boot_id(self) -> str:
        """The running boot's marker, as `HostFacts.boot_id` has it.  Raises `HostError`."""
        result = self._run(["sh", "-c", _BOOT], self._timeout, called=f"cat {BOOT_ID}")
        parts = facts_parts(result.stdout)
        if "boot_id" not in parts:
            raise self._failure(f"cat {BOOT_ID}", result)
        return self._marker(parts)

    def stage_upgrade(
        self,
        *,
        timeout: float = 1800.0,
        abilities: Abilities = NONE,
        download_only: bool = False,
        soft_reboot: bool = False,
        on_progress: OnProgress | None = None,
    ) -> None:
        """``bootc upgrade``: download and stage what the tracked reference is now.

        Never with ``--apply``, which does not return (field note).  With
        `download_only` a reboot does not take it up before `finish_download`; with
        `soft_reboot` a soft reboot is prepared where the staged deployment allows
        it.  A bootc without these `abilities` stages in the ordinary way, and one
        without progress tells none.  Raises `HostError`.
        """
        argv = ["bootc", "upgrade"]
        if download_only and abilities.download_only:
            argv += ["--download-only"]
        elif soft_reboot and abilities.soft_reboot:
            argv += ["--soft-reboot=auto"]
        self._stage(argv, timeout, abilities, on_progress)

    def stage_switch(
        self,
        reference: str,
        *,
        transport: str = "registry",
        enforce: bool = False,
        timeout: float = 1800.0,
        abilities: Abilities = NONE,
        soft_reboot: bool = False,
        on_progress: OnProgress | None = None,
    ) -> None:
        """``bootc switch``: follow another image and stage it.

        Of the image that the host follows already bootc says that nothing has changed, and looks
        for no newer one: that is `stage_upgrade`'s.  `enforce` is what the host had
        (`ImageStatus.enforced`): a switch without it lets go of that.  `soft_reboot` and
        `on_progress` as for `stage_upgrade`; bootc cannot switch with ``--download-only``.
        Raises `HostError`.
        """
        argv = ["bootc", "switch"]
        if transport != "registry":
            argv += ["--transport", transport]
        if enforce:
            argv += ["--enforce-container-sigpolicy"]
        if soft_reboot and abilities.soft_reboot:
            argv += ["--soft-reboot=auto"]
        self._stage([*argv, reference], timeout, abilities, on_progress)

    def finish_download(self, *, soft_reboot: bool = False) -> None:
        """``bootc upgrade --from-downloaded``: the next reboot takes up what is staged.

        It asks no registry, and does no harm where the staged deployment is not held
        back.  With `soft_reboot` a soft reboot to it is prepared as well, where it
        allows one.  For hosts with the ability `download_only`.  Raises `HostError`,
        also when nothing is staged.
        """
        argv = ["bootc", "upgrade", "--from-downloaded"]
        self._stage([*argv, "--soft-reboot=auto"] if soft_reboot else argv, self._timeout)

    def queue_rollback(self, *, soft_reboot: bool = False) -> None:
        """``bootc rollback``: the next boot is the rollback deployment's.

        It toggles: call it only when no rollback is queued.  With `soft_reboot` (for
        hosts with that ability) a soft reboot is prepared where that deployment allows
        it.  Raises `HostError`.
        """
        argv = ["bootc", "rollback"]
        self._stage([*argv, "--soft-reboot=auto"] if soft_reboot else argv, self._timeout)

    def reboot(self, *, soft: bool = False, expected: str | None = None) -> None:
        """Ask systemd for a reboot.  The connection may drop before an answer comes.

        With `expected` (a `HostFacts.boot_id`) only in that boot: a command that waited in a
        connection must not reboot a host that has just come up.

        A `soft` one restarts userspace in what bootc has prepared for it.  Any other
        is a full one: by itself systemd, since 255, makes a soft reboot of it where
        one is prepared (its docs/ENVIRONMENT.md).  Raises `HostError` when the host
        refuses.
        """
        verb = "soft-reboot" if soft else "reboot"
        full = () if soft else ("env", "SYSTEMCTL_SKIP_AUTO_SOFT_REBOOT=1")
        try:
            argv = [*full, "systemctl", verb]
            if expected is not None:
                kernel = self._kernel_id(bootmarker.kernel_part(expected))
                only = f"grep -qxF {kernel} {BOOT_ID} && {' '.join(argv)}"
                argv = ["sh", "-c", only]
            result = self._run(argv, self._timeout, called=f"systemctl {verb}")
        except HostError as error:
            if error.fault in {HostFault.CONNECTION_LOST, HostFault.TIMEOUT}:
                return
            raise
        another = expected is not None and not result.stderr.strip() and result.exit_code == 1
        if not result.ok and result.exit_code < 128 and not another:
            raise self._failure(f"systemctl {verb}", result)

    def wait_for_boot(
        self,
        previous: str,
        timeout: float,
        *,
        sleep: Callable[[float], None],
        monotonic: Callable[[], float],
        interval: float = 0.25,
        soft: bool = False,
    ) -> HostFacts:
        """Wait until the host answers in another boot than `previous`; its facts then.

        `previous` is a `HostFacts.boot_id`.  Each look is one cheap command; `soft`
        says that the boot waited for may come by a soft reboot, which one more
        property tells.  Refused connections, time-outs and the old boot id are what a
        reboot looks like.  Another host key is not, and is raised at once.  Refused
        authentication, or a bootc that fails in the new boot, is given a few
        tries, since the system may still start (pam_nologin keeps users out).
        The first look is `interval` seconds after the reboot, the later ones up
        to two seconds apart.

        Raises `HostError` after `timeout` seconds: did-not-return, or what bootc
        failed with where the host did come back.
        """
        deadline = monotonic() + timeout
        refusals = 0
        gone = False
        while True:
            self._executor.close()
            returned = False
            try:
                returned = self._is_another_boot(previous, soft=soft, gone=gone)
                if returned:
                    return self.facts()
                last = "it still answers in the old boot"
            except HostError as error:
                gone = True
                meant = returned and not error.transient
                refusals += meant or error.fault is HostFault.AUTH_FAILED
                if error.fault in _ANOTHER_HOST or refusals > _REFUSALS:
                    raise
                if returned and monotonic() >= deadline:
                    raise
                last = error.message
            if monotonic() >= deadline:
                raise HostError(
                    self.host,
                    HostFault.DID_NOT_RETURN,
                    f"did not come back within {timeout:g} s of its reboot ({last})",
                    hint="look at its console",
                )
            sleep(interval)
            interval = min(2.0, interval * 1.5)

    def _is_another_boot(self, previous: str, *, soft: bool, gone: bool) -> bool:
        """Whether it runs in another boot than `previous`.

        The kernel's id needs no root rights.  A host that was `gone` and is back under
        the same kernel may have been rebooted softly by somebody else.
        """
        if not soft:
            result = self._run(["cat", BOOT_ID], self._timeout, as_root=False)
            if not result.ok:
                raise self._failure(f"cat {BOOT_ID}", result)
            if self._kernel_id(result.stdout) != bootmarker.kernel_part(previous):
                return True
        return (soft or gone) and self.boot_id() != previous

    def _stage(
        self,
        argv: Sequence[str],
        timeout: float,
        abilities: Abilities = NONE,
        on_progress: OnProgress | None = None,
    ) -> None:
        called = " ".join(argv[:2])
        tell = None
        if on_progress is not None and abilities.progress_fd:
            argv, tell = with_progress(argv), listener(on_progress)
        result = self._run(argv, timeout, waits_for_lock=True, called=called, on_line=tell)
        if not result.ok:
            raise self._failure(called, result)

    def _status(self, result: CommandResult) -> BootcStatus:
        if not result.ok and _REFUSES_FORMAT.search(result.stderr):
            result = self._run(_OLD_STATUS, self._timeout, waits_for_lock=True)
        if not result.ok:
            raise self._failure("bootc status", result)
        try:
            return parse_status(result.stdout)
        except StatusError as error:
            raise HostError(
                self.host,
                HostFault.GARBAGE_OUTPUT,
                error.message,
                hint=error.hint,
                details=error.details,
            ) from error

    def _marker(self, parts: dict[str, str]) -> str:
        boot_id = self._kernel_id(parts.get("boot_id", ""))
        shown = parts.get("systemd")
        if shown is None:
            return boot_id
        try:
            count = bootmarker.soft_reboots(shown)
            if count is None:
                asked = self._run(bootmarker.ASK_BASIC, self._timeout)
                count = bootmarker.userspace_start(asked.stdout)
        except ValueError as error:
            # Without it a boot could be taken for another one: it is asked again.
            raise HostError(
                self.host, HostFault.TIMEOUT, f"systemd does not answer yet: {error}"
            ) from error
        return bootmarker.with_count(boot_id, count)

    def _kernel_id(self, text: str) -> str:
        found = bootmarker.kernel_boot_id(text)
        if found is None:
            raise HostError(
                self.host,
                HostFault.GARBAGE_OUTPUT,
                f"its boot id is {text.strip()[:60]!r}, which is none",
            )
        return found


def facts_parts(text: str) -> dict[str, str]:
    """The sections of the facts script's output; what stands before the first is dropped."""
    pieces = re.split(rf"^{re.escape(MARK)} (\w+)$\n?", text, flags=re.MULTILINE)[1:]
    return dict(zip(pieces[::2], pieces[1::2], strict=True))


def _version(text: str) -> str:
    match = re.search(r"\b(\d+(?:\.\d+)+\S*)", text)
    return match.group(1) if match else "unknown"


def _boot_time(text: str) -> datetime | None:
    """``btime`` of /proc/stat, seconds since the epoch (proc(5))."""
    match = re.search(r"^btime (\d{1,12})$", text, re.MULTILINE)
    return datetime.fromtimestamp(int(match.group(1)), UTC) if match else None
