"""The Markdown of a lock's change."""

from __future__ import annotations

from datetime import UTC, datetime

from bootcfleet.domain.lock import LockChange, Pin
from bootcfleet.domain.lock_summary import lock_markdown
from bootcfleet.domain.reference import Digest, Platform

A, B = (Digest(f"sha256:{char * 64}") for char in "ab")
AT = datetime(2026, 11, 21, 8, 0, 0, tzinfo=UTC)
AMD, ARM = Platform("linux", "amd64"), Platform("linux", "arm64")


def pin(name: str, digest: Digest, version: str | None, *platforms: Platform) -> Pin:
    return Pin(f"r.example/{name}", digest, AT, dict.fromkeys(platforms or (AMD,), A), version)


def test_everything_at_once() -> None:
    change = LockChange(
        moved=(
            (pin("a", A, "1"), pin("a", B, None)),
            (pin("b", A, "1", AMD), pin("b", A, "1", AMD, ARM)),
        ),
        added=(pin("c", A, "3"), pin("d", B, None)),
        removed=(pin("e", A, "5"),),
        unchanged=(pin("f", A, "6"),),
    )
    text = lock_markdown(
        change, {"r.example/a": ("soe", "web")}, {"r.example/g": "no <b>such</b>\ntag"}
    )
    assert text == (
        "## Bases: 2 moved, 2 added, 1 removed\n\n"
        "| base | digest | version | images to rebuild |\n|---|---|---|---|\n"
        "| `r.example/a` | `aaaaaaaaaaaa` → `bbbbbbbbbbbb` | 1 → unknown | soe, web |\n"
        "| `r.example/b` | `aaaaaaaaaaaa`, linux/amd64 → linux/amd64, linux/arm64 | 1 | none |\n\n"
        "### Added\n\n"
        "- `r.example/c` at `aaaaaaaaaaaa`, version 3\n- `r.example/d` at `bbbbbbbbbbbb`\n\n"
        "### Removed\n\n- `r.example/e`: no image declares it\n\n"
        "### Not updated\n\n- `r.example/g`: no \\<b\\>such\\</b\\> tag"
    )


def test_a_label_cannot_bring_markup_in() -> None:
    odd = "1\x1b[31m | 2\n## x `y` [z](http://evil) @team " + "v" * 200
    change = LockChange(moved=((pin("a", A, "1"), pin("a", B, odd)),))
    row = lock_markdown(change, {}, {}).splitlines()[-1]
    assert row.startswith("| `r.example/a` | ")
    assert r"1 \[31m \| 2 \#\# x \`y\` \[z\]\(http://evil\) \@team vvv" in row
    assert len(row) < 300
