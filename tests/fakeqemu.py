"""A stand-in for qemu: logs its words, answers on the QMP socket, and writes a console.

What it does is in ``scenario.json`` beside it: `console` (text), `fail` (list of
[word that must be among the arguments, what to say]: it ends at once with 1 then), `resets`
(texts that the console gets at the first system_reset, the second, ...).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

_PROGRAM = r"""#!{python}
import json, os, re, signal, socket, sys
here = os.path.dirname(os.path.abspath(__file__))
scenario = json.load(open(os.path.join(here, "scenario.json")))
with open(os.path.join(here, "log"), "a") as log:
    log.write(json.dumps({{"pid": os.getpid(), "argv": sys.argv[1:]}}) + "\n")
line = " ".join(sys.argv)
for word, said in scenario.get("fail", ()):
    if word in line:
        sys.exit(said)
with open(re.search(r"id=serial0,path=(\S+)", line)[1], "w") as console:
    console.write(scenario.get("console", ""))
server = socket.socket(socket.AF_UNIX)
server.bind(re.search(r"-qmp unix:([^,]+)", line)[1])
server.listen()
while True:
    connection, _ = server.accept()
    with connection.makefile("rwb") as stream:
        stream.write(b'{{"QMP": {{}}}}\r\n')
        stream.flush()
        for raw in stream:
            asked = json.loads(raw)
            with open(os.path.join(here, "log"), "a") as log:
                log.write(json.dumps({{"qmp": asked["execute"]}}) + "\n")
            if asked["execute"] == "screendump":
                open(asked["arguments"]["filename"], "wb").write(b"PNG")
            if asked["execute"] == "system_reset" and scenario.get("resets"):
                with open(console.name, "a") as console:
                    console.write(scenario["resets"].pop(0))
            stream.write(b'{{"event": "NOTHING"}}\n{{"return": {{}}}}\n')
            stream.flush()
            if asked["execute"] == "quit":
                sys.exit(0)
"""


class FakeQemu:
    """The program in a folder of its own, to be put first on PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        program = folder / "qemu-system-x86_64"
        program.write_text(_PROGRAM.format(python=sys.executable))
        program.chmod(0o755)
        self.play()

    def play(
        self,
        *,
        console: str = "",
        fail: tuple[tuple[str, str], ...] = (),
        resets: tuple[str, ...] = (),
    ) -> None:
        """Say what it does from now on."""
        scenario = {"console": console, "fail": fail, "resets": resets}
        (self.folder / "scenario.json").write_text(json.dumps(scenario))

    def _log(self) -> list[dict[str, object]]:
        log = self.folder / "log"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    @property
    def starts(self) -> list[list[str]]:
        """The arguments of each start."""
        return [entry["argv"] for entry in self._log() if "argv" in entry]  # type: ignore[misc]

    @property
    def pids(self) -> list[int]:
        """The process of each start."""
        return [entry["pid"] for entry in self._log() if "pid" in entry]  # type: ignore[misc]

    @property
    def asked(self) -> list[object]:
        """What was asked over QMP."""
        return [entry["qmp"] for entry in self._log() if "qmp" in entry]
