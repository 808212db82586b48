"""`bootcfleet image diff` as a user sees it, over a registry with small images."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bootcfleet.cli.app import run
from bootcfleet.domain.reference import ImageRef
from bootcfleet.drivers.labimage import push_image, push_index
from bootcfleet.drivers.labregistry import LabRegistry
from bootcfleet.drivers.registry import RegistryClient
from bootcfleet.ops.lab import Lab, LabHost

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
Say = Callable[..., tuple[int, str, str]]
UNIT = b"[Install]\nWantedBy=multi-user.target\n"


@pytest.fixture
def registry() -> Iterator[LabRegistry]:
    with LabRegistry() as registry:
        yield registry


@pytest.fixture
def say(
    registry: LabRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Say:
    """In a project whose image soe has the channels prod and dev."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bootcfleet.yaml").write_text(
        f"version: 1\nname: acme\nregistry: {registry.address}/acme\n"
        "images:\n  soe: {base: registry.invalid/base, template: soe}\n"
    )
    for tag, motd, version in (("prod", b"old\n", "1"), ("dev", b"new!\n", "2")):
        files = {"etc/motd": motd, "usr/lib/systemd/system/a.service": UNIT}
        push_image(registry.address, "acme/soe", tag, version=version, files=files, created=CREATED)

    def go(*words: str) -> tuple[int, str, str]:
        code = run(["image", "diff", *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return go


def test_two_channels_as_text(registry: LabRegistry, say: Say) -> None:
    code, out, err = say("soe:prod", "soe:dev")
    with RegistryClient() as client:
        old, new = (
            client.manifest(ImageRef.parse(f"{registry.address}/acme/soe:{tag}"))
            for tag in ("prod", "dev")
        )
    size = new.layers[0][1] + new.config_size + len(new.raw)
    assert (code, err) == (0, "")
    assert out == (
        f"soe:prod ({old.digest})\n"
        f"  → soe:dev ({new.digest})\n"
        "\n"
        f"download: {size} B ({size} bytes): 1 of 1 layers new; 0 B are there already\n"
        "\n"
        "files: 1 changed\n"
        "  ~ /etc/motd  content: -0644 0:0 4 B → -0644 0:0 5 B\n"
        "\n"
        "labels: 1 changed\n"
        "  ~ org.opencontainers.image.version  1 → 2\n"
        "\n"
        "layers (0 shared): 1 added\n"
        f"  + {new.layers[0][0]}  {new.layers[0][1]} B\n"
    )


def test_a_digest_a_full_reference_and_json(registry: LabRegistry, say: Say) -> None:
    with RegistryClient() as client:
        digest = client.digest(ImageRef.parse(f"{registry.address}/acme/soe:prod"))
    code, out, _ = say(f"soe@{digest}", f"{registry.address}/acme/soe:dev", "--json")
    assert code == 0
    body = json.loads(out)
    assert body["a"] == {"name": f"soe@{digest}", "digest": str(digest)}
    assert body["files"]["changed"][0]["what"] == ["content"]
    assert body["units"] == {"added": {}, "removed": {}, "changed": {}}
    assert body == json.loads(say(f"soe@{digest}", "soe:dev", "--format", "json")[1]) | {
        "b": body["b"]
    }


def test_layers_are_read_once(registry: LabRegistry, say: Say, tmp_path: Path) -> None:
    first = say("soe:prod", "soe:dev")
    kept = sorted((tmp_path / ".bootcfleet/cache/layers").iterdir())
    assert len(kept) == 2
    gets = registry.requests("GET", "acme/soe")
    assert say("soe:prod", "soe:dev") == first
    assert registry.requests("GET", "acme/soe") - gets == 4  # two manifests and configurations
    kept[0].write_bytes(b"damaged")
    assert say("soe:prod", "soe:dev") == first
    assert registry.requests("GET", "acme/soe") - gets == 9


def test_a_person_who_waits_is_told(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    _, _, err = say("soe:prod", "soe:dev")
    assert re.findall(r"^reading the layer [0-9a-f]{12} \(\d+ B\)$", err, re.MULTILINE)
    assert len(err.splitlines()) == 2
    assert say("soe:prod", "soe:dev")[2] == ""


def test_a_name_that_is_no_utf8(registry: LabRegistry, say: Say) -> None:
    files = {"etc/motd": b"old\n", "etc/\udcff": b"", "usr/lib/systemd/system/a.service": UNIT}
    push_image(registry.address, "acme/soe", "odd", version="1", files=files, created=CREATED)
    code, out, _ = say("soe:prod", "soe:odd", "--json")
    assert code == 0
    assert [one["path"] for one in json.loads(out)["files"]["added"]] == ["/etc/\\xff"]
    assert "  + /etc/\ufffd  -0644 0:0 0 B\n" in say("soe:prod", "soe:odd")[1]


def test_size_only_reads_no_layer(registry: LabRegistry, say: Say, tmp_path: Path) -> None:
    code, out, _ = say("soe:prod", "soe:dev", "--size-only")
    assert code == 0
    assert out.splitlines()[-1].startswith("download: ")
    assert not (tmp_path / ".bootcfleet/cache").exists()


def test_markdown(say: Say) -> None:
    code, out, _ = say("soe:prod", "soe:dev", "--format", "markdown")
    assert code == 0
    assert out.startswith("## soe:prod → soe:dev\n\nFrom `sha256:")
    assert "| ~ | /etc/motd | content: -0644 0:0 4 B | -0644 0:0 5 B |\n" in out


def test_a_platform_of_an_index(registry: LabRegistry, say: Say) -> None:
    files = {"etc/motd": b"x"}
    push_index(registry.address, "acme/soe", "both", version="1", files=files, created=CREATED)
    code, out, _ = say("soe:prod", "soe:both", "--platform", "arm64", "--json")
    assert code == 0
    assert json.loads(out)["download"]["index"] > 0
    code, _, err = say("soe:prod", "soe:both", "--platform", "s390x")
    assert code == 1
    assert "has no image for linux/s390x" in err
    assert "its platforms: linux/amd64, linux/arm64" in err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["soe", "soe:dev"], 2, "soe was not built here yet"),
        (["sow:dev", "soe:dev"], 2, "'sow:dev' is not an image of the project"),
        (["sha256:" + "0" * 64, "soe:dev"], 2, "no build of this project has the digest"),
        (["soe:prod", "soe:none"], 1, "/acme/soe:none is not in the registry"),
        (["soe:prod", "soe:dev", "--platform", "vax"], 2, "'vax' is not a platform"),
    ],
)
def test_what_cannot_be_compared(say: Say, words: list[str], code: int, message: str) -> None:
    found, out, err = say(*words)
    assert (found, out) == (code, "")
    assert message in err
    assert "Traceback" not in err


