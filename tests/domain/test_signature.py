"""Payloads and manifests of signatures, and the files with which hosts ask for them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bootcfleet.domain.image import Manifest, ManifestError, sha256
from bootcfleet.domain.reference import Digest, ImageRef
from bootcfleet.domain.signature import (
    make_payload,
    payload_problem,
    signature_config,
    signature_manifest,
    signature_tag,
    stored_signatures,
)
from bootcfleet.domain.trustpolicy import signature_policy, sigstore_attachments

DIGEST = Digest("sha256:" + "ab" * 32)
REF = ImageRef.parse("registry.example.com:5000/acme/soe:prod")


def payload(**critical: Any) -> bytes:
    whole = {
        "identity": {"docker-reference": REF.name},
        "image": {"docker-manifest-digest": str(DIGEST)},
        "type": "cosign container image signature",
    }
    return json.dumps({"critical": {**whole, **critical}, "optional": {}}).encode()


def test_what_we_sign_is_accepted() -> None:
    assert payload_problem(make_payload(REF.name, DIGEST), REF.name, DIGEST) is None
    assert signature_tag(DIGEST) == "sha256-" + "ab" * 32 + ".sig"


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (payload(), None),
        (payload(type="atomic container signature"), None),
        (payload(identity={"docker-reference": f"{REF.name}:1.0"}), None),
        (payload(identity={"docker-reference": f"{REF.name}@{DIGEST}"}), None),
        (payload(type="gitsign"), "its payload is no image signature"),
        (payload(image={"docker-manifest-digest": "sha256:00"}), "it is about another digest"),
        (payload(image=[]), "it is about another digest"),
        (
            payload(identity={"docker-reference": "registry.example.com:5000/acme/other"}),
            "it is for registry.example.com:5000/acme/other",
        ),
        (payload(identity={"docker-reference": "soe"}), "it is for soe"),
        (payload(identity=None), "it is for None"),
        (b"{", "its payload is no image signature"),
        (b"[]", "its payload is no image signature"),
        (b'{"critical": 1}', "its payload is no image signature"),
    ],
)  # fmt: skip
def test_payloads(raw: bytes, problem: str | None) -> None:
    assert payload_problem(raw, REF.name, DIGEST) == problem


def test_a_second_signature_keeps_the_first() -> None:
    one = signature_manifest(None, b"one", "c2ln", signature_config(None, b"one"))
    config = signature_config(one, b"two")
    two = signature_manifest(one, b"two", "c2ln2", config)
    assert [s.payload for s in stored_signatures(two)] == [sha256(b"one"), sha256(b"two")]
    assert two.body["layers"][0] == one.body["layers"][0]
    assert two.config_digest == sha256(config)
    assert json.loads(config)["rootfs"]["diff_ids"] == [
        str(sha256(b"one")), str(sha256(b"two")),
    ]  # fmt: skip


def test_layers_of_other_kinds_are_passed_over() -> None:
    body = {"layers": [1, {"mediaType": "x", "digest": str(DIGEST)}, {"annotations": {}}]}
    assert stored_signatures(Manifest.of(json.dumps(body).encode())) == ()
    with pytest.raises(ManifestError, match="is no list of signatures"):
        signature_manifest(Manifest.of(b'{"layers": 1}'), b"", "", b"")


def test_the_policy_of_hosts() -> None:
    body = json.loads(signature_policy(["quay.io"], ["r.example.com/acme"], "/k.pub"))
    assert body["default"] == [{"type": "reject"}]
    assert body["transports"]["docker"] == {
        "quay.io": [{"type": "insecureAcceptAnything"}],
        "r.example.com/acme": [
            {
                "type": "sigstoreSigned",
                "keyPath": "/k.pub",
                "signedIdentity": {"type": "matchRepository"},
            }
        ],
    }
    assert body["transports"]["containers-storage"] == {"": [{"type": "insecureAcceptAnything"}]}


def test_nothing_that_is_accepted_takes_the_place_of_the_key() -> None:
    body = json.loads(signature_policy(["*", "r/acme"], ["r/acme"], "/k.pub"))
    assert body["transports"]["docker"][""] == [{"type": "insecureAcceptAnything"}]
    assert body["transports"]["docker"]["r/acme"][0]["type"] == "sigstoreSigned"


def test_red_hat_keeps_its_key() -> None:
    body = json.loads(signature_policy([], ["r/acme"], "/k.pub", "registry.redhat.io/rhel10/x:1"))
    assert body["transports"]["docker"]["registry.redhat.io"][0]["type"] == "signedBy"
    body = json.loads(signature_policy([], ["r/acme"], "/k.pub", "registry.redhat.io.evil/x:1"))
    assert set(body["transports"]["docker"]) == {"r/acme"}


def test_where_signatures_lie() -> None:
    assert sigstore_attachments(["r:5000/acme", "r:5000/acme", "m"]) == (
        'docker:\n  "r:5000/acme":\n    use-sigstore-attachments: true\n'
        '  "m":\n    use-sigstore-attachments: true\n'
    )
