"""The lock: its text and its meaning are the same, and every mistake has a line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.image import Resolved
from bootcfleet.domain.lock import Lock, Pin, compare, parse_lock, render_lock
from bootcfleet.domain.reference import ARCHITECTURES, Digest, ImageRef, Platform
from bootcfleet.drivers import yamlfile
from bootcfleet.errors import ConfigError

A, B, C = (Digest(f"sha256:{char * 64}") for char in "abc")
AMD, ARM = Platform("linux", "amd64"), Platform("linux", "arm64")
AT = datetime(2026, 11, 21, 8, 0, 0, tzinfo=UTC)
BASE = "registry.example.com/rhel:10.0"

digests = st.text("0123456789abcdef", min_size=64, max_size=64).map(lambda t: Digest(f"sha256:{t}"))
platforms = st.sampled_from(sorted(set(ARCHITECTURES.values()))).map(lambda a: Platform("linux", a))
words = st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True)
registries = st.one_of(
    words.map(lambda w: f"{w}.example"),
    words.map(lambda w: f"{w}:5000"),
    st.sampled_from(["[::1]:5000", "127.0.0.1:1234", "UPPER.example", "localhost"]),
)


@st.composite
def pins(draw: st.DrawFn) -> Pin:
    declared = f"{draw(registries)}/{draw(words)}"
    if draw(st.booleans()):
        declared += ":" + draw(st.sampled_from(["1", "1.0", "latest", "_x", "2026-11-21"]))
    digest = draw(digests)
    if draw(st.booleans()):
        declared += f"@{digest}"
    return Pin(
        declared,
        digest,
        # With any offset, and far from where it leaves the calendar.
        draw(
            st.datetimes(
                datetime(1970, 1, 1),
                datetime(2999, 1, 1),
                timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
            )
        ),
        draw(st.dictionaries(platforms, digests, min_size=1)),
        draw(st.none() | st.text(st.characters(exclude_categories=["Cs"]))),
    )


locks = st.lists(pins(), max_size=5).map(lambda found: Lock({pin.declared: pin for pin in found}))


def read(text: str) -> Lock:
    return parse_lock(yamlfile.parse(text, "bootcfleet.lock"))


def pin(declared: str = BASE, digest: Digest = A, **more: object) -> Pin:
    values = {"locked": AT, "platforms": {AMD: B, ARM: C}, "version": "10.0"} | more
    return Pin(declared, digest, **values)  # type: ignore[arg-type]


@given(locks)
def test_what_is_written_is_what_is_read(lock: Lock) -> None:
    text = render_lock(lock)
    assert read(text) == lock
    assert render_lock(read(text)) == text
    # Another reader of YAML sees the same: every value is a text or a mapping of texts.
    for name, body in yaml.safe_load(text)["bases"].items():
        assert isinstance(name, str)
        assert body.get("version") == lock.pins[name].version
        assert isinstance(body["locked"], str)


@given(st.permutations([pin(f"r.example/{name}:1") for name in "abcde"]))
def test_the_order_is_of_the_content_alone(order: list[Pin]) -> None:
    lock = Lock({one.declared: one for one in order})
    assert render_lock(lock) == render_lock(Lock(dict(sorted(lock.pins.items()))))
    assert list(lock.pins) == sorted(lock.pins)


def test_the_form() -> None:
    assert render_lock(Lock({BASE: pin()})) == (
        "# Written by `bootcfleet lock update`: the exact digest of every base from outside.\n"
        "# It belongs into git. Change it with that command, not by hand.\n"
        "version: 1\n"
        "bases:\n"
        f"  {BASE}:\n"
        f"    digest: {A}\n"
        '    version: "10.0"\n'
        '    locked: "2026-11-21T08:00:00Z"\n'
        "    platforms:\n"
        f"      linux/amd64: {B}\n"
        f"      linux/arm64: {C}\n"
    )


def test_what_a_build_asks_it() -> None:
    lock = Lock({BASE: pin()})
    found = lock.pin(f"docker://{BASE}")
    assert found is not None
    assert (found.digest, dict(found.platforms)) == (A, {AMD: B, ARM: C})
    assert str(found.reference) == f"registry.example.com/rhel@{A}"
    assert lock.pin("registry.example.com/rhel:10.1") is None


def test_a_pin_of_what_a_registry_said() -> None:
    said = Resolved(ImageRef.parse(BASE), A, {ARM: C, AMD: B}, "1\ud800")
    made = Pin.of(BASE, said, datetime(2026, 11, 21, 9, 0, 0, 999, timezone(timedelta(hours=1))))
    assert made == pin(version="1?")
    assert list(made.platforms) == [AMD, ARM]
    assert read(render_lock(Lock({BASE: made}))).pins[BASE] == made


def test_compare() -> None:
    other, third = pin("r.example/b:1"), pin("r.example/c:1")
    later = pin("r.example/b:1", locked=AT + timedelta(days=1))
    moved = pin(digest=B)
    change = compare(
        Lock({BASE: pin(), other.declared: other, third.declared: third}),
        Lock({BASE: moved, other.declared: later, "r.example/d:1": pin("r.example/d:1")}),
    )
    assert change.moved == ((pin(), moved),)
    assert [one.declared for one in change.added] == ["r.example/d:1"]
    assert change.removed == (third,)
    assert change.unchanged == (later,)
    assert not change.empty
    assert compare(Lock({BASE: pin()}), Lock({BASE: pin()})).empty
    # A platform that was not known before is a move, though the index is the same.
    assert compare(Lock({BASE: pin(platforms={AMD: B})}), Lock({BASE: pin()})).moved
    assert compare(None, Lock({BASE: pin()})).added


GOOD = f"version: 1\nbases:\n  {BASE}:\n    digest: {A}\n    locked: '2026-11-21T08:00:00Z'\n"
PLATFORMS = f"    platforms: {{linux/amd64: '{B}'}}\n"
HEAD = "version: 1\nbases:\n"


def one(name: str, digest: object = A, platforms: str = f"{{linux/amd64: '{B}'}}") -> str:
    locked = "locked: '2026-11-21T08:00:00Z'"
    return f"{HEAD}  {name}: {{digest: '{digest}', {locked}, platforms: {platforms}}}\n"


BAD = [
    ("bases: {}\n", "bootcfleet.lock:1: version: is required"),
    ("version: 2\nbases: {}\n", "bootcfleet.lock:1: version: "),
    (HEAD.replace("bases", "base"), "bootcfleet.lock:2: base: unknown key"),
    (GOOD, f"bootcfleet.lock:3: bases.{BASE}.platforms: is required"),
    (GOOD + PLATFORMS + "    by: me\n", f"bootcfleet.lock:7: bases.{BASE}.by: unknown key"),
    (GOOD + "    platforms: {}\n", f"bootcfleet.lock:6: bases.{BASE}.platforms: "),
    (one("soe"), "bootcfleet.lock:3: bases.soe: 'soe' does not name its registry"),
    (one("docker://r.example/a"), "is written 'r.example/a' in a lock"),
    (one(BASE, "sha256:1"), "is not a digest"),
    (one(BASE, A, "{linux/amd64: x}"), "'x' is not a digest"),
    (one(BASE, A, f"{{windows/amd64: '{B}'}}"), "is not a platform that bootc runs on"),
    (one(BASE, A, f"{{x86_64: '{B}'}}"), "the platform 'x86_64' is written linux/amd64"),
    (one(f"r.example/a@{B}"), f"the digest that the base itself declares, {B}"),
    ((GOOD + PLATFORMS).replace("08:00:00Z", "08:00:00"), "locked: "),
    ((GOOD + PLATFORMS).replace("2026-11-21T08:00:00Z", "0001-01-01T00:00:00+14:00"), "UTC"),
    (GOOD + PLATFORMS + GOOD.partition("bases:\n")[2], "stands here twice"),
]


@pytest.mark.parametrize(("text", "said"), BAD)
def test_mistakes_have_a_line(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert said in caught.value.message
    assert caught.value.message.startswith("bootcfleet.lock:")


def test_the_text_that_the_mistakes_are_made_in_is_good() -> None:
    assert read(GOOD + PLATFORMS).pins[BASE].platforms == {AMD: B}
    assert read(one(BASE)) == read(GOOD + PLATFORMS)
    assert read("version: 1\n").pins == {}
