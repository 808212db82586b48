"""A podman for tests of disks: plays root's podman, a builder in a container, and nothing else.

What it should do otherwise is written into ``control.json``; every argv is written down.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_PROGRAM = r"""#!{python}
import json, os, signal, sys, time
from pathlib import Path

folder = Path({folder!r})
argv = sys.argv[1:]
control = json.loads((folder / "control.json").read_text())
with open(folder / "log.jsonl", "ab", buffering=0) as stream:
    stream.write((json.dumps([Path(sys.argv[0]).name, *argv]) + "\n").encode())

OUTPUTS = {{
    "qcow2": "qcow2/disk.qcow2", "raw": "image/disk.raw", "ami": "image/disk.raw",
    "vmdk": "vmdk/disk.vmdk", "anaconda-iso": "bootiso/install.iso",
    "bootc-installer": "bootiso/install.iso",
}}


def option(name):
    return [argv[i + 1] for i, word in enumerate(argv) if word == name]


def volumes():
    return {{one.split(":")[1]: one.split(":")[0] for one in option("--volume")}}


def say(text):
    print(text, file=sys.stderr, flush=True)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def build(words):
    if "hang" in control:
        (folder / "hangs").write_text(str(os.getpid()))
        time.sleep(600)
    say("Start progressbar")
    say("pulse: Manifest generation step")
    say("[1 / 2] Pipeline build")
    say("  [1 / 2] Stage org.osbuild.rpm")
    say("[2 / 2] Pipeline image")
    say("  [2 / 2] Stage org.osbuild.mkfs.xfs")
    say("Stop progressbar")
    for line in control.get("say", []):
        say(line)
    if "exit" in control:
        sys.exit(control["exit"])
    out = Path(volumes()["/output"])
    named = [words[i + 1] for i, word in enumerate(words) if word == "--type"]
    for one in named:
        if one not in control.get("lacks", []):
            write(out / OUTPUTS[one], "disk of " + words[-1])
    if "--bootc-ref" in words:
        kind = words[words.index("build") + 1]
        base = Path(words[words.index("--output-dir") + 1]).name
        write(out / base / ("disk." + kind), "disk by image-builder")


if Path(sys.argv[0]).name == "qemu-img":
    write(Path(argv[-1]), "converted by " + argv[argv.index("-O") + 1])
elif Path(sys.argv[0]).name == "aws":
    key = " ".join(argv[:2])
    if key in control.get("aws", {{}}):
        say(control["aws"][key])
        sys.exit(254)
elif argv[0] == "info":
    print(json.dumps({{
        "host": {{"arch": "amd64"}}, "version": {{"Version": "5.4.0"}},
        "store": {{"graphDriverName": control.get("driver", "overlay"),
                   "graphRoot": str(folder / "storage")}},
    }}))
elif argv[:2] == ["image", "exists"]:
    sys.exit(0 if argv[2] in control["images"] else 1)
elif argv[:2] == ["image", "inspect"]:
    image = control["images"].get(argv[2])
    if image is None:
        sys.exit(125)
    print(json.dumps([{{"Id": "e" * 64, "Size": 5000, "Architecture": "amd64",
                        "Labels": {{"containers.bootc": "1"}}, "Digest": "sha256:" + "0" * 64,
                        **image}}]))
elif argv[0] == "pull":
    control["images"][argv[-1]] = {{}}
    (folder / "control.json").write_text(json.dumps(control))
elif argv[0] == "run" and "print-configuration" in argv:
    print(json.dumps(control.get("install", {{"filesystem": {{"root": {{"type": "xfs"}}}}}})))
elif argv[0] == "run" and argv[-1] == "--help":
    print("Flags:\n      --type stringArray   image types\n  -v, --verbose   more\n"
          "      --progress string   progress")
elif argv[0] == "run" and "to-disk" in argv:
    write(Path(volumes()["/output"]) / "image/disk.raw", "installed")
elif argv[0] == "run":
    build(argv[argv.index("build"):])
elif argv[0] == "rm":
    pass
else:
    say("unexpected: " + " ".join(argv))
    sys.exit(99)
"""

BIB = "quay.io/centos-bootc/bootc-image-builder:latest"
IMAGE_BUILDER = "ghcr.io/osbuild/image-builder:latest"
IMAGE = "registry.example.com/acme/web:prod"
DIGEST = "sha256:" + "d" * 64
BUILDER_DIGEST = "sha256:" + "b" * 64


class FakeBuilder:
    """podman, qemu-img and aws, in a folder to be put first on PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        (folder / "storage").mkdir()
        for name in ("podman", "qemu-img", "aws"):
            program = self.bin / name
            program.write_text(_PROGRAM.format(python=sys.executable, folder=str(folder)))
            program.chmod(0o755)
        self.control()

    def control(self, **settings: Any) -> None:
        """Say what it should do; see the program.  The images are there unless told otherwise."""
        images = {
            IMAGE: {"RepoDigests": [f"{IMAGE.rpartition(':')[0]}@{DIGEST}"]},
            BIB: {"RepoDigests": [f"{BIB.rpartition(':')[0]}@{BUILDER_DIGEST}"]},
            IMAGE_BUILDER: {},
        }
        data = {"images": images, **settings}
        (self.folder / "control.json").write_text(json.dumps(data))

    @property
    def calls(self) -> list[list[str]]:
        """Every argv so far, with the program first."""
        path = self.folder / "log.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def forget(self) -> None:
        """Begin the list of calls anew."""
        (self.folder / "log.jsonl").unlink(missing_ok=True)

    @property
    def builds(self) -> list[list[str]]:
        """The calls that build something."""
        return [
            one
            for one in self.calls
            if one[:2] == ["podman", "run"] and "bootcfleet-disk-" in " ".join(one)
        ]
