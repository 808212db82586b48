"""TOML is written as people write blueprints, and read back as it was."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bootcfleet.domain.tomltext import toml_text


def test_tables_in_lists_have_headers() -> None:
    data = {
        "name": "web",
        "customizations": {
            "user": [{"name": "a"}, {"name": "b", "groups": ["wheel"]}],
            "disk": {"partitions": [{"type": "lvm", "logical_volumes": [{"name": "root"}, {}]}]},
            "kernel": {},
            "files": [],
        },
    }
    assert (
        toml_text(data)
        == """\
name = "web"

[customizations]
files = []

[[customizations.user]]
name = "a"

[[customizations.user]]
name = "b"
groups = [
    "wheel",
]

[[customizations.disk.partitions]]
type = "lvm"

[[customizations.disk.partitions.logical_volumes]]
name = "root"

[[customizations.disk.partitions.logical_volumes]]

[customizations.kernel]
"""
    )


KEY = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=4)
VALUE = st.recursive(
    st.one_of(st.integers(), st.booleans(), st.text("ab\r\n\"'\\#[]={} é\t", max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(KEY, inner, max_size=3),
        st.lists(st.dictionaries(KEY, inner, max_size=2), max_size=3),
    ),
    max_leaves=15,
)


@given(st.dictionaries(KEY, VALUE, max_size=4))
@settings(max_examples=300, deadline=None)
def test_any_data_is_read_back(data: dict[str, Any]) -> None:
    assert tomllib.loads(toml_text(data)) == data
