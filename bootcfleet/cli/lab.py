"""`bootcfleet lab`: simulated bootc hosts behind real SSH, to rehearse on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bootcfleet.cli.output import JsonFlag, Output

app = typer.Typer(
    no_args_is_help=True, help="Simulated bootc hosts behind real SSH, to rehearse on."
)

Directory = Annotated[
    Path | None,
    typer.Option(
        "--directory",
        "-d",
        help="The lab's directory. Default: .bootcfleet/lab.",
        show_default=False,
    ),
]


@app.command()
def up(
    hosts: Annotated[int, typer.Option("--hosts", "-n", help="How many.", min=1, max=2000)] = 12,
    image: Annotated[
        str | None, typer.Option(help="What the hosts boot, from any registry.")
    ] = None,
    no_registry: Annotated[
        bool, typer.Option("--no-registry", help="Run no registry; needs --image.")
    ] = False,
    registry_port: Annotated[
        int, typer.Option(help="The registry's port; 0 for any free one.", min=0, max=65535)
    ] = 0,
    boot_seconds: Annotated[
        float, typer.Option(help="How long a reboot takes, in seconds.", min=0)
    ] = 1.0,
    ask_sudo: Annotated[
        bool, typer.Option("--ask-sudo", help="Let sudo want a password: 'lab'.")
    ] = False,
    timer: Annotated[
        float | None,
        typer.Option(
            help="Let bootc's update timer fire every SECONDS, on hosts where it is active "
            "(see `fleet enroll --pull`).",
            min=0.2,
            metavar="SECONDS",
            show_default=False,
        ),
    ] = None,
    pull_seconds: Annotated[
        float, typer.Option(help="How long a download takes, in seconds.", min=0)
    ] = 0.0,
    soft_reboots: Annotated[
        bool, typer.Option("--soft-reboots", help="Let hosts be rebooted softly.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Run it in the background.")] = False,
    directory: Directory = None,
    as_json: JsonFlag = False,
) -> None:
    """Start a lab: a registry and bootc hosts, each behind an SSH server of its own.

    It runs until ^C, or in the background with --detach until `lab down`.
    """
    from bootcfleet.cli.lab_run import run_up
    from bootcfleet.ops.labservice import LabOptions

    options = LabOptions(
        hosts,
        image,
        not no_registry,
        registry_port,
        boot_seconds,
        "lab" if ask_sudo else None,
        timer,
        pull_seconds,
        soft_reboots,
    )
    run_up(_directory(directory), options, detach=detach, output=Output(as_json=as_json))


@app.command()
def status(directory: Directory = None, as_json: JsonFlag = False) -> None:
    """The lab's hosts as they really are, faults included."""
    from bootcfleet.ops.labservice import running

    output = Output(as_json=as_json)
    answer = running(_directory(directory)).ask("status")
    if as_json:
        output.json(answer)
        return
    output.line(f"registry: {answer['registry'] or 'none'}")
    output.line(f"inventory: {answer['inventory']}")
    output.table(
        ["HOST", "PORT", "STATE", "BOOTED", "STAGED", "ROLLBACK", "REBOOTS", "FAULTS"],
        [
            [
                host["host"],
                str(host["port"]),
                host["state"],
                host["booted"] or "-",
                host["staged"] or "-",
                host["rollback"] or "-",
                str(host["reboots"]),
                ", ".join(host["faults"]) or "-",
            ]
            for host in answer["hosts"]
        ],
    )


@app.command("break")
def break_host(
    host: Annotated[str, typer.Argument(help="A host of the lab.")],
    fault: Annotated[str, typer.Argument(help="A fault; see `bootcfleet lab faults`.")],
    directory: Directory = None,
    as_json: JsonFlag = False,
) -> None:
    """Let a host suffer a fault, until it is healed."""
    from bootcfleet.domain.faults import DESCRIPTIONS, FaultSpec
    from bootcfleet.ops.labservice import running

    spec = FaultSpec.parse(fault)
    running(_directory(directory)).ask("break", host=host, fault=str(spec))
    _done(Output(as_json=as_json), host, f"{host}: {spec}: {DESCRIPTIONS[spec.fault]}")


@app.command()
def heal(
    host: Annotated[str, typer.Argument(help="A host of the lab.")],
    directory: Directory = None,
    as_json: JsonFlag = False,
) -> None:
    """Take all of a host's faults away."""
    from bootcfleet.ops.labservice import running

    running(_directory(directory)).ask("heal", host=host)
    _done(Output(as_json=as_json), host, f"{host} is well")


@app.command()
def faults(as_json: JsonFlag = False) -> None:
    """The faults that a host can be told to suffer."""
    from bootcfleet.domain.faults import DESCRIPTIONS, spelled

    output = Output(as_json=as_json)
    if as_json:
        output.json({str(fault): text for fault, text in DESCRIPTIONS.items()})
    else:
        rows = [[spelled(fault), text] for fault, text in DESCRIPTIONS.items()]
        output.table(["FAULT", "THE HOST"], rows)


@app.command()
def down(directory: Directory = None, as_json: JsonFlag = False) -> None:
    """Stop the lab and remove its directory."""
    from bootcfleet.ops.labservice import stop_lab

    output = Output(as_json=as_json)
    folder = _directory(directory)
    was = stop_lab(folder)
    if as_json:
        output.json({"stopped": was})
    else:
        output.line("the lab is down" if was else f"there is no lab in {folder}")


def _done(output: Output, host: str, text: str) -> None:
    if output.as_json:
        output.json({"host": host, "message": text})
    else:
        output.line(text)


def _directory(given: Path | None) -> Path:
    from bootcfleet.ops.project import STATE, find_root

    if given is not None:
        return given.absolute()
    return (find_root() or Path.cwd()) / STATE / "lab"
