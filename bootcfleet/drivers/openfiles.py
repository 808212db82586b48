"""How many files this process may have open at once: each connection is one.

Of the two limits that the kernel keeps (getrlimit(2)), the soft one is 1,024 on most systems, for
the sake of programs that use select(2), which cannot tell higher numbers; nothing here does.  A
process may raise it up to the hard one, which systemd makes 524,288 (systemd.exec(5),
``LimitNOFILE=``).
"""

from __future__ import annotations

import resource


def allow_open_files(wanted: int) -> int:
    """Raise the soft limit to `wanted`, or as far as the hard one goes; how many of them may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if allowed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return max(allowed, soft)
