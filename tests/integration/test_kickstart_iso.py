"""`kickstart iso` on real ISOs: menus, files, boot records and checksum, read back; booted."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bootcfleet.cli.app import run
from tests.isomaker import LABEL, grub_iso, grub_menu, isolinux_iso, isolinux_menu, need_iso_tools
from tests.tools import need

pytestmark = pytest.mark.integration

KS = f"inst.ks=hd:LABEL={LABEL}:/ks.cfg"
TEXT = "text\nrootpw --lock\nreboot\n"
GRUB_PLACES = ["/EFI/BOOT/grub.cfg", "/boot/grub2/grub.cfg"]


@pytest.fixture(scope="module")
def isolinux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_iso_tools()
    return isolinux_iso(tmp_path_factory.mktemp("isolinux"))


@pytest.fixture(scope="module")
def grub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_iso_tools()
    return grub_iso(tmp_path_factory.mktemp("grub"), show=True)


@pytest.fixture
def kickstart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "own.ks"
    path.write_text(TEXT)
    path.chmod(0o644)
    return path


def _tool(*argv: str | Path) -> str:
    words = [str(word) for word in argv]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def _extract(iso: Path, path: str, target: Path) -> bytes:
    target.unlink(missing_ok=True)
    _tool("xorriso", "-osirrox", "on", "-indev", iso, "-extract", path, target)
    return target.read_bytes()


def _boot_records(iso: Path) -> list[str]:
    """Everything about booting, without places, sizes and random ids."""
    argv = ["-indev", iso, "-report_el_torito", "plain", "-report_system_area", "plain"]
    kept = []
    for line in _tool("xorriso", *argv).splitlines():
        if re.match(
            r"El Torito (boot img|img path|img opts|cat path)|System area|MBR secs|"
            r"MBR heads|Partition offset|GPT (type GUID|partition flags|partname)",
            line,
        ):
            kept.append(re.sub(r"\s+\d+$", "", line) if "boot img" in line else line)
    # What mkisofs pads the end with is not a record; xorriso itself does not.
    gaps = {_number(line) for line in kept if "Gap" in line}
    return [line for line in kept if not (line.startswith("GPT") and _number(line) in gaps)]


def _number(line: str) -> str:
    return line.partition(":")[2].split()[0]


def _files(iso: Path, folder: Path) -> dict[str, str]:
    folder.mkdir()
    _tool("xorriso", "-osirrox", "on:auto_chmod_on", "-indev", iso, "-extract", "/", folder)
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _efi_menu(image: Path) -> str:
    return _tool("mtype", "-i", image, "::/EFI/BOOT/grub.cfg")


def _check(iso: Path) -> None:
    result = subprocess.run([need("checkisomd5"), iso], capture_output=True, text=True)
    assert "PASS" in result.stdout + result.stderr
    assert result.returncode == 0


def _edited(text: str, words: str) -> str:
    return text.replace(" quiet\n", f" quiet {words}\n")


def test_as_rhel_9(isolinux: Path, kickstart: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = isolinux.read_bytes()
    out = Path("out.iso").resolve()
    argv = ["kickstart", "iso", str(kickstart), "--iso", str(isolinux), "-o", "out.iso"]
    assert run([*argv, "--append", "inst.text console=ttyS0"]) == 0
    words = f"{KS} inst.text console=ttyS0"
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "out.iso: xorriso writes the ISO (mkksiso is not installed)"
    assert lines[-1] == f"5 menu entries in 3 menus boot with {words}"
    assert stat.S_IMODE(out.stat().st_mode) == 0o644
    assert isolinux.read_bytes() == before
    assert _boot_records(out) == _boot_records(isolinux)
    old, new = _files(isolinux, Path("old")), _files(out, Path("new"))
    changed = {name for name in new if new[name] != old.get(name)}
    assert changed - {"isolinux/isolinux.bin", "isolinux/boot.cat"} == {
        "ks.cfg",
        "EFI/BOOT/grub.cfg",
        "isolinux/isolinux.cfg",
        "images/efiboot.img",
    }
    assert Path("new/ks.cfg").read_text() == TEXT
    assert Path("new/EFI/BOOT/grub.cfg").read_text() == _edited(grub_menu("linuxefi"), words)
    assert Path("new/isolinux/isolinux.cfg").read_text() == _edited(isolinux_menu(), words)
    assert _efi_menu(Path("new/images/efiboot.img")) == _edited(grub_menu("linuxefi"), words)
    _check(out)
    # Joliet is kept, and nothing is left beside the result.
    assert b"%/E" in out.read_bytes()[17 * 2048 : 20 * 2048]
    assert [path.name for path in Path().iterdir() if path.name.startswith(".")] == []
    # What has a kickstart already gets the other one instead.
    kickstart.write_text("cmdline\n")
    argv[3:] = ["--iso", "out.iso", "-o", "again.iso"]
    assert run(argv) == 0
    said = capsys.readouterr().out
    assert f"note: the menus name another kickstart (hd:LABEL={LABEL}:/ks.cfg)" in said
    menu = _extract(Path("again.iso"), "/EFI/BOOT/grub.cfg", Path("menu")).decode()
    assert menu.count("inst.ks=") == 2
    assert f"quiet inst.text console=ttyS0 {KS}\n" in menu
    assert _extract(Path("again.iso"), "/ks.cfg", Path("ks")) == b"cmdline\n"


def test_as_rhel_10(grub: Path, kickstart: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kickstart.chmod(0o600)
    argv = ["kickstart", "iso", "./own.ks", "--iso", str(grub), "-o", "out.iso"]
    assert run([*argv, "--json"]) == 0
    done = json.loads(capsys.readouterr().out.splitlines()[-1])["data"]
    assert done["secret"] is True
    assert done["mode"] == "0600"
    out = Path("out.iso")
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert _boot_records(out) == _boot_records(grub)
    assert run(["kickstart", "iso", "--inspect", "out.iso", "--json"]) == 0
    medium = json.loads(capsys.readouterr().out)
    assert medium["volume_id"] == LABEL
    assert medium["architecture"] == "x86_64"
    assert medium["kickstarts"] == [f"hd:LABEL={LABEL}:/ks.cfg"]
    assert medium["kickstart_file"] is True
    assert medium["checksum"] == done["checksum"]
    places = [(menu["path"], menu["image"]) for menu in medium["menus"]]
    assert places == [
        ("/EFI/BOOT/grub.cfg", None),
        ("/boot/grub2/grub.cfg", None),
        ("/EFI/BOOT/grub.cfg", "/images/efiboot.img"),
        ("/EFI/BOOT/grub.cfg", "partition 2"),
    ]
    # The partition that UEFI boots, by its place in the catalogue.
    report = _tool("xorriso", "-indev", out, "-report_el_torito", "plain")
    found = re.search(r"img :\s+2\s+UEFI\s.*\s(\d+)$", report, re.MULTILINE)
    assert found is not None
    Path("esp").write_bytes(out.read_bytes()[int(found[1]) * 2048 :])
    assert _efi_menu(Path("esp")).count(KS) == 2
    _check(out)
    shutil.copy(out, "same.iso")
    _tool(need("implantisomd5"), "--force", "same.iso")
    assert Path("same.iso").read_bytes() == out.read_bytes()


def _boot(iso: Path, until: str, *more: str) -> str:
    """What a machine without KVM says on its serial console, until `until` or a minute is over."""
    qemu, log = need("qemu-system-x86_64"), Path("serial.log").resolve()
    words = "-machine pc,accel=tcg -m 256 -display none -monitor none -boot d -net none".split()
    process = subprocess.Popen(
        [qemu, *words, *more, "-serial", f"file:{log}", "-cdrom", str(iso)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    told = ""
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and until not in told:
            time.sleep(0.1)
            raw = log.read_text(errors="replace") if log.exists() else ""
            told = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]", "", raw)
    finally:
        process.kill()
        process.wait()
    return told


def test_grub_boots(grub: Path, kickstart: Path) -> None:
    """GRUB, on the machine's BIOS, reads the edited menu and hands its words to the kernel."""
    argv = ["kickstart", "iso", str(kickstart), "--iso", str(grub), "-o", "out.iso"]
    assert run([*argv, "--append", "inst.text x=[a]*"]) == 0
    stage2 = f"BOOT /images/pxeboot/vmlinuz inst.stage2=hd:LABEL={LABEL} quiet"
    wanted = f"{stage2} {KS} inst.text x=[a]*"
    assert wanted in _boot(Path("out.iso"), wanted)


