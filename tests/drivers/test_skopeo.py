"""skopeo's driver: what it is asked for, and what its failure says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bootcfleet.domain.reference import ImageRef
from bootcfleet.drivers.command import LocalExecutor
from bootcfleet.drivers.skopeo import Skopeo, SkopeoError
from bootcfleet.errors import ToolMissingError

AWAY = ImageRef.parse("r.example/a@sha256:" + "a" * 64)
HERE = ImageRef.parse("127.0.0.1:5000/b:keep")


def fake(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    folder.mkdir()
    (folder / "skopeo").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "skopeo").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_what_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path / "bin", monkeypatch, f'echo "$@" >{tmp_path}/asked')
    Skopeo(LocalExecutor()).copy(AWAY, HERE)
    assert (tmp_path / "asked").read_text() == (
        "copy --all --preserve-digests --quiet --dest-tls-verify=false "
        f"docker://{AWAY} docker://{HERE}\n"
    )


def test_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path / "bin", monkeypatch, "echo 'FATA unauthorized' >&2; exit 1")
    with pytest.raises(SkopeoError) as caught:
        Skopeo(LocalExecutor()).copy(AWAY, HERE)
    assert caught.value.message == f"skopeo could not copy {AWAY} to {HERE}"
    assert caught.value.details == ("FATA unauthorized",)
    assert (caught.value.hint or "").startswith("log in to both with podman login, and try: skopeo")


def test_without_skopeo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissingError, match="'skopeo' is not installed"):
        Skopeo(LocalExecutor()).copy(AWAY, HERE)
