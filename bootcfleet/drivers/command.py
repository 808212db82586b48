"""Run a command, put a file, get a file: here, in a container, over SSH, on a simulated host.

`Executor` is the protocol that carries the design: whatever is written against
it works against all of them.  `LocalExecutor` is the only place in the package
that starts a process.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from bootcfleet.errors import FleetError, ToolMissingError

#: Called with ("stdout" | "stderr", one line without its newline) as output arrives.
OnLine = Callable[[str, str], None]

#: Seconds that output may still come after a command has ended: a process that it left
#: behind may keep its pipes open for ever.
_DRAIN = 10.0


@dataclass(frozen=True)
class CommandResult:
    """What a command said and how it ended.

    `exit_code` is the process's, or 128 + N when signal N ended it; `duration`
    is in seconds.  Output is decoded as UTF-8, undecodable bytes escaped.
    """

    argv: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str
    duration: float

    @property
    def ok(self) -> bool:
        """Whether the command ended with exit code 0."""
        return self.exit_code == 0


class CommandTimeoutError(FleetError):
    """A command did not end within its time limit; it has been killed or abandoned."""


class Executor(Protocol):
    """Somewhere that commands run and files live."""

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float | None = None,
        stdin: bytes | None = None,
        as_root: bool = False,
        on_line: OnLine | None = None,
    ) -> CommandResult:
        """Run `argv` to its end and return the result, whatever its exit code.

        `argv` is a list of words and never a shell line: the executor does all
        quoting.  `timeout` is in seconds.  `as_root` asks for root rights (sudo
        where the executor is not root already).

        Raises `CommandTimeoutError` (local) or `HostError` (remote) when the
        command could not be run to its end; `ToolMissingError` when a local
        program does not exist.
        """
        ...

    def put(self, data: bytes, path: str, *, mode: int = 0o644, as_root: bool = False) -> None:
        """Write `data` to `path` (temporary name, fsync, rename)."""
        ...

    def get(self, path: str, *, as_root: bool = False) -> bytes:
        """Read the file at `path`."""
        ...

    def close(self) -> None:
        """Let go of whatever is held open; the executor may be used again."""
        ...


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file so that a crash leaves the old one or the new one, never a half.

    What is there and no file (a pipe, a device, ``/dev/stdout``) is written into.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if _is_stream(path):
        # A file that is renamed onto it would stand in its place, /dev/null included.
        path.write_bytes(data)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _is_stream(path: Path) -> bool:
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False
    return not regular or (path.is_symlink() and path.is_relative_to("/dev"))


class LocalExecutor:
    """Commands on this machine.

    `env` is added to the environment of every command; `cwd` is its directory.
    Each command gets a process group of its own, so that a time limit or ^C
    takes its children too.
    """

    def __init__(self, *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> None:
        self._env = dict(env or {})
        self._cwd = cwd
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float | None = None,
        stdin: bytes | None = None,
        as_root: bool = False,
        on_line: OnLine | None = None,
    ) -> CommandResult:
        """See `Executor.run`; `as_root` uses ``sudo -n`` unless this process is root."""
        words = tuple(argv)
        if as_root and os.geteuid() != 0:
            words = ("sudo", "-n", "--", *words)
        started = time.monotonic()
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, **self._env},
                cwd=self._cwd,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            if self._cwd is not None and not self._cwd.is_dir():
                raise FleetError(f"the directory {self._cwd} does not exist") from error
            if Path(words[0]).exists():
                raise ToolMissingError(
                    f"the program {words[0]!r} cannot start: its interpreter (the first line, #!) "
                    "is not installed"
                ) from error
            raise ToolMissingError(
                f"the program {words[0]!r} is not installed",
                hint=f"install {words[0]} with the system's package manager",
            ) from error
        except PermissionError as error:
            raise ToolMissingError(f"the program {words[0]!r} may not be executed") from error
        except OSError as error:
            # Another machine's program, or no program at all.
            raise ToolMissingError(
                f"the program {words[0]!r} cannot be executed: {error.strerror}"
            ) from error
        with self._lock:
            self._running.add(process)
        try:
            out, err = _communicate(process, stdin, timeout, on_line)
        except BaseException:
            _kill_group(process)
            raise
        finally:
            with self._lock:
                self._running.discard(process)
        duration = time.monotonic() - started
        if out is None or err is None:
            raise CommandTimeoutError(
                f"{words[0]} did not finish within {timeout:g} s and was stopped",
                details=[" ".join(words)],
            )
        code = process.returncode
        return CommandResult(words, code if code >= 0 else 128 - code, out, err, duration)

    def put(self, data: bytes, path: str, *, mode: int = 0o644, as_root: bool = False) -> None:
        """See `Executor.put`."""
        if as_root and os.geteuid() != 0:
            raise FleetError(f"{path} can only be written as root")
        write_atomic(Path(path), data, mode=mode)

    def get(self, path: str, *, as_root: bool = False) -> bytes:
        """See `Executor.get`."""
        if as_root and os.geteuid() != 0:
            raise FleetError(f"{path} can only be read as root")
        return Path(path).read_bytes()

    def close(self) -> None:
        """Stop every command that is still running."""
        with self._lock:
            running = list(self._running)
        for process in running:
            _kill_group(process)


class ProcessSocket(socket.socket):
    """One end of a socket whose other end is a process's stdin and stdout.

    For ssh's ProxyCommand.  Closing it ends the process, which is waited for in
    the background; `complaint()` is the last that it said on stderr.
    """

    _process: subprocess.Popen[bytes]
    _reaper: threading.Thread
    _said: bytes = b""

    @classmethod
    def start(cls, argv: Sequence[str]) -> ProcessSocket:
        """Start the process.  Raises `OSError` when its program cannot be executed."""
        ours, theirs = socket.socketpair()
        with theirs:
            connection = cls(fileno=ours.detach())
            try:
                connection._process = subprocess.Popen(
                    list(argv),
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
            except BaseException:
                super(ProcessSocket, connection).close()
                raise
        connection._reaper = threading.Thread(target=connection._reap, daemon=True)
        connection._reaper.start()
        return connection

    def _reap(self) -> None:
        if self._process.stderr is not None:
            with self._process.stderr as stream:
                while chunk := os.read(stream.fileno(), 4096):
                    self._said = (self._said + chunk)[-4096:]
        self._process.wait()

    def complaint(self, patience: float = 5.0) -> str:
        """The last line on its stderr, or nothing.

        Waits up to `patience` seconds for the process to end: a socket that is
        shut is seen before what was said before that has been read.
        """
        self._reaper.join(patience)
        lines = self._said.decode("utf-8", "backslashreplace").strip().splitlines()
        return lines[-1].strip() if lines else ""

    def close(self) -> None:
        """Close the socket and end the process."""
        super().close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGTERM)


def _communicate(
    process: subprocess.Popen[bytes],
    stdin: bytes | None,
    timeout: float | None,
    on_line: OnLine | None,
) -> tuple[str, str] | tuple[None, None]:
    """Feed and drain the process; (None, None) when the time limit passed (it is killed)."""
    collected: dict[str, list[str]] = {"stdout": [], "stderr": []}
    complaints: list[Exception] = []

    def tell(name: str, line: str) -> None:
        if on_line is None or complaints:
            return
        try:
            on_line(name, line)
        except Exception as error:  # noqa: BLE001 - raised below, in the caller's thread
            complaints.append(error)

    def drain(name: str, stream: IO[bytes]) -> None:
        with stream:
            for raw in stream:
                line = raw.decode("utf-8", errors="backslashreplace")
                collected[name].append(line)
                tell(name, line.rstrip("\r\n"))

    def feed(stream: IO[bytes], data: bytes) -> None:
        with contextlib.suppress(BrokenPipeError), stream:
            stream.write(data)

    threads = [
        threading.Thread(target=drain, args=(name, stream), daemon=True)
        for name, stream in (("stdout", process.stdout), ("stderr", process.stderr))
        if stream is not None
    ]
    if stdin is not None and process.stdin is not None:
        threads.append(threading.Thread(target=feed, args=(process.stdin, stdin), daemon=True))
    for thread in threads:
        thread.start()
    timed_out = False
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        timed_out = True
        _kill_group(process)
    deadline = time.monotonic() + _DRAIN
    for thread in threads:
        thread.join(timeout=max(0.0, deadline - time.monotonic()))
    if complaints:
        raise complaints[0]
    if timed_out:
        return None, None
    return "".join(collected["stdout"]), "".join(collected["stderr"])


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """End the process and everything that it started: politely, then at once.

    First the signal of a terminal that goes away: on it `podman build` ends the
    container of a RUN, which lives in a session of its own, and removes what it
    was working in. On SIGTERM and SIGINT it dies at once and leaves both behind
    (seen with podman 4.3.1).
    """
    for sent in (signal.SIGHUP, signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, sent)
        try:
            process.wait(5)
            return
        except subprocess.TimeoutExpired:
            continue


def spawn_detached(argv: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a program that outlives this one, its output in `log`.

    The caller may `poll()` it to see whether it ended early.  Raises
    `ToolMissingError` when the program does not exist.
    """
    with log.open("ab") as stream:
        try:
            return subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise ToolMissingError(f"the program {argv[0]!r} is not installed") from error
