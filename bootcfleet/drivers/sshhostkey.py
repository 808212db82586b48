"""Whether the key that a host shows is the one that is known for it.  Strict, always.

An unknown key and a changed one are both refused, whatever
``StrictHostKeyChecking`` says; the error names the command that would trust it.
"""

from __future__ import annotations

import base64
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime

import paramiko
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    SSHCertificateType,
    load_ssh_public_identity,
)

from bootcfleet.drivers.knownhosts import (
    KnownHosts,
    KnownKey,
    Marker,
    fingerprint,
    lookup_name,
)
from bootcfleet.drivers.sshconfig import matches
from bootcfleet.drivers.sshtarget import Jump, Target
from bootcfleet.errors import HostError, HostFault

#: Host key algorithms in the order of preference; no SHA-1.
ALGORITHMS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
_CERTIFICATE = "-cert-v01@openssh.com"


@dataclass(frozen=True)
class Trust:
    """What is known of one host.

    `keys` stand under its name; `fallback` are keys under its name without the
    port: ssh takes one of them when it is the right one, and never calls a host
    changed because of them.
    """

    keys: tuple[KnownKey, ...]
    fallback: tuple[KnownKey, ...] = ()

    @classmethod
    def of(cls, target: Target, known: KnownHosts) -> Trust:
        """Look a target up."""
        first, *rest = target.known_as
        fallback = tuple(key for name in rest for key in known.find(name))
        return cls(known.find(first), fallback)

    def _with(self, marker: Marker) -> list[KnownKey]:
        return [key for key in (*self.keys, *self.fallback) if key.marker is marker]

    @property
    def plain(self) -> list[KnownKey]:
        """The host's own keys."""
        return self._with(Marker.NONE)

    @property
    def authorities(self) -> list[KnownKey]:
        """The keys that may sign a certificate for it."""
        return self._with(Marker.AUTHORITY)

    @property
    def revoked(self) -> list[KnownKey]:
        """Keys that must not be used."""
        return self._with(Marker.REVOKED)

    def algorithms(self) -> tuple[str, ...]:
        """The algorithms to offer.  What is known goes first, as ssh does it.

        A host has several keys: it must not look changed because it showed
        another one than the one that is known.  Certificates are asked for only
        where an authority is known.
        """
        types = {key.key_type for key in self.keys if key.marker is Marker.NONE}
        if not types:
            types = {key.key_type for key in self.plain}
        first = [name for name in ALGORITHMS if _key_type(name) in types]
        certificates = [name + _CERTIFICATE for name in ALGORITHMS] if self.authorities else []
        return tuple(dict.fromkeys((*certificates, *first, *ALGORITHMS)))


def _key_type(algorithm: str) -> str:
    """The type of key that an algorithm uses: RSA has one type and several algorithms."""
    return "ssh-rsa" if algorithm.startswith("rsa-") else algorithm


def check(name: str, target: Target, shown: paramiko.PKey, trust: Trust, now: datetime) -> None:
    """Raise `HostError` unless `shown` (or the certificate that came with it) is trusted."""
    blob = shown.asbytes()
    asked = target.known_as[0]
    text = f"{shown.get_name()} {fingerprint(blob)}"
    for key in trust.revoked:
        if key.key == blob:
            raise HostError(
                name,
                HostFault.HOST_KEY_CHANGED,
                f"the host key of {asked} ({text}) is marked as revoked in {key.where}",
                hint="somebody may hold a stolen key: give the host a new one",
            )
    problem = _certificate_problem(shown, target, trust, now)
    if problem is None or any(key.key == blob for key in trust.plain):
        return
    details = [f"looked in {', '.join(target.known_hosts) or 'no file'}"]
    if problem:
        details.append(f"its certificate is not accepted: {problem}")
    known = [key for key in trust.keys if key.marker is Marker.NONE]
    if not known:
        raise HostError(
            name,
            HostFault.HOST_KEY_UNKNOWN,
            f"the host key of {asked} is not known ({text})",
            hint="compare the fingerprint with the one on the host's console, then trust it: "
            + _trust_command(target),
            details=details,
        )
    same = [key for key in known if key.key_type == shown.get_name()]
    what = "has changed" if same else "is of a type that is not known for it"
    raise HostError(
        name,
        HostFault.HOST_KEY_CHANGED,
        f"the host key of {asked} {what}: it is {text}",
        hint="another machine may be answering.  If the host was reinstalled, compare the "
        f"fingerprint with the one on its console, then: {_forget_command(target, known)} && "
        + _trust_command(target),
        details=[
            *(f"{key.where} has {key.key_type} {fingerprint(key.key)}" for key in known),
            *details[1:],
        ],
    )


