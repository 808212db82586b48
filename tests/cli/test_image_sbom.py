"""`bootcfleet image sbom` as a user sees it; documents are judged by spdx-tools."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from spdx_tools.spdx.model import Document
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from bootcfleet.cli.app import run
from bootcfleet.domain.evidence import EvidenceKind, EvidenceOutcome, judge
from bootcfleet.domain.reference import ImageRef
from bootcfleet.drivers.labimage import push_image, push_index
from bootcfleet.drivers.labregistry import LabRegistry
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.drivers.registryartifact import Artifacts
from bootcfleet.ops.audit import open_ledger
from bootcfleet.ops.evidence import latest_evidence
from bootcfleet.ops.project import load_project
from tests.rpmheaders import database, package

CREATED = datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)
SPDX = "application/spdx+json"
Say = Callable[..., tuple[int, str, str]]
PACKAGES = [
    package(
        "bash", "5.2.26^git1", "4.el10", arch="x86_64", license="GPL-3.0-or-later", epoch="1",
        vendor="Acme", url="https://www.gnu.org/software/bash", source="bash-5.2.src.rpm",
        summary="The shell", sha256="ab" * 32,
    ),
    package("kernel-core", "6.1", arch="x86_64", license="GPLv2 and Redistributable, \x1b[31m"),
    package("kernel-core", "6.2", arch="x86_64", license="GPLv2 and Redistributable, \x1b[31m"),
    package("libstdc++", arch="i686", license="MIT AND LicenseRef-Fedora-Public-Domain"),
    package("none", arch="noarch", url="see the manual", source="(none)", vendor="(none)"),
    package("gpg-pubkey", "8483c65d", "5ccc5b19", arch="(none)", license="pubkey"),
]  # fmt: skip


@pytest.fixture
def registry() -> Iterator[LabRegistry]:
    with LabRegistry() as registry:
        yield registry


def rootfs(folder: Path, packages: Sequence[bytes] = PACKAGES) -> dict[str, bytes]:
    folder.mkdir()
    return {
        "usr/share/rpm/rpmdb.sqlite": database(folder / "db", packages).read_bytes(),
        "etc/os-release": b'ID="rhel"\nVERSION_ID=\'10.0\'\nNAME="Red Hat"\n',
    }


@pytest.fixture
def say(
    registry: LabRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Say:
    """In a project whose image soe has the tag prod, on a machine without syft."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    (tmp_path / "bootcfleet.yaml").write_text(
        f"version: 1\nname: acme\nregistry: {registry.address}/acme\n"
        "images:\n  soe: {base: registry.invalid/base}\n"
    )
    files = rootfs(tmp_path / "rpm")
    push_image(registry.address, "acme/soe", "prod", version="1", files=files, created=CREATED)

    def go(*words: str) -> tuple[int, str, str]:
        code = run(["image", "sbom", *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return go


def parsed(path: Path) -> Document:
    """The document, once spdx-tools has nothing to say against it."""
    found = parse_file(str(path))
    assert [message.validation_message for message in validate_full_spdx_document(found)] == []
    return found


def test_the_document(say: Say, registry: LabRegistry, tmp_path: Path) -> None:
    code, out, err = say("soe:prod", "--output", "soe.spdx.json")
    with RegistryClient() as client:
        digest = client.digest(ImageRef.parse(f"{registry.address}/acme/soe:prod"))
    assert (code, out, err) == (
        0, f"wrote soe.spdx.json: 5 packages of {digest} by builtin\n", "",
    )  # fmt: skip
    found = parsed(tmp_path / "soe.spdx.json")
    assert found.creation_info.created == CREATED.replace(microsecond=0, tzinfo=None)
    assert found.creation_info.document_namespace.endswith(str(digest)[7:])
    image, *packages = found.packages
    assert image.checksums[0].value == str(digest)[7:]
    assert sorted(p.name for p in packages) == [
        "bash", "kernel-core", "kernel-core", "libstdc++", "none",
    ]  # fmt: skip
    bash = next(p for p in packages if p.name == "bash")
    assert bash.version == "1:5.2.26^git1-4.el10"
    assert str(bash.license_declared) == "GPL-3.0-or-later"
    assert bash.external_references[0].locator == (
        "pkg:rpm/rhel/bash@5.2.26%5Egit1-4.el10?arch=x86_64&distro=rhel-10.0&epoch=1"
        "&upstream=bash-5.2.src.rpm"
    )
    assert str(bash.supplier) == "Organization: Acme"
    texts = {one.extracted_text for one in found.extracted_licensing_info}
    assert texts == {
        "GPLv2 and Redistributable, \ufffd[31m", "MIT AND LicenseRef-Fedora-Public-Domain",
    }  # fmt: skip
    contains = [r for r in found.relationships if r.relationship_type.name == "CONTAINS"]
    assert len(contains) == 5


def test_the_same_image_makes_the_same_bytes(say: Say) -> None:
    code, out, err = say("soe:prod")
    assert (code, err) == (0, "")
    assert json.loads(out)["spdxVersion"] == "SPDX-2.3"
    assert say("soe:prod")[1] == out


def test_attached_it_is_a_referrer_and_evidence(say: Say, registry: LabRegistry) -> None:
    ref = ImageRef.parse(f"{registry.address}/acme/soe:prod")
    with RegistryClient() as client:
        digest = client.digest(ref)
        artifacts = Artifacts(client)
        name = f"{ref.name}@{digest}"
        said = say("soe:prod", "--attach", "--dry-run")
        assert said == (0, f"{name}: would be attached, 5 packages by builtin\n", "")
        assert artifacts.referrers(ref, digest) == ()
        before = latest_evidence(open_ledger(load_project()), EvidenceKind.SBOM, str(digest))
        hint = judge(EvidenceKind.SBOM, before, CREATED, image="soe").hint
        assert hint == "bootcfleet image sbom --attach soe"
        said = say("soe:prod", "--attach")
        assert said == (0, f"{name}: attached, 5 packages by builtin\n", "")
        assert say("soe:prod", "--attach")[0] == 0
        (one,) = artifacts.referrers(ref, digest, SPDX)
        _, (raw,) = artifacts.fetch(ref.with_digest(one.digest))
        assert raw.decode() == say("soe:prod")[1]
        assert client.digest(ref) == digest
    evidence = latest_evidence(open_ledger(load_project()), EvidenceKind.SBOM, str(digest))
    assert evidence is not None
    assert (evidence.image, evidence.outcome) == ("soe", EvidenceOutcome.PASSED)
    assert evidence.details["packages"] == {str(digest): 5}


def test_an_index_gets_one_for_each_platform(
    say: Say, registry: LabRegistry, tmp_path: Path
) -> None:
    files = rootfs(tmp_path / "other", PACKAGES[:2])
    digest = push_index(
        registry.address, "acme/soe", "both", version="1", files=files, created=CREATED
    )
    code, out, _ = say("soe:both", "--attach", "--json", "-o", "arm.json", "--platform", "arm64")
    assert code == 0
    made = json.loads(out)
    ref = ImageRef.parse(f"{registry.address}/acme/soe@{digest}")
    with RegistryClient() as client:
        children = list(client.manifest(ref).children.values())
        for child, one in zip(children, made, strict=True):
            assert one["digest"] == str(child)
            (found,) = Artifacts(client).referrers(ref, child, SPDX)
            assert one["artifact"] == str(found.digest)
    assert parsed(tmp_path / "arm.json").packages[0].version == str(children[1])
    evidence = latest_evidence(open_ledger(load_project()), EvidenceKind.SBOM, str(digest))
    assert evidence is not None


def test_an_image_without_packages(say: Say, registry: LabRegistry) -> None:
    push_image(registry.address, "acme/soe", "bare", version="1", files={"a": b""}, created=CREATED)
    code, out, err = say("soe:bare")
    assert (code, out) == (1, "")
    assert "soe:bare has no RPM database: there is nothing to list" in err
    assert "install syft" in err


def test_syft_where_it_is_installed(
    say: Say, registry: LabRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert say("soe:prod", "--tool", "syft")[0] == 5
    program = tmp_path / "bin/syft"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\n[ $1 = version ] && exit\necho "$@" > {tmp_path}/argv\n'
        f"cat {tmp_path}/answer\necho 'some complaint' >&2\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}/usr/bin:/bin")
    (tmp_path / "answer").write_text('{"spdxVersion": "SPDX-2.3", "packages": [1, 2, 3]}\n')
    with RegistryClient() as client:
        digest = client.digest(ImageRef.parse(f"{registry.address}/acme/soe:prod"))
    code, out, _ = say("soe:prod")
    assert (code, out) == (0, (tmp_path / "answer").read_text())
    argv = (tmp_path / "argv").read_text().split()
    assert argv[0] == f"registry:{registry.address}/acme/soe@{digest}"
    (tmp_path / "answer").write_text("not a document")
    code, out, err = say("soe:prod")
    assert (code, out) == (1, "")
    assert "syft made no SPDX document of" in err
    assert "some complaint" in err
    assert say("soe:prod", "--tool", "builtin")[0] == 0


def test_a_channel_asks_for_the_document_itself(
    say: Say, registry: LabRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bootcfleet.yaml"
    file.write_text(file.read_text() + "channels: {live: {sbom: true}}\n")
    promote = ["channel", "promote", "soe", "prod", "live", "--yes"]
    assert run(promote) == 3
    said = capsys.readouterr().err
    ref = ImageRef.parse(f"{registry.address}/acme/soe:prod")
    with RegistryClient() as client:
        digest = client.digest(ref)
        assert f"{digest} has no bill of materials beside it" in said
        assert f"bootcfleet image sbom --attach {ref.name}@{digest}" in said
        assert say("soe:prod", "--attach")[0] == 0
        artifacts = Artifacts(client)
        (one,) = artifacts.referrers(ref, digest)
        artifacts.delete(ref.with_digest(one.digest))
        assert run(promote) == 3
        assert say("soe:prod", "--attach")[0] == 0
        assert run(promote) == 0
        # Of an index, every image must have one; another form counts as well.
        files = rootfs(tmp_path / "other", PACKAGES[:1])
        push_index(registry.address, "acme/soe", "both", version="2", files=files, created=CREATED)
        capsys.readouterr()
        both = client.manifest(ref.with_tag("both"))
        first, second = both.children.values()
        artifacts.push(ref, SPDX, [(SPDX, b"{}", {})], subject=first)
        assert run(["channel", "promote", "soe", "both", "live", "--yes"]) == 3
        assert f"{second} has no bill of materials beside it" in capsys.readouterr().err
        other = "application/vnd.cyclonedx+json"
        artifacts.push(ref, other, [(other, b"{}", {})], subject=second)
        assert run(["channel", "promote", "soe", "both", "live", "--yes"]) == 0
