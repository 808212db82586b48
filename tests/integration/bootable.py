"""Real bootable disks for tests, without loop devices and without mounting anything.

`make_bootable_disk(root_tree)` puts any root tree on a raw disk that boots by BIOS and by
UEFI: ext4 written by ``mke2fs -d``, GRUB's own images in the boot sector and on an EFI
partition. A tree without a kernel gets Debian's, with its modules and initramfs.

`debian_root()` is a small Debian with systemd and sshd, and the source of that kernel. Making
it takes a minute (debootstrap), so its archive is kept beside the base of the other tests.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.integration.realbase import cache_folder
from tests.tools import need, need_root

#: What `make_bootable_disk` starts, besides debootstrap.
TOOLS = ("debootstrap", "mke2fs", "grub-mkimage", "mformat", "mcopy")

_SUITE = "bookworm"
_INCLUDE = (
    "systemd,systemd-sysv,openssh-server,linux-image-cloud-amd64,initramfs-tools,kmod,udev,"
    "iproute2,zstd,dbus"
)
_MIB = 1024 * 1024
_SECTOR = 512
_LABEL = "bootcfleet-root"
#: First MiB: boot sector and GRUB's core image; then the EFI partition; then the root.
_ESP_AT, _ESP_MIB = 1, 8
_ROOT_AT = _ESP_AT + _ESP_MIB

# Everything that the guest needs to be reached: an address from qemu's DHCP, host keys made on
# the first boot (the tree is shared by all disks), and no login on the serial console.
_PREPARE = r"""
set -eu
cat > /etc/systemd/network/10-any.network <<'END'
[Match]
Type=ether
[Network]
DHCP=yes
END
systemctl enable -q systemd-networkd.service ssh.service
systemctl mask -q apt-daily.timer apt-daily-upgrade.timer systemd-networkd-wait-online.service
rm -f /etc/ssh/ssh_host_*
cat > /etc/systemd/system/host-keys.service <<'END'
[Unit]
Before=ssh.service
ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key
[Service]
Type=oneshot
ExecStart=/usr/bin/ssh-keygen -q -t ed25519 -N "" -f /etc/ssh/ssh_host_ed25519_key
[Install]
WantedBy=ssh.service
END
systemctl enable -q host-keys.service
# The image's own list comes first, a virtual machine's disk and network with it.
printf '%s\n' virtio_pci virtio_blk virtio_net ext4 >> /etc/initramfs-tools/modules
sed -i 's/^MODULES=.*/MODULES=list/' /etc/initramfs-tools/initramfs.conf
update-initramfs -u -k all
apt-get clean
rm -rf /var/lib/apt/lists/* /usr/share/doc /usr/share/man /usr/share/locale
: > /etc/machine-id
echo bootable > /etc/hostname
"""


def require_tools() -> None:
    """Skip (fail in CI) where something is missing that makes such disks."""
    need_root()
    for tool in TOOLS:
        need(tool)


def debian_root() -> Path:
    """The archive (tar) of a Debian root that boots and has sshd; made once and kept.

    Two runs at the same time make it once: the second waits for the first.
    """
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    recipe = f"{_SUITE} {_INCLUDE} {_PREPARE}"
    done = cache / f"bootable-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}.tar"
    with (cache / "bootable.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            for old in cache.glob("bootable-*.tar"):
                old.unlink()
            with tempfile.TemporaryDirectory(dir=cache, prefix="booting-") as folder:
                root = Path(folder, "root")
                words = ("--variant=minbase", f"--include={_INCLUDE}", _SUITE, str(root))
                _run("debootstrap", *words)
                _run("chroot", str(root), "/bin/sh", "-c", _PREPARE)
                made = Path(folder, "root.tar")
                _run("tar", "-C", str(root), "--numeric-owner", "--xattrs", "-cf", str(made), ".")
                made.rename(done)
    return done


def unpack_debian_root(target: Path) -> Path:
    """The root of `debian_root` as a tree, to be changed and put on a disk."""
    target.mkdir(parents=True)
    _run("tar", "-C", str(target), "--numeric-owner", "--xattrs", "-xpf", str(debian_root()))
    return target


def make_bootable_disk(
    root_tree: Path,
    disk: Path | None = None,
    *,
    authorized_keys: str = "",
    kernel_args: Iterable[str] = (),
    spare_mib: int = 200,
) -> Path:
    """A raw disk that boots `root_tree`; the tree is not changed. Needs root (file owners).

    `disk` is the file to make (default: beside the tree). `authorized_keys` is put in place
    for root. The console is the first serial port and the screen, which `kernel_args` may
    change. A tree without ``/boot/vmlinuz-*`` gets the kernel of `debian_root`; what it must
    have itself to be reached is systemd, sshd and something that asks DHCP for an address.
    """
    target = disk if disk is not None else root_tree.parent / "disk.raw"
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="making-disk-") as folder:
        work = Path(folder)
        tree = work / "root"
        # Hard links would let the guest's files be changed through ours: these are copies.
        _run("cp", "-a", "--reflink=auto", f"{root_tree}", str(tree))
        kernel, initrd = _kernel(tree)
        _write(tree / "etc/fstab", f"LABEL={_LABEL} / ext4 defaults 0 1\n")
        if authorized_keys:
            _write(_home_of_root(tree) / ".ssh/authorized_keys", authorized_keys, 0o600)
        _write(tree / "boot/grub/grub.cfg", _menu(kernel, initrd, kernel_args))
        _assemble(tree, target, work, spare_mib)
    return target


def _menu(kernel: str, initrd: str, extra: Iterable[str]) -> str:
    words = " ".join((f"root=LABEL={_LABEL} ro console=tty0 console=ttyS0", *extra))
    return (
        "set timeout=0\n"
        f"menuentry bootcfleet {{\n  linux /boot/{kernel} {words}\n  initrd /boot/{initrd}\n}}\n"
    )


def _kernel(tree: Path) -> tuple[str, str]:
    """The names of kernel and initramfs in /boot, which are put there if need be."""
    if not sorted((tree / "boot").glob("vmlinuz-*")):
        # Where /lib is a link the modules must not replace it.
        words = ("tar", "-C", str(tree), "--keep-directory-symlink", "-xpf", str(debian_root()))
        merged = "./usr/lib/modules" if _has(debian_root(), "./usr/lib/modules/") else "./lib"
        _run(*words, "--wildcards", "./boot/vmlinuz-*", "./boot/initrd.img-*", merged)
    kernel = sorted(path.name for path in (tree / "boot").glob("vmlinuz-*"))[-1]
    release = kernel.removeprefix("vmlinuz-")
    for name in (f"initrd.img-{release}", f"initramfs-{release}.img"):
        if (tree / "boot" / name).exists():
            return kernel, name
    raise RuntimeError(f"/boot has {kernel}, and no initramfs of it")


def _has(archive: Path, member: str) -> bool:
    words = ["tar", "-tf", str(archive), member]
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def _home_of_root(tree: Path) -> Path:
    """/root, which is a link to /var/roothome in a bootc image."""
    home = tree / "root"
    if home.is_symlink():
        home = tree / str(home.readlink()).lstrip("/")
    return home


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    if path.parent.name == ".ssh":
        path.parent.chmod(0o700)
    path.write_text(text)
    path.chmod(mode)


def _assemble(tree: Path, target: Path, work: Path, spare_mib: int) -> None:
    """Two partitions and a boot sector; the parts are put together by their offsets."""
    used = int(_run("du", "-sm", "--apparent-size", str(tree)).split()[0])
    root_mib = used + used // 5 + spare_mib
    making = work / "disk.raw"
    with making.open("wb") as stream:
        stream.truncate((_ROOT_AT + root_mib + 1) * _MIB)
    root_at = f"offset={_ROOT_AT * _MIB}"
    words = ("-q", "-F", "-t", "ext4", "-L", _LABEL, "-d", str(tree), "-E", root_at)
    _run("mke2fs", *words, str(making), f"{root_mib}M")
    esp = f"{making}@@{_ESP_AT * _MIB}"
    _run("mformat", "-i", esp, "-T", str(_ESP_MIB * _MIB // _SECTOR), "-h", "64", "-s", "32", "::")
    _run("mmd", "-i", esp, "::/EFI", "::/EFI/BOOT")
    start = work / "start.cfg"
    start.write_text(f"search --set=root --label {_LABEL}\nset prefix=($root)/boot/grub\n")
    common = ["normal", "linux", "ext2", "part_msdos", "search", "search_label", "configfile"]
    efi = work / "BOOTX64.EFI"
    _grub("x86_64-efi", efi, start, [*common, "fat"])
    _run("mcopy", "-i", esp, str(efi), "::/EFI/BOOT/BOOTX64.EFI")
    core = work / "core.img"
    _grub("i386-pc", core, start, [*common, "biosdisk"])
    # As grub-bios-setup does it, where core.img follows the boot sector: its block list and the
    # boot sector's are right for that as they come.
    boot = Path("/usr/lib/grub/i386-pc/boot.img").read_bytes()
    with making.open("r+b") as stream:
        stream.write(boot[:440])
        stream.write(_partition_table(root_mib))
        stream.write(core.read_bytes())
    if core.stat().st_size > _ESP_AT * _MIB - _SECTOR:
        raise RuntimeError("GRUB's core image does not fit before the first partition")
    shutil.move(making, target)


def _partition_table(root_mib: int) -> bytes:
    """What follows the code in a boot sector: disk id, four entries, signature."""
    entries = b""
    for flag, kind, at, size in (
        (0x00, 0xEF, _ESP_AT, _ESP_MIB),
        (0x80, 0x83, _ROOT_AT, root_mib),
    ):
        unused = b"\xfe\xff\xff"
        start, count = at * _MIB // _SECTOR, size * _MIB // _SECTOR
        entries += struct.pack("<B3sB3sII", flag, unused, kind, unused, start, count)
    return struct.pack("<IH64s", 0xB007F1EE, 0, entries) + b"\x55\xaa"


def _grub(form: str, made: Path, start: Path, modules: list[str]) -> None:
    words = ("-O", form, "-o", str(made), "-c", str(start), "-p", "/boot/grub")
    _run("grub-mkimage", *words, *modules)


def _run(*words: str, stdin: str | None = None) -> str:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    done = subprocess.run(
        words,
        env={
            **os.environ,
            "PATH": path,
            "MTOOLS_SKIP_CHECK": "1",
            "DEBIAN_FRONTEND": "noninteractive",
        },
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(words[:6])}: {done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout
