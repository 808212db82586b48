"""The catalogue as Markdown and HTML: what is said, and that no text becomes markup."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from bootcfleet.domain.catalog import Catalog, CatalogImage, html, markdown

DIGEST = "sha256:" + "1a" * 32
WEB = CatalogImage(
    "web",
    "Serves | <script>alert(1)</script>",
    "web",
    "soe",
    None,
    DIGEST,
    "2026-11-21T10:00:00+00:00",
    "2027-06-30",
    {"check": "passed at 2026-11-21T10:05:00Z"},
    {"prod": {"digest": DIGEST, "since": "2026-11-21T11:00:00Z", "who": "eve@host"}},
    (
        {"host": "web1", "slot": "booted", "digest": DIGEST},
        {"host": "web1", "slot": "rollback", "digest": DIGEST},
    ),
    (("nginx", "1.26-1.el10"),),
)
SOE = CatalogImage("soe", "", "soe", None, "registry.example.com/base:1", note="no <rpm> database")
CATALOG = Catalog(
    "acme", "registry.example.com/acme", "2026-11-21T12:00:00Z", "base\n└── soe", "flowchart LR",
    (SOE, WEB), ("web2 did not say what it runs: <refused>",),
)  # fmt: skip


class Page(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_whole_and_escapes_everything() -> None:
    page = Page(html(CATALOG))
    assert page.open == []
    assert "script" not in page.tags
    for text in (
        "Serves | <script>alert(1)</script>", "registry.example.com/base:1", DIGEST, "eve@host",
        "2027-06-30", "1 packages", "1.26-1.el10", "Packages: no <rpm> database", "web1",
        "└── soe", "web2 did not say what it runs: <refused>", "not pushed",
    ):  # fmt: skip
        assert text in page.text, text


def test_markdown() -> None:
    text = markdown(CATALOG)
    assert "```mermaid\nflowchart LR\n```" in text
    assert (
        "| [web](#web) | Serves \\| &lt;script>alert(1)&lt;/script> | soe | 1a1a1a1a1a1a | prod "
        "| 1 |" in text
    )
    assert "- check: passed at 2026-11-21T10:05:00Z" in text
    assert f"| prod | {DIGEST} | 2026-11-21T11:00:00Z | eve@host |" in text
    assert "| nginx | 1.26-1.el10 |" in text
    assert "Packages: no &lt;rpm> database" in text
    assert "<script" not in text


@pytest.mark.parametrize("image", CATALOG.images)
def test_json_has_it_all(image: CatalogImage) -> None:
    body = image.to_json()
    assert set(body) == set(CatalogImage.__dataclass_fields__)
