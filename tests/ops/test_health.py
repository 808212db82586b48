"""Health rules against hosts that answer by a script, real sockets, real HTTP and real TLS."""

from __future__ import annotations

import http.server
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bootcfleet.domain.inventory import Connection, Host
from bootcfleet.domain.rollout_policy import HealthKind, HealthRule
from bootcfleet.drivers.command import CommandResult, LocalExecutor
from bootcfleet.drivers.healthprobe import without_query
from bootcfleet.errors import HostError, HostFault
from bootcfleet.ops.health import check_health
from tests.drivers.certificates import PrivateCa
from tests.machines import said

HOST = Host("web1", connection=Connection(address="127.0.0.1"))
RUNNING = said("running\n")
DEGRADED = said("degraded\n", "", 1)
UNITS = said("a.service loaded failed failed A\nb.service loaded failed failed B\n")


def greenboot(check: str, complete: str = "inactive") -> CommandResult:
    return said(
        f"Id=greenboot-healthcheck.service\nLoadState=loaded\nUnitFileState=enabled\n"
        f"ActiveState={check}\nResult={'exit-code' if check == 'failed' else 'success'}\n\n"
        f"Id=boot-complete.target\nLoadState=loaded\nUnitFileState=static\n"
        f"ActiveState={complete}\nResult=success\n"
    )


Answer = CommandResult | HostError


