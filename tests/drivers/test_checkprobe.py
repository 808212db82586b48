"""The probe on this machine, under every shell that is here; and answers that are broken."""

from __future__ import annotations

import base64
import hashlib
import http.server
import os
import pwd
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bootcfleet.domain.checkfacts import Question, Verb
from bootcfleet.drivers.checkprobe import PROGRAM, probe
from bootcfleet.drivers.command import (
    CommandResult,
    CommandTimeoutError,
    Executor,
    LocalExecutor,
    OnLine,
)
from bootcfleet.errors import HostError, HostFault

SHELLS = {name: words for name, words in {
    "dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"],
}.items() if shutil.which(words[0])}  # fmt: skip


class Shell(LocalExecutor):
    """This machine, with another shell in the place of sh; nothing as root."""

    def __init__(self, words: Sequence[str]) -> None:
        super().__init__()
        self.words = words

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float | None = None,
        stdin: bytes | None = None,
        as_root: bool = False,
        on_line: OnLine | None = None,
    ) -> CommandResult:
        words = [*self.words, *argv[1:]] if argv[0] == "sh" else argv
        return super().run(words, timeout=timeout, stdin=stdin, on_line=on_line)


@pytest.fixture(params=sorted(SHELLS))
def shell(request: pytest.FixtureRequest) -> Executor:
    return Shell(SHELLS[request.param])


def ask(executor: Executor, verb: Verb, *words: str) -> dict[str, str]:
    question = Question(verb, words)
    facts = probe(executor, [question])
    assert facts.error == ""
    return {key: data.decode() for key, data in facts.answers[question].parts}


NAMES = ["plain", "it's $(touch oops) `id`", "a\\tb", "ünïcode *?", " leading and trailing "]


def test_files(shell: Executor, tmp_path: Path) -> None:
    me = pwd.getpwuid(os.geteuid()).pw_name
    for name in NAMES:
        (tmp_path / name).write_text(f"content of {name}\n")
        (tmp_path / name).chmod(0o640)
    (tmp_path / "link").symlink_to("plain")
    (tmp_path / "dangling").symlink_to("gone")
    names = [*NAMES, "link", "dangling", "missing"]
    facts = probe(shell, [Question(Verb.FILE, (str(tmp_path / name),)) for name in names])
    stat = f"regular file|640|{os.geteuid()}|{me}|"
    for name in NAMES:
        answer = facts.get(Verb.FILE, str(tmp_path / name))
        assert (answer.text("itself") or "").startswith(stat), name
        assert answer.text("through") == answer.text("itself")
    link = facts.get(Verb.FILE, str(tmp_path / "link"))
    assert (link.text("itself") or "").startswith("symbolic link|777|")
    assert (link.text("through") or "").startswith(stat)
    assert link.text("link") == "plain"
    dangling = facts.get(Verb.FILE, str(tmp_path / "dangling"))
    assert (dangling.text("through"), dangling.text("link")) == (None, "gone")
    assert facts.get(Verb.FILE, str(tmp_path / "missing")).parts == ()
    assert not Path("oops").exists()


def test_contents_and_hashes(shell: Executor, tmp_path: Path) -> None:
    data = bytes(range(256)) * 8000
    (tmp_path / "a\\b").write_bytes(data)
    questions = [Question(verb, (str(tmp_path / "a\\b"),)) for verb in (Verb.CONTENT, Verb.SHA256)]
    facts = probe(shell, questions)
    # At most 1 MiB is looked at; the hash is of everything.
    assert facts.answers[questions[0]].all("content") == (data[: 1024 * 1024],)
    assert facts.answers[questions[1]].text("sha256") == hashlib.sha256(data).hexdigest()
    assert ask(shell, Verb.CONTENT, str(tmp_path)) == {}


def test_users_groups_and_the_kernel(shell: Executor) -> None:
    assert ask(shell, Verb.USER, "root")["passwd"].startswith("root:")
    assert "root" in ask(shell, Verb.USER, "root")["groups"].split()
    assert ask(shell, Verb.USER, "no-such-user") == {"passwd": "", "groups": ""}
    assert ask(shell, Verb.GROUP, "root")["group"].startswith("root:x:0:")
    assert ask(shell, Verb.CMDLINE)["cmdline"] == Path("/proc/cmdline").read_text()
    assert ask(shell, Verb.LISTEN)["tcp"].lstrip().startswith("sl ")


