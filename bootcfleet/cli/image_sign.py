"""`bootcfleet image sign | verify | keygen | policy`: who vouches for an image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bootcfleet.cli.output import DryRunFlag, JsonFlag

_NAMES = "NAME (its last build), NAME:CHANNEL, NAME@DIGEST, or a full reference."


def sign(
    names: Annotated[list[str], typer.Argument(help=f"The images: {_NAMES}", show_default=False)],
    key: Annotated[
        Path | None,
        typer.Option("--key", help="The private key. Default: the project's.", show_default=False),
    ] = None,
    dry_run: DryRunFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Sign images with the project's key; of an index, every platform's image too.

    The signature lies beside the image, whose digest stays as it is. What this
    key signed before is not signed again.
    """
    from bootcfleet.cli.image_sign_run import run_sign

    run_sign(names, key, dry_run=dry_run, as_json=as_json)


def verify(
    name: Annotated[str, typer.Argument(help=f"The image: {_NAMES}", show_default=False)],
    key: Annotated[
        Path | None,
        typer.Option("--key", help="The public key. Default: the project's.", show_default=False),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Say whether an image is signed with a key.  Exit code 3 when it is not."""
    from bootcfleet.cli.image_sign_run import run_verify

    run_verify(name, key, as_json=as_json)


def keygen(
    key: Annotated[
        Path | None,
        typer.Option(
            "--key",
            help="Where the private key goes. Default: ~/.config/bootcfleet/PROJECT.key.",
            show_default=False,
        ),
    ] = None,
    public: Annotated[
        Path | None,
        typer.Option(
            "--public", help="Where the public key goes. Default: PROJECT.pub.", show_default=False
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a key pair that cosign, podman and skopeo understand.

    The private key is encrypted with a passphrase, which is asked for or taken from
    the environment. Nothing that is there is written over.
    """
    from bootcfleet.cli.image_sign_run import run_keygen

    run_keygen(key, public, as_json=as_json)


def policy(
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write the files below this folder.", show_default=False
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Print or write the files with which a host refuses images that are not signed.

    They are /etc/containers/policy.json, a file in /etc/containers/registries.d and the
    public key. The soe template ships them by itself.
    """
    from bootcfleet.cli.image_sign_run import run_policy

    run_policy(output, as_json=as_json)
