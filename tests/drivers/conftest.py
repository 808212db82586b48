"""Fixtures of the drivers' tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def containers_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home and runtime folder: no credentials, certificates or proxies of this machine.

    The folder is the home; the runtime folder is ``run`` in it.
    """
    home = tmp_path / "home"
    (home / "run").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "run"))
    for name in ("REGISTRY_AUTH_FILE", "XDG_CONFIG_HOME", "DOCKER_CONFIG",
                 "CONTAINERS_REGISTRIES_CONF", "SSL_CERT_FILE", "SSL_CERT_DIR",
                 "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
                 "http_proxy", "https_proxy", "no_proxy"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    return home