class Page(http.server.BaseHTTPRequestHandler):
    """Answers with its path; /moved leads elsewhere, which is not followed."""

    def do_GET(self) -> None:
        self.send_response(302 if self.path == "/moved" else 404 if "none" in self.path else 200)
        self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(f"page {self.path}".encode())

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("tool", ["curl", "python3"])
def test_http(site: str, tool: str, tmp_path: Path) -> None:
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not here")
    # Only the tools that it needs: python3 is asked where there is no curl.
    programs = {"curl": shutil.which("curl"), "python3": str(Path(sys.executable).resolve())}
    (tmp_path / tool).symlink_to(programs[tool] or tool)
    for name in ("base64", "tr", "mktemp", "head", "rm", "sh"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    executor = LocalExecutor(env={"PATH": str(tmp_path)})
    if tool == "python3" and any(Path(f"{d}/curl").exists() for d in ("/usr/sbin", "/sbin")):
        pytest.skip("curl is among the programs of the system")
    asked = {
        path: Question(Verb.HTTP, (f"{site}{path}", "10", "verified"))
        for path in ("/a?b=[1-3]&c={d}", "/none", "/moved")
    }
    refused = Question(Verb.HTTP, ("http://127.0.0.1:1/", "10", "verified"))
    facts = probe(executor, [*asked.values(), refused])
    said = {path: facts.answers[question] for path, question in asked.items()}
    assert [answer.text("status") for answer in said.values()] == ["200", "404", "302"]
    assert said["/a?b=[1-3]&c={d}"].text("body") == "page /a?b=[1-3]&c={d}"
    assert said["/none"].text("body") == "page /none"
    assert "refused" in (facts.answers[refused].text("error") or "").lower() or (
        "connect" in (facts.answers[refused].text("error") or "").lower()
    )


class Says(Shell):
    """A system that answers something else."""

    def __init__(self, answer: CommandResult | Exception) -> None:
        super().__init__([])
        self.answer = answer

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float | None = None,
        stdin: bytes | None = None,
        as_root: bool = False,
        on_line: OnLine | None = None,
    ) -> CommandResult:
        assert as_root
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


KERNEL = base64.b64encode(b"6.12").decode()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (CommandResult((), 125, "", "Error: no container x\n", 0),
         "the system could not be asked (exit code 125): Error: no container x"),
        (CommandResult((), 137, f"1\tkernel\t{KERNEL}\n", "", 0),
         f"the system could not be asked (exit code 137): 1\tkernel\t{KERNEL}"),
        (CommandTimeoutError("sh did not finish within 120 s and was stopped"),
         "sh did not finish within 120 s and was stopped"),
        (HostError("a", HostFault.UNREACHABLE, "connection refused"), "connection refused"),
        (CommandResult((), 0, f"hello from /etc/profile\n1\tkernel\t{KERNEL}\n9\tx\tAA==\n"
                       "1\tkernel\t!!\n2\nz\ty\tx\n1 END\n", "", 0), ""),
    ],
)  # fmt: skip
def test_broken_answers(answer: CommandResult | Exception, error: str) -> None:
    question = Question(Verb.KERNELS)
    facts = probe(Says(answer), [question], [(("true",), 5.0)])
    assert facts.error == error
    if error:
        assert facts.commands[("true",)].error == error
    else:
        assert facts.answers[question].parts == (("kernel", b"6.12"),)


def test_nothing_that_a_user_wrote_is_in_the_program(tmp_path: Path) -> None:
    seen = []

    class Watch(Shell):
        def run(self, argv: Sequence[str], **more: object) -> CommandResult:  # type: ignore[override]
            seen.append(tuple(argv))
            return CommandResult((), 0, "1 END\n", "", 0)

    probe(Watch([]), [Question(Verb.FILE, ("/a'; reboot #",))])
    assert seen == [("sh", "-c", PROGRAM)]
