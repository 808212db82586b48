"""The page of a rollout in a real browser: chromium, driven over its own protocol."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from bootcfleet.domain.rollout import HostPhase
from bootcfleet.domain.rollout_journal import EntryKind, WavePhase
from bootcfleet.domain.rollout_page import page
from bootcfleet.domain.rollout_replay import wave_entry
from bootcfleet.domain.rollout_timeline import timeline
from bootcfleet.errors import HostFault
from tests.domain.test_rollout_report import HOSTILE
from tests.rolloutjournal import EVIDENCE, Story, plan, played
from tests.tools import need

pytestmark = pytest.mark.integration

MADE = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = need("chromium")
    with sync_playwright() as play:
        # The sandbox needs rights that root in a container does not have.
        started = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield started
        finally:
            started.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small rollout, one of 1,000 hosts, and one whose every word is hostile."""
    folder = tmp_path_factory.mktemp("pages")
    made = {}
    for name, hosts, bad, waves in (("small", 12, 0.3, 3), ("large", 1000, 0.02, 8)):
        record, entries = played(hosts, bad=bad, waves=waves)
        made[name] = folder / f"{name}.html"
        made[name].write_text(page(timeline(record, entries), MADE, "0.1.0"))
    made["hostile"] = folder / "hostile.html"
    made["hostile"].write_text(page(timeline(*hostile()), MADE, "0.1.0"))
    return made


def hostile() -> tuple[object, list[object]]:
    """Hosts whose names, messages and evidence try to become part of the page."""
    names = [f"web{number}{said}" for number, said in enumerate(HOSTILE)]
    story = Story(plan([names[:1], names[1:]]))
    for name, said in zip(names, HOSTILE, strict=True):
        story.host(name, HostPhase.STAGING, said)
        story.now += timedelta(seconds=10)
        story.host(
            name, HostPhase.FAILED, said, fault=HostFault.REGISTRY, evidence=(said, said * 200)
        )
        found = EVIDENCE | {"notes": [said], "journal": {said: [said, "A" * 3000]}}
        story.say(EntryKind.EVIDENCE, 0, name, **found)
    story.write(wave_entry(1, WavePhase.WAITING, HOSTILE[0]))
    story.say(EntryKind.PAUSED, 1, reason=HOSTILE[0])
    story.say(EntryKind.FINISHED, 1, outcome="failed")
    return story.record, story.entries  # type: ignore[return-value]


@dataclass
class Opened:
    """A page, and what the browser said and fetched while it was open."""

    page: Page
    said: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)

    def count(self, selector: str) -> int:
        """How many elements there are that can be seen."""
        script = "all => all.filter(one => one.checkVisibility()).length"
        return int(self.page.locator(selector).evaluate_all(script))


@pytest.fixture
def open_page(browser: Browser, files: dict[str, Path]) -> Iterator[object]:
    contexts = []

    def go(name: str, width: int = 1280, scheme: str = "light") -> Opened:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,  # type: ignore[arg-type]
        )
        contexts.append(context)
        opened = Opened(context.new_page())
        opened.page.on("console", lambda message: opened.said.append(message.text))
        opened.page.on("pageerror", lambda error: opened.said.append(str(error)))
        opened.page.on("dialog", lambda dialog: (opened.said.append("dialog"), dialog.dismiss()))
        opened.page.on("request", lambda request: opened.fetched.append(request.url))
        opened.page.goto(files[name].as_uri())
        return opened

    yield go
    for context in contexts:
        context.close()


def colours(data: bytes, browser: Browser) -> Counter[tuple[int, ...]]:
    """How often each colour is in a picture; the browser itself reads it."""
    import base64

    page = browser.new_page()
    try:
        page.set_content(f"<img src='data:image/png;base64,{base64.b64encode(data).decode()}'>")
        pixels = page.evaluate(
            """async () => {
              const img = document.querySelector("img"); await img.decode();
              const canvas = new OffscreenCanvas(img.width, img.height);
              const pen = canvas.getContext("2d"); pen.drawImage(img, 0, 0);
              const data = pen.getImageData(0, 0, img.width, img.height).data, seen = {};
              for (let i = 0; i < data.length; i += 4 * 7) {
                const key = [data[i], data[i + 1], data[i + 2]].join();
                seen[key] = (seen[key] || 0) + 1;
              }
              return seen;
            }"""
        )
    finally:
        page.close()
    return Counter({tuple(map(int, key.split(","))): count for key, count in pixels.items()})


