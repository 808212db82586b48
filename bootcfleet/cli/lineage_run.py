"""What `image lineage` and `why` do once their options are read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bootcfleet.cli.output import Output, ask_secret
from bootcfleet.domain.bootc import BootEntry
from bootcfleet.domain.channel import ChannelEntry
from bootcfleet.domain.document import did_you_mean
from bootcfleet.domain.inventory import Host
from bootcfleet.domain.lineage import Proof
from bootcfleet.domain.reference import Digest, ImageRef, InvalidReferenceError
from bootcfleet.drivers.bootc import HostFacts
from bootcfleet.drivers.channelstore import ChannelStore
from bootcfleet.drivers.ledger import Ledger
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.errors import HostError, HostFault, UsageError
from bootcfleet.ops import connect
from bootcfleet.ops.audit import open_ledger
from bootcfleet.ops.fleet import entry_json
from bootcfleet.ops.lineage import Lineage, Located, learn, locate
from bootcfleet.ops.lock import load_lock
from bootcfleet.ops.project import LoadedProject, find_project
from bootcfleet.ops.revocation import Revocations, load_revocations
from bootcfleet.ops.survey import find_hosts
from bootcfleet.ops.why import HostMove, Link, chain, channel_entries, last_move, locked


@dataclass
class Desk:
    """What the commands look at: the project, its ledger, the lineage, and a registry or none."""

    loaded: LoadedProject | None
    ledger: Ledger
    lineage: Lineage
    revocations: Revocations
    client: RegistryClient | None
    notes: list[str]

    @classmethod
    @contextmanager
    def open(cls, *, registry: bool) -> Iterator[Desk]:
        """The desk of the project around here, or of the user's own ledger."""
        loaded = find_project()
        with ExitStack() as stack:
            ledger = open_ledger(loaded)
            stack.callback(ledger.close)
            client = stack.enter_context(RegistryClient()) if registry else None
            yield cls(loaded, ledger, Lineage.of(ledger), load_revocations(ledger), client, [])

    def find(self, word: str) -> Located:
        """The image that a word means, with what its labels tell where the ledger is silent."""
        located = locate(word, self.loaded, self.lineage, self.client)
        self.learn(located.reference)
        return located

    def learn(self, reference: ImageRef | None) -> None:
        """Follow labels upwards from an image that the ledger did not build."""
        if reference is not None and self.client is not None:
            self.notes += learn(self.lineage, self.client, reference, everywhere=True)


def show_lineage(word: str, *, up: bool, down: bool, registry: bool, as_json: bool) -> None:
    """Print the ancestors and descendants of an image."""
    output = Output(as_json=as_json)
    with Desk.open(registry=registry) as desk:
        located = desk.find(word)
        links = chain(located.digest, desk.lineage, desk.revocations)
        below = [
            chain(one, desk.lineage, desk.revocations)[0]
            for one in desk.lineage.descendants(located.digest)
        ]
    own, *above = links
    above = [] if down and not up else above
    below = [] if up and not down else below
    if as_json:
        output.json(
            {
                **own.to_json(),
                "reference": str(located.reference) if located.reference else None,
                "ancestors": [link.to_json() for link in above],
                "descendants": [link.to_json() for link in below],
                "notes": desk.notes,
            }
        )
        return
    depth = {link.digest: number for number, link in enumerate((*reversed(above), own))}
    rows = [_row(link, depth[link.digest], link is own) for link in (*reversed(above), own)]
    for link in below:
        parent = desk.lineage.parent(link.digest)
        depth[link.digest] = depth.get(parent or "", len(above)) + 1
        rows.append(_row(link, depth[link.digest], False))
    output.table(["IMAGE", "DIGEST", "BUILT", "BY", "COMMIT", "KNOWN FROM", ""], rows)
    _say_notes(output, desk.notes)


def _row(link: Link, depth: int, asked: bool) -> list[str]:
    made = link.made
    marks = ["this one"] if asked else []
    if link.revoked is not None:
        marks.append("stands on a revoked image" if link.revoked.inherited else "REVOKED")
    return [
        "  " * depth + (link.name or "?"),
        link.digest,
        _when(made.at) if made and made.at else "",
        (made.actor or "") if made else "",
        _commit(made.commit) if made else "",
        _proof(link),
        ", ".join(marks),
    ]


def _proof(link: Link) -> str:
    if link.made is None:
        return "outside"
    words = {
        Proof.LEDGER: "ledger",
        Proof.LAYERS: "labels and layers",
        Proof.LABEL: "labels alone",
    }
    return words[link.made.proof]


def show_why(word: str, inventory: Path | None, *, registry: bool, as_json: bool) -> None:
    """Print the chain of custody of a host or an image."""
    output = Output(as_json=as_json)
    with Desk.open(registry=registry) as desk:
        host = _host(word, inventory, desk.loaded)
        facts, move = None, None
        if host is None:
            located = desk.find(word)
        else:
            facts = _ask(host)
            located = _booted(host, facts)
            desk.learn(located.reference)
            move = last_move(desk.ledger, host.name, desk.lineage.same(located.digest))
        links = chain(located.digest, desk.lineage, desk.revocations, desk.ledger)
        pin = None
        if links[-1].made is None and desk.loaded is not None:
            outside = links[-1].digest
            where = desk.lineage.repository(outside)
            pin = locked(load_lock(desk.loaded.root), outside, where)
        entries = channel_entries(
            ChannelStore.of(desk.ledger.db).all(), desk.lineage.same(located.digest)
        )
    if as_json:
        output.json(
            {
                "host": _host_json(host, facts) if host and facts else None,
                "moved": move.to_json() if move else None,
                "digest": located.digest,
                "reference": str(located.reference) if located.reference else None,
                "channels": [{**entry.to_json(), "now": now} for entry, now in entries],
                "chain": [link.to_json() for link in links],
                "lock": pin,
                "notes": desk.notes,
            }
        )
        return
    if host and facts:
        _say_host(output, host, facts, move)
    for number, link in enumerate(links):
        _say_link(output, link, first=number == 0)
        for entry, now in entries if number == 0 else ():
            _say_entry(output, entry, now=now)
    if pin is not None:
        _item(output, "lock", pin)
    if links[-1].made is not None:
        _item(output, "base", f"{links[-1].base or 'not known'}: nothing more is known")
    _say_notes(output, desk.notes)


