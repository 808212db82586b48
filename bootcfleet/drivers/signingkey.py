"""Key pairs of sigstore: made, opened, and used to check a signature.

The private key is a file as cosign, skopeo and podman write it: ECDSA P-256 as PKCS #8 (DER),
in NaCl's secretbox under a key that scrypt makes of the passphrase. Source: cosign
(``pkg/cosign/keys.go``) and secure-systems-lab's ``encrypted``; the tests let the real skopeo
sign with one.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from bootcfleet.errors import FleetError, UsageError

#: Skopeo before 1.14 reads this label alone; cosign and newer ones read it as well.
_LABEL = "ENCRYPTED COSIGN PRIVATE KEY"
_PEM = re.compile(
    rb"-----BEGIN ENCRYPTED (?:COSIGN|SIGSTORE) PRIVATE KEY-----([A-Za-z0-9+/=\s]*)-----END"
)
#: The only parameters that older readers take.
_N, _R, _P = 32768, 8, 1


class KeyFileError(UsageError):
    """A file is not the key that it was named as."""


@dataclass(frozen=True)
class KeyPair:
    """A new key pair, both as the text of their files."""

    private: bytes
    public: bytes


def generate(passphrase: bytes) -> KeyPair:
    """Make a key pair; the private key can only be used with the passphrase."""
    key = ec.generate_private_key(ec.SECP256R1())
    plain = key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    salt = secrets.token_bytes(32)
    sealed = SecretBox(_stretched(passphrase, salt)).encrypt(plain)
    body = {
        "kdf": {"name": "scrypt", "params": {"N": _N, "r": _R, "p": _P}, "salt": _text(salt)},
        "cipher": {"name": "nacl/secretbox", "nonce": _text(sealed.nonce)},
        "ciphertext": _text(sealed.ciphertext),
    }
    packed = base64.b64encode(json.dumps(body, separators=(",", ":")).encode()).decode()
    lines = [packed[start : start + 64] for start in range(0, len(packed), 64)]
    private = "\n".join([f"-----BEGIN {_LABEL}-----", *lines, f"-----END {_LABEL}-----", ""])
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return KeyPair(private.encode(), public)


def _stretched(passphrase: bytes, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=_N, r=_R, p=_P).derive(passphrase)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


class PrivateKey:
    """An opened private key."""

    def __init__(self, pem: bytes, passphrase: bytes, where: str) -> None:
        """Open a key file of cosign, skopeo, podman or `generate`.

        Raises `KeyFileError` for another kind of file and for a wrong passphrase.
        """
        plain = _opened(pem, passphrase, where)
        try:
            key = serialization.load_der_private_key(plain, None)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise KeyFileError(f"{where} holds no private key") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise KeyFileError(f"{where} is of a kind that only cosign signs with")
        self._key = key

    @property
    def public(self) -> PublicKey:
        """The public key of the pair."""
        pem = self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return PublicKey(pem, "the key")

    def sign(self, payload: bytes) -> str:
        """The signature over `payload` (ECDSA with SHA-256), as base64."""
        return _text(self._key.sign(payload, ec.ECDSA(hashes.SHA256())))


def _opened(pem: bytes, passphrase: bytes, where: str) -> bytes:
    found = _PEM.search(pem)
    if found is None:
        raise KeyFileError(
            f"{where} is not an encrypted key of cosign or sigstore",
            hint="make a key pair: bootcfleet image keygen",
        )
    try:
        body = json.loads(base64.b64decode(found[1]))
        numbers = body["kdf"]["params"]
        n, r, p = int(numbers["N"]), int(numbers["r"]), int(numbers["p"])
        salt, nonce, sealed = (
            base64.b64decode(text)
            for text in (body["kdf"]["salt"], body["cipher"]["nonce"], body["ciphertext"])
        )
        # A file may ask for any amount of memory: 128 * N * r bytes.
        if body["kdf"]["name"] != "scrypt" or n > 1 << 20 or r > 32 or p > 16:
            raise ValueError(n)
        stretched = Scrypt(salt=salt, length=32, n=n, r=r, p=p).derive(passphrase)
    except (ValueError, LookupError, TypeError) as error:
        raise KeyFileError(f"{where} is not readable as a key of cosign or sigstore") from error
    try:
        return SecretBox(stretched).decrypt(sealed, nonce)
    except (CryptoError, ValueError, TypeError) as error:
        raise KeyFileError(f"the passphrase does not open {where}") from error


class PublicKey:
    """A public key (PEM) that signatures are checked with."""

    def __init__(self, pem: bytes, where: str) -> None:
        """Read a key.  Raises `KeyFileError`, naming `where` it came from."""
        try:
            self._key = serialization.load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm) as error:
            secret = b"PRIVATE KEY" in pem
            raise KeyFileError(
                f"{where} is a private key" if secret else f"{where} is not a public key (PEM)",
                hint="name the public one of the pair"
                if secret
                else "a key pair is made by `bootcfleet image keygen`",
            ) from error

    @property
    def pem(self) -> str:
        """The key alone, as the text of a file: whatever else stood in the file is not in it."""
        return self._key.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode("ascii")

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the key (DER) in hex: which key it is, whatever its file is called."""
        digest = hashes.Hash(hashes.SHA256())
        digest.update(
            self._key.public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )
        return digest.finalize().hex()

    def signed(self, payload: bytes, signature: str) -> bool:
        """Whether a signature (base64) over `payload` was made with the private key."""
        try:
            raw = base64.b64decode(signature, validate=True)
        except (binascii.Error, ValueError):
            return False
        try:
            if isinstance(self._key, ec.EllipticCurvePublicKey):
                self._key.verify(raw, payload, ec.ECDSA(hashes.SHA256()))
            elif isinstance(self._key, ed25519.Ed25519PublicKey):
                self._key.verify(raw, payload)
            elif isinstance(self._key, rsa.RSAPublicKey):
                self._key.verify(raw, payload, padding.PKCS1v15(), hashes.SHA256())
            else:
                raise FleetError("keys of this kind sign nothing that bootcfleet reads")
        except InvalidSignature:
            return False
        return True
