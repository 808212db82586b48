"""Posts JSON to an address that somebody else listens on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from bootcfleet import __version__
from bootcfleet.drivers.healthprobe import why_not
from bootcfleet.errors import FleetError, UsageError

#: Its value goes with each post as a bearer token.
BEARER = "BOOTCFLEET_WEBHOOK_TOKEN"


#: Answers after which the same post may be taken: too early, too many, and the server's own.
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})


class WebhookError(FleetError):
    """A post that was not taken.

    `transient`: the same one may be taken later, after `retry_after` seconds if that is not None.
    """

    def __init__(
        self, message: str, *, transient: bool = True, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.transient = transient
        self.retry_after = retry_after


class Webhook:
    """An address.  Its path and query may hold a secret: only the host is ever shown.

    `token_env` names the variable whose value goes with each post as a bearer token.
    """

    def __init__(self, url: str, *, timeout: float = 30.0, token_env: str | None = BEARER) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if host is None or parts.scheme not in {"http", "https"}:
            raise UsageError("the webhook is no address: write https://HOST/PATH")
        self.host = f"{host}:{port}" if port else host
        self._url, self._timeout, self._token_env = url, timeout, token_env
        self._pool = urllib3.PoolManager(retries=False, timeout=timeout)

    def post(self, body: Mapping[str, Any]) -> None:
        """Post a JSON object.  Raises `WebhookError` for anything but a 2xx answer."""
        headers = {"Content-Type": "application/json", "User-Agent": f"bootcfleet/{__version__}"}
        if self._token_env and (token := os.environ.get(self._token_env)):
            headers["Authorization"] = f"Bearer {token}"
        # ASCII: half a surrogate in the words of a host can be written so, and not as UTF-8.
        data = json.dumps(body).encode()
        try:
            answer = self._pool.request(
                "POST",
                self._url,
                body=data,
                headers=headers,
                redirect=False,
                preload_content=False,
            )
            # The status says it all, and a body may have no end.
            answer.close()
        except HTTPError as error:
            # urllib3's own words name the whole address.
            raise WebhookError(
                f"the webhook at {self.host} cannot be reached: {why_not(error, self._timeout)}"
            ) from None
        except ValueError as error:
            # http.client on a token or address that is no header: its words have it in them.
            raise WebhookError(
                f"the webhook at {self.host} cannot be asked ({type(error).__name__})",
                transient=False,
            ) from None
        if not 200 <= answer.status < 300:
            raise WebhookError(
                f"the webhook at {self.host} answers HTTP {answer.status}",
                transient=answer.status in _TRANSIENT,
                retry_after=_seconds(answer.headers.get("Retry-After")),
            )


def _seconds(text: str | None) -> float | None:
    """The number of a Retry-After; its other form, a date, is not read."""
    return float(text) if text and text.isascii() and text.isdigit() else None