def test_grub_boots_by_uefi(grub: Path, kickstart: Path) -> None:
    """The same from the EFI system partition, whose menu is a copy of its own."""
    firmware = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
    if not firmware.exists():
        need("OVMF_CODE_4M.fd (ovmf)")
    shutil.copy("/usr/share/OVMF/OVMF_VARS_4M.fd", "vars.fd")
    argv = ["kickstart", "iso", str(kickstart), "--iso", str(grub), "-o", "out.iso"]
    assert run([*argv, "--append", "inst.text"]) == 0
    wanted = f"BOOT /images/pxeboot/vmlinuz inst.stage2=hd:LABEL={LABEL} quiet {KS} inst.text"
    flash = [
        f"if=pflash,format=raw,readonly=on,file={firmware}",
        "if=pflash,format=raw,file=vars.fd",
    ]
    drives = [word for one in flash for word in ("-drive", one)]
    assert wanted in _boot(Path("out.iso"), wanted, *drives)


def test_isolinux_boots(isolinux: Path, kickstart: Path) -> None:
    """isolinux finds itself where its boot-info-table says, and its menu."""
    argv = ["kickstart", "iso", str(kickstart), "--iso", str(isolinux), "-o", "out.iso"]
    assert run(argv) == 0
    assert "boot: " in _boot(Path("out.iso"), "boot: ")


