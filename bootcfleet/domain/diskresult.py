"""``artifacts.json``: what a build of disks has made, to be found and verified later."""

from __future__ import annotations

from typing import Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from bootcfleet.domain.disktype import Backend, DiskType
from bootcfleet.errors import FleetError

FILE = "artifacts.json"


class DiskArtifact(BaseModel):
    """One file: `path` is relative to the folder of artifacts.json, `size` in bytes."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: DiskType
    path: str
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    uploaded: str | None = None


class DiskResult(BaseModel):
    """One build: what it was made of and with, and its files.

    `image_digest` is that of the source image, `builder_digest` that of the builder;
    `duration` is in seconds; `log` is the builder's whole output.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: int = Field(default=1, ge=1, le=1)
    name: str
    image: str
    image_digest: str | None = None
    backend: Backend
    builder: str | None = None
    builder_digest: str | None = None
    config_hash: str | None = None
    platform: str
    built_at: AwareDatetime
    duration: float
    log: str | None = None
    ami: str | None = None
    artifacts: tuple[DiskArtifact, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The result as JSON-ready data."""
        return self.model_dump(mode="json", exclude_none=True)

    def render(self) -> str:
        """The text of artifacts.json."""
        return self.model_dump_json(indent=2, exclude_none=True) + "\n"

    @classmethod
    def parse(cls, text: str, file: str) -> Self:
        """Read artifacts.json.  Raises `FleetError` for what is none."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise FleetError(
                f"{file} is not a list of artifacts: {where}: {first['msg']}",
                hint="build the disks again, or name the folder that a build has written",
            ) from error
