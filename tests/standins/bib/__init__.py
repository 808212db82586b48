"""The image of the stand-in for bootc-image-builder, to be run by real podman.

Making its root takes a minute (debootstrap), so the archive is kept beside the other roots
of the tests (``$BOOTCFLEET_TEST_CACHE``).
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.integration import bootable
from tests.integration.realbase import cache_folder
from tests.tools import need, need_root

HERE = Path(__file__).parent
NAME = "localhost/standin/bootc-image-builder:test"
_INCLUDE = (
    "python3-minimal,libpython3-stdlib,skopeo,netavark,qemu-utils,e2fsprogs,mtools,"
    "grub-pc-bin,grub-efi-amd64-bin,grub-common,dosfstools"
)
_LIBRARY = "opt/standin"
#: What the maker of disks imports of the tests, and does not need inside of the container.
_STUBS = {
    "tests/__init__.py": "",
    "tests/integration/__init__.py": "",
    "tests/integration/realbase/__init__.py": "def cache_folder():\n    raise OSError\n",
    "tests/tools.py": "def need(tool):\n    return tool\n\n\ndef need_root():\n    pass\n",
}


def make_builder() -> str:
    """The stand-in in podman's storage (of the environment); its name."""
    need_root()
    need("debootstrap")
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="bootcfleet-standin-") as folder:
        own = Path(folder)
        for name, text in _STUBS.items():
            (own / _LIBRARY / name).parent.mkdir(parents=True, exist_ok=True)
            (own / _LIBRARY / name).write_text(text)
        shutil.copy(bootable.__file__, own / _LIBRARY / "bootable.py")
        program = own / "usr/bin/bootc-image-builder"
        program.parent.mkdir(parents=True)
        shutil.copy(HERE / "bootc-image-builder", program)
        program.chmod(0o755)
        # The own files lie over the root: another version of them makes no root anew.
        root = f"localhost/standin/root:{_root_key()}"
        if _run("podman", "image", "exists", root, check=False):
            _run("podman", "import", "--quiet", str(_root()), root)
        (own / "Containerfile").write_text(
            f"FROM {root}\nCOPY opt /opt\nCOPY usr /usr\nENV PYTHONPATH=/{_LIBRARY}\n"
            'LABEL description="a stand-in for bootc-image-builder, for tests"\n'
            'WORKDIR /output\nENTRYPOINT ["/usr/bin/bootc-image-builder"]\n'
        )
        _run("podman", "build", "--quiet", "--tag", NAME, str(own))
    return NAME


def _root_key() -> str:
    return hashlib.sha256(_INCLUDE.encode()).hexdigest()[:16]


def _root() -> Path:
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    done = cache / f"bib-{_root_key()}.tar"
    with (cache / "bib.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            with tempfile.TemporaryDirectory(dir=cache, prefix="bib-") as folder:
                root, made = Path(folder, "root"), Path(folder, "root.tar")
                _run(
                    "debootstrap",
                    "--variant=minbase",
                    f"--include={_INCLUDE}",
                    "bookworm",
                    str(root),
                )
                for gone in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc"):
                    shutil.rmtree(root / gone, ignore_errors=True)
                _run("tar", "-C", str(root), "--numeric-owner", "-cf", str(made), ".")
                made.rename(done)
    return done


def _run(*words: str, check: bool = True) -> int:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stdout[-1000:]}{done.stderr[-3000:]}")
    return done.returncode