def _certificate_problem(
    shown: paramiko.PKey, target: Target, trust: Trust, now: datetime
) -> str | None:
    """Why the host's certificate does not make it trusted; empty when it has none."""
    public = shown.public_blob
    if public is None or not public.key_type.endswith(_CERTIFICATE):
        return ""
    line = f"{public.key_type} {base64.b64encode(public.key_blob).decode()}"
    try:
        certificate = load_ssh_public_identity(line.encode())
        if not isinstance(certificate, SSHCertificate):
            return "it is none"
        certificate.verify_cert_signature()
        authority = certificate.signature_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    except (ValueError, InvalidSignature, UnsupportedAlgorithm) as error:
        return f"it cannot be verified ({error or type(error).__name__})"
    signer = base64.b64decode(authority.split()[1])
    if any(key.key == signer for key in trust.revoked):
        return f"its authority {fingerprint(signer)} is revoked"
    if not any(key.key == signer for key in trust.authorities):
        return f"no @cert-authority line has its authority {fingerprint(signer)}"
    if certificate.type is not SSHCertificateType.HOST:
        return "it is a user's certificate"
    if certificate.critical_options:
        return "it has critical options that are not understood"
    principals = [name.decode("utf-8", "replace") for name in certificate.valid_principals]
    if principals and not any(matches(target.certified_as, p.lower()) for p in principals):
        return f"it is for {', '.join(principals)}, not for {target.certified_as}"
    seconds = now.timestamp()
    if seconds < certificate.valid_after:
        return f"it is valid only from {_time(certificate.valid_after)}"
    if seconds >= certificate.valid_before:
        return f"it was valid until {_time(certificate.valid_before)}"
    return None


def _time(seconds: int) -> str:
    # "for ever" is the largest number there is; no calendar has it.
    return datetime.fromtimestamp(min(seconds, 253402300799), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _trust_command(target: Target) -> str:
    """The command that would add the host's key, from a place that can reach it."""
    file = shlex.quote(target.known_hosts[0]) if target.known_hosts else "~/.ssh/known_hosts"
    if target.proxy_command:
        return f"{target.ssh_command()} true, and answer its question"
    scan = shlex.join(["ssh-keyscan", "-p", str(target.port), target.address])
    if target.jumps:
        scan = f"{shlex.join(['ssh', *_via(target.jumps)])} {scan}"
    if target.known_as[0] != lookup_name(target.address, target.port):
        # A HostKeyAlias: the host does not know that it is called so.
        scan += f" | sed 's/^[^ ]*/{target.known_as[0]}/'"
    return f"{scan} >> {file}"


def _via(jumps: tuple[Jump, ...]) -> list[str]:
    *before, last = jumps
    words = ["-J", ",".join(map(str, before))] if before else []
    words += ["-p", str(last.port)] if last.port else []
    return [*words, f"{last.user}@{last.host}" if last.user else last.host]


def _forget_command(target: Target, known: list[KnownKey]) -> str:
    name = shlex.quote(target.known_as[0])
    files = dict.fromkeys(key.file for key in known)
    return " && ".join(f"ssh-keygen -f {shlex.quote(file)} -R {name}" for file in files)
