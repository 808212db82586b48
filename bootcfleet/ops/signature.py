"""Sign images with the project's key, and see whether an image is signed with it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bootcfleet.domain.evidence import EvidenceKind, EvidenceOutcome
from bootcfleet.domain.gate import GateResult
from bootcfleet.domain.image import Manifest
from bootcfleet.domain.reference import Digest, ImageRef
from bootcfleet.domain.signing import PASSPHRASE, SigningSpec, SigningTool
from bootcfleet.drivers.cosign import Cosign
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.drivers.registryconf import RegistriesConf
from bootcfleet.drivers.signatures import Signatures
from bootcfleet.drivers.signingkey import KeyFileError, PrivateKey, PublicKey
from bootcfleet.errors import ChecksFailedError, FleetError, ToolMissingError, UsageError
from bootcfleet.ops.audit import Record
from bootcfleet.ops.evidence import record_evidence
from bootcfleet.ops.imagename import NamedImage
from bootcfleet.ops.project import LoadedProject

GATE = "signature"


def project_signing(loaded: LoadedProject | None) -> SigningSpec | None:
    """The project's keys, where it has any."""
    return loaded.project.signing if loaded else None


def project_public_key(loaded: LoadedProject | None) -> PublicKey | None:
    """The project's public key; None where it has none.  Raises `KeyFileError`."""
    spec = project_signing(loaded)
    if loaded is None or spec is None:
        return None
    return read_public_key(key_path(loaded, spec.public_key))


def read_public_key(path: Path) -> PublicKey:
    """A public key from its file.  Raises `KeyFileError`."""
    return PublicKey(_read(path), str(path))


def key_path(loaded: LoadedProject, text: str) -> Path:
    """A key file's path, from the project's folder on."""
    return loaded.root / Path(text).expanduser()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise KeyFileError(
            f"the key {path} cannot be read: {error.strerror}",
            hint="make a key pair: bootcfleet image keygen",
        ) from error


def verify_signature(
    client: RegistryClient, ref: ImageRef, public_key: PublicKey, repository: str | None = None
) -> GateResult:
    """Whether what `ref` is now is signed with `public_key`, for its repository.

    `repository` names another one that it is to be copied to: hosts ask for a signature
    for the repository that they pull from.
    Of an index, each platform's image must be signed too: that is what hosts check.
    Raises `RegistryError` when the registry cannot be asked.
    """
    manifest = client.manifest(ref)
    signatures = Signatures(client)
    verdicts = [
        signatures.check(ref, digest, public_key, repository) for digest in to_sign(manifest)
    ]
    bad = [one for one in verdicts if not one.ok]
    hint = f"bootcfleet image sign {ref.name}@{manifest.digest}"
    if bad:
        first = bad[0]
        what = "" if first.digest == manifest.digest else f"its image {first.digest.short} is not: "
        reasons = "; ".join(first.why)
        return GateResult(
            GATE, False, f"{manifest.digest} is not signed with this key: {what}{reasons}", hint
        )
    more = f" with its {len(verdicts) - 1} images" if len(verdicts) > 1 else ""
    key = public_key.fingerprint[:12]
    return GateResult(GATE, True, f"{manifest.digest} is signed{more} with the key {key}")


def to_sign(manifest: Manifest) -> tuple[Digest, ...]:
    """The digests that signatures are needed for: the image, and of an index its platforms'."""
    children = manifest.children.values() if manifest.is_index else ()
    return (manifest.digest, *dict.fromkeys(children))


