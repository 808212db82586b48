"""bootc's command line on a simulated host: arguments, texts, exit codes.

Follows field note *bootc on a host* (bootc 1.16, ostree backend).  0 done, 1
any error with an ``error:`` chain on standard error, 2 for clap's usage errors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import yaml

from bootcfleet.domain.faults import Fault
from bootcfleet.drivers.simhost import Pulled, PullError, SimHost
from bootcfleet.drivers.simprogress import tell_progress
from bootcfleet.drivers.simstatus import document

VERSION = "1.16.9"

#: Options of each verb: name → whether it takes a value.
_OPTIONS: dict[str, dict[str, bool]] = {
    "status": {
        "--format": True,
        "--format-version": True,
        "--json": False,
        "--booted": False,
        "--verbose": False,
        "-v": False,
    },
    "upgrade": {
        "--quiet": False,
        "--check": False,
        "--apply": False,
        "--soft-reboot": True,
        "--download-only": False,
        "--from-downloaded": False,
        "--progress-fd": True,
    },
    "switch": {
        "--quiet": False,
        "--apply": False,
        "--soft-reboot": True,
        "--transport": True,
        "--enforce-container-sigpolicy": False,
        "--retain": False,
        "--progress-fd": True,
    },
    "rollback": {"--apply": False, "--soft-reboot": True},
}


#: Options that cannot be used together (field note).
_CONFLICTS = (
    ("--check", "--apply"),
    ("--check", "--soft-reboot"),
    ("--check", "--download-only"),
    ("--check", "--from-downloaded"),
    ("--download-only", "--apply"),
)


_HELD = "Image downloaded, but will not be applied on reboot\n"
_RELEASED = "Staged deployment will now be applied on reboot\n"
_RELEASED_BEFORE = "Staged deployment is already set to apply on reboot\n"


@dataclass(frozen=True)
class Said:
    """What a command wrote and its exit code; `reboots` asks the shell to reboot the host.

    `soft`: softly; `full`: fully, even where a soft reboot is prepared.
    """

    stdout: str = ""
    stderr: str = ""
    code: int = 0
    reboots: bool = False
    cut: bool = False
    soft: bool = False
    full: bool = False


#: Takes what is written on ``--progress-fd``; None for a caller without one.
Say = Callable[[str], None] | None


def run(
    host: SimHost,
    argv: list[str],
    *,
    root: bool,
    gone: Callable[[], bool],
    say: Say = None,
) -> Said:
    """Answer ``bootc ARGV``.

    `gone` tells whether the caller has hung up; `say` takes what ``--progress-fd`` is for.
    Every verb waits, without a word, for the lock that another one holds (field note).
    """
    if host.has(Fault.NO_BOOTC):
        return Said("", "sh: line 1: bootc: command not found\n", 127)
    if argv in (["--version"], ["-V"]):
        return Said(f"bootc {VERSION}\n")
    verb = {"update": "upgrade"}.get(argv[0], argv[0]) if argv else ""
    if verb not in _OPTIONS:
        return Said("", f"error: unrecognized subcommand '{verb}'\n\nUsage: bootc <COMMAND>\n", 2)
    parsed = _parse(verb, argv[1:])
    if isinstance(parsed, Said):
        return parsed
    options, words = parsed
    if host.has(Fault.NOT_BOOTC):
        if verb == "status":
            return _status(host, options, booted=False)
        return _error("System not booted via bootc")
    if not root or host.has(Fault.NOT_ROOT):
        return _error(
            f"{verb.capitalize()}: Preparing for write: Querying root privilege: This command must "
            "be executed as the root user"
        )
    if not host.take_lock(gone):
        return Said(code=130)
    try:
        return _locked(host, verb, options, words, say if "--progress-fd" in options else None)
    finally:
        host.sysroot.release()


def _locked(
    host: SimHost, verb: str, options: Mapping[str, str], words: list[str], say: Say
) -> Said:
    match verb:
        case "status":
            said = _status(host, options, booted=True)
            host.status_was_shown()
            return said
        case "upgrade" if "--from-downloaded" in options:
            return _from_downloaded(host, options)
        case "upgrade":
            return _upgrade(host, options, say)
        case "switch":
            return _switch(host, options, words, say)
        case _:
            return _rollback(host, options)


def _parse(verb: str, argv: list[str]) -> tuple[Mapping[str, str], list[str]] | Said:
    options: dict[str, str] = {}
    words: list[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if not name.startswith("-"):
            words.append(word)
            continue
        if name not in _OPTIONS[verb]:
            return _usage(f"unexpected argument '{name}' found", verb)
        if _OPTIONS[verb][name]:
            if not equals and not rest:
                return _usage(
                    f"a value is required for '{name} <VALUE>' but none was supplied", verb
                )
            options[name] = value if equals else rest.pop(0)
        elif equals:
            return _usage(f"unexpected value '{value}' for '{name}' found; no more expected", verb)
        else:
            options[name] = ""
    if verb == "switch" and len(words) != 1:
        return _usage("the following required arguments were not provided:\n  <TARGET>", verb)
    if verb != "switch" and words:
        return _usage(f"unexpected argument '{words[0]}' found", verb)
    if options.get("--soft-reboot", "auto") not in {"auto", "required"}:
        given = options["--soft-reboot"]
        return _usage(f"invalid value '{given}' for '--soft-reboot <SOFT_REBOOT>'", verb)
    for one, other in _CONFLICTS:
        if one in options and other in options:
            return _usage(f"the argument '{one}' cannot be used with '{other}'", verb)
    return options, words


def _usage(message: str, verb: str) -> Said:
    return Said("", f"error: {message}\n\nUsage: bootc {verb} [OPTIONS]\n", 2)


def _error(message: str) -> Said:
    return Said("", f"error: {message}\n", 1)


def _status(host: SimHost, options: Mapping[str, str], *, booted: bool) -> Said:
    if host.has(Fault.GARBAGE_OUTPUT):
        return Said("\x1b[31m<<<not json at all>>>\x00\n{broken\n")
    if options.get("--format-version", "1") not in {"0", "1"}:
        return _error(f"Status: Unsupported format version: {options['--format-version']}")
    body = document(host, booted=booted)
    kind = "json" if "--json" in options else options.get("--format", "yaml")
    if kind == "json":
        # Canonical since 1.5.0: sorted, no spaces, no newline at the end.
        return Said(json.dumps(body, sort_keys=True, separators=(",", ":")))
    if kind in {"yaml", "humanreadable"}:
        # A pipe gets YAML; nobody at a terminal asks a simulated host.
        return Said(yaml.safe_dump(body, sort_keys=True))
    return _usage(f"invalid value '{kind}' for '--format <FORMAT>'", "status")


def _fetch(host: SimHost, verb: str, reference: str, say: Say) -> Pulled | Said:
    """Pull, with the faults that strike there."""
    if host.has(Fault.LAYERED_PACKAGES):
        return _error(
            f"{verb}: Deployment contains local rpm-ostree modifications; cannot upgrade via "
            "bootc. You can run `rpm-ostree reset` to undo the modifications."
        )
    if host.has(Fault.REJECTS_IMAGES):
        return _error(
            f"{verb}: Preparing import: Fetching manifest: failed to invoke method OpenImage: "
            f"Source image rejected: Running image docker://{reference} is rejected by policy."
        )
    if host.has(Fault.DISK_FULL):
        return _error(f"{verb}: Pulling: Importing: writing object: No space left on device")
    counted = {
        Fault.REGISTRY_5XX: "received unexpected HTTP status: 503 Service Unavailable",
        Fault.RATE_LIMITED: "toomanyrequests: 429 Too Many Requests",
    }
    for fault, answer in counted.items():
        if host.spend(fault):
            return _error(
                f"{verb}: Preparing import: Fetching manifest: failed to invoke method OpenImage: "
                f"reading manifest in {reference}: {answer}"
            )
    if host.has(Fault.REGISTRY_REFUSES):
        return _error(
            f"{verb}: Preparing import: Fetching manifest: failed to invoke method OpenImage: "
            f"reading manifest in {reference}: denied: requested access to the resource is denied "
            "(403 Forbidden)"
        )
    try:
        found = host.pull(reference)
    except PullError as error:
        return _error(
            f"{verb}: Preparing import: Fetching manifest: failed to invoke method OpenImage: "
            f"{error}"
        )
    slow = host.faults.get(Fault.SLOW_PULL)
    tell_progress(slow.number if slow else host.pull_seconds, reference, found, say)
    return found


def _upgrade(host: SimHost, options: Mapping[str, str], say: Say) -> Said:
    spec = host.staged or host.booted
    name = f"docker://{spec.reference}"
    if spec.pinned_by_digest:
        # The digest is there already, so bootc returns without asking the registry.
        if "--check" in options:
            return Said(f"No changes in: {name}\n")
        return Said(f"No changes in {name} => {spec.image.digest}\nNo update available.\n")
    found = _fetch(host, "Upgrading", spec.reference, say)
    if isinstance(found, Said):
        return found
    if "--check" in options:
        if found.digest == host.booted.image.digest:
            return Said(f"No changes in: {name}\n")
        with host.lock:
            host.cached_update = found
        return Said(f"Update available for: {name}\n{_describe(found)}{_layers(host, found)}")
    if host.staged is not None and found.digest == host.staged.image.digest:
        text = "Staged update present, not changed\n"
        held = "--download-only" in options
        if host.hold_staged(held):
            text = _HELD if held else _RELEASED
        return _ready(host, options, text, "Upgrading")
    if found.digest == host.booted.image.digest:
        # Also where something else is staged, which stays (its `cli.rs`).
        return Said(f"No changes in {name} => {found.digest}\nNo update available.\n")
    return _stage(host, options, spec.reference, spec.transport, found, enforced=spec.enforced)


def _from_downloaded(host: SimHost, options: Mapping[str, str]) -> Said:
    if host.staged is None:
        return _error("Upgrading: No staged deployment found")
    changed = host.hold_staged(False)
    return _ready(host, options, _RELEASED if changed else _RELEASED_BEFORE, "Upgrading")


def _ready(host: SimHost, options: Mapping[str, str], text: str, verb: str) -> Said:
    """What follows when something is staged or queued: its soft reboot, the reboot."""
    which = "rollback" if verb == "Rolling back" else "staged"
    if "--soft-reboot" in options:
        if host.soft_reboot_capable:
            host.prepare_soft_reboot()
            text += (
                f"{which.capitalize()} deployment is soft-reboot capable, preparing for "
                "soft-reboot...\n"
            )
        elif options["--soft-reboot"] == "required":
            chain = "Handling staged soft reboot: " if which == "staged" else ""
            said = f"Soft reboot was required but {which} deployment is not soft-reboot capable"
            return Said(text, f"error: {verb}: {chain}Handling soft reboot: {said}\n", 1)
    return Said("" if "--quiet" in options else text, reboots="--apply" in options)


def _switch(host: SimHost, options: Mapping[str, str], words: list[str], say: Say) -> Said:
    reference, transport = words[0], options.get("--transport", "registry")
    spec = host.staged or host.booted
    enforced = "--enforce-container-sigpolicy" in options
    if (reference, transport, enforced) == (spec.reference, spec.transport, spec.enforced):
        return Said("Image specification is unchanged.\n", reboots="--apply" in options)
    if transport != "registry":
        return _error(f"Switching: a lab host has no images in {transport}:{reference}")
    found = _fetch(host, "Switching", reference, say)
    if isinstance(found, Said):
        return found
    return _stage(host, options, reference, transport, found, enforced=enforced)


def _stage(
    host: SimHost,
    options: Mapping[str, str],
    reference: str,
    transport: str,
    found: Pulled,
    *,
    enforced: bool,
) -> Said:
    if host.has(Fault.DROPS_CONNECTION):
        # Interrupted: nothing is staged, what was fetched is kept.
        return Said("layers already present: 0; layers needed: 1\n", cut=True)
    layers = _layers(host, found)
    held = "--download-only" in options
    host.stage(reference, transport, found, download_only=held, enforced=enforced)
    # A first --download-only says the same (field note).
    text = f"{layers}Queued for next boot: docker://{reference}\n{_describe(found)}"
    return _ready(host, options, text, "Upgrading")


def _rollback(host: SimHost, options: Mapping[str, str]) -> Said:
    queued = host.queue_rollback()
    if queued is None:
        return _error("Rolling back: No rollback available")
    text = "Next boot: rollback deployment\n"
    if not queued:
        text = "notice: Reverting queued rollback state\nNext boot: current deployment\n"
    return _ready(host, options, text, "Rolling back")


def _describe(image: Pulled) -> str:
    version = f"  Version: {image.version}\n" if image.version else ""
    return f"{version}  Digest: {image.digest}\n"


def _layers(host: SimHost, image: Pulled) -> str:
    there = {digest for digest, _ in host.booted.image.layers}
    new = [size for digest, size in image.layers if digest not in there]
    return f"Total new layers: {len(new):<4}  Size: {sum(new)} bytes\n"