FAKE = """\
#!/bin/sh
# Stands for mkksiso: writes down its words, and does to partition 2 what it does.
printf '%s\\n' "$@" >"$LOG"
exec "$PYTHON" -c '
import sys
from pathlib import Path
from bootcfleet.drivers.isotool import IsoTool, iso_executor
from bootcfleet.ops.kickstart_iso import IsoBackend, IsoRequest, plan_iso, run_iso
ks = Path(sys.argv[2]).read_bytes()
tool = IsoTool(iso_executor())
words = tuple(sys.argv[4].split()) if "-c" in sys.argv else ()
request = IsoRequest(Path(sys.argv[-2]), Path(sys.argv[-1]), ks, False, words, IsoBackend.XORRISO)
run_iso(plan_iso(request, tool), tool, print)
' "$@"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="mkksiso is for root")
def test_mkksiso(
    grub: Path,
    isolinux: Path,
    kickstart: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bin_dir = Path("bin").resolve()
    bin_dir.mkdir()
    fake = bin_dir / "mkksiso"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_dir}:{os.environ['PATH']}")
    monkeypatch.setenv("LOG", str(bin_dir / "log"))
    monkeypatch.setenv("PYTHON", sys.executable)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    argv = ["kickstart", "iso", str(kickstart), "--iso", str(grub), "-o", "out.iso"]
    assert run([*argv, "--append", "inst.text quiet"]) == 0
    assert capsys.readouterr().out.startswith("out.iso: mkksiso writes the ISO (it is installed)")
    words = (bin_dir / "log").read_text().splitlines()
    assert [words[0], *words[2:5]] == ["--ks", "-c", "inst.text quiet", str(grub)]
    assert re.fullmatch(rf"{Path.cwd()}/\.bootcfleet-iso-\w+/ks\.cfg", words[1])
    assert re.fullmatch(rf"{Path.cwd()}/\.bootcfleet-iso-\w+/out\.iso", words[5])
    assert len(words) == 6
    # It would leave a menu as it is: the other one is taken.
    argv[3:] = ["--iso", str(isolinux), "-o", "nine.iso", "--dry-run"]
    assert run(argv) == 0
    why = "mkksiso does not change the menu in the file that UEFI boots from a CD"
    assert f"xorriso would write {Path.cwd()}/nine.iso ({why}):" in capsys.readouterr().out
    # What it makes is looked at.
    fake.write_text('#!/bin/sh\nfor last; do :; done\ncp "$3" "$last"\n')
    argv[3:] = ["--iso", str(grub), "-o", "bad.iso"]
    assert run(argv) == 1
    said = capsys.readouterr().err
    assert "error: /ks.cfg cannot be read out of" in said or "not what was planned" in said
    assert not Path("bad.iso").exists()


def test_dry_run_and_mistakes(
    isolinux: Path, kickstart: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["kickstart", "iso", str(kickstart), "--iso", str(isolinux), "-o", "out.iso"]
    assert run([*argv, "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["command"][:6] == [
        *("xorriso", "-no_rc", "-indev", f"stdio:{isolinux}", "-outdev", "stdio:DIR/out.iso"),
    ]
    assert plan["arguments"] == [KS]
    assert [path.name for path in Path().iterdir()] == ["own.ks"]
    Path("out.iso").write_text("mine")
    assert run(argv) == 2
    assert "out.iso exists already and is not overwritten" in capsys.readouterr().err
    assert Path("out.iso").read_text() == "mine"
    argv[-1] = "new.iso"
    assert run([*argv, "--backend", "genisoimage"]) == 2
    assert "--backend genisoimage: auto, mkksiso or xorriso" in capsys.readouterr().err
    assert run([*argv, "--append", 'a="b c"']) == 2
    assert "--append: 'a=\"b' cannot be a kernel argument" in capsys.readouterr().err
    argv[4] = "out.iso"
    assert run(argv) == 1
    assert "out.iso is no ISO 9660 image" in capsys.readouterr().err
    Path("out.iso").write_bytes(isolinux.read_bytes()[:3_000_000])
    assert run(argv) == 1
    assert re.search(r"out.iso is \d+ bytes shorter than it says itself", capsys.readouterr().err)
    assert run(["kickstart", "iso", "--inspect", "none.iso"]) == 2
    assert f"{Path.cwd()}/none.iso is not a file" in capsys.readouterr().err
    assert run(["kickstart", "iso", "web", "--inspect", "x.iso"]) == 2
    assert run(["kickstart", "iso", "web"]) == 2
    assert "NAME, --iso and --output are needed" in capsys.readouterr().err


def test_a_label_with_spaces(kickstart: Path, capsys: pytest.CaptureFixture[str]) -> None:
    need_iso_tools()
    folder = Path("odd @ 'name'")
    folder.mkdir()
    iso = isolinux_iso(folder, "TEST 9 (x)")
    argv = ["kickstart", "iso", str(kickstart), "--iso", str(iso), "-o", str(folder / "out.iso")]
    assert run(argv) == 0
    spelled = r"TEST\x209\x20\x28x\x29"
    said = capsys.readouterr().out
    assert said.endswith(f"boot with inst.ks=hd:LABEL={spelled}:/ks.cfg\n")
    menu = _extract(folder / "out.iso", "/isolinux/isolinux.cfg", Path("menu")).decode()
    assert f"inst.stage2=hd:LABEL={spelled} quiet inst.ks=hd:LABEL={spelled}:/ks.cfg\n" in menu


def test_a_full_efi_partition(
    isolinux: Path, kickstart: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = Path("efi.img").resolve()
    _extract(isolinux, "/images/efiboot.img", image)
    image.chmod(0o600)
    free = re.search(r"([\d ]+) bytes free", _tool("mdir", "-i", image, "::/"))
    assert free is not None
    Path("fill").write_bytes(bytes(int(free[1].replace(" ", ""))))
    _tool("mcopy", "-i", image, "fill", "::/fill")
    big = "x" * 300
    full = Path("full.iso").resolve()
    _tool(
        *("xorriso", "-indev", isolinux, "-outdev", full, "-boot_image", "any", "replay"),
        *("-map", image, "/images/efiboot.img"),
    )
    argv = ["kickstart", "iso", str(kickstart), "--iso", "full.iso", "-o", "out.iso"]
    assert run([*argv, *(f"--append={letter}={big}" for letter in "abcd")]) == 1
    said = capsys.readouterr().err
    assert "writing /EFI/BOOT/grub.cfg into the EFI system partition failed" in said
    assert "Disk full" in said
    assert not Path("out.iso").exists()
    assert [path.name for path in Path().iterdir() if path.name.startswith(".")] == []


def test_interrupt_leaves_nothing(isolinux: Path, kickstart: Path) -> None:
    bin_dir = Path("bin").resolve()
    bin_dir.mkdir()
    real = need("xorriso")
    (bin_dir / "xorriso").write_text(
        f'#!/bin/sh\ncase "$*" in *-outdev*) echo >"{bin_dir}/begun"; sleep 60;; esac\n'
        f'exec {real} "$@"\n'
    )
    (bin_dir / "xorriso").chmod(0o755)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "bootcfleet", "kickstart", "iso", str(kickstart)),
            *("--iso", str(isolinux), "-o", "out.iso"),
        ],
        env={
            **os.environ,
            "PATH": f"{bin_dir}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
    )
    try:
        deadline = time.monotonic() + 30
        while not (bin_dir / "begun").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    finally:
        process.kill()
    assert sorted(path.name for path in Path().iterdir()) == ["bin", "own.ks"]


def test_install_of_a_project(
    isolinux: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "bootcfleet.yaml").write_text(
        "version: 1\nname: acme\nregistry: registry.example.com/acme\nimage_version: '1'\n"
        "images:\n  soe: {base: quay.io/centos-bootc/centos-bootc:stream9}\n"
        "installs:\n  web: {release: rhel9, image: soe, disk: sda, payload: iso,\n"
        "    secrets: {pull_secret: {env: PULL}}}\n"
    )
    (tmp_path / "inventory.yaml").write_text("version: 1\nhosts:\n  web1: {}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PULL", '{"auths": {}}')
    argv = ["kickstart", "iso", "web", "--host", "web1", "--iso", str(isolinux), "-o", "web.iso"]
    assert run(argv) == 0
    said = capsys.readouterr().out
    missing = "the install takes its image from /container on the medium"
    assert f"note: {missing}, and this ISO has no /container" in said
    assert f"wrote {tmp_path}/web.iso (5 MiB), for its owner alone: it holds secrets" in said
    assert stat.S_IMODE(Path("web.iso").stat().st_mode) == 0o600
    text = _extract(Path("web.iso"), "/ks.cfg", Path("ks.cfg")).decode()
    assert "--hostname=web1" in text
    assert "(secret)" not in text
