"""The real docker-registry as a process of the tests: a free loopback port, ended by its pid."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.tools import need

_CONFIG = """\
version: 0.1
log: {{level: info, formatter: json}}
storage:
  filesystem: {{rootdirectory: {root}}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:0"}}
"""


@dataclass
class Registry:
    """A running registry; `address` is 127.0.0.1:PORT, `root` its storage folder."""

    address: str
    root: Path
    process: subprocess.Popen[bytes]

    @classmethod
    def start(cls, root: Path, log: Path) -> Self:
        """Start it on a port that the kernel chooses; returns when it listens."""
        # Debian calls the program docker-registry, Fedora and EPEL registry.
        program = shutil.which("docker-registry") or shutil.which("registry")
        program = program or need("docker-registry")
        root.mkdir(parents=True, exist_ok=True)
        config = log.with_suffix(".yaml")
        config.write_text(_CONFIG.format(root=root))
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [program, "serve", str(config)], stdout=stream, stderr=subprocess.STDOUT
            )
        for _ in range(600):
            found = re.search(r"listening on (127\.0\.0\.1:\d+)", log.read_text())
            if found:
                return cls(found[1], root, process)
            if process.poll() is not None:
                break
            time.sleep(0.05)
        process.kill()
        process.wait()
        raise RuntimeError(f"docker-registry did not start: {log.read_text()}")

    def stop(self) -> None:
        """End the process."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