def _host(word: str, inventory: Path | None, loaded: LoadedProject | None) -> Host | None:
    """The host of that name; None where the word must mean an image.

    Raises `UsageError` where there is an inventory, and the word is neither.
    """
    images = loaded.project.images if loaded else {}
    if word.startswith("sha256:") or "/" in word:
        return None
    hosts = {host.name: host for host in find_hosts(inventory, loaded)}
    if word in hosts:
        return hosts[word]
    if re.split("[:@]", word, maxsplit=1)[0] in images or not (hosts or inventory):
        return None
    raise UsageError(
        f"{word!r} is no host of {inventory or 'the inventory'}"
        + (", and no image of the project" if loaded else ""),
        hint=did_you_mean(word, [*hosts, *images]),
    )


def _ask(host: Host) -> HostFacts:
    """What the host says of itself.  Raises `HostError`."""
    fleet = connect.over_ssh([host], ask_secret)
    try:
        return fleet.bootc(host.name).facts()
    finally:
        fleet.close()


def _booted(host: Host, facts: HostFacts) -> Located:
    booted = facts.status.booted
    if booted is None or booted.digest is None:
        raise HostError(
            host.name,
            HostFault.NOT_BOOTC_BOOTED,
            f"{host.name} does not run an image with a digest",
            hint=f"look at it: bootcfleet fleet status {host.name}",
        )
    try:
        reference = booted.ref.with_digest(Digest(booted.digest)) if booted.ref else None
    except InvalidReferenceError:
        reference = None
    return Located(booted.digest, reference)


def _host_json(host: Host, facts: HostFacts) -> dict[str, object]:
    return {
        "name": host.name,
        "booted": entry_json(facts.status.booted),
        "staged": entry_json(facts.status.staged),
        "rollback": entry_json(facts.status.rollback),
        "boot_time": facts.boot_time.isoformat() if facts.boot_time else None,
    }


def _say_host(output: Output, host: Host, facts: HostFacts, move: HostMove | None) -> None:
    booted = facts.status.booted
    output.line(f"{host.name} runs {booted.reference if booted else '?'}")
    if booted is not None:
        version = f", version {booted.version}" if booted.version else ""
        since = f", since {_when(facts.boot_time)}" if facts.boot_time else ""
        _item(output, "booted", f"{booted.digest}{version}{since}")
    for label, entry in (("staged", facts.status.staged), ("rollback", facts.status.rollback)):
        if entry is not None:
            _item(output, label, _slot(entry))
    if move is None:
        _item(output, "moved by", "no rollout in the ledger: it was installed so, or by hand")
        return
    said = move.host
    what = f"{said.action.removesuffix('.host')} {said.details.get('rollout', '')}".strip()
    _item(output, "moved by", f"{said.actor} at {_when(said.at)}: {what} ({said.outcome})")


def _slot(entry: BootEntry) -> str:
    return f"{entry.digest or 'no digest'}" + (
        f", version {entry.version}" if entry.version else ""
    )


def _say_link(output: Output, link: Link, *, first: bool) -> None:
    label = "image" if first else "on"
    made = link.made
    if made is None:
        _item(output, label, f"{link.name or 'an image'} {link.digest} (from outside)")
    else:
        _item(output, label, f"{link.name} {link.digest}")
        built = [_when(made.at)] if made.at else []
        built += [f"by {made.actor}"] if made.actor else []
        built += [f"from commit {_commit(made.commit)}"] if made.commit else ["from no commit"]
        built += [f"(entry {made.number})"] if made.number else [f"({_proof(link)})"]
        _item(output, "built", " ".join(built))
        if made.log:
            _item(output, "log", made.log)
        for kind, one in link.evidence.items():
            _item(output, kind, f"{one.outcome.value} at {_when(one.at)}")
    if link.revoked is not None and not link.revoked.inherited:
        _item(output, "REVOKED", link.revoked.message)


def _say_entry(output: Output, entry: ChannelEntry, *, now: bool) -> None:
    was = "" if now else ", until it was moved on"
    why = f": {entry.why}" if entry.why else ""
    gates = ", ".join(f"{gate['gate']} {'ok' if gate['ok'] else 'SKIPPED'}" for gate in entry.gates)
    _item(
        output,
        "channel",
        f"{entry.image} {entry.channel} #{entry.number}: {entry.action.value} from {entry.source} "
        f"at {_when(entry.at)} by {entry.actor}{why}" + (f" ({gates})" if gates else "") + was,
    )


def _item(output: Output, label: str, text: str) -> None:
    output.line(f"  {label:<9} {text}")


def _say_notes(output: Output, notes: Sequence[str]) -> None:
    for note in notes:
        output.line(f"note: {note}")


def _when(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}" if at else "?"


def _commit(commit: str | None) -> str:
    if not commit:
        return ""
    plain, dash, dirty = commit.partition("-")
    return plain[:12] + dash + dirty
