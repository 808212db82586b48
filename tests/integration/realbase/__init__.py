"""A real base image for tests: a Debian root with real dnf, rpm and systemd in the shape of a
bootc base, and a local RPM repository in it. Only `bootc`, `update-ca-trust`, `dkms` and
the packages are stand-ins; each says so in itself.

Making it takes a minute or two (debootstrap), so the result is kept as the storage folder
of a registry under ``$BOOTCFLEET_TEST_CACHE`` (default /var/tmp/bootcfleet-test-cache), by
the hash of everything in this folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.integration.realbase.packages import HERE, KERNEL, make_repository
from tests.integration.registryprocess import Registry

#: Where the base lies in each registry it is put into.
REPOSITORY = "bootcfleet-test/base"

_SUITE = "bookworm"
_INCLUDE = "dnf,rpm,systemd,systemd-sysv,tzdata,kmod,sudo"


def cache_folder() -> Path:
    """Where bases are kept between runs."""
    return Path(os.environ.get("BOOTCFLEET_TEST_CACHE", "/var/tmp/bootcfleet-test-cache"))


def recipe_key() -> str:
    """Hash of everything that decides the base's content."""
    digest = hashlib.sha256(f"{_SUITE} {_INCLUDE}".encode())
    for path in sorted(HERE.rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            digest.update(path.relative_to(HERE).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def ready_base(env: Mapping[str, str]) -> tuple[Path, str]:
    """The registry folder that has the base, and the base's digest; made if need be.

    `env` is the environment for podman (its own storage). Two runs at the same
    time make it once: the second waits for the first.
    """
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    done = cache / f"base-{recipe_key()}"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (done / "digest").exists():
            for old in cache.glob("base-*"):
                shutil.rmtree(old)
            with tempfile.TemporaryDirectory(dir=cache, prefix="making-") as folder:
                made = _make(Path(folder), env)
                made.rename(done)
    return done / "registry", (done / "digest").read_text()


def _run(*words: str, env: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        words, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-4000:]}")


def _make(work: Path, env: Mapping[str, str]) -> Path:
    root, result = work / "root", work / "result"
    _run("debootstrap", "--variant=minbase", f"--include={_INCLUDE}", _SUITE, str(root))
    for name, folder in {
        "bootc": "bin",
        "update-ca-trust": "bin",
        "prepare-root.sh": "share",
    }.items():
        shutil.copy(HERE / "standin" / name, root / "usr" / folder / name)
    make_repository(root / "usr/share/bootcfleet-test-repo", work / "rpm")
    _run("chroot", str(root), "/bin/sh", "/usr/share/prepare-root.sh", KERNEL)
    (root / "usr/share/prepare-root.sh").unlink()
    archive, digest = work / "root.tar", result / "digest"
    _run("tar", "-C", str(root), "--numeric-owner", "--xattrs", "-cf", str(archive), ".")
    changes = (
        'CMD ["/sbin/init"]',
        "LABEL containers.bootc=1",
        "LABEL ostree.bootable=true",
        "LABEL org.opencontainers.image.title=test-base",
        "LABEL org.opencontainers.image.created=2020-01-01T00:00:00Z",
        "LABEL org.opencontainers.image.ref.name=test",
        "LABEL org.opencontainers.image.licenses=base",
        "LABEL org.opencontainers.image.documentation=https://example.com/base",
        "LABEL org.opencontainers.image.authors=base",
        "LABEL org.opencontainers.image.base.digest=sha256:" + "0" * 64,
    )
    local = f"localhost/{REPOSITORY}:{recipe_key()}"
    words = [word for change in changes for word in ("--change", change)]
    _run("podman", "import", *words, str(archive), local, env=env)
    with Registry.start(result / "registry", work / "registry.log") as registry:
        target = f"docker://{registry.address}/{REPOSITORY}:test"
        _run(
            "podman", "push", "--tls-verify=false", f"--digestfile={digest}", local, target, env=env
        )
    return result
