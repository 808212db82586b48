"""What a host downloads to get an image, exactly, from the manifests alone.

Source: bootc's own store (``crates/ostree-ext/src/container/store.rs``, 1.16): every layer
of an image that a host keeps is a ref by the digest of its compressed blob, and a blob whose
ref is there is not fetched again; images that no deployment needs are pruned with their
layers. The manifest is fetched each time (with the index in front of it, where the reference
is one), and the configuration unless the host's image has the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bootcfleet.domain.image import Manifest, ManifestError
from bootcfleet.domain.reference import Digest, Platform


@dataclass(frozen=True)
class Download:
    """The parts of a download, in bytes; layers as digest and size, in the image's order."""

    new: tuple[tuple[Digest, int], ...]
    shared: tuple[tuple[Digest, int], ...]
    config: int
    manifest: int
    index: int

    @property
    def size(self) -> int:
        """All bytes that come over the network as content (without HTTP and TLS themselves)."""
        return sum(size for _, size in self.new) + self.config + self.manifest + self.index

    @property
    def kept(self) -> int:
        """The bytes of layers that are there already."""
        return sum(size for _, size in self.shared)

    def to_json(self) -> dict[str, Any]:
        """The download as JSON-ready data; sizes in bytes."""
        return {
            "bytes": self.size,
            "layers": sum(size for _, size in self.new),
            "config": self.config,
            "manifest": self.manifest,
            "index": self.index,
            "shared": self.kept,
        }


def download(have: Iterable[Manifest], want: Manifest, index: Manifest | None = None) -> Download:
    """What a host with the images `have` downloads to get `want`.

    All of them are manifests of one platform; `index` is the one that `want` was
    found in. A blob that `want` has twice is fetched once. Manifests do not say whether a
    layer has the same content under another digest (compressed anew): newer versions of bootc
    may keep theirs then, and this is what the others download. Raises `ManifestError`, also
    for an index where a manifest belongs.
    """
    owned: set[Digest] = set()
    configs: set[Digest] = set()
    for manifest in have:
        _single(manifest)
        owned.update(digest for digest, _ in manifest.layers)
        configs.add(manifest.config_digest)
    _single(want)
    # A dictionary keeps the order and drops what is there twice.
    layers = dict(want.layers)
    return Download(
        tuple((digest, size) for digest, size in layers.items() if digest not in owned),
        tuple((digest, size) for digest, size in layers.items() if digest in owned),
        0 if want.config_digest in configs else want.config_size,
        len(want.raw),
        len(index.raw) if index else 0,
    )


def download_size(
    have: Iterable[Manifest], want: Manifest, *, index: Manifest | None = None
) -> int:
    """The bytes of `download`.  Raises `ManifestError`."""
    return download(have, want, index).size


def platform_digest(index: Manifest, platform: Platform) -> Digest:
    """The manifest of `platform` in an index.  Raises `ManifestError` when it has none."""
    children = index.children
    if platform not in children:
        known = ", ".join(map(str, children)) or "none"
        raise ManifestError(
            f"{index.digest} has no image for {platform}", hint=f"its platforms: {known}"
        )
    return children[platform]


def human(size: int) -> str:
    """Bytes for people, in powers of 1000 as registries count."""
    if size < 1000:
        return f"{size} B"
    amount = size / 1000
    for unit in ("kB", "MB"):
        if amount < 999.95:
            return f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def _single(manifest: Manifest) -> None:
    if manifest.is_index:
        raise ManifestError(
            f"{manifest.digest} is an index: the manifest of one platform is needed",
            hint="choose one: --platform linux/amd64",
        )
