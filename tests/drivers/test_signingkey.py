"""Key files: made, opened, refused.  The real tools read them in tests/integration."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from bootcfleet.drivers.signingkey import KeyFileError, KeyPair, PrivateKey, PublicKey, generate


@pytest.fixture(scope="module")
def pair() -> KeyPair:
    return generate(b"open sesame")


def test_a_key_pair_signs_and_checks(pair: KeyPair) -> None:
    private = PrivateKey(pair.private, b"open sesame", "a.key")
    public = PublicKey(pair.public, "a.pub")
    signature = private.sign(b"payload")
    assert public.signed(b"payload", signature)
    assert not public.signed(b"payloae", signature)
    assert not public.signed(b"payload", signature[:-4])
    assert not public.signed(b"payload", "not base64!")
    assert not PublicKey(generate(b"x").public, "b.pub").signed(b"payload", signature)
    assert private.public.fingerprint == public.fingerprint
    assert len(public.fingerprint) == 64


def test_nothing_of_the_key_is_in_the_clear(pair: KeyPair) -> None:
    assert pair.private.startswith(b"-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----\n")
    body = json.loads(base64.b64decode(b"".join(pair.private.splitlines()[1:-1])))
    assert body["kdf"]["params"] == {"N": 32768, "r": 8, "p": 1}
    assert body["cipher"]["name"] == "nacl/secretbox"
    assert pair.private != generate(b"open sesame").private


def test_a_wrong_passphrase(pair: KeyPair) -> None:
    with pytest.raises(KeyFileError, match=r"the passphrase does not open a\.key") as caught:
        PrivateKey(pair.private, b"sesame", "a.key")
    assert "sesame" not in str(caught.value)


def sealed(**changes: object) -> bytes:
    body = {
        "kdf": {"name": "scrypt", "params": {"N": 16, "r": 1, "p": 1}, "salt": "AAAA"},
        "cipher": {"name": "nacl/secretbox", "nonce": "AAAA"},
        "ciphertext": "AAAA",
        **changes,
    }
    text = base64.b64encode(json.dumps(body).encode())
    mark = b"ENCRYPTED SIGSTORE PRIVATE KEY-----"
    return b"-----BEGIN " + mark + b"\n" + text + b"\n-----END " + mark


@pytest.mark.parametrize(
    ("pem", "message"),
    [
        (b"", "is not an encrypted key of cosign or sigstore"),
        (b"-----BEGIN PRIVATE KEY-----\nAA\n-----END PRIVATE KEY-----", "is not an encrypted key"),
        (sealed(), "the passphrase does not open"),
        (sealed(kdf={"name": "none"}), "is not readable as a key"),
        (
            sealed(kdf={"name": "scrypt", "params": {"N": 2**30, "r": 8, "p": 1}, "salt": "AAAA"}),
            "is not readable as a key",
        ),
        (sealed(ciphertext=7), "is not readable as a key"),
    ],
)  # fmt: skip
def test_what_is_no_private_key(pem: bytes, message: str) -> None:
    with pytest.raises(KeyFileError, match=message):
        PrivateKey(pem, b"x", "a.key")


def public_pem(key: object) -> bytes:
    return key.public_key().public_bytes(  # type: ignore[attr-defined, no-any-return]
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def test_public_keys_of_other_kinds() -> None:
    rsa_key = rsa.generate_private_key(65537, 2048)
    made = rsa_key.sign(b"p", padding.PKCS1v15(), hashes.SHA256())
    assert PublicKey(public_pem(rsa_key), "r").signed(b"p", base64.b64encode(made).decode())
    edwards = ed25519.Ed25519PrivateKey.generate()
    made = edwards.sign(b"p")
    assert PublicKey(public_pem(edwards), "e").signed(b"p", base64.b64encode(made).decode())
    assert not PublicKey(public_pem(edwards), "e").signed(b"q", base64.b64encode(made).decode())
    wide = ec.generate_private_key(ec.SECP384R1())
    made = wide.sign(b"p", ec.ECDSA(hashes.SHA256()))
    assert PublicKey(public_pem(wide), "w").signed(b"p", base64.b64encode(made).decode())


def test_what_is_no_public_key(pair: KeyPair) -> None:
    with pytest.raises(KeyFileError, match=r"a\.pub is not a public key"):
        PublicKey(b"ssh-ed25519 AAAA", "a.pub")
    with pytest.raises(KeyFileError, match=r"a\.key is a private key"):
        PublicKey(pair.private, "a.key")
