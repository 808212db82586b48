"""License texts of RPM packages: what is SPDX, and what is left as it is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.drivers.licenses import spdx_expression


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("MIT", "MIT"),
        ("apache-2.0", "Apache-2.0"),
        ("MIT AND (ISC OR BSD-3-Clause)", "MIT AND (ISC OR BSD-3-Clause)"),
        ("()", None),
        (
            "GPL-3.0-or-later WITH GCC-exception-3.1",
            "GPL-3.0-or-later WITH GCC-exception-3.1",
        ),
        ("GPLv2+", None),
        ("Public Domain", None),
        ("MIT with exceptions", None),
        ("MIT and", None),
        ("(MIT", None),
        ("LicenseRef-Fedora-Public-Domain", None),
        ("MIT\x1b", None),
        ("", None),
    ],
)  # fmt: skip
def test_expressions(text: str, expression: str | None) -> None:
    assert spdx_expression(text) == expression


@given(st.text(alphabet="MITGPL-2.0orad ()+WH", max_size=24) | st.text(max_size=20))
def test_anything_has_an_answer(text: str) -> None:
    found = spdx_expression(text)
    assert found is None or spdx_expression(found) == found
