"""A process at the other end of a socket, for ssh's ProxyCommand."""

from __future__ import annotations

import pytest

from bootcfleet.drivers.command import ProcessSocket


def test_bytes_go_through_and_closing_ends_the_process() -> None:
    with ProcessSocket.start(["cat"]) as connection:
        connection.settimeout(20)
        connection.sendall(b"there and back")
        assert connection.recv(100) == b"there and back"
    assert connection._process.wait(20) is not None


def test_a_process_that_does_not_listen_is_ended() -> None:
    connection = ProcessSocket.start(["sleep", "600"])
    connection.close()
    assert connection._process.wait(20) != 0
    connection.close()


def test_its_complaint_is_kept() -> None:
    with ProcessSocket.start(["sh", "-c", "echo first >&2; echo no way >&2; exit 1"]) as connection:
        connection.settimeout(20)
        assert connection.recv(1) == b""
        assert connection.complaint(20) == "no way"


def test_its_complaint_is_waited_for() -> None:
    """What hangs up before it says why is heard out, as one whose words are not read yet."""
    line = "exec <&- >&-; sleep 0.3; echo no way >&2"
    with ProcessSocket.start(["sh", "-c", line]) as connection:
        connection.settimeout(20)
        assert connection.recv(1) == b""
        assert connection.complaint(20) == "no way"


def test_a_process_that_says_nothing_is_not_waited_for_long() -> None:
    with ProcessSocket.start(["sleep", "600"]) as connection:
        assert connection.complaint(0.01) == ""


def test_a_program_that_does_not_exist() -> None:
    with pytest.raises(FileNotFoundError):
        ProcessSocket.start(["/no/such/program"])
