"""How another process speaks to a running lab: JSON lines over a Unix socket.

The socket is in a directory of its own that only this user may enter; its path
stands in the lab's ``lab.json`` (a lab's own directory may be too deep for the
108 bytes that a socket's path may have).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import socketserver
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from bootcfleet.drivers.command import write_atomic
from bootcfleet.errors import FleetError

#: Answers a request: a verb and its arguments → something JSON-ready.
Handler = Callable[[str, Mapping[str, Any]], Any]


@dataclass(frozen=True)
class Running:
    """Where a lab runs, as its ``lab.json`` says."""

    pid: int
    socket: str

    @classmethod
    def read(cls, directory: Path) -> Running | None:
        """The running lab of a directory; a file whose process is gone counts as none."""
        try:
            body = json.loads((directory / "lab.json").read_text())
            found = cls(int(body["pid"]), str(body["socket"]))
            os.kill(found.pid, 0)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found

    def ask(self, verb: str, **arguments: Any) -> Any:
        """Send a request and return the answer.  Raises `FleetError`."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(30)
            try:
                client.connect(self.socket)
                client.sendall(json.dumps({"verb": verb, **arguments}).encode() + b"\n")
                answer = json.loads(client.makefile("rb").readline() or b"{}")
            except (OSError, ValueError) as error:
                raise FleetError(
                    f"the lab (process {self.pid}) does not answer: {error}"
                ) from error
        if "error" in answer:
            raise FleetError(answer["error"], hint=answer.get("hint"))
        return answer.get("result")


class ControlServer:
    """Serves requests for a lab in this process, in threads."""

    def __init__(self, directory: Path, handler: Handler) -> None:
        self._directory = directory
        self._folder = Path(tempfile.mkdtemp(prefix="bootcfleet-lab-"))
        path = self._folder / "control.sock"
        self._server = _Server(str(path), _Request)
        self._server.handler = handler
        body = {"pid": os.getpid(), "socket": str(path)}
        write_atomic(directory / "lab.json", json.dumps(body).encode(), mode=0o600)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="lab-control", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop serving; the lab counts as down from here on."""
        self._server.shutdown()
        self._server.server_close()
        # First the file: who finds it gone may remove the directory.
        with contextlib.suppress(FileNotFoundError):
            (self._directory / "lab.json").unlink()
        shutil.rmtree(self._folder, ignore_errors=True)


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    handler: Handler


class _Request(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        try:
            body = json.loads(self.rfile.readline())
            verb = str(body.pop("verb"))
            answer = {"result": cast(_Server, self.server).handler(verb, body)}
        except FleetError as error:
            answer = {"error": error.message, "hint": error.hint}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            answer = {"error": f"not a request: {error}"}
        with contextlib.suppress(OSError):
            self.wfile.write(json.dumps(answer).encode() + b"\n")
