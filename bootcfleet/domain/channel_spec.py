"""``channels:`` in the project: where a channel gets its images from, and what its gates ask."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
    field_validator,
)

from bootcfleet.domain.document import Document, did_you_mean
from bootcfleet.domain.reference import ImageRef

#: What stands for an image's last build where a channel could stand.
BUILD = "build"

_NAME = re.compile(r"[a-z](?:[a-z0-9._-]{0,38}[a-z0-9])?")
#: Beginnings of tags that something else writes.
_TAKEN = ("bf-", "sha256-", "channel-")
_DURATION = re.compile(r"([0-9]{1,5})(m|h|d|w)")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SIZE = re.compile(r"([0-9]{1,12}) ?(B|kB|KiB|MB|MiB|GB|GiB|TB|TiB)?")
_BYTES = {
    None: 1,
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}


def _channel_name(value: str) -> str:
    if not _NAME.fullmatch(value) or value.startswith(_TAKEN):
        raise ValueError(
            f"{value!r} cannot be the name of a channel: lower-case letters, digits, '.', '-' and "
            "'_', beginning with a letter, at most 40, and not with " + ", ".join(_TAKEN)
        )
    if value == BUILD:
        raise ValueError(f"{BUILD!r} stands for an image's last build and cannot be a channel")
    return value


ChannelName = Annotated[str, AfterValidator(_channel_name)]


def duration(value: Any) -> timedelta:
    """A length of time from ``30m``, ``24h``, ``7d``, ``2w``.  Raises `ValueError`."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is not a length of time; write 30m, 24h, 7d or 2w")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _fresh(value: Any) -> bool | timedelta:
    return value if isinstance(value, bool) else duration(value)


def _bytes(value: Any) -> int:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    match = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{value!r} is not a size; write 500MiB, 2GiB or a number of bytes")
    return int(match[1]) * _BYTES[match[2]]


_AGE = {"type": "string", "pattern": f"^{_DURATION.pattern}$"}
#: Off, on, or on and not older than this.
Freshness = Annotated[
    bool | timedelta,
    PlainValidator(_fresh),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, _AGE]}),
]
Duration = Annotated[timedelta, PlainValidator(duration), WithJsonSchema(_AGE)]
Size = Annotated[
    int,
    PlainValidator(_bytes),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "string"}]}),
]


class ChannelSpec(BaseModel):
    """One channel: a tag of every image's repository, and what may become of it."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    description: str = Field(default="", description="One line for lists.")
    from_: str | None = Field(
        default=None, alias="from", description="The channel that images are promoted from."
    )
    checks: Freshness = Field(
        default=False, description="Whether the image's checks must have passed, and how lately."
    )
    lint: Freshness = Field(default=False, description="The same for `image lint`.")
    signature: Freshness = Field(default=False, description="The same for its signature.")
    sbom: Freshness = Field(default=False, description="The same for its SBOM.")
    soak: Duration | None = Field(
        default=None, description="How long the digest must have been in the channel before."
    )
    max_download: Size | None = Field(
        default=None,
        description="The most that a host on the channel's digest may have to download.",
    )
    images: tuple[str, ...] | None = Field(
        default=None, description="The only images that it takes; all of them without it."
    )
    repository: str | None = Field(
        default=None,
        description="Registry and path of its images, where it is not the project's registry.",
    )

    @field_validator("repository")
    @classmethod
    def _repository_is_a_prefix(cls, value: str | None) -> str | None:
        if value is None:
            return None
        return ImageRef.parse(f"{value.rstrip('/')}/image").name.removesuffix("/image")

    def takes(self, image: str) -> bool:
        """Whether the channel is for this image."""
        return self.images is None or image in self.images


def check_channels(
    document: Document,
    channels: Mapping[str, ChannelSpec],
    *,
    images: Collection[str],
    version: str,
) -> None:
    """What one channel alone cannot know.  Raises `ConfigError` with the line.

    A channel comes from another one of the project, and not from itself by whatever
    way; it names images of the project; and its tag is none that a build gives.
    """
    for name, spec in channels.items():
        at = ("channels", name)
        if name == version:
            raise document.error(at, f"{name!r} is image_version: every build would move it")
        if spec.from_ is None:
            if spec.soak is not None:
                raise document.error(
                    (*at, "soak"), "there is no channel before this one", hint="name it: from: dev"
                )
        elif spec.from_ not in channels:
            raise document.error(
                (*at, "from"),
                f"there is no channel {spec.from_!r}",
                hint=did_you_mean(spec.from_, channels),
            )
        way = [name, *_way(name, channels)]
        if len(way) > 1 and way[-1] == name:
            raise document.error(
                (*at, "from"), "these channels come from each other: " + " → ".join(way)
            )
        for image in spec.images or ():
            if image not in images:
                raise document.error(
                    (*at, "images"),
                    f"there is no image {image!r}",
                    hint=did_you_mean(image, images),
                )


def _way(start: str, channels: Mapping[str, ChannelSpec]) -> Iterator[str]:
    """The channels before `start`, nearest first, to the first one or to one met before."""
    seen, name = {start}, channels[start].from_
    while name is not None and name in channels:
        yield name
        if name in seen:
            return
        seen.add(name)
        name = channels[name].from_
