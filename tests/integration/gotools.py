"""Programs of others that are made from their sources by `go`, once, and kept in the cache.

Debian's podman and skopeo are built without sigstore ("Debian-local change: sigstore
disabled"), so the tests ask the library inside of them, and cosign.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.integration.realbase import cache_folder
from tests.tools import need

COSIGN = "github.com/sigstore/cosign/v2/cmd/cosign@v2.6.5"
ACTIONLINT = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.7"
_SOURCE = Path(__file__).parent / "policycheck"
_TAGS = (
    "containers_image_openpgp containers_image_storage_stub "
    "containers_image_docker_daemon_stub containers_image_ostree_stub"
)


def policycheck() -> Path:
    """containers/image behind a small command line; see policycheck/main.go."""
    digest = hashlib.sha256()
    for name in ("main.go", "go.mod", "go.sum"):
        digest.update((_SOURCE / name).read_bytes())
    target = f"policycheck-{digest.hexdigest()[:16]}"
    return _made(target, ["build", "-tags", _TAGS, "-o", "{out}", "."], _SOURCE)


def cosign() -> Path:
    """cosign itself: the one that is installed, or made from its source."""
    there = shutil.which("cosign")
    if there:
        return Path(there)
    return _made(f"cosign-{COSIGN.rpartition('@')[2]}", ["install", COSIGN], None)


def actionlint() -> Path:
    """The linter of GitHub's workflows: the one that is installed, or made from its source."""
    there = shutil.which("actionlint")
    if there:
        return Path(there)
    return _made(f"actionlint-{ACTIONLINT.rpartition('@')[2]}", ["install", ACTIONLINT], None)


def _go() -> str:
    """go, also where sudo has taken its folder out of PATH; `make test` sees to it."""
    here = Path(sys.executable).parent
    path = f"{os.environ.get('PATH', '')}:/usr/local/go/bin:{here}"
    return shutil.which("go", path=path) or need("go")


def _made(name: str, words: list[str], where: Path | None) -> Path:
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / name
    with (cache / "go.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            # What go downloads and compiles on its way is large, and of no use afterwards.
            with tempfile.TemporaryDirectory(dir=cache, prefix="making-") as folder:
                _make(words, Path(folder), where).rename(target)
    return target


def _make(words: list[str], folder: Path, where: Path | None) -> Path:
    # `go install` names the program after the last part of its package.
    out = folder / (words[-1].rpartition("@")[0].rpartition("/")[2] if where is None else "out")
    done = subprocess.run(
        [_go(), *(word.format(out=out) for word in words)],
        cwd=where or folder,
        env={
            **os.environ,
            "CGO_ENABLED": "0",
            "GOBIN": str(folder),
            "GOPATH": str(folder / "path"),
            "GOCACHE": str(folder / "compiled"),
            "GOFLAGS": "-modcacherw",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"go {words}: {done.stderr[-3000:]}")
    return out
