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
from bootcfleet.errors import FleetError, UsageError

#: Its value goes with each post as a bearer token.
BEARER = "BOOTCFLEET_WEBHOOK_TOKEN"


class Webhook:
    """An address.  Its path and query may hold a secret: only the host is ever shown."""

    def __init__(self, url: str, *, timeout: float = 30.0) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if host is None or parts.scheme not in {"http", "https"}:
            raise UsageError("the webhook is no address: write https://HOST/PATH")
        self.host = f"{host}:{port}" if port else host
        self._url, self._timeout = url, timeout
        self._pool = urllib3.PoolManager(retries=False, timeout=timeout)

    def post(self, body: Mapping[str, Any]) -> None:
        """Post a JSON object.  Raises `FleetError` for anything but a 2xx answer."""
        headers = {"Content-Type": "application/json", "User-Agent": f"bootcfleet/{__version__}"}
        if token := os.environ.get(BEARER):
            headers["Authorization"] = f"Bearer {token}"
        data = json.dumps(body, ensure_ascii=False).encode()
        try:
            answer = self._pool.request(
                "POST", self._url, body=data, headers=headers, redirect=False
            )
        except HTTPError as error:
            # urllib3's own words name the whole address.
            raise FleetError(
                f"the webhook at {self.host} cannot be reached ({type(error).__name__})"
            ) from None
        if not 200 <= answer.status < 300:
            raise FleetError(f"the webhook at {self.host} answers HTTP {answer.status}")
