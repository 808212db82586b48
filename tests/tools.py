"""What tests ask of the machine: a program that is missing is said in one way."""

from __future__ import annotations

import os
import shutil

import pytest


def in_ci() -> bool:
    """Whether a skipped test would go unnoticed."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def need(tool: str) -> str:
    """The path of `tool`. Missing: the test fails in CI, elsewhere it is skipped."""
    path = shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        message = f"{tool} is not installed; `make test` installs what the tests need"
        if in_ci():
            pytest.fail(message)
        pytest.skip(message)
    return path


def need_root() -> None:
    """The same for root rights (real podman builds on a root made by debootstrap)."""
    if os.geteuid() != 0:
        message = "this test needs root (debootstrap, rootful podman)"
        if in_ci():
            pytest.fail(message)
        pytest.skip(message)
