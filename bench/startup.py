"""Start-up time of `bootcfleet --help` against the help of a typer application with nothing in it.

    python bench/startup.py [RUNS]

The goal is a ratio below 2. Both run alternately, and the medians are compared.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

EMPTY = """
import typer
app = typer.Typer(name="empty", pretty_exceptions_enable=False)
@app.callback(invoke_without_command=True)
def main() -> None:
    "Nothing."
app(prog_name="empty")
"""

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "empty typer --help": [sys.executable, "-c", EMPTY, "--help"],
    "bootcfleet --help": [sys.executable, "-m", "bootcfleet", "--help"],
    "bootcfleet image --help": [sys.executable, "-m", "bootcfleet", "image", "--help"],
    "bootcfleet fleet --help": [sys.executable, "-m", "bootcfleet", "fleet", "--help"],
}


def main() -> None:
    """Run each command so often and print the medians."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for number in range(runs + 1):
        for name, argv in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
            if number:  # the first round fills the caches
                taken[name].append(time.perf_counter() - started)
    empty = statistics.median(taken["empty typer --help"])
    print(f"{'command':<26} {'median':>9} {'of empty typer':>15}")
    for name, seconds in taken.items():
        median = statistics.median(seconds)
        print(f"{name:<26} {median * 1000:>6.0f} ms {median / empty:>14.2f}×")


if __name__ == "__main__":
    main()
