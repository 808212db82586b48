"""The boot server under clients that are slow, many, or send no HTTP; and with TLS."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bootcfleet.drivers.accesslog import AccessLog
from bootcfleet.drivers.bootconnection import Limits
from bootcfleet.drivers.bootfiles import open_tree
from bootcfleet.drivers.bootserver import key_pin, tls_context
from bootcfleet.errors import FleetError, UsageError
from tests.bootmachines import Served, boot_tree, serving
from tests.tools import need

POST = b"POST /installed/x HTTP/1.1\r\nHost: x\r\n"
BIG = 48 * 1024 * 1024


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server without patience, and a big file."""
    folder = tmp_path_factory.mktemp("serve")
    tree = boot_tree(folder / "iso")
    with (tree / "big").open("wb") as stream:
        stream.truncate(BIG)
    limits = Limits(idle=1.0, stalled=1.5, body=1.0)
    with serving(folder / "state", boot=tree, limits=limits) as one:
        yield one


def connect(served: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", served.port), timeout=60)


def talk(served: Served, raw: bytes) -> bytes:
    """Send bytes as they are; all that comes back until the server hangs up."""
    with connect(served) as sock:
        sock.sendall(raw)
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := sock.recv(65536):
                data += piece
    return data


@pytest.mark.parametrize(
    "path",
    [
        "/boot/x86_64/../../../../../../etc/passwd",
        "/boot/x86_64/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/boot/x86_64/..%2f..%2f..%2f..%2f..%2fetc/passwd",
        "/boot/x86_64/%252e%252e/%252e%252e/etc/passwd",
        "/boot/x86_64/..\\..\\..\\etc\\passwd",
        "/boot/x86_64//etc/passwd",
        "/boot/x86_64/images/%00/etc/passwd",
        "/host/../boot/x86_64/.treeinfo/../../../../etc/passwd",
        "/boot/x86_64/%c0%ae%c0%ae/%c0%ae%c0%ae/etc/passwd",
        "//etc/passwd",
        "/ks/..%2f..%2fetc%2fpasswd",
        "file:///etc/passwd",
        "http://127.0.0.1/boot/x86_64/../../../../etc/passwd",
    ],
)
def test_no_path_leaves_the_boot_directory(served: Served, path: str) -> None:
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = talk(served, head.encode())
    assert answer.split(b" ", 2)[1] in (b"400", b"404"), answer[:200]
    assert b"root:" not in answer


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET " + b"/a" * 4000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 1000 + b"\r\n",
        b"GET /ks/web1\x00\x01 HTTP/1.1\r\nHost: x\r\n\r\n",
        POST + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n",
        POST + b"Content-Length: 99999999\r\n\r\n" + b"x" * 100_000,
        b"\r\n\r\n\r\n",
    ],
)  # fmt: skip
def test_what_is_no_http_costs_its_connection_alone(served: Served, raw: bytes) -> None:
    answer = talk(served, raw)
    assert answer == b"" or answer.split(b" ", 2)[1] in (b"400", b"413", b"431")
    assert served.get("/ks/web1").status == 200


def test_a_head_that_drips_is_cut_off_and_others_are_served_meanwhile(served: Served) -> None:
    with connect(served) as slow:
        slow.sendall(b"GET /ks/web1 HTTP/1.1\r\n")
        started = time.monotonic()
        with pytest.raises(OSError):  # noqa: PT012 - until the server hangs up
            while time.monotonic() - started < 60:
                slow.sendall(b"X-Slow: 1\r\n")
                assert served.get("/ks/web1").status == 200
                time.sleep(0.1)
                slow.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    if slow.recv(1) == b"":
                        raise ConnectionResetError
                slow.setblocking(True)
    assert time.monotonic() - started < 60


def test_a_body_that_drips_is_cut_off(served: Served) -> None:
    head = b"POST /installed/x HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhost"
    assert talk(served, head).split(b" ", 2)[1] == b"408"


def test_a_client_that_takes_nothing_is_cut_off_by_the_kernel(served: Served) -> None:
    sock = socket.socket()
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", served.port))
        sock.sendall(b"GET /boot/x86_64/big HTTP/1.1\r\nHost: x\r\n\r\n")
        deadline = time.monotonic() + 60
        found: list[dict[str, object]] = []
        while not found and time.monotonic() < deadline:
            time.sleep(0.2)
            found = [
                one
                for one in served.log()
                if one["path"] == "/boot/x86_64/big" and not one["complete"]
            ]
    assert len(found) == 1


