"""The build id: what changes it, what does not, and what is said about a change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.buildid import BuildInputs, explain, id_tag, inputs_of, short
from bootcfleet.domain.project import ImageSpec, Project
from bootcfleet.domain.template import ContextFile, RenderedImage

BASE = "registry.example.com/base@sha256:" + "1a" * 32
MOVED = "registry.example.com/base@sha256:" + "9f" * 32
HERE = ("linux/amd64",)


def project(**more: Any) -> Project:
    return Project(version=1, name="acme", registry="registry.example.com/acme", **more)


def image(**more: Any) -> ImageSpec:
    return ImageSpec.model_validate({"base": "registry.example.com/base:1", **more})


def rendered(base: str = BASE, motd: str = "hello", mode: int = 0o644) -> RenderedImage:
    return RenderedImage(
        f"FROM {base}\nRUN true\n", {"files/etc/motd": ContextFile(motd.encode(), mode)}
    )


SOURCES = {"web/Containerfile.j2": "a" * 64, "_shared/users.j2": "b" * 64}


def inputs(
    spec: ImageSpec | None = None,
    made: RenderedImage | None = None,
    base: str = BASE,
    whole: Project | None = None,
    sources: dict[str, str] | None = None,
    platforms: tuple[str, ...] = HERE,
) -> BuildInputs:
    return inputs_of(
        whole or project(),
        spec or image(),
        made or rendered(base),
        base,
        platforms=platforms,
        sources=SOURCES if sources is None else sources,
    )


RUN = rendered().containerfile + "RUN false\n"

CHANGES: list[tuple[BuildInputs, str]] = [
    (inputs(base=MOVED), "base moved sha256:1a1a1a1a1a1a… → sha256:9f9f9f9f9f9f…"),
    (inputs(made=rendered(motd="bye")), "context file etc/motd changed"),
    (inputs(made=rendered(mode=0o755)), "mode of context file etc/motd 0644 → 0755"),
    (inputs(made=RenderedImage(rendered().containerfile)), "context file etc/motd removed"),
    (
        inputs(made=replace(rendered(), files={**rendered().files, "files/x": ContextFile(b"")})),
        "context file x added",
    ),
    (inputs(image(build_args={"A": "1"})), "build argument A changed"),
    (inputs(image(secrets=[{"id": "key", "env": "KEY"}])), "secret key added"),
    (inputs(image(rebuild="2026-11")), "rebuild none → 2026-11"),
    (inputs(whole=project(rebuild="all")), "rebuild none → all"),
    (inputs(platforms=("linux/arm64",)), "platforms linux/amd64 → linux/arm64"),
    (
        inputs(
            made=RenderedImage(RUN, rendered().files),
            sources={**SOURCES, "_shared/users.j2": "c" * 64},
        ),
        "template partial users.j2 changed",
    ),
    (
        inputs(
            made=RenderedImage(RUN, rendered().files),
            sources={**SOURCES, "web/Containerfile.j2": "c" * 64},
        ),
        "template Containerfile.j2 changed",
    ),
    (
        inputs(image(vars={"packages": ["x"]}), RenderedImage(RUN, rendered().files)),
        "variable packages changed",
    ),
    (
        inputs(made=RenderedImage(RUN, rendered().files)),
        "Containerfile renders otherwise (project, version or git)",
    ),
    (
        inputs(image(build_args={"A": "1"}), rendered(motd="bye")),
        "context file etc/motd changed, and 1 more",
    ),
    (replace(inputs(), recipe=2), "bootcfleet builds otherwise now (recipe 1 → 2)"),
]


@pytest.mark.parametrize(("now", "reason"), CHANGES, ids=[reason for _, reason in CHANGES])
def test_every_change_is_another_id_and_has_a_reason(now: BuildInputs, reason: str) -> None:
    before = inputs()
    assert now.build_id != before.build_id
    assert explain(before, now) == reason


def test_the_version_of_a_secret_counts_and_where_it_is_does_not() -> None:
    one = inputs(image(secrets=[{"id": "key", "env": "KEY", "version": "1"}]))
    two = inputs(image(secrets=[{"id": "key", "env": "KEY", "version": "2"}]))
    other = inputs(image(secrets=[{"id": "key", "file": "/etc/key", "version": "1"}]))
    assert explain(one, two) == "secret key version 1 → 2"
    assert one.build_id == other.build_id


@pytest.mark.parametrize(
    "same",
    [
        inputs(sources={"web/Containerfile.j2": "f" * 64}),
        inputs(image(vars={"unused": 1})),
        inputs(image(description="other")),
        # The same digest by another name: a mirror.
        inputs(base=BASE.replace("registry", "mirror")),
    ],
)
def test_what_gives_the_same_files_is_the_same_build(same: BuildInputs) -> None:
    assert same.build_id == inputs().build_id
    assert explain(inputs(), same) is None


def test_never_built() -> None:
    assert explain(None, inputs()) == "never built"


def test_the_id_is_stable_over_versions_of_this_program() -> None:
    """An edit that changes this builds every image of every user anew: raise RECIPE then."""
    plain = BuildInputs(base="sha256:" + "0" * 64, containerfile="0" * 64, platforms=HERE)
    assert plain.build_id == ("c6c77ecd2d8f14e9ba1f2396b4f504e80ef8e39c71a56f210e34cd7bfef8cbe5")
    assert id_tag(plain.build_id) == f"bf-{plain.build_id[:32]}"


@given(
    st.builds(
        BuildInputs,
        base=st.text(),
        containerfile=st.text(),
        files=st.dictionaries(st.text(), st.text(), max_size=3),
        build_args=st.dictionaries(st.text(), st.text(), max_size=3),
        secrets=st.dictionaries(st.text(), st.text(), max_size=3),
        platforms=st.lists(st.text(), max_size=2).map(tuple),
        rebuild=st.text(),
        sources=st.dictionaries(st.text(), st.text(), max_size=2),
        variables=st.dictionaries(st.text(), st.text(), max_size=2),
    )
)
def test_inputs_survive_json(made: BuildInputs) -> None:
    again = BuildInputs.from_json(made.to_json())
    assert again == made
    assert again.build_id == made.build_id


def test_a_digest_for_people() -> None:
    assert short("sha256:" + "1a" * 32) == "sha256:1a1a1a1a1a1a…"
    assert short("localhost/base:1") == "localhost/base:1"
