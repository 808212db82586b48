"""The files that make a host enforce the project's signatures."""

from __future__ import annotations

from typing import Any

from bootcfleet.domain.trustpolicy import key_file, signature_policy, sigstore_attachments
from bootcfleet.errors import UsageError
from bootcfleet.ops.project import LoadedProject
from bootcfleet.ops.signature import project_public_key, signed_scopes


def policy_files(loaded: LoadedProject) -> dict[str, str]:
    """Absolute path on a host → text.  Raises `UsageError` for a project without a key."""
    project = loaded.project
    trust = trust_context(loaded)
    if not trust:
        raise UsageError(
            "the project has no key that hosts could ask for",
            hint="make one: bootcfleet image keygen",
        )
    key = key_file(project.name)
    bases = [image.base for image in project.images.values() if image.base]
    base = next((one for one in bases if "redhat" in one), "")
    return {
        "/etc/containers/policy.json": signature_policy(
            trust["accept"], trust["scopes"], key, base
        ),
        f"/etc/containers/registries.d/50-{project.name}.yaml": sigstore_attachments(
            trust["scopes"]
        ),
        key: trust["public_key"],
    }


def trust_context(loaded: LoadedProject) -> dict[str, Any]:
    """What templates may know about the project's key; nothing where it has none.

    Raises `KeyFileError` when the file is not a public key.
    """
    spec, key = loaded.project.signing, project_public_key(loaded)
    if spec is None or key is None:
        return {}
    scopes = list(signed_scopes(loaded))
    return {"public_key": key.pem, "accept": list(spec.accept), "scopes": scopes}
