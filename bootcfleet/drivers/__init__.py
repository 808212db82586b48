"""One outside thing each: podman, a registry, SSH, bootc on a host, the ledger."""
