"""Learns the SSH host key of a virtual machine that this process has started itself."""

from __future__ import annotations

import contextlib
import socket

import paramiko

from bootcfleet.drivers.sshtransport import FleetTransport

_KEYS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256")


def learn_host_key(port: int, timeout: float = 20.0) -> str | None:
    """The line of known_hosts for the SSH server on 127.0.0.1:`port`; None while there is none.

    qemu accepts connections before the guest listens: only a greeting counts. `timeout` is
    in seconds, for the key exchange of a slow guest.
    """
    try:
        sock = socket.create_connection(("127.0.0.1", port), timeout=5)
    except OSError:
        return None
    transport: FleetTransport | None = None
    try:
        sock.settimeout(5)
        if not sock.recv(4, socket.MSG_PEEK).startswith(b"SSH"):
            return None
        transport = FleetTransport(sock, _KEYS)
        transport.banner_timeout = transport.handshake_timeout = timeout
        transport.start_client(timeout=timeout)
        key = transport.get_remote_server_key()
        return f"[127.0.0.1]:{port} {key.get_name()} {key.get_base64()}\n"
    except (OSError, EOFError, paramiko.SSHException):
        return None
    finally:
        with contextlib.suppress(OSError, EOFError):
            (transport or sock).close()
