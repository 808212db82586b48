"""The limit of open files, in processes of their own: only root can put it back."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
from bootcfleet.drivers.openfiles import allow_open_files
soft, hard, wanted = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(allow_open_files(wanted), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "told"),
    [
        (100, 1000, 400, "400 400 1000"),
        (100, 1000, 4000, "1000 1000 1000"),
        (100, 100, 400, "100 100 100"),
        (500, 1000, 400, "400 500 1000"),
    ],
    ids=["room", "as far as it goes", "no room", "enough already"],
)
def test_the_soft_limit_is_raised_up_to_the_hard_one(
    soft: int, hard: int, wanted: int, told: str
) -> None:
    argv = [sys.executable, "-c", SCRIPT, str(soft), str(hard), str(wanted)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == told, done.stderr