def test_a_channel_in_a_repository_of_its_own(
    registry: LabRegistry, say: Say, tmp_path: Path
) -> None:
    file = tmp_path / "bootcfleet.yaml"
    channel = f"live: {{repository: {registry.address}/edge}}"
    file.write_text(f"{file.read_text()}channels: {{{channel}}}\n")
    push_image(registry.address, "edge/soe", "live", version="1", files={"x": b""}, created=CREATED)
    code, out, _ = say("soe:prod", "soe:live")
    assert code == 0
    assert "  + /x  -0644 0:0 0 B\n" in out


def test_a_database_of_packages_in_an_older_form(registry: LabRegistry, say: Say) -> None:
    files = {"var/lib/rpm/Packages": b"Berkeley DB"}
    push_image(registry.address, "acme/soe", "old", version="1", files=files, created=CREATED)
    code, out, err = say("soe:prod", "soe:old")
    assert (code, out) == (1, "")
    assert "the image's RPM database /var/lib/rpm/Packages is not in the SQLite form" in err


def test_the_fleet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two hosts on A, one on B, one on something else, one that cannot be asked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with Lab(tmp_path / "lab") as lab, RegistryClient() as client:
        lab.start_registry()
        image = f"{lab.registry_address}/acme/web"
        for tag in ("a", "b", "other"):
            files = {"version": tag.encode() * 2000}
            push_image(client, image, tag, version=tag, files=files, created=CREATED)
        tags = {"h1": "a", "h2": "a", "h3": "b", "h4": "other", "h5": "a"}
        hosts = [LabHost(name, f"{image}:{tag}", {}, ()) for name, tag in tags.items()]
        lab.start_hosts(hosts, image=f"{image}:a", boot_seconds=0.1)
        lab.break_host("h5", "no-bootc")
        line = ["image", "diff", f"{image}:a", f"{image}:b", "--fleet", "--json"]
        assert run([*line, "-i", str(lab.inventory_path)]) == 0
        fleet = json.loads(capsys.readouterr().out)["fleet"]
        new = client.manifest(ImageRef.parse(f"{image}:b"))
    size = new.layers[0][1] + new.config_size + len(new.raw)
    names = {
        key: {one["host"]: one["bytes"] for one in fleet[key]}
        for key in ("on_a", "on_b", "elsewhere", "unknown")
    }
    assert names == {
        "on_a": {"h1": size, "h2": size},
        "on_b": {"h3": 0},
        "elsewhere": {"h4": size},
        "unknown": {"h5": None},
    }
    assert fleet["bytes"] == 3 * size
    assert "bootc status failed" in fleet["unknown"][0]["why"]