@dataclass(frozen=True)
class Signer:
    """What signs: the private key, its file and passphrase, and the tool."""

    key: Path
    public: PublicKey
    tool: SigningTool
    private: PrivateKey = field(repr=False)
    passphrase: str = field(repr=False)

    @classmethod
    def open(
        cls, loaded: LoadedProject | None, key: Path | None, ask: Callable[[str], str]
    ) -> Signer:
        """The project's signer, or one with the key file `key`.

        The passphrase comes from the environment, else from `ask`.  Raises
        `UsageError` when no key is named, `KeyFileError`, `ToolMissingError`.
        """
        spec = project_signing(loaded)
        named = key is not None
        if key is None:
            if loaded is None or spec is None or spec.private_key is None:
                raise UsageError(
                    "no private key is named",
                    hint="make one: bootcfleet image keygen; or name one: --key FILE",
                )
            key = key_path(loaded, spec.private_key)
        pem = _read(key)
        variable = spec.passphrase_env if spec else PASSPHRASE
        passphrase = os.environ.get(variable)
        if passphrase is None:
            passphrase = ask(variable)
        private = PrivateKey(pem, passphrase.encode(), str(key))
        # A key that is named in so many words may be another one: keys are changed that way.
        public = (None if named else project_public_key(loaded)) or private.public
        if public.fingerprint != private.public.fingerprint:
            raise KeyFileError(f"{key} does not belong to the project's public key")
        wanted = spec.tool if spec else SigningTool.AUTO
        return cls(key, public, _tool(wanted), private, passphrase)

    def sign(self, client: RegistryClient, ref: ImageRef, digest: Digest, repository: str) -> None:
        """Sign one digest for one repository.  Raises `RegistryError`, `CosignError`."""
        if self.tool is SigningTool.COSIGN:
            cosign = Cosign.with_password(self.passphrase)
            insecure = RegistriesConf().push_endpoint(ref).insecure
            cosign.sign(ref.with_digest(digest), self.key, repository, insecure=insecure)
            return
        Signatures(client).add(ref, digest, self.private, repository)


def _tool(wanted: SigningTool) -> SigningTool:
    if wanted is SigningTool.BUILTIN:
        return wanted
    there = Cosign.with_password("").version() is not None
    if wanted is SigningTool.COSIGN and not there:
        raise ToolMissingError(
            "the project signs with cosign, which is not installed",
            hint="install cosign, or set signing.tool to builtin",
        )
    return SigningTool.COSIGN if there else SigningTool.BUILTIN


@dataclass(frozen=True)
class Signed:
    """What signing did: `new` are the digests that were signed now, and for which repository."""

    image: str
    ref: ImageRef
    digest: Digest
    new: tuple[tuple[Digest, str], ...]
    tool: SigningTool


def repositories(loaded: LoadedProject | None, named: NamedImage, ref: ImageRef) -> tuple[str, ...]:
    """The repositories that an image is signed for: its own, and those of the channels."""
    found = [ref.name]
    if loaded is not None and named.image:
        found += [f"{prefix}/{named.image}" for prefix in signed_scopes(loaded)]
    return tuple(dict.fromkeys(found))


def signed_scopes(loaded: LoadedProject) -> tuple[str, ...]:
    """Registry and path of all that hosts of the project pull: its own, and the channels'."""
    project = loaded.project
    others = [spec.repository for spec in project.channels.values() if spec.repository]
    return tuple(dict.fromkeys([project.registry, *others]))


def plan_signing(
    client: RegistryClient, loaded: LoadedProject | None, named: NamedImage, public: PublicKey
) -> Signed:
    """Which digests of an image still need a signature of this key.

    Raises `UsageError` for an image that is in no registry, `RegistryError`.
    """
    ref = named.pushed()
    manifest = client.manifest(ref)
    signatures = Signatures(client)
    missing = tuple(
        (digest, repository)
        for digest in to_sign(manifest)
        for repository in repositories(loaded, named, ref)
        if not signatures.check(ref, digest, public, repository).ok
    )
    return Signed(named.image or ref.name, ref, manifest.digest, missing, SigningTool.AUTO)


def sign_image(
    client: RegistryClient,
    loaded: LoadedProject | None,
    named: NamedImage,
    signer: Signer,
    record: Record,
) -> Signed:
    """Sign what is not signed yet, look at the result, and record it as evidence.

    Raises `RegistryError`, `CosignError`, and `ChecksFailedError` when the signature that
    was just made does not hold.
    """
    plan = plan_signing(client, loaded, named, signer.public)
    details = {
        "key": signer.public.fingerprint,
        "tool": signer.tool.value,
        "signed": [f"{repository}@{digest}" for digest, repository in plan.new],
        "reference": f"{plan.ref.name}@{plan.digest}",
    }

    def note(outcome: EvidenceOutcome, **more: str) -> None:
        record_evidence(
            record, EvidenceKind.SIGN, plan.image, str(plan.digest), outcome, {**details, **more}
        )

    try:
        for digest, repository in plan.new:
            signer.sign(client, plan.ref, digest, repository)
        result = verify_signature(client, plan.ref.with_digest(plan.digest), signer.public)
    except FleetError as error:
        note(EvidenceOutcome.FAILED, error=error.message)
        raise
    if not result.ok:
        note(EvidenceOutcome.FAILED, error=result.message)
        raise ChecksFailedError(result.message, hint=result.hint)
    note(EvidenceOutcome.PASSED)
    return Signed(plan.image, plan.ref, plan.digest, plan.new, signer.tool)
