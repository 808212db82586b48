"""From a templated Containerfile to a bootc image, a channel, a disk and a fleet."""

__version__ = "0.1.0"