def test_too_many_connections_are_put_off_and_said(tmp_path: Path) -> None:
    with serving(tmp_path, limits=Limits(connections=8, idle=60)) as served:
        held = [connect(served) for _ in range(8)]
        try:
            for sock in held:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert sock.recv(12) == b"HTTP/1.1 200"
            answer = talk(served, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"Retry-After: 5" in answer
        finally:
            for sock in held:
                sock.close()
        deadline = time.monotonic() + 60
        while not served.said("kickstart.busy") and time.monotonic() < deadline:
            time.sleep(0.1)
        assert served.said("kickstart.busy") == ["put off 1 connection: 8 are open already"]
        assert served.get("/ks/web1").status == 200


def test_300_clients_at_once_get_their_menu_kickstart_and_file(served: Served) -> None:
    size = BIG // 24
    with (served.plan.trees[0].root / "part").open("wb") as stream:
        stream.write(bytes(range(256)) * (size // 256))
    wanted = hashlib.sha256(bytes(range(256)) * (size // 256)).digest()

    def machine(_number: int) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=120)
        for path in ("/ipxe/52-54-00-00-00-01", "/ks/web1", "/boot/x86_64/part"):
            connection.request("GET", path)
            answer = connection.getresponse()
            data = answer.read()
            if answer.status != 200:
                return False
        connection.close()
        return hashlib.sha256(data).digest() == wanted

    with ThreadPoolExecutor(300) as pool:
        assert list(pool.map(machine, range(300))).count(True) == 300
    assert sum(one["path"] == "/boot/x86_64/part" for one in served.log()) == 300


def certificate(folder: Path) -> tuple[Path, Path]:
    cert, key = folder / "cert.pem", folder / "key.pem"
    words = f"req -x509 -newkey rsa:2048 -nodes -keyout {key} -out {cert} -days 2 -subj /CN=x"
    words += " -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([need("openssl"), *words.split()], check=True, capture_output=True)
    return cert, key


def test_tls_by_certificate_and_by_the_pin_of_a_callback(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    tree = boot_tree(tmp_path / "iso", stage2=b"x" * 3_000_000)
    curl = [need("curl"), "--silent", "--show-error", "--fail"]
    with serving(tmp_path / "s", boot=tree, tls=tls_context(cert, key)) as served:
        assert served.url.startswith("https://")
        menu = subprocess.run(
            [*curl, "--cacert", cert, f"{served.url}/ipxe/52-54-00-00-00-01"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        assert f"inst.stage2={served.url}/host/web1/boot/x86_64" in menu
        file = f"{served.url}/host/web1/boot/x86_64/images/install.img"
        got = subprocess.run(
            [*curl, "--insecure", "--pinnedpubkey", key_pin(cert), "--range", "10-", file],
            check=True,
            capture_output=True,
        ).stdout
        assert got == b"x" * 2_999_990
        wrong = subprocess.run(
            [*curl, "--insecure", "--pinnedpubkey", "sha256//" + "A" * 43 + "=", served.url],
            capture_output=True,
            text=True,
        )
        assert wrong.returncode == 90
        # A client that never says hello takes nobody's place.
        with connect(served):
            subprocess.run([*curl, "--cacert", cert, served.url], check=True, capture_output=True)


def test_a_certificate_and_a_key_that_are_no_pair(tmp_path: Path) -> None:
    cert, _ = certificate(tmp_path)
    (tmp_path / "b").mkdir()
    _, other = certificate(tmp_path / "b")
    with pytest.raises(UsageError, match=r"TLS cannot be served .* KEY_VALUES_MISMATCH"):
        tls_context(cert, other)
    with pytest.raises(UsageError, match="No such file"):
        tls_context(tmp_path / "none", other)
    with pytest.raises(UsageError, match="is no certificate in PEM"):
        key_pin(other)


def test_an_address_that_is_taken(served: Served, tmp_path: Path) -> None:
    with pytest.raises(FleetError, match=rf"127.0.0.1:{served.port} cannot be listened on"):
        with serving(tmp_path, port=served.port):
            pass


def test_the_access_log_follows_logrotate(tmp_path: Path) -> None:
    log = AccessLog(tmp_path / "log")
    log.write({"n": 1, "text": "a\nb"})
    (tmp_path / "log").rename(tmp_path / "log.1")
    log.write({"n": 2})
    log.close()
    assert (tmp_path / "log.1").read_text() == '{"n": 1, "text": "a\\nb"}\n'
    assert (tmp_path / "log").read_text() == '{"n": 2}\n'


def test_boot_directories(tmp_path: Path) -> None:
    arm = open_tree(str(boot_tree(tmp_path / "arm", arch="aarch64")))
    assert arm.arch == "aarch64"
    assert open_tree(f"x86_64={tmp_path / 'arm'}").arch == "x86_64"
    (tmp_path / "empty").mkdir()
    missing = r"has no images/pxeboot/vmlinuz and no images/pxeboot/initrd\.img"
    with pytest.raises(UsageError, match=missing):
        open_tree(str(tmp_path / "empty"))
    with pytest.raises(UsageError, match="there is no such directory"):
        open_tree(str(tmp_path / "none"))
    boot_tree(tmp_path / "s390x", arch="s390x")
    with pytest.raises(UsageError, match="is for s390x"):
        open_tree(str(tmp_path / "s390x"))


def test_tls_that_is_not_spoken_on_a_plain_port_is_no_message(served: Served) -> None:
    context = ssl.create_default_context()
    with pytest.raises(OSError), connect(served) as sock:
        context.wrap_socket(sock, server_hostname="127.0.0.1")
