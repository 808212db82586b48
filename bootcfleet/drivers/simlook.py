"""What a simulated host answers to the look before a rollout (`drivers/hostprobe.py`)."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace

from bootcfleet.domain.faults import Fault
from bootcfleet.domain.hosttruth import GREENBOOT, OSTREE_TIMER, PULL_DROP_IN, UPDATE_SERVICE
from bootcfleet.drivers import simtimer
from bootcfleet.drivers.bootc import MARK, facts_parts
from bootcfleet.drivers.hostprobe import FOLLOWED
from bootcfleet.drivers.simbootc import Said
from bootcfleet.drivers.simhost import LOCK, PullError, SimHost

_REFUSALS = {
    Fault.REGISTRY_REFUSES: "denied: 403 Forbidden",
    Fault.REGISTRY_5XX: "received unexpected HTTP status: 503 Service Unavailable",
    Fault.RATE_LIMITED: "toomanyrequests: 429 Too Many Requests",
}
_SHOWN = "--property=Id,LoadState,ActiveState,UnitFileState"


def answer(host: SimHost, facts: Said, *, reference: str) -> Said:
    """The sections of the script; `facts` is what its part in `bootc.FACTS_SCRIPT` said."""
    out = _sections({"clock": f"{host.now:.9f}\n", **_about(host)}) + facts.stdout
    status = facts_parts(facts.stdout).get("status", "")
    asked = _followed(status) if reference == FOLLOWED else reference
    after = {"clock_end": f"{host.now:.9f}\n"}
    if asked:
        after = {"registry": _registry(host, asked), **after}
    return replace(facts, stdout=f"{out}{_sections(after)}")


def _sections(said: Mapping[str, str]) -> str:
    return "".join(f"\n{MARK} {name}\n{text}\n" for name, text in said.items())


def _about(host: SimHost) -> dict[str, str]:
    system = host.system
    free = 0 if host.has(Fault.DISK_FULL) else system.free_bytes
    used = system.total_bytes - free
    os_version = system.os_version or host.booted.image.version or "0"
    verdict = "reject" if host.has(Fault.REJECTS_IMAGES) else "insecureAcceptAnything"
    bad = bool(host.failed_units)
    about = {
        "os": f'ID=lab\nVERSION_ID="{os_version}"\nPRETTY_NAME="Lab Linux {os_version}"\n',
        "uname": f"{system.kernel}\nx86_64\n",
        "uptime": f"{max(0.0, time.time() - host.boot_time):.2f} 0.00\n",
        "zone": f"../usr/share/zoneinfo/{system.zone}\n",
        "space": "Filesystem 1024-blocks Used Available Capacity Mounted on\n"
        f"/dev/vda4 {system.total_bytes // 1024} {used // 1024} {free // 1024} 50% /sysroot\n",
        "repo": "ostree\n",
        "policy": json.dumps({"default": [{"type": verdict}]}),
        "mounts": "overlay /usr overlay rw,relatime 0 0\n" if host.has(Fault.USR_UNLOCKED) else "",
        "lock": host.files.get(LOCK, b"").decode("utf-8", "replace"),
        "pull": "yes\n" if PULL_DROP_IN in host.files else "",
        "bound": "".join(f"Image={image}\n" for image in system.bound_images),
        "units": "\n".join(
            [
                simtimer.systemctl(host, "show", [_SHOWN], root=True).stdout,
                _unit(UPDATE_SERVICE, False, "static"),
                _unit(OSTREE_TIMER, None),
                _unit(GREENBOOT, system.greenboot or None),
            ]
        ),
        "system": "degraded\n" if bad else "running\n",
        "failed": "".join(f"{unit} loaded failed failed A unit\n" for unit in host.failed_units),
    }
    if host.has(Fault.STAGED_BY_OTHER):
        at = int(host.now) - 600
        about["staged"] = (
            f"{at}\n2026-11-21T10:00:00+0000 {host.name} sudo[42]: somebody : TTY=pts/0 ; PWD=/ ; "
            "USER=root ; COMMAND=/usr/bin/bootc upgrade\n"
        )
    elif host.staged is not None:
        about["staged"] = f"{int(host.now)}\n"
    return about


def _unit(name: str, active: bool | None, enabled: str = "") -> str:
    """A unit as ``systemctl show`` has it; None: there is none of this name."""
    if active is None:
        return f"Id={name}\nLoadState=not-found\nActiveState=inactive\nUnitFileState=\n"
    word = enabled or ("enabled" if active else "disabled")
    state = "active" if active else "inactive"
    return f"Id={name}\nLoadState=loaded\nActiveState={state}\nUnitFileState={word}\n"


def _followed(status: str) -> str:
    """The reference that the host follows, as the script reads it from bootc's status."""
    try:
        image = json.loads(status)["spec"]["image"]
        return str(image["image"]) if image["transport"] == "registry" else ""
    except (ValueError, LookupError, TypeError):
        return ""


def _registry(host: SimHost, reference: str) -> str:
    head = f"{reference}\n=tool=skopeo\n"
    # A look is no pull: it does not use up those that are counted.
    for fault, why in _REFUSALS.items():
        if host.has(fault):
            text = f"reading manifest in {reference}: {why}"
            return f'{head}time="now" level=fatal msg="{text}"\n=code=1\n=sha256=\n'
    try:
        found = host.pull(reference)
    except PullError as error:
        return f'{head}time="now" level=fatal msg="{error}"\n=code=1\n=sha256=\n'
    return f"{head}=code=0\n=sha256={str(found.digest).removeprefix('sha256:')}\n"
