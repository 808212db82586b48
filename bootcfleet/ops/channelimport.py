"""Follows tags of other registries into channels of the project's own."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from bootcfleet.domain.channel import ChannelAction
from bootcfleet.domain.channel_import import Condition, ImportMode, ImportSpec, ImportState
from bootcfleet.domain.document import did_you_mean
from bootcfleet.domain.event import Event
from bootcfleet.domain.lineage import Lineage
from bootcfleet.domain.reference import Digest, ImageRef
from bootcfleet.drivers.command import write_atomic
from bootcfleet.errors import FleetError, UsageError
from bootcfleet.ops.channel import Channels
from bootcfleet.ops.gates import Candidate
from bootcfleet.ops.project import LoadedProject, state_dir
from bootcfleet.ops.promote import make_move
from bootcfleet.ops.revocation import load_revocations, with_registry
from bootcfleet.ops.train import run_train


def chosen_imports(loaded: LoadedProject, names: Collection[str]) -> dict[str, ImportSpec]:
    """The imports of these names, all of them without any.  Raises `UsageError`."""
    known = loaded.project.imports
    for name in names:
        if name not in known:
            raise UsageError(
                f"the project has no import {name!r}",
                hint=did_you_mean(name, known)
                or "declare imports: in bootcfleet.yaml: {NAME: {source: REGISTRY/IMAGE:TAG}}",
            )
    return {name: spec for name, spec in known.items() if not names or name in names}


def read_states(loaded: LoadedProject) -> dict[str, ImportState]:
    """How the last looks ended; nothing where that cannot be read, for it is only remembered."""
    try:
        body = json.loads(_file(loaded).read_text(encoding="utf-8"))
        states = [ImportState.from_json(one) for one in body["imports"]]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {state.name: state for state in states}


def _write_states(loaded: LoadedProject, states: Mapping[str, ImportState]) -> None:
    known = [one.to_json() for name, one in states.items() if name in loaded.project.imports]
    text = json.dumps({"version": 1, "imports": known}, indent=2) + "\n"
    write_atomic(_file(loaded), text.encode())


def _file(loaded: LoadedProject) -> Path:
    return state_dir(loaded) / "imports.json"


def run_import(
    channels: Channels, name: str, spec: ImportSpec, *, dry_run: bool = False
) -> ImportState:
    """Look at a source, and move its channel when the source has moved.

    What fails is in the state, and the channel stays where it is; the ledger notes when
    an import begins to fail, and when it works again.
    """
    try:
        condition, digest, message = _bring(channels, name, spec, dry_run=dry_run)
    except FleetError as error:
        condition, message = Condition.FAILED, error.message
        if error.hint:
            message += f" ({error.hint})"
        current = channels.store.current(name, spec.tag)
        digest = current.digest if current else None
    now = channels.clock()
    before = read_states(channels.loaded)
    state = ImportState(name, condition, now, now, digest, message).after(before.get(name))
    if not dry_run:
        _note(channels, spec, before.get(name), state)
        _write_states(channels.loaded, {**before, name: state})
    channels.emit(Event(f"import.{condition.value}", name, _sentence(spec, state), state.to_json()))
    return state


def _bring(
    channels: Channels, name: str, spec: ImportSpec, *, dry_run: bool
) -> tuple[Condition, str | None, str]:
    """The condition, the channel's digest, and why where that is not good."""
    source, tag = ImageRef.parse(spec.source), channels.tag(name, spec.tag)
    current = channels.store.current(name, spec.tag)
    found = channels.found(tag)
    if current is not None and found not in (None, current.digest):
        return (
            Condition.REFUSED,
            found,
            f"the tag {tag} points at {found}, and its history says {current.digest}: "
            f"bootcfleet channel verify {name} {spec.tag}",
        )
    pinned = spec.mode is ImportMode.PIN and source.digest is None
    if pinned and current is not None and found == current.digest:
        return Condition.PINNED, found, ""
    if pinned and current is not None:
        # The tag is gone: bring back what was pinned, and nothing newer.
        source = source.with_digest(Digest(current.digest))
    digest = source.digest or channels.registry.digest(source)
    if found == str(digest) and current is not None:
        return Condition.UNCHANGED, found, ""
    at = source.with_digest(digest)
    revoked = with_registry(
        load_revocations(channels.ledger), channels.artifacts, [tag.with_digest(digest)]
    ).reason(str(digest), Lineage.of(channels.ledger))
    if revoked is not None:
        return Condition.REFUSED, found, revoked.message
    if dry_run:
        return Condition.IMPORTED, str(digest), ""
    manifest = channels.registry.manifest(at)
    candidate = Candidate(name, spec.tag, str(source), at, manifest, found)
    why = "the source moved" if current else "first import"
    move = make_move(channels, candidate, ChannelAction.IMPORT, why=why)
    run_train(channels, (move,))
    return Condition.IMPORTED, str(digest), ""


def _note(
    channels: Channels, spec: ImportSpec, before: ImportState | None, state: ImportState
) -> None:
    """One entry when it begins to fail and one when that ends, not one every few minutes."""
    was_good = before is None or before.condition.good
    if state.condition.good and was_good:
        return
    if not state.condition.good and before is not None and before.message == state.message:
        return
    channels.record(
        "channel.import",
        state.name,
        "recovered" if state.condition.good else state.condition.value,
        digests={"image": state.digest} if state.digest else {},
        details={"source": spec.source, "channel": spec.tag, "message": state.message},
    )


def _sentence(spec: ImportSpec, state: ImportState) -> str:
    if state.condition is Condition.IMPORTED:
        return f"{spec.tag} is {state.digest}, from {spec.source}"
    if state.condition.good:
        return f"{spec.tag} is {state.condition.value}: {state.digest}"
    kept = f"{spec.tag} stays at {state.digest}" if state.digest else "nothing was imported"
    return f"{state.condition.value}: {state.message}; {kept}"
