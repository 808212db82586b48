"""What the commands about signatures do once their options are read."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bootcfleet.cli.output import Output, ask_secret
from bootcfleet.domain.signing import PASSPHRASE
from bootcfleet.drivers.command import write_atomic
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.drivers.signingkey import PublicKey, generate
from bootcfleet.errors import ChecksFailedError, UsageError
from bootcfleet.ops.audit import recorder
from bootcfleet.ops.imagename import name_image
from bootcfleet.ops.project import LoadedProject, find_project, load_project
from bootcfleet.ops.signature import (
    Signed,
    Signer,
    plan_signing,
    project_public_key,
    project_signing,
    read_public_key,
    sign_image,
    verify_signature,
)
from bootcfleet.ops.trustpolicy import policy_files


def run_sign(names: Sequence[str], key: Path | None, *, dry_run: bool, as_json: bool) -> None:
    """Sign each image; what is signed already is said and left alone."""
    output = Output(as_json=as_json)
    loaded = find_project()
    named = [name_image(loaded, name) for name in names]
    with RegistryClient() as client:
        if dry_run:
            known = None if key else project_public_key(loaded)
            public = known or Signer.open(loaded, key, _ask).public
            done = [plan_signing(client, loaded, one, public) for one in named]
        else:
            signer = Signer.open(loaded, key, _ask)
            with recorder(loaded) as record:
                done = [sign_image(client, loaded, one, signer, record) for one in named]
    if as_json:
        output.json([_json(one) for one in done])
        return
    for one in done:
        what = "would be signed" if dry_run else f"signed by {one.tool}"
        count = f" ({len(one.new)} signatures)" if len(one.new) > 1 else ""
        said = f"{what}{count}" if one.new else "is signed already"
        output.line(f"{one.ref.name}@{one.digest}: {said}")


def _json(one: Signed) -> dict[str, object]:
    return {
        "image": one.image,
        "reference": f"{one.ref.name}@{one.digest}",
        "digest": str(one.digest),
        "signed": [f"{repository}@{digest}" for digest, repository in one.new],
        "tool": one.tool.value,
    }


def run_verify(name: str, key: Path | None, *, as_json: bool) -> None:
    """Verify one image.  Raises `ChecksFailedError` when it is not signed."""
    output = Output(as_json=as_json)
    loaded = find_project()
    named = name_image(loaded, name)
    public = _public(loaded, key)
    with RegistryClient() as client:
        result = verify_signature(client, named.pushed(), public)
    if as_json:
        output.json(result.to_json())
    if not result.ok:
        raise ChecksFailedError(result.message, hint=result.hint)
    output.line(result.message)


def _public(loaded: LoadedProject | None, key: Path | None) -> PublicKey:
    public = read_public_key(key) if key else project_public_key(loaded)
    if public is None:
        raise UsageError(
            "no public key is named",
            hint="name one: --key FILE; or set signing.public_key in bootcfleet.yaml",
        )
    return public


def _ask(variable: str) -> str:
    """The passphrase from a person; where there is none, the environment must have it."""
    if not sys.stdin.isatty():
        raise UsageError(
            f"the passphrase is needed: {variable} is not set, and nobody is there to be asked",
            hint=f"give it to this process as {variable}",
        )
    return ask_secret("passphrase of the private key: ")


def run_keygen(key: Path | None, public: Path | None, *, as_json: bool) -> None:
    """Make a key pair, and say what to put into the project file."""
    output = Output(as_json=as_json)
    loaded = find_project()
    name = loaded.project.name if loaded else "bootcfleet"
    private = key or Path.home() / ".config/bootcfleet" / f"{name}.key"
    open_half = public or (loaded.root if loaded else Path.cwd()) / f"{name}.pub"
    for path in (private, open_half):
        if path.exists():
            raise UsageError(f"{path} is there already, and is not written over")
    spec = project_signing(loaded)
    variable = spec.passphrase_env if spec else PASSPHRASE
    pair = generate(_new_passphrase(variable).encode())
    private.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomic(private, pair.private, mode=0o600)
    write_atomic(open_half, pair.public, mode=0o644)
    if as_json:
        fingerprint = PublicKey(pair.public, str(open_half)).fingerprint
        output.json(
            {"private_key": str(private), "public_key": str(open_half), "fingerprint": fingerprint}
        )
        return
    output.line(f"private key: {private} (keep a copy, and the passphrase, in a safe place)")
    output.line(f"public key:  {open_half} (belongs into the repository)")
    if spec is None and loaded is not None:
        output.line("put this into bootcfleet.yaml:")
        output.line("signing:")
        output.line(f"  public_key: {_short(open_half, loaded.root)}")
        output.line(f"  private_key: {_short(private, loaded.root)}")


def _short(path: Path, root: Path) -> str:
    """A path as a person would write it into the project file."""
    absolute = path.absolute()
    for base, prefix in ((root, ""), (Path.home(), "~/")):
        if absolute.is_relative_to(base):
            return f"{prefix}{absolute.relative_to(base)}"
    return str(absolute)


def _new_passphrase(variable: str) -> str:
    given = os.environ.get(variable)
    if given is None:
        given = _ask(variable)
        if ask_secret("the same again: ") != given:
            raise UsageError("the two were not the same; nothing was written")
    if not given:
        raise UsageError(
            "a private key needs a passphrase", hint=f"set {variable}, or be asked for it"
        )
    return given


def run_policy(folder: Path | None, *, as_json: bool) -> None:
    """Print the files, or write them below a folder."""
    output = Output(as_json=as_json)
    files = policy_files(load_project())
    if folder is not None:
        for path, text in files.items():
            target = folder / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(target, text.encode(), mode=0o644)
    if as_json:
        output.json(files)
        return
    for path, text in files.items():
        if folder is not None:
            output.line(f"wrote {folder / path.lstrip('/')}")
        else:
            output.line(f"==> {path}")
            output.line(text)
