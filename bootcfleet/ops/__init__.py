"""Use cases: they join drivers and domain, and emit events."""
