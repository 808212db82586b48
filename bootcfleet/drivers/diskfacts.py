"""Observes what a build of disks stands on: rights, storage, SELinux, space, devices, AWS.

Nothing is changed, and nothing long is done; what cannot be observed stays unknown.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

from bootcfleet.domain.disk_spec import AmiSpec
from bootcfleet.domain.diskobserved import DiskFacts
from bootcfleet.domain.diskrequest import DiskRequest
from bootcfleet.domain.reference import Platform
from bootcfleet.drivers.binfmt import require_emulation
from bootcfleet.drivers.command import Executor, LocalExecutor
from bootcfleet.drivers.imagebuilder import BuilderProbe, RootPodman
from bootcfleet.errors import FleetError, ToolMissingError, UsageError

_REFLINK = frozenset({"btrfs", "xfs", "bcachefs"})
_SELINUX = Path("/sys/fs/selinux/enforce")
_LOOP = Path("/dev/loop-control")


def observe(
    request: DiskRequest,
    executor: Executor,
    output: Path,
    probe: BuilderProbe | None = None,
) -> DiskFacts:
    """What is the case here and now; the builder is asked for its options only with `probe`."""
    podman = RootPodman(executor)
    root = os.geteuid() == 0
    sudo = root or _ok(executor, ["sudo", "-n", "true"])
    info = podman.info() if sudo else None
    machine = Platform.parse(platform.machine()).architecture
    image = podman.state(request.image) if info else None
    native = shutil.which("image-builder")
    builder = request.native or bool(info and request.builder and podman.has(request.builder))
    flags = None
    if probe is not None and builder and request.builder:
        flags = probe.flags(request, podman.digest(request.builder))
    store = Path(info.storage) if info else None
    credentials, exposed = _credentials(request.env_file, root=root)
    bucket, role, asked = _aws(request.ami, request.env_file)
    return DiskFacts(
        root=root,
        sudo=sudo,
        podman=info.version if info else ("?" if shutil.which("podman") else None),
        qemu_img=shutil.which("qemu-img") is not None,
        native=native,
        storage_driver=info.driver if info else None,
        storage=info.storage if info else DiskFacts.storage,
        image=image,
        user_has_image=image is None and podman.user_has(request.image),
        installer=not request.installer or bool(info and podman.has(request.installer)),
        machine=machine,
        emulation=_emulation(request, machine),
        selinux=_selinux(),
        osbuild_selinux=_ok(executor, ["rpm", "-q", "osbuild-selinux"]),
        free_store=_free(store) if store else None,
        free_output=_free(output),
        one_filesystem=store is not None and _device(store) == _device(output),
        reflink=_filesystem(output) in _REFLINK,
        loop=_LOOP.exists(),
        builder=builder,
        builder_flags=flags,
        credentials=credentials,
        credentials_open=exposed,
        bucket=bucket,
        role=role,
        aws_asked=asked,
    )


def aws_folder() -> Path | None:
    """The folder of AWS credentials of the person who runs this, where there is one."""
    home = Path.home()
    with contextlib.suppress(RuntimeError):
        if os.geteuid() == 0 and os.environ.get("SUDO_USER"):
            home = Path(f"~{os.environ['SUDO_USER']}").expanduser()
    found = home / ".aws"
    return found if (found / "credentials").is_file() or (found / "config").is_file() else None


def read_env_file(path: Path) -> dict[str, str]:
    """The variables of a file for ``--env-file``.  Raises `UsageError`."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {getattr(error, 'strerror', error)}") from error
    pairs = (line.partition("=") for line in lines if line.strip() and line.lstrip()[0] != "#")
    return {name.strip(): value for name, equals, value in pairs if equals}


def _ok(executor: Executor, argv: list[str]) -> bool:
    try:
        return executor.run(argv, timeout=30).ok
    except (ToolMissingError, FleetError):
        return False


def _emulation(request: DiskRequest, machine: str) -> str | None:
    if request.architecture == machine:
        return None
    try:
        require_emulation(request.platform)
    except ToolMissingError as error:
        return error.message
    return None


def _selinux() -> str:
    try:
        return "enforcing" if _SELINUX.read_text(encoding="ascii").strip() == "1" else "permissive"
    except OSError:
        return "disabled"


def _existing(path: Path) -> Path:
    """The nearest folder that is there."""
    return next((one for one in (path, *path.parents) if one.exists()), Path("/"))


def _free(path: Path) -> int | None:
    try:
        found = os.statvfs(_existing(path))
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def _device(path: Path) -> int | None:
    try:
        return _existing(path).stat().st_dev
    except OSError:
        return None


def _filesystem(path: Path) -> str:
    """The type of the file system that a path is on."""
    place = str(_existing(path.absolute()))
    best, kind = "", ""
    with contextlib.suppress(OSError):
        for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
            words = line.split()
            mounted = words[1].replace("\\040", " ")
            within = place == mounted or place.startswith(mounted.rstrip("/") + "/")
            if within and len(mounted) >= len(best):
                best, kind = mounted, words[2]
    return kind


def _credentials(env_file: str | None, *, root: bool) -> tuple[bool, bool]:
    """Whether there are credentials, and whether others may read them."""
    if env_file is not None:
        path = Path(env_file)
        try:
            exposed = bool(path.stat().st_mode & 0o077)
        except OSError:
            return False, False
        return "AWS_ACCESS_KEY_ID" in read_env_file(path), exposed
    # sudo clears the environment: only root's own variables get as far as podman.
    return aws_folder() is not None or (root and "AWS_ACCESS_KEY_ID" in os.environ), False


def _aws(ami: AmiSpec | None, env_file: str | None) -> tuple[str | None, str | None, bool]:
    """What is wrong with the bucket and with the role, and whether anybody could be asked."""
    if ami is None or shutil.which("aws") is None:
        return None, None, False
    env: Mapping[str, str] = {}
    if env_file is not None:
        with contextlib.suppress(UsageError):
            env = read_env_file(Path(env_file))
    executor = LocalExecutor(env=env)
    bucket = _said(executor, "s3api", "head-bucket", "--bucket", ami.bucket, "--region", ami.region)
    role = _said(executor, "iam", "get-role", "--role-name", "vmimport")
    return bucket, role, True


def _said(executor: LocalExecutor, *words: str) -> str | None:
    """Why the AWS command line refuses; None where it does not."""
    try:
        result = executor.run(["aws", *words], timeout=60)
    except FleetError as error:
        return error.message
    if result.ok:
        return None
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"exit code {result.exit_code}"
