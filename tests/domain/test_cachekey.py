"""An ARG before each RUN that mounts something, with a value that follows what is mounted."""

from __future__ import annotations

import re

import pytest

from bootcfleet.domain.cachekey import ARGUMENT, PLATFORM, with_cache_keys
from bootcfleet.domain.template import ContextFile, RenderedImage


def image(text: str, **files: str) -> RenderedImage:
    return RenderedImage(text, {f"files/{k}": ContextFile(v.encode()) for k, v in files.items()})


def keys(text: str, secrets: dict[str, str] | None = None, **files: str) -> list[str]:
    done = with_cache_keys(image(text, **files), secrets or {})
    # Nothing else is changed.
    assert re.sub(rf"(?m)^ARG {ARGUMENT}=\w+\n", "", done).rstrip("\n") == text.rstrip("\n")
    return re.findall(rf"(?m)^ARG {ARGUMENT}=(\w+)\n(?=\s*(?:RUN|run))", done)


BIND = "FROM base\nRUN --mount=type=bind,source=files/a,target=/a cat /a\nRUN true\n"


def test_a_bound_file_is_in_the_key_and_no_other() -> None:
    (one,) = keys(BIND, a="1", b="1")
    (two,) = keys(BIND, a="2", b="1")
    (other,) = keys(BIND, a="1", b="2")
    assert one != two
    assert one == other


@pytest.mark.parametrize(
    "mount",
    [
        "type=bind,target=/x",
        "target=/x",
        "type=bind,src=.,target=/x",
        "type=bind,source=files,target=/x",
        "type=bind,from=builder,source=/out,target=/x",
        'type=bind,source="./files",target=/x',
    ],
)
def test_what_may_reach_any_file_follows_every_file(mount: str) -> None:
    text = f"FROM base\nRUN --mount={mount} cat /x\n"
    assert keys(text, a="1") != keys(text, a="2")
    assert len(keys(text, a="1")) == 1


def test_a_secret_counts_by_its_version() -> None:
    text = "FROM base\nRUN --mount=type=secret,id=key,target=/run/key cat /run/key\n"
    assert keys(text) == []
    assert keys(text, {"key": ""}) == []
    assert keys(text, {"key": "1"}) != keys(text, {"key": "2"})
    assert keys(text, {"key": "1", "other": "1"}) == keys(text, {"key": "1", "other": "2"})


@pytest.mark.parametrize(
    "text",
    [
        "FROM base\nRUN true\nCOPY files/ /\n",
        "FROM base\nRUN --mount=type=cache,target=/c true\n",
        "FROM base\nRUN --mount=type=tmpfs,target=/c true\n",
        "# RUN --mount=target=/x\nFROM base\n",
        "FROM base\nRUN echo a \\\n# RUN --mount=target=/x\n  b\n",
        "FROM base\nCOPY <<EOF /etc/x\nRUN --mount=target=/x true\nEOF\nRUN true\n",
        "FROM base\nRUN <<-EOF\n\tRUN --mount=target=/x true\n\tEOF\nRUN true\n",
        "",
    ],
)
def test_nothing_else_gets_one(text: str) -> None:
    assert keys(text, a="1") == []


def test_a_run_over_several_lines_gets_it_before_its_first() -> None:
    text = (
        "FROM base\n\nRUN \\\n  # which\n  --mount=type=bind,source=files/a,target=/a \\\n\n  x\n"
        "run --mount=type=bind,source=files/b,target=/b y"
    )
    done = with_cache_keys(image(text, a="1", b="1"), {}).splitlines()
    assert done[2].startswith(f"ARG {ARGUMENT}=")
    assert done[3] == "RUN \\"
    assert done[8].startswith(f"ARG {ARGUMENT}=")
    assert done[9].startswith("run ")


def test_the_escape_directive_is_read() -> None:
    text = "# escape=`\nFROM base\nRUN --mount=target=/x `\n  true\nRUN true\n"
    assert len(keys(text, a="1")) == 1


def test_a_platform_is_told_after_each_from() -> None:
    text = "FROM a AS x\nRUN true\nFROM \\\n  b\nCOPY --from=x / /\n"
    done = with_cache_keys(image(text), {}, "linux/arm64").splitlines()
    assert done[1] == done[5] == f"ARG {PLATFORM}=linux/arm64"
    assert (done[0], done[3:5]) == ("FROM a AS x", ["FROM \\", "  b"])
    assert with_cache_keys(image("FROM a"), {}, "arm").splitlines() == [
        "FROM a",
        f"ARG {PLATFORM}=arm",
    ]
