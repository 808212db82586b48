"""Pinning the SSH host keys of a machine that was installed anew, in the text of known_hosts.

The keys that stood for its names before go, as by ``ssh-keygen -R``; revoked keys and
certificate authorities stay. Format: sshd(8), SSH_KNOWN_HOSTS FILE FORMAT.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence


def pin_host(text: str, names: Sequence[str], keys: Sequence[str]) -> str:
    """`text` with `keys` (``TYPE BASE64``) as the only ones of `names`.

    Lines of other machines stay as they are, to the byte. A line that is right
    already keeps its place. Raises `ValueError` when a key is marked as revoked there.
    """
    wanted = {name.lower() for name in names}
    new = [f"{','.join(names)} {key}" for key in keys]
    kept: list[str] = []
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["@revoked"] and len(words) > 3 and f"{words[2]} {words[3]}" in keys:
            raise ValueError(f"{words[2]} key is marked as revoked")
        if not words or words[0].startswith(("#", "@")):
            kept.append(line)
        elif line in new:
            new.remove(line)
            kept.append(line)
        elif words[0].startswith("|"):
            if not any(_is_hash_of(words[0], name) for name in wanted):
                kept.append(line)
        else:
            listed = words[0].split(",")
            left = [name for name in listed if name.lower() not in wanted]
            if len(left) == len(listed):
                kept.append(line)
            elif left:
                # The same line for another machine: the keys are still that one's.
                kept.append(line.replace(words[0], ",".join(left), 1))
    return "".join(f"{line}\n" for line in [*kept, *new])


def _is_hash_of(field: str, name: str) -> bool:
    parts = field.split("|")
    if len(parts) != 4 or parts[1] != "1":
        return False
    try:
        salt, digest = base64.b64decode(parts[2]), base64.b64decode(parts[3])
    except binascii.Error:
        return False
    return hmac.compare_digest(hmac.digest(salt, name.encode(), "sha1"), digest)
