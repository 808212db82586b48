"""`bootcfleet kickstart serve`, `hosts` and `again`: their options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bootcfleet.cli.fleet_options import InventoryFile
from bootcfleet.cli.output import JsonFlag


def serve(
    listen: Annotated[
        str, typer.Option(help="ADDRESS:PORT to listen on; 0.0.0.0 is every address.")
    ] = "127.0.0.1:8000",
    boot: Annotated[
        list[str] | None,
        typer.Option(
            help="A mounted or unpacked installer ISO: DIR, or ARCH=DIR; repeatable.",
            show_default=False,
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            help="This server as machines reach it. Default: what each of them asked for.",
            show_default=False,
        ),
    ] = None,
    append: Annotated[
        list[str] | None,
        typer.Option(help="A kernel argument for every menu; repeatable.", show_default=False),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="Certificate with its chain (PEM).", show_default=False)
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(help="Its key, without passphrase (PEM).", show_default=False)
    ] = None,
    unknown: Annotated[
        str | None,
        typer.Option(
            metavar="INSTALL",
            help="The install of machines that are not in the inventory. Without it they are "
            "refused.",
            show_default=False,
        ),
    ] = None,
    enroll: Annotated[
        bool,
        typer.Option(
            "--enroll",
            help="Add machines to the inventory when they call back, and pin their SSH host keys.",
        ),
    ] = False,
    dnsmasq: Annotated[
        Path | None,
        typer.Option(
            help="Write dnsmasq's configuration (proxy DHCP and TFTP) into this file, then serve.",
            show_default=False,
        ),
    ] = None,
    tftp_root: Annotated[
        Path | None,
        typer.Option(
            help="dnsmasq's TFTP folder. Default: .bootcfleet/kickstart/tftp.", show_default=False
        ),
    ] = None,
    token_minutes: Annotated[
        float, typer.Option(help="Minutes for which a menu's token is good.", min=0.1)
    ] = 60.0,
    access_log: Annotated[
        Path | None,
        typer.Option(
            help="JSON lines. Default: .bootcfleet/kickstart/access.log.", show_default=False
        ),
    ] = None,
    max_connections: Annotated[int, typer.Option(help="Open at a time.", min=1)] = 4000,
    inventory: InventoryFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Serve menus, boot files and kickstarts to machines that boot from the network, until ^C.

    A machine is recognised by its MAC address or serial number, under install: in the
    inventory. Once it has called back it boots its disk; `kickstart again` changes that.
    """
    from bootcfleet.cli.kickstart_serve_run import ServeOptions, run_serve

    run_serve(
        ServeOptions(
            listen=listen,
            boot=tuple(boot or ()),
            url=url,
            append=tuple(append or ()),
            tls_cert=tls_cert,
            tls_key=tls_key,
            unknown=unknown,
            enroll=enroll,
            dnsmasq=dnsmasq,
            tftp_root=tftp_root,
            token_minutes=token_minutes,
            access_log=access_log,
            max_connections=max_connections,
            inventory=inventory,
        ),
        as_json=as_json,
    )


def hosts(as_json: JsonFlag = False) -> None:
    """Show which machine fetched what, when, and which are installed."""
    from bootcfleet.cli.kickstart_hosts_run import show_hosts

    show_hosts(as_json=as_json)


def again(
    names: Annotated[
        list[str],
        typer.Argument(metavar="HOST...", help="Machines to install again.", show_default=False),
    ],
) -> None:
    """Let installed machines be installed again at their next boot from the network."""
    from bootcfleet.cli.kickstart_hosts_run import install_again

    install_again(names)
