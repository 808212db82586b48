"""Words in braces: what is known, what is refused, what stands for itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.hook import (
    HOST_NAMES,
    PROBE_NAMES,
    WAVE_NAMES,
    HookContext,
    check_hook,
    check_words,
    fill,
    fill_authority,
    fill_url,
    missing_labels,
)
from bootcfleet.domain.rollout_policy import Hook, HookKind

VALUES = {"host": "web1", "address": "10.0.0.1", "label.site": "ams 1/a"}


@pytest.mark.parametrize(
    ("word", "filled"),
    [
        ("plain", "plain"),
        ("{host}", "web1"),
        ("a{host}b{address}", "aweb1b10.0.0.1"),
        ("{label.site}", "ams 1/a"),
        ("{{host}}", "{host}"),
        ("{}", "{}"),
        ("{ host }", "{ host }"),
        ("awk '{ print $1 }'", "awk '{ print $1 }'"),
        ('{"text": {"h": "{host}"}}', '{"text": {"h": "web1"}}'),
        ("${host}", "$web1"),
        ("{host", "{host"),
    ],
)
def test_fill(word: str, filled: str) -> None:
    check_words([word])
    assert fill(word, VALUES) == filled


@given(st.text(alphabet="{}ab.label host"), st.text())
def test_what_was_put_in_is_not_looked_at_again(word: str, value: str) -> None:
    try:
        check_words([word], ("host",))
    except ValueError:
        return
    parts = word.replace("{host}", "\0").split("\0")
    if "{{" not in word:
        assert fill(word, {"host": value}) == value.join(parts)


@pytest.mark.parametrize(
    ("word", "names", "said"),
    [
        ("{hots}", HOST_NAMES, "{hots} stands for nothing here; did you mean 'host'?"),
        ("{secret}", HOST_NAMES, "known: address, host, label.NAME, operation"),
        ("{label.}", HOST_NAMES, "{label.} stands for nothing"),
        ("{host}", WAVE_NAMES, "{host} stands for nothing here"),
        ("{label.site}", WAVE_NAMES, "{label.site} stands for nothing here"),
        ("{label.site}", PROBE_NAMES, "{label.site} stands for nothing here"),
        ("{rollout}", PROBE_NAMES, "{rollout} stands for nothing here"),
        ("{print}", HOST_NAMES, "write {{print}} for {print} itself"),
    ],
)
def test_unknown_words_are_refused(word: str, names: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValueError) as caught:
        check_words(["fine {rollout}" if "rollout" in names else "fine", word], names)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("hook", "names", "said"),
    [
        (Hook(HookKind.LOCAL), HOST_NAMES, "a local hook has a command"),
        (Hook(HookKind.REMOTE, ("drain",), "http://x/"), HOST_NAMES, "and no url"),
        (Hook(HookKind.WEBHOOK, ("drain",), "http://x/"), HOST_NAMES, "and no command"),
        (Hook(HookKind.WEBHOOK), HOST_NAMES, "a webhook has a url"),
        (Hook(HookKind.WEBHOOK, url="ftp://x/"), HOST_NAMES, "begins with https://"),
        (Hook(HookKind.WEBHOOK, url="http://{host}/"), HOST_NAMES, "without braces"),
        (Hook(HookKind.WEBHOOK, url="http://a.{label.site}"), HOST_NAMES, "without braces"),
        (Hook(HookKind.REMOTE, ("drain",)), WAVE_NAMES, "there is no host"),
        (Hook(HookKind.LOCAL, ("{host}",)), HOST_NAMES, "program of a hook"),
        (Hook(HookKind.LOCAL, ("drain", "{hots}")), HOST_NAMES, "{hots}"),
        (Hook(HookKind.WEBHOOK, url="https://x/{hots}"), HOST_NAMES, "{hots}"),
    ],
)
def test_hooks_that_cannot_work(hook: Hook, names: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValueError) as caught:
        check_hook(hook, names)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("hook", "names"),
    [
        (Hook(HookKind.LOCAL, ("drain", "{host}", "{label.site}")), HOST_NAMES),
        (Hook(HookKind.REMOTE, ("drain",)), HOST_NAMES),
        (
            Hook(HookKind.WEBHOOK, url="https://lb.example:8443/pools/{label.site}/{host}"),
            HOST_NAMES,
        ),
        (Hook(HookKind.LOCAL, ("announce", "{wave}")), WAVE_NAMES),
    ],
)
def test_hooks_that_can(hook: Hook, names: tuple[str, ...]) -> None:
    check_hook(hook, names)


def test_values_in_a_url_stay_what_they_are() -> None:
    values = {"label.site": "a/../b?c=d&e#f g%"}
    filled = fill_url("https://lb/{label.site}/x", values)
    assert filled == "https://lb/a%2F..%2Fb%3Fc%3Dd%26e%23f%20g%25/x"


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("10.0.0.1", "http://10.0.0.1:80/"),
        ("fd00::1", "http://[fd00::1]:80/"),
        ("web1.example", "http://web1.example:80/"),
    ],
)
def test_an_address_as_the_machine_of_a_url(address: str, url: str) -> None:
    assert fill_authority("http://{address}:80/", {"address": address}) == url


def test_missing_labels() -> None:
    hook = Hook(HookKind.LOCAL, ("d", "{label.a}{label.b}", "{label.a}{{label.d}}"), "{label.c}")
    assert missing_labels(hook, {"b": ""}) == ("a", "c")


def test_what_a_context_tells() -> None:
    context = HookContext(
        host="web1", address="10.0.0.1", rollout="r1", wave="canary", operation="upgrade",
        labels={"site": "ams"}, event="drain",
    )  # fmt: skip
    assert context.environment() == {
        "BOOTCFLEET_EVENT": "drain",
        "BOOTCFLEET_HOST": "web1",
        "BOOTCFLEET_ADDRESS": "10.0.0.1",
        "BOOTCFLEET_ROLLOUT": "r1",
        "BOOTCFLEET_WAVE": "canary",
        "BOOTCFLEET_OPERATION": "upgrade",
    }
    assert context.to_json() == {
        "event": "drain",
        "host": "web1",
        "address": "10.0.0.1",
        "rollout": "r1",
        "wave": "canary",
        "operation": "upgrade",
        "labels": {"site": "ams"},
    }
    assert HookContext(rollout="r1", event="wave.before").to_json()["host"] is None
