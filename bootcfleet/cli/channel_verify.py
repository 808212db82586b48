"""What `channel verify` and `channel restore` do once their options are read."""

from __future__ import annotations

from collections.abc import Sequence

from bootcfleet.cli.channel_run import check_names
from bootcfleet.cli.output import Output
from bootcfleet.domain.channel_finding import Finding
from bootcfleet.errors import ChecksFailedError
from bootcfleet.ops.channel import open_channels
from bootcfleet.ops.channelmirror import restore_histories
from bootcfleet.ops.channelverify import repair, verify
from bootcfleet.ops.project import load_project


def run_verify(
    image: str | None, channel: str | None, *, mend: bool, why: str, yes: bool, as_json: bool
) -> None:
    """Look, mend if asked to, and look again.  Raises `ChecksFailedError` for what is wrong."""
    output = Output(as_json=as_json)
    # What a repair does is told on the way; with --json the result alone is printed.
    emit = (lambda event: output.line(event.message)) if as_json else output.event
    with open_channels(load_project(), emit=emit) as channels:
        check_names(channels, image, channel)
        findings = verify(channels, image, channel)
        mendable = [finding for finding in findings if finding.repairable]
        if mend and mendable:
            _show(output, findings)
            count = len(mendable)
            question = f"repair {count} {'finding' if count == 1 else 'findings'}?"
            output.confirm(
                question, yes=yes, changes="channels", look="look at them without --repair"
            )
            repair(channels, findings, why)
            findings = verify(channels, image, channel)
        count = sum(pair in channels.store.all() for pair in channels.pairs(image, channel))
    bad = [finding for finding in findings if finding.bad]
    if as_json:
        output.json({"ok": not bad, "findings": [finding.to_json() for finding in findings]})
    else:
        _show(output, [finding for finding in findings if not finding.bad])
    if bad:
        raise ChecksFailedError(
            f"{len(bad)} {'finding' if len(bad) == 1 else 'findings'}: not all channels are as "
            "their histories say",
            details=[line for finding in bad for line in _lines(finding)],
            hint=next((finding.hint for finding in bad if finding.hint), None),
        )
    if not as_json:
        output.line(f"{count} {'history is' if count == 1 else 'histories are'} true")


def _show(output: Output, findings: Sequence[Finding]) -> None:
    for finding in findings:
        for line in _lines(finding):
            output.line(line)


def _lines(finding: Finding) -> list[str]:
    return [
        f"{finding.image} {finding.channel}: {finding.kind.value}: {finding.message}",
        *(f"  {detail}" for detail in finding.details),
    ]


def run_restore(
    image: str | None, channel: str | None, *, dry_run: bool, yes: bool, as_json: bool
) -> None:
    """Take histories from the registry into the ledger, and say how many entries."""
    output = Output(as_json=as_json)
    with open_channels(load_project(), emit=output.event) as channels:
        check_names(channels, image, channel)
        if not dry_run:
            output.confirm(
                "take what the ledger lacks from the registry?", yes=yes, changes="the ledger"
            )
        taken = restore_histories(channels, image, channel, dry_run=dry_run)
    if as_json:
        output.json(
            [{"image": one, "channel": name, "entries": n} for (one, name), n in taken.items()]
        )
        return
    for (one, name), number in taken.items():
        noun = "entry" if number == 1 else "entries"
        output.line(f"{one} {name}: {number} {noun}{' would be taken' if dry_run else ''}")
    if not taken:
        output.line("the ledger lacks nothing of the histories in the registry")
