"""The access log: one JSON object a line, and a file that logrotate may move away."""

from __future__ import annotations

import json
import logging.handlers
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bootcfleet.errors import FleetError


class _Handler(logging.handlers.WatchedFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """A full disk costs the line; logging would print a traceback for each."""


class AccessLog:
    """Appends to a file.  It is opened anew when it was moved away."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o640)
            self._handler = _Handler(path, encoding="utf-8")
        except OSError as error:
            raise FleetError(
                f"the access log {path} cannot be written: {error.strerror}"
            ) from error

    def write(self, entry: Mapping[str, Any]) -> None:
        """Append one line.  When that is not possible nobody is told: machines go on booting."""
        text = json.dumps(entry, ensure_ascii=True)
        self._handler.handle(logging.makeLogRecord({"msg": "%s", "args": (text,)}))

    def close(self) -> None:
        """Close the file."""
        self._handler.close()
