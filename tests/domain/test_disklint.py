"""Every rule about a disk's configuration, as cases with their verdicts (tests/data/disk)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bootcfleet.domain.diskconfig import DiskConfig
from bootcfleet.domain.disklint.engine import (
    RULES,
    every_rule,
    lint_config,
    subject_of,
    table,
)
from bootcfleet.domain.disklint.installer import wipes_disks
from bootcfleet.domain.disklint.model import InImage
from bootcfleet.domain.disklint.support import UNSUPPORTED_ANYWHERE, Verdict, verdict
from bootcfleet.domain.disktype import SUPPORTED, Backend, DiskType
from bootcfleet.domain.document import Document
from bootcfleet.drivers import yamlfile
from bootcfleet.drivers.blueprintfile import parse_json, parse_toml

DATA = Path(__file__).parent.parent / "data/disk"
CASES = [
    pytest.param(case, id=f"{path.stem}: {case['name']}")
    for path in sorted(DATA.glob("*.yaml"))
    if path.stem != "specs"
    for case in yaml.safe_load(path.read_text())
]


def read(case: dict[str, Any]) -> tuple[Document, tuple[str, ...] | None]:
    if "toml" in case:
        return parse_toml(case["toml"], "f.toml"), None
    if "json" in case:
        return parse_json(case["json"], "f.json"), None
    return yamlfile.parse(case["project"], "f.yaml"), ()


@pytest.mark.parametrize("case", CASES)
def test_case(case: dict[str, Any]) -> None:
    document, at = read(case)
    in_image = InImage(
        parse_toml(case["in_image"], "config.toml") if "in_image" in case else None,
        yamlfile.parse(case["disk_yaml"], "disk.yaml") if "disk_yaml" in case else None,
    )
    found = lint_config(
        document,
        [DiskType(one) for one in case.get("types", ["qcow2"])],
        Backend(case.get("backend", "bootc-image-builder")),
        at=at,
        rootfs=case.get("rootfs", ""),
        in_image=in_image,
    )
    short = [f"{one.line} {one.level.value} {one.rule}" for one in found]
    if case.get("unordered"):
        short, case["expect"] = sorted(short), sorted(case["expect"])
    assert short == case["expect"], "\n".join(f"{one.where}: {one.message}" for one in found)
    said = [f"{one.where}: {one.message} | {one.remedy}" for one in found]
    for sentence in case.get("says", []):
        assert sentence in said
    if "never" in case:
        assert case["never"] not in "\n".join(said)


def test_every_rule_has_a_case() -> None:
    expected = {one.split()[2] for case in CASES for one in case.values[0]["expect"]}
    assert set(RULES) == expected


def test_every_case_can_fail() -> None:
    """Beside each configuration that breaks a rule there is one that is kept."""
    clean = [case for case in CASES if not case.values[0]["expect"]]
    assert len(clean) > 15


def test_the_rules_say_why_and_where() -> None:
    ids = [rule.id for rule in every_rule()]
    assert ids == sorted(set(ids))
    for rule in every_rule():
        assert re.fullmatch(r"DSK\d{3}", rule.id)
        for sentence in (rule.title, rule.reason, rule.source, rule.remedy):
            assert sentence
            assert not sentence.endswith(".")


def test_the_documentation_has_the_table() -> None:
    text = (Path(__file__).parent.parent.parent / "docs/disk-config.md").read_text()
    assert table() in text, "docs/disk-config.md: paste what domain.disklint.engine.table() gives"


def test_a_model_is_linted_as_what_it_renders() -> None:
    config = DiskConfig.model_validate({"user": [{"name": "root", "key": "k"}]})
    (found,) = lint_config(config, [DiskType.QCOW2], Backend.BOOTC_IMAGE_BUILDER)
    assert (found.rule, found.where) == ("DSK401", "config: customizations.user[0]")


@pytest.mark.parametrize("backend", list(Backend))
def test_every_customization_has_a_verdict(backend: Backend) -> None:
    """The lists of the notes, key by key."""
    everywhere = {"kernel", "user"}
    for type_ in SUPPORTED[backend]:
        done = {
            key
            for key in (*DiskConfig.model_fields, *UNSUPPORTED_ANYWHERE)
            if verdict(key, type_, backend) in (Verdict.DONE, Verdict.WARNED)
        }
        if backend is Backend.BOOTC_INSTALL:
            assert done == everywhere
        elif type_.is_disk:
            works = {"filesystem"} if backend is Backend.BOOTC_IMAGE_BUILDER else set()
            disks = {"bootloader", "directories", "disk", "files", "group", "ignition", "sshd"}
            assert done == everywhere | disks | works
        elif type_ is DiskType.PXE_TAR_XZ:
            assert done == everywhere | {"directories", "files", "group"}
        else:
            iso = {"iso"} if type_ is DiskType.ANACONDA_ISO else set()
            assert done == everywhere | {"fips", "group", "installer"} | iso


def test_wiping_is_told_apart() -> None:
    def why(contents: str) -> str:
        config = {"installer": {"kickstart": {"contents": contents}}}
        return wipes_disks(
            subject_of(
                Document("f", config), [DiskType.ANACONDA_ISO], Backend.BOOTC_IMAGE_BUILDER, at=()
            )
        )

    assert why("clearpart --all\n")
    assert why("%pre\nignoredisk --only-use=x\n%end\nclearpart --all\n")
    assert not why("clearpart --none\n")
    assert not why("ignoredisk --only-use=vda\nclearpart --all\n")
    assert not why("# clearpart --all\n")


ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.floats(0, 1), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from([*DiskConfig.model_fields, "name", "path", "mountpoint", "minsize",
                             "partitions", "kickstart", "contents", "modules", "enable", "type",
                             "logical_volumes", "firstboot", "grub2", "fs_type", "mode", "size",
                             "blueprint", "customizations", "hostname", "packages"]),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=20,
)  # fmt: skip


@given(
    st.dictionaries(
        st.sampled_from(["customizations", "blueprint", "name", "x"]), ANYTHING, max_size=3
    ),
    st.sets(st.sampled_from(DiskType), min_size=1),
    st.sampled_from(Backend),
    st.sampled_from(["f.toml", "f.json"]),
)
@settings(max_examples=300, deadline=None)
def test_any_data_is_linted_and_what_is_clean_is_valid(
    data: dict[str, Any], types: set[DiskType], backend: Backend, file: str
) -> None:
    found = lint_config(Document(file, data, {(): 1}), sorted(types), backend)
    for one in found:
        assert one.line == 1
        assert one.message
    errors = [one for one in found if one.level.value == "error"]
    inside = data.get("customizations", {})
    if not errors and isinstance(inside, dict) and "blueprint" not in data:
        known = {key: one for key, one in inside.items() if key in DiskConfig.model_fields}
        if "kernel" not in known:
            DiskConfig.model_validate(known)
