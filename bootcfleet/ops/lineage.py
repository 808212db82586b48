"""Where an image comes from: from the ledger, and from labels and layers in its registry."""

from __future__ import annotations

from bootcfleet.domain.lineage import Lineage

__all__ = ["Lineage"]