@dataclass
class Scripted(LocalExecutor):
    """Answers by the second word of a command, one after another; the last stays."""

    answers: dict[str, list[Answer]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def run(self, argv: Sequence[str], **_: object) -> CommandResult:  # type: ignore[override]
        word = argv[1] if argv[0] == "systemctl" else argv[0]
        self.asked.append(word)
        script = self.answers.get(word, [RUNNING])
        answer = script.pop(0) if len(script) > 1 else script[0]
        if isinstance(answer, HostError):
            raise answer
        return answer

    @property
    def now(self) -> float:
        return sum(self.slept)

    def check(self, *rules: HealthRule, settle: float = 60, **more: object) -> tuple[str, ...]:
        return check_health(
            rules,
            HOST,
            self,
            settle=settle,
            sleep=self.slept.append,
            monotonic=lambda: self.now,
            **more,  # type: ignore[arg-type]
        )


def lost(fault: HostFault = HostFault.CONNECTION_LOST) -> HostError:
    return HostError("web1", fault, "gone")


def test_the_system_is_asked_when_nobody_named_it() -> None:
    host = Scripted()
    assert host.check() == ()
    assert host.asked == ["is-system-running"]
    sick = Scripted({"is-system-running": [DEGRADED], "list-units": [UNITS]})
    assert sick.check() == ("systemd says degraded (failed units: a.service, b.service)",)


def test_a_system_that_starts_is_waited_for() -> None:
    starting = said("starting\n", "", 1)
    host = Scripted({"is-system-running": [starting, lost(), starting, RUNNING]})
    assert host.check() == ()
    assert host.now == 6
    slow = Scripted({"is-system-running": [starting]})
    assert slow.check(settle=20) == ("systemd says starting 20 s after it came back",)
    assert slow.now == 20


def test_what_is_allowed_and_what_was_before() -> None:
    allow = HealthRule(HealthKind.SYSTEM, allow=("a.*",))
    host = Scripted({"is-system-running": [DEGRADED], "list-units": [UNITS]})
    assert host.check(allow) == ("systemd says degraded (failed units: b.service)",)
    assert host.check(before_state="degraded") == ()
    assert host.check(allow, before_state="degraded", before_units=("b.service",)) == ()


@pytest.mark.parametrize(
    ("fault", "asked"), [(HostFault.HOST_KEY_CHANGED, 1), (HostFault.UNREACHABLE, 11)]
)
def test_a_host_that_cannot_be_asked_is_no_sick_host(fault: HostFault, asked: int) -> None:
    host = Scripted({"is-system-running": [lost(fault)]})
    with pytest.raises(HostError) as caught:
        host.check(settle=20)
    assert caught.value.fault is fault
    assert len(host.asked) == asked


GREENBOOT = HealthRule(HealthKind.GREENBOOT)


@pytest.mark.parametrize(
    ("answers", "failures", "seconds"),
    [
        ([said("Id=greenboot-healthcheck.service\nLoadState=not-found\n")], (), 0),
        ([greenboot("active", "active")], (), 0),
        (
            [greenboot("inactive"), lost(), greenboot("activating"), greenboot("active", "active")],
            (),
            6,
        ),
        (
            [greenboot("activating"), greenboot("failed")],
            ("greenboot: greenboot-healthcheck.service failed (exit-code)",),
            2,
        ),
        (
            [greenboot("active")],
            ("greenboot has not come to an end: boot-complete.target is not reached",),
            10,
        ),
        (
            [said("", "Failed to connect to bus\n", 1)],
            ("greenboot has not come to an end: systemctl ended with exit code 1",),
            10,
        ),
    ],
)
def test_greenboot(answers: list[Answer], failures: tuple[str, ...], seconds: float) -> None:
    host = Scripted({"show": answers})
    assert host.check(GREENBOOT, settle=10) == failures
    assert host.now == seconds


def test_a_command_on_the_host() -> None:
    rule = HealthRule(HealthKind.COMMAND, argv=("probe", "-v"), retries=2, interval=5)
    host = Scripted({"probe": [said("", "not yet\n", 1), lost(), said("")]})
    assert host.check(rule) == ()
    assert host.now == 10
    bad = Scripted({"probe": [said("", "never\n", 7)]})
    assert bad.check(rule) == ("check 'probe -v' failed: exit code 7: never",)
    assert bad.asked.count("probe") == 3


@dataclass
class Web:
    """A real HTTP server that answers with `codes`, the last of them for ever."""

    codes: list[int]
    asked: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0


@contextmanager
def serving(*codes: int, context: ssl.SSLContext | None = None) -> Iterator[Web]:
    web = Web(list(codes))

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            web.asked.append((self.path, self.headers["Host"]))
            code = web.codes.pop(0) if len(web.codes) > 1 else web.codes[0]
            self.send_response(code)
            self.send_header("Location", "/elsewhere")
            # More is promised than comes: nobody is to wait for the body.
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            self.wfile.write(b"x")

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass

    with Server(("127.0.0.1", 0), Page) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        web.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield web
        finally:
            server.shutdown()
            thread.join()


def http_rule(url: str, **more: object) -> HealthRule:
    return HealthRule(HealthKind.HTTP, url=url, **{"retries": 2, "interval": 3, **more})  # type: ignore[arg-type]


def test_http_from_here() -> None:
    with serving(503, 500, 200) as web:
        host = Scripted()
        url = f"http://{{address}}:{web.port}/healthz/{{host}}?token=s3cret"
        assert host.check(http_rule(url)) == ()
        assert host.now == 6
        assert web.asked == [("/healthz/web1?token=s3cret", f"127.0.0.1:{web.port}")] * 3


@pytest.mark.parametrize(
    ("code", "wanted", "why"),
    [
        (503, (200,), "it answers HTTP 503, not 200"),
        (302, (200, 204), "it answers HTTP 302, not 200 or 204"),
        (302, (301, 302), None),
        (204, (204,), None),
    ],
)
def test_http_statuses(code: int, wanted: tuple[int, ...], why: str | None) -> None:
    with serving(code) as web:
        url = f"http://127.0.0.1:{web.port}/x?token=s3cret"
        failures = Scripted().check(http_rule(url, status=wanted))
        shown = f"http://127.0.0.1:{web.port}/x"
        assert failures == (() if why is None else (f"check 'GET {shown}' failed: {why}",))
        assert {path for path, _ in web.asked} == {"/x?token=s3cret"}


def test_tls_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = PrivateCa(tmp_path)
    signed = authority.sign("web")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(signed.certificate, signed.key)
    with serving(200, context=context) as web:
        rule = http_rule(f"https://{{address}}:{web.port}/", retries=0, name="web")
        (failure,) = Scripted().check(rule)
        assert failure.startswith("check 'web' failed: its certificate is not good: ")
        plain = http_rule(f"http://{{address}}:{web.port}/", retries=0, name="web")
        assert len(Scripted().check(plain)) == 1
        assert web.asked == []
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
        assert Scripted().check(rule) == ()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def silent() -> Iterator[int]:
    """A port that takes connections and says nothing."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock.getsockname()[1]


def test_nobody_there() -> None:
    port = free_port()
    host = Scripted()
    failures = host.check(
        http_rule(f"http://{{address}}:{port}/"),
        HealthRule(HealthKind.TCP, port=port, retries=1, interval=4),
        HealthRule(HealthKind.TCP, name="ldap", port=port, retries=0),
    )
    assert failures == (
        f"check 'GET http://127.0.0.1:{port}/' failed: connection refused",
        f"check 'TCP port {port}' failed: connection refused",
        "check 'ldap' failed: connection refused",
    )
    assert host.now == 3 + 3 + 4


def test_a_port_that_says_nothing() -> None:
    for port in silent():
        rule = http_rule(f"http://127.0.0.1:{port}/", timeout=0.3, retries=0, name="web")
        assert Scripted().check(rule) == ("check 'web' failed: no answer within 0.3 s",)
        assert Scripted().check(HealthRule(HealthKind.TCP, port=port, retries=0)) == ()


def test_a_name_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> object:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    rule = http_rule("http://nowhere.invalid/", retries=0, name="web")
    assert Scripted().check(rule) == ("check 'web' failed: its name is not known",)
    assert Scripted().check(HealthRule(HealthKind.TCP, port=1, retries=0, name="t")) == (
        "check 't' failed: its name is not known",
    )


def test_one_that_fails_does_not_hide_another() -> None:
    port = free_port()
    rules = [HealthRule(HealthKind.TCP, port=port, retries=0, name=name) for name in "abc"]
    sick = Scripted({"is-system-running": [DEGRADED], "list-units": [UNITS]})
    assert len(sick.check(*rules)) == 4


def test_a_stop_goes_through() -> None:
    def stop(_: float) -> None:
        raise KeyboardInterrupt

    rule = HealthRule(HealthKind.TCP, port=free_port(), retries=5)
    with pytest.raises(KeyboardInterrupt):
        check_health((rule,), HOST, Scripted(), settle=1, sleep=stop)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h:8443/a/b?token=x#y", "https://h:8443/a/b"),
        ("http://user:pw@h/a", "http://h/a"),
        ("http://[fd00::1]:80/", "http://[fd00::1]:80/"),
    ],
)
def test_urls_as_they_are_shown(url: str, shown: str) -> None:
    assert without_query(url) == shown