@pytest.mark.parametrize("name", ["small", "large", "hostile"])
@pytest.mark.parametrize("width", [400, 1280])
def test_it_renders_without_errors_requests_or_overflow(open_page, name, width, files) -> None:
    opened = open_page(name, width)
    page = opened.page
    assert opened.said == []
    assert opened.fetched == [files[name].as_uri()]
    wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide[0] <= wide[1]
    # Nothing that can be seen sticks out of the page either (it would be cut, not scrolled).
    out = page.evaluate(
        """() => [...document.querySelectorAll("main *")].filter(one =>
             one.checkVisibility() && !one.closest(".track, .axis, .bar") &&
             one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML)"""
    )
    assert out == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_picture_is_not_blank_and_follows_the_scheme(open_page, browser, scheme) -> None:
    opened = open_page("small", 1280, scheme)
    seen = colours(opened.page.screenshot(full_page=True), browser)
    background, _ = seen.most_common(1)[0]
    assert (sum(background) > 600) == (scheme == "light")
    assert len(seen) > 50
    # The blue of staging: the timeline is drawn.
    assert seen[(59, 130, 246)] > 20
    failed = (201, 37, 45) if scheme == "light" else (255, 123, 127)
    assert seen[failed] > 20


def test_the_evidence_of_a_failed_host_can_be_read(open_page) -> None:
    opened = open_page("small")
    first = opened.page.locator(".failure").nth(1)
    for words in (
        "health-failed",
        "check 'http' failed: connection refused",
        "reverting",
        "nginx[812]: [emerg] bind() to 0.0.0.0:80 failed (98)",
        "Script '20_http.sh' FAILURE",
    ):
        assert first.get_by_text(words).first.is_visible()


def test_the_filter_finds_hosts_by_name_fault_and_message(open_page) -> None:
    opened = open_page("large")
    page, rows = opened.page, ".row"
    assert page.locator("#matches").text_content() == "1002 hosts"
    shown = opened.count(rows)
    assert shown < 60
    page.fill("#filter", "web0123")
    assert opened.count(rows) == 1
    assert page.locator("#matches").text_content() == "1 of 1002 hosts"
    assert opened.count(".wave") == 1
    page.fill("#filter", "WEB012")
    assert opened.count(rows) == 10
    page.fill("#filter", "no-space web")
    full = page.locator("#matches").text_content()
    assert full
    assert 0 < opened.count(rows) == int(full.split()[0]) < 20
    page.fill("#filter", "no such host")
    assert opened.count(rows) == 0
    page.fill("#filter", "")
    assert opened.count(rows) == shown
    page.select_option("#phase", "failed")
    failed = opened.count(rows)
    assert failed == page.locator('.row[data-phase="failed"]').count() > 0
    page.select_option("#phase", "updated")
    assert opened.count(rows) == page.locator('.row[data-phase="updated"]').count() > 900
    page.select_option("#phase", "")
    assert opened.count(rows) == shown
    assert opened.said == []


def test_each_wave_can_have_its_own_axis(open_page) -> None:
    opened = open_page("small")
    part = opened.page.locator(".wave").nth(3).locator(".s-rebooting").first
    assert not opened.page.locator("#own").is_checked()
    before = part.bounding_box()
    opened.page.check("#own")
    after = part.bounding_box()
    assert before is not None
    assert after is not None
    assert after["width"] > 3 * before["width"]
    assert after["x"] < before["x"]


def test_segments_are_where_the_journal_says(open_page) -> None:
    record, entries = played(12, bad=0.3, waves=3)
    line = timeline(record, entries)
    opened = open_page("small")
    whole = (line.end - line.start).total_seconds()
    for host in line.hosts[:6]:
        row = opened.page.locator(f'.row:has(.name[title="{host.host}"])')
        track = row.locator(".track").bounding_box()
        assert track is not None
        for one in host.segments:
            if one.phase != "rebooting":
                continue
            box = row.locator(".s-rebooting").first.bounding_box()
            assert box is not None
            left = (one.start - line.start).total_seconds() / whole * track["width"]
            assert box["x"] - track["x"] == pytest.approx(left, abs=2)
            assert box["width"] == pytest.approx(one.seconds / whole * track["width"], abs=2)


def test_hostile_words_are_words(open_page) -> None:
    opened = open_page("hostile")
    page = opened.page
    page.fill("#filter", "<script>")
    assert opened.count(".row") == 1
    assert page.evaluate("document.scripts.length") == 1
    assert page.locator("img, svg, h1").count() == 1
    assert page.get_by_text("<script>alert(1)</script>").first.is_visible()
    assert opened.said == []


def test_scripts_that_would_get_in_do_not_run(open_page, files, tmp_path) -> None:
    """Were a word ever not escaped, the page's policy still stops it."""
    text = files["small"].read_text()
    bad = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    files["broken"] = tmp_path / "broken.html"
    files["broken"].write_text(text.replace("<main>", f"<main>{bad}"))
    opened = open_page("broken")
    assert opened.page.title() == "Rollout 20261121-020000-ab12: failed"
    assert any("Content Security Policy" in said for said in opened.said)


def test_printed_everything_is_open(open_page) -> None:
    opened = open_page("large")
    page = opened.page
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() > 0
    small = open_page("small").page.pdf()
    assert small.startswith(b"%PDF")
