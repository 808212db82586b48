"""A podman for tests: a program that writes down its argv and plays along, or fails as told.

Images live as files in a folder. What it should do otherwise is written into
``control.json`` there, so that a test can change it between two runs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_PROGRAM = r"""#!{python}
import hashlib, json, os, re, sys, time
from pathlib import Path

folder = Path({folder!r})
argv = sys.argv[1:]
control = json.loads((folder / "control.json").read_text())
images = folder / "images"


def say(text):
    print(text, flush=True)


def option(name, all=False):
    found = [argv[i + 1] for i, word in enumerate(argv) if word == name]
    return found if all else (found[0] if found else None)


def die(text, code=125):
    print("Error: " + text, file=sys.stderr, flush=True)
    sys.exit(code)


def name_of(tag):
    return re.split("[@:]", tag.rpartition("/")[2])[0]


def log(kind, **more):
    entry = dict(kind=kind, argv=argv, pid=os.getpid(), **more)
    data = (json.dumps(entry) + "\n").encode()
    with open(folder / "log.jsonl", "ab", buffering=0) as stream:
        stream.write(data)


def known(ref):
    return (images / ref.replace("/", "%")).exists()


def add(ref, image_id):
    (images / ref.replace("/", "%")).write_text(image_id)


if argv[0] == "version":
    say(control.get("version", "4.3.1"))
elif argv[0] == "build":
    text = Path(option("--file")).read_text()
    tags = option("--tag", all=True)
    name = name_of(tags[0])
    base = re.search("^FROM (\\S+)", text, re.M)[1]
    log("build", name=name, base=base, text=text, context=argv[-1],
        files={{str(p.relative_to(argv[-1])): [oct(p.stat().st_mode & 0o777), p.stat().st_mtime]
                for p in Path(argv[-1]).rglob("*") if p.is_file()}})
    if not known(base):
        die("creating build container: " + base + ": no such image")
    say("STEP 1/2: FROM " + base)
    meet = control.get("meet", {{}}).get(name)
    if meet:
        # Wait for the others: this ends only when all of them run at the same time.
        (folder / ("at-" + name)).touch()
        while not all((folder / ("at-" + other)).exists() for other in meet):
            time.sleep(0.01)
    if name in control.get("hang", []):
        (folder / ("hangs-" + name)).touch()
        time.sleep(600)
    for number in range(control.get("lines", 3)):
        say(f"{{name}} line {{number}}")
    if name in control.get("fail", []):
        die("building at STEP \"RUN dnf -y install " + name + "\": exit status 1", 1)
    made = text + (option("--platform") or "")
    image_id = hashlib.sha256(made.encode()).hexdigest()
    Path(option("--iidfile")).write_text("sha256:" + image_id)
    for ref in ["sha256:" + image_id, image_id, *tags]:
        add(ref, image_id)
    log("built", name=name, id=image_id, labels=re.findall('"([^"]+)"="([^"]*)"', text))
    say(image_id)
elif argv[0] == "push":
    words = [w for w in argv[1:] if not w.startswith("--")]
    digestfile = option("--digestfile")
    words.remove(digestfile)
    image, target = words[0], words[-1]
    log("push", image=image, target=target)
    count = folder / "pushes"
    count.write_text(str(int(count.read_text()) + 1 if count.exists() else 1))
    if int(count.read_text()) <= control.get("push_failures", 0):
        said = "received unexpected HTTP status: 503 Service Unavailable"
        die("writing blob: " + control.get("push_error", said))
    salt = count.read_text() if control.get("unstable") else ""
    digest = "sha256:" + hashlib.sha256(("pushed " + image + salt).encode()).hexdigest()
    Path(digestfile).write_text(digest)
    log("pushed", target=target, digest=digest, id=image.removeprefix("sha256:"))
    add(target.rpartition(":")[0] + "@" + digest, image)
elif argv[0] == "pull":
    ref = argv[-1]
    log("pull", ref=ref)
    if not any(ref.startswith(one) for one in control.get("pullable", [])):
        die("initializing source docker://" + ref + ": reading manifest: manifest unknown")
    add(ref, "pulled")
elif argv[:2] == ["image", "exists"]:
    sys.exit(0 if known(argv[2]) else 1)
elif argv[:2] == ["image", "inspect"]:
    if not known(argv[2]):
        die("inspecting object: " + argv[2] + ": image not known")
    say(json.dumps([dict(Id="f" * 64, Labels=None, Size=7, RepoTags=[argv[2]],
                         RepoDigests=control.get("digests", []))]))
elif argv[0] == "run" and argv[-3:-1] == ["container", "lint"]:
    log("lint", image=argv[-4])
    said = control.get("lint", {{}}).get(argv[-4], "")
    say(said + "Checks passed: 12")
    sys.exit(1 if "Failed lint" in said else 0)
elif argv[0] == "run":
    name, words = option("--name"), json.loads(option("--entrypoint"))
    log("run", name=name, image=argv[-1], words=words)
    if control.get("no_run") or (words[0] == "/sbin/init" and control.get("no_init")):
        said = f'runc: runc create failed: exec: "{{words[0]}}": no such file or directory'
        (folder / ("container-" + name)).touch()  # created, and not started
        die(said, 127)
    if not known(argv[-1]):
        die(argv[-1] + ": image not known")
    (folder / ("container-" + name)).touch()
    say("c0ffee")
elif argv[0] == "exec":
    words = [word for word in argv[1:] if word not in ("--interactive", "--user", "0:0")]
    name, words = words[0], words[1:]
    log("exec", name=name, words=words)
    if not (folder / ("container-" + name)).exists():
        die('no container with name or ID "' + name + '" found: no such container')
    if words == ["systemctl", "is-system-running"]:
        states = control.get("states", ["running"])
        asked = folder / ("asked-" + name)
        count = int(asked.read_text()) if asked.exists() else 0
        asked.write_text(str(count + 1))
        say(states[min(count, len(states) - 1)])
        sys.exit(0 if states[-1] == "running" else 1)
    if words[:2] == ["systemctl", "list-units"]:
        say("web.service loaded failed failed Web")
        sys.exit(0)
    # Everything else happens on this machine.
    sys.stdout.flush()
    os.execvp(words[0], words)
elif argv[0] == "rm":
    log("rm", name=argv[-1])
    (folder / ("container-" + argv[-1])).unlink(missing_ok=True)
else:
    log("other")
"""


class FakePodman:
    """The program, in a folder to be put first on PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        (folder / "images").mkdir()
        program = self.bin / "podman"
        program.write_text(_PROGRAM.format(python=sys.executable, folder=str(folder)))
        program.chmod(0o755)
        self.control()

    def control(self, **settings: Any) -> None:
        """Say what it should do; see the program."""
        (self.folder / "control.json").write_text(json.dumps(settings))

    def add(self, ref: str) -> None:
        """Put an image into its storage."""
        (self.folder / "images" / ref.replace("/", "%")).write_text("there")

    @property
    def containers(self) -> list[str]:
        """The containers that were not removed."""
        return sorted(path.name for path in self.folder.glob("container-*"))

    def calls(self, kind: str) -> list[dict[str, Any]]:
        """What it was asked for, in order: build, built, push, pull, run, exec, rm, other."""
        path = self.folder / "log.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [entry for entry in map(json.loads, lines) if entry["kind"] == kind]
