"""What a simulated host answers to the questions of checks (`drivers/checkprobe.py`).

It knows its few files, its units, its kernel and port 22; to anything else it
has no answer, and a check of that fails on it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

from bootcfleet.domain.checkfacts import Verb
from bootcfleet.drivers.simbootc import Said
from bootcfleet.drivers.simhost import BAD_UNIT, SimHost

_STAT = "regular file|644|0|root|0|root"
_SSH = "   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 1 1\n"


def answer(host: SimHost, asked: str, file: Callable[[str], str | None]) -> Said:
    """The probe's output; `asked` is what it reads, `file` the content of a path or None."""
    lines = asked.splitlines()
    out = []
    for number, line in enumerate(lines, start=1):
        verb, *words = line.split("\t")
        for key, text in _facts(host, verb, words[0] if words else "", file).items():
            data = base64.b64encode(text.encode()).decode()
            out.append(f"{number}\t{key}\t{data}\n")
    return Said("".join(out) + f"{len(lines)} END\n")


def _facts(
    host: SimHost, verb: str, word: str, file: Callable[[str], str | None]
) -> dict[str, str]:
    failed = not host.healthy and word == BAD_UNIT
    content = file(word) if verb in (Verb.FILE, Verb.CONTENT, Verb.SHA256) else None
    match verb:
        case Verb.FILE:
            return {} if content is None else {"itself": _STAT, "through": _STAT}
        case Verb.CONTENT:
            return {} if content is None else {"content": content}
        case Verb.SHA256:
            if content is None:
                return {}
            return {"sha256": hashlib.sha256(content.encode()).hexdigest()}
        case Verb.UNIT:
            return {"enabled": "enabled\n"}
        case Verb.UNIT_STATE:
            state = ("failed", "failed") if failed else ("active", "running")
            return {"state": f"LoadState=loaded\nActiveState={state[0]}\nSubState={state[1]}\n"}
        case Verb.SYSTEM:
            bad = "".join(f"{unit} loaded failed failed A unit\n" for unit in host.failed_units)
            return {"state": "degraded\n" if bad else "running\n", "failed": bad}
        case Verb.LISTEN:
            return {"tcp": _SSH}
        case Verb.KERNELS:
            return {"kernel": "6.12.0-lab.x86_64"}
        case Verb.CMDLINE:
            return {"cmdline": "BOOT_IMAGE=(hd0,gpt3)/vmlinuz root=UUID=1ab rw\n"}
        case _:
            return {}
