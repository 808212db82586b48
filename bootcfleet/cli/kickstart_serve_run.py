"""What `kickstart serve` does once its options are read."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bootcfleet.cli.kickstart_hosts_run import FOLDER
from bootcfleet.cli.output import Output
from bootcfleet.errors import ToolMissingError, UsageError

try:
    from bootcfleet.drivers.bootserver import key_pin, tls_context
except ModuleNotFoundError as missing:
    raise ToolMissingError(
        f"kickstart serve needs {missing.name}, which is not installed",
        hint="pip install 'bootcfleet[serve]'",
    ) from missing
from bootcfleet.drivers.bootconnection import Limits
from bootcfleet.drivers.bootfiles import BootTree, open_tree
from bootcfleet.ops.audit import recorder
from bootcfleet.ops.bootservice import Finished, Installed, ServeSettings
from bootcfleet.ops.enroll import Enroller, check_inventory
from bootcfleet.ops.kickstart_project import ProjectKickstarts
from bootcfleet.ops.kickstart_serve import (
    Listen,
    ServePlan,
    check_arguments,
    check_url,
    warnings,
    write_dnsmasq,
)
from bootcfleet.ops.kickstart_serve import serve as serve_plan
from bootcfleet.ops.project import LoadedProject, load_project, state_dir


@dataclass(frozen=True)
class ServeOptions:
    """The command line."""

    listen: str
    boot: tuple[str, ...]
    url: str | None
    append: tuple[str, ...]
    tls_cert: Path | None
    tls_key: Path | None
    unknown: str | None
    enroll: bool
    dnsmasq: Path | None
    tftp_root: Path | None
    token_minutes: float
    access_log: Path | None
    max_connections: int
    inventory: Path | None


def run_serve(options: ServeOptions, *, as_json: bool) -> None:
    """Serve until a signal: ^C is an interrupt, SIGTERM a clean end."""
    output = Output(as_json=as_json)
    loaded = load_project()
    inventory = options.inventory or loaded.root / loaded.project.inventory
    plan = _plan(options, loaded)
    if options.enroll:
        check_inventory(inventory)
    pin = key_pin(options.tls_cert) if options.tls_cert else ""
    source = ProjectKickstarts(
        loaded, inventory, unknown=options.unknown, pin=pin, emit=output.event
    )
    for text in warnings(plan, secrets=source.secrets):
        output.line(f"WARNING: {text}")
    for text in source.problems():
        output.line(f"note: {text}")
    if not plan.trees:
        output.line("note: without --boot DIR only kickstarts are served, and nothing boots")
    if options.dnsmasq is not None:
        tftp = options.tftp_root or plan.folder / "tftp"
        write_dnsmasq(plan, options.dnsmasq, tftp, output.event)
    elif options.tftp_root is not None:
        raise UsageError("--tftp-root is for --dnsmasq; give both")
    output.line("^C ends it")
    with ExitStack() as stack:
        record = stack.enter_context(recorder(loaded))
        enroller = None
        if options.enroll:
            enroller = Enroller(inventory, record=record, emit=output.event)
        caught = serve_plan(plan, source, output.event, _installed(record, enroller))
    output.line("ended; machines that are being installed call back in vain until it runs again")
    if caught == signal.SIGINT:
        raise KeyboardInterrupt


def _installed(
    record: Callable[..., object], enroller: Enroller | None
) -> Callable[[Installed], Finished]:
    """What is done when a machine calls back."""

    def installed(one: Installed) -> Finished:
        details: Mapping[str, Any] = {
            "address": one.address,
            "mac": list(one.host.macs or one.callback.macs),
            "ssh_host_keys": len(one.callback.keys),
        }
        record("host.installed", one.host.name, "installed", digests={}, details=details)
        return enroller.enroll(one) if enroller is not None else Finished(one.host.name)

    return installed


def _plan(options: ServeOptions, loaded: LoadedProject) -> ServePlan:
    if (options.tls_cert is None) != (options.tls_key is None):
        raise UsageError("--tls-cert and --tls-key belong together; give both")
    tls = None
    if options.tls_cert is not None and options.tls_key is not None:
        tls = tls_context(options.tls_cert, options.tls_key)
    folder = state_dir(loaded) / FOLDER
    return ServePlan(
        listen=Listen.parse(options.listen),
        folder=folder,
        access_log=options.access_log or folder / "access.log",
        trees=_trees(options.boot),
        settings=ServeSettings(
            url=check_url(options.url) if options.url else None,
            arguments=check_arguments(options.append),
            token_seconds=options.token_minutes * 60,
        ),
        limits=Limits(connections=options.max_connections),
        tls=tls,
    )


def _trees(given: tuple[str, ...]) -> tuple[BootTree, ...]:
    trees = [open_tree(text) for text in given]
    for tree in trees:
        if sum(tree.arch == other.arch for other in trees) > 1:
            raise UsageError(
                f"two --boot directories are for {tree.arch}", hint="one for each architecture"
            )
    return tuple(trees)
