"""Asks a service of a host from here: one HTTP GET, or one TCP connection."""

from __future__ import annotations

import socket
import ssl
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError, ReadTimeoutError, SSLError

from bootcfleet import __version__
from bootcfleet.errors import FleetError


def http_status(url: str, *, timeout: float) -> int:
    """The status that a GET of `url` is answered with, within `timeout` seconds.

    TLS is verified against the system's certificates; a redirect is an answer and not followed;
    the body is not read, and proxies of the environment are not used.  Raises `FleetError`.
    """
    pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(total=timeout))
    headers = {"User-Agent": f"bootcfleet/{__version__}", "Accept": "*/*"}
    try:
        answer = pool.request("GET", url, headers=headers, redirect=False, preload_content=False)
        answer.close()
        return answer.status
    except (HTTPError, ValueError, OSError) as error:
        raise FleetError(why_not(error, timeout)) from error
    finally:
        pool.clear()


def tcp_open(address: str, port: int, *, timeout: float) -> None:
    """Open and close a connection.  Raises `FleetError` when nobody answers there."""
    try:
        socket.create_connection((address, port), timeout=timeout).close()
    except (OSError, UnicodeError) as error:
        raise FleetError(why_not(error, timeout)) from error


def without_query(url: str) -> str:
    """A URL as it may be shown: what comes after its path may be a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def why_not(error: Exception, timeout: float) -> str:
    """Why a request had no answer, without the address, which urllib3 puts into its texts."""
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) and cause not in causes:
        causes.append(cause)
    found = [arg for one in causes for arg in (one, *one.args)]
    for one in found:
        if isinstance(one, ssl.SSLCertVerificationError):
            return f"its certificate is not good: {one.verify_message}"
    # The first cause says more than what was made of it: urllib3 calls a refusal a time-out, too.
    for one in reversed(found):
        if isinstance(one, SSLError | ssl.SSLError):
            return "it does not speak TLS"
        if isinstance(one, ReadTimeoutError | TimeoutError):
            return f"no answer within {timeout:g} s"
        if isinstance(one, socket.gaierror):
            return "its name is not known"
        if isinstance(one, OSError) and one.strerror:
            return one.strerror.lower()
    return f"no answer of HTTP ({type(error).__name__})"
