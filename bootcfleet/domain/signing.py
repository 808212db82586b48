"""``signing:`` in ``bootcfleet.yaml``: which key signs the project's images, and with what."""

from __future__ import annotations

import re
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, field_validator

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_SCOPE = re.compile(r"\*|(?:\*\.)?[A-Za-z0-9][A-Za-z0-9.-]*(?::\d+)?(?:/[a-z0-9._/-]+)?")

#: Where the passphrase of the private key is looked for, unless the project says otherwise.
PASSPHRASE = "BOOTCFLEET_SIGNING_PASSPHRASE"  # noqa: S105 - the variable's name


class SigningTool(StrEnum):
    """What makes the signatures; all of them make the same kind."""

    AUTO = "auto"
    COSIGN = "cosign"
    BUILTIN = "builtin"


class SigningSpec(BaseModel):
    """The keys of a project; never a passphrase."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    public_key: str = Field(
        description="The file with the public key (PEM), which belongs into the repository."
    )
    private_key: str | None = Field(
        default=None,
        description="The file with the private key (encrypted), best outside of the repository.",
    )
    passphrase_env: str = Field(
        default=PASSPHRASE,
        description="The environment variable that holds the private key's passphrase.",
    )
    tool: SigningTool = Field(
        default=SigningTool.AUTO,
        description="What signs: cosign, builtin, or auto (cosign where it is installed).",
    )

    accept: tuple[str, ...] = Field(
        default=(),
        description="Registries and repositories that hosts take unsigned images from; "
        "* for all others.",
    )

    @field_validator("passphrase_env")
    @classmethod
    def _a_name_and_no_value(cls, value: str) -> str:
        if not _VARIABLE.fullmatch(value):
            # It may be the passphrase itself: it is not repeated.
            raise ValueError("is not the name of an environment variable")
        return value

    @field_validator("public_key", "private_key")
    @classmethod
    def _a_file_and_no_key(cls, value: str | None) -> str | None:
        if value is not None and ("-----BEGIN" in value or "\n" in value or not value.strip()):
            raise ValueError("is not the name of a file")
        return value

    @field_validator("accept")
    @classmethod
    def _scopes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for scope in value:
            if not _SCOPE.fullmatch(scope):
                raise ValueError(
                    f"{scope!r} is neither a registry nor a repository, such as quay.io/acme"
                )
        return value
