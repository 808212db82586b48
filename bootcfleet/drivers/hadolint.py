"""hadolint, where it is installed: the shell and Containerfile linter that others know.

Flags and output as hadolint 2.15.1 has them: ``hadolint --no-fail --format
json -`` reads the Containerfile from standard input, obeys ``# hadolint ignore=…``
and ``--config FILE`` (a ``.hadolint.yaml``), and prints a JSON list of {code,
column, file, level, line, message}.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from bootcfleet.domain.lint.model import CONTAINERFILE, Finding, Severity
from bootcfleet.drivers.command import CommandTimeoutError, Executor
from bootcfleet.errors import FleetError, ToolMissingError

#: Rules of hadolint that say the same as one of ours, or the opposite of how bootc images are
#: built; each with the reason.
LEFT_OUT = {
    "DL3002": "BCF108 says it: USER has no effect on a host",
    "DL3006": "BCF101 says it",
    "DL3007": "BCF101 says it",
    "DL3032": "BCF203 says it",
    "DL3033": "versions are pinned by the digest of the base and the repositories' snapshot",
    "DL3038": "BCF202 says it",
    "DL3040": "BCF203 says it",
    "DL3041": "versions are pinned by the digest of the base and the repositories' snapshot",
    "DL3059": "a layer for each logical step is what hosts download least of",
    "DL4006": "BCF107 says it, and knows which pipes matter",
}

_LOCALHOST = re.compile(r"^(\s*FROM\s+(?:--\S+\s+)*)localhost:(?=\d+/)", re.M | re.I)
_LEVELS = {"error": Severity.ERROR, "warning": Severity.WARNING}
#: In the order in which hadolint looks for them.
_CONFIGURATIONS = (".hadolint.yaml", ".hadolint.yml")
#: Seconds for one Containerfile.
_TIMEOUT = 60.0


@dataclass(frozen=True)
class HadolintResult:
    """hadolint's findings, or None and why there are none."""

    findings: tuple[Finding, ...] | None
    note: str = ""


class Hadolint:
    """hadolint on an executor, with the configuration file of the folder `root` if it has one."""

    def __init__(self, executor: Executor, root: Path | None = None) -> None:
        self._executor = executor
        found = [root / name for name in _CONFIGURATIONS if (root / name).is_file()] if root else []
        self._options = ["--config", str(found[0])] if found else []

    def check(self, containerfile: str) -> HadolintResult:
        """Look at a Containerfile.

        What hadolint's parser does not know (heredocs in some forms, a registry
        like ``localhost:5000``) is a note and no finding: whether a builder takes
        it is BCF100's to say. Raises `FleetError` when hadolint is there and
        cannot do its work, such as with a configuration file that is wrong.
        """
        result = self._run(containerfile)
        if _unread(result):
            # A registry without a dot in its name is all that we write and it cannot read.
            result = self._run(_LOCALHOST.sub(r"\g<1>localhost.localdomain:", containerfile))
        unread = _unread(result)
        if unread:
            where = f"hadolint cannot read line {unread[0].line}"
            return HadolintResult(None, f"{where}: its rules were not looked at")
        return result

    def _run(self, containerfile: str) -> HadolintResult:
        argv = ["hadolint", "--no-fail", "--format", "json", *self._options, "-"]
        try:
            result = self._executor.run(argv, stdin=containerfile.encode(), timeout=_TIMEOUT)
        except ToolMissingError:
            note = "hadolint is not installed: its rules were not looked at"
            return HadolintResult(None, note)
        except CommandTimeoutError:
            return HadolintResult(None, f"hadolint did not end within {_TIMEOUT:g} s")
        try:
            entries = json.loads(result.stdout) if result.ok else None
            if not isinstance(entries, list):
                raise TypeError("it printed no list")
            found = tuple(_finding(entry) for entry in entries if entry["code"] not in LEFT_OUT)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            said = [line for line in (result.stderr or result.stdout).splitlines() if line.strip()]
            raise FleetError(
                f"hadolint ended with exit code {result.exit_code} and said nothing readable",
                hint="run it yourself to see why: hadolint --format json Containerfile",
                details=said[-5:],
            ) from error
        return HadolintResult(found)


def _unread(result: HadolintResult) -> list[Finding]:
    return [one for one in result.findings or () if one.rule == "DL1000"]


def _finding(entry: dict[str, object]) -> Finding:
    code = str(entry["code"])
    page = "https://www.shellcheck.net/wiki" if code.startswith("SC") else None
    remedy = f"{page or 'https://github.com/hadolint/hadolint/wiki'}/{code}"
    severity = _LEVELS.get(str(entry["level"]), Severity.INFO)
    line = int(str(entry["line"]))
    message = " ".join(str(entry["message"]).split())
    return Finding(code, severity, message, CONTAINERFILE, line, f"see {remedy}")
