"""Fixtures that every part of the tests may use."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.tools import need, need_root

# A busy machine is no defect: timings never decide a test.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

# A shell starts what runs in its background with SIGINT ignored, nohup with SIGHUP, and both are
# inherited: a test that presses ^C would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def containers_conf() -> Iterator[Path]:
    """podman, skopeo and buildah for this session: their own storage and settings, by environment.

    Yields the folder of the settings. Nothing that tests build or pull touches
    the images of the machine, and all of it goes away with the folder.
    """
    podman = need("podman")
    folder = Path(tempfile.mkdtemp(prefix="bootcfleet-podman-", dir="/var/tmp"))
    # 127.0.0.1 without a port stands for every port: registries of the tests speak plain http.
    files = {
        "CONTAINERS_CONF": (
            "containers.conf",
            '[engine]\nruntime = "runc"\n[containers]\n'
            'default_ulimits = ["nofile=1024:20000", "nproc=1024:1024"]\nnetns = "host"\n',
        ),
        "CONTAINERS_STORAGE_CONF": (
            "storage.conf",
            f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/storage"\n'
            f'runroot = "{folder}/run"\n',
        ),
        "CONTAINERS_REGISTRIES_CONF": (
            "registries.conf",
            '[[registry]]\nlocation = "127.0.0.1"\ninsecure = true\n',
        ),
    }
    before = {name: os.environ.get(name) for name in files}
    for name, (file, text) in files.items():
        (folder / file).write_text(text)
        os.environ[name] = str(folder / file)
    try:
        yield folder
    finally:
        for words in (["rm", "--all", "--force"], ["rmi", "--all", "--force"]):
            subprocess.run([podman, *words], capture_output=True, check=False)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def docker_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address (127.0.0.1:PORT) of a real docker-registry of this session, without TLS."""
    from tests.integration.registryprocess import Registry

    folder = tmp_path_factory.mktemp("registry")
    with Registry.start(folder / "storage", folder / "registry.log") as registry:
        _REGISTRY_ROOTS[registry.address] = registry.root
        yield registry.address


_REGISTRY_ROOTS: dict[str, Path] = {}


@pytest.fixture(scope="session")
def real_base(containers_conf: Path, docker_registry: str) -> str:
    """The real base image in `docker_registry`, as ADDRESS/NAME@DIGEST.

    The first run makes it (a minute or two), later ones take it from the cache: see
    tests/integration/realbase.
    """
    from tests.integration.realbase import REPOSITORY, ready_base

    need_root()
    for tool in ("debootstrap", "rpmbuild", "createrepo_c"):
        need(tool)
    stored, digest = ready_base({})
    # The registry reads its folder at each request: putting files there is a push. Blobs
    # never change, so they are linked; the rest is small and is copied.
    shutil.copytree(
        stored,
        _REGISTRY_ROOTS[docker_registry],
        dirs_exist_ok=True,
        copy_function=_link_blob,
    )
    return f"{docker_registry}/{REPOSITORY}@{digest}"


def _link_blob(source: str, target: str) -> None:
    if Path(source).name == "data":
        try:
            os.link(source, target)
        except OSError:  # another file system, or it is there already
            shutil.copy2(source, target)
    else:
        shutil.copy2(source, target)
