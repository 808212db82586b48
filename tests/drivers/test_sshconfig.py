"""ssh_config: what applies to a host, on text; and the errors that say where."""

from __future__ import annotations

import contextlib
import getpass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.drivers.sshconfig import (
    SshConfig,
    expand,
    matches,
    matches_any,
    parse_config,
    read_config,
)
from bootcfleet.errors import ConfigError

ME = getpass.getuser()


@pytest.mark.parametrize(
    ("text", "host", "expected"),
    [
        ("User root", "web", {"user": "root"}),
        ("user=root", "web", {"user": "root"}),
        ("User = root", "web", {"user": "root"}),
        ("  USER\troot  ", "web", {"user": "root"}),
        ('User "two words"', "web", {"user": "two words"}),
        ("User root # a comment", "web", {"user": "root"}),
        ("User ro#ot", "web", {"user": "ro#ot"}),
        ("User root\nUser other", "web", {"user": "root"}),
        ("Host web\n User a\nHost *\n User b", "web", {"user": "a"}),
        ("Host web\n User a\nHost *\n User b", "db", {"user": "b"}),
        ("Host *\n User b\nHost web\n User a", "web", {"user": "b"}),
        ("Host web* !web2\n User a", "web1", {"user": "a"}),
        ("Host web* !web2\n User a", "web2", {}),
        ("Host !web2\n User a", "web1", {}),
        ("Host web?\n User a", "web10", {}),
        ('Host "web 1" web2\n User a', "web2", {"user": "a"}),
        ("Host [a]\n User x", "a", {}),
        ("IdentityFile a\nHost web\n IdentityFile b\n IdentityFile a", "web",
         {"identityfile": ("a", "b")}),
        ("CertificateFile a\nCertificateFile b", "web", {"certificatefile": ("a", "b")}),
        ("UserKnownHostsFile a 'b c'\nUserKnownHostsFile d", "web",
         {"userknownhostsfile": ("a", "b c")}),
        ('ProxyCommand nc -X "connect" %h %p # no comment', "web",
         {"proxycommand": 'nc -X "connect" %h %p # no comment'}),
        ("Match all\n User a", "web", {"user": "a"}),
        ("Match host web,db\n User a", "db", {"user": "a"}),
        ("Match host=web\n User a", "web", {"user": "a"}),
        ("Match !host web\n User a", "db", {"user": "a"}),
        ("Match !host web\n User a", "web", {}),
        ("Host web\n HostName web.example\nMatch host *.example\n User a", "web",
         {"user": "a"}),
        ("Host web\n HostName %h.example\nMatch host web.example\n User a", "web",
         {"user": "a"}),
        ("HostName web.example\nMatch originalhost web\n User a", "web", {"user": "a"}),
        (f"Match user {ME}\n Port 1", "web", {"port": "1"}),
        (f"User x\nMatch user {ME}\n Port 1", "web", {"port": None}),
        (f"User x\nMatch localuser {ME} user x\n Port 1", "web", {"port": "1"}),
        ("Match host web user nobody-here\n Port 1", "web", {"port": None}),
        ("Match canonical all\n Port 1", "web", {"port": None}),
        ("Match final host web.example\n Port 1\nHost web\n HostName web.example", "web",
         {"port": "1"}),
        ("Match final all\n User late\nUser early", "web", {"user": "late"}),
        ("User early\nMatch final all\n User late", "web", {"user": "early"}),
        ("Match exec yes\n User a", "web", {"user": "a"}),
        ("Match exec no\n User a", "web", {}),
        ("# Host web\n\n\n", "web", {}),
    ],
)  # fmt: skip
def test_what_applies(text: str, host: str, expected: dict[str, object]) -> None:
    options = parse_config(text).lookup(host, execute=lambda command: command == "yes")
    for keyword, value in expected.items():
        if isinstance(value, tuple):
            assert options.all(keyword) == value
        else:
            assert options.first(keyword) == value
    if not expected:
        assert options.first("user") is None


def test_criteria_after_one_that_fails_are_not_asked() -> None:
    asked: list[str] = []
    config = parse_config("Match host db exec 'first %h'\nMatch host web exec 'second %n %p'\n")

    def execute(command: str) -> bool:
        asked.append(command)
        return True

    config.lookup("web", {"port": "99"}, execute=execute)
    assert asked == ["second web 99"]


def test_what_is_given_stands_before_the_files() -> None:
    config = parse_config("User other\nPort 1\nMatch user me\n HostName matched\n")
    options = config.lookup("web", {"user": "me"})
    assert (options.first("user"), options.first("port")) == ("me", "1")
    assert options.first("hostname") == "matched"


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("Host web\nUser", ":2", "no value"),
        ("Host", ":1", "no value"),
        ("\n\n= x", ":3", "cannot be read"),
        ('Host "web', ":1", "quotes"),
        ("Match host", ":1", "needs a value"),
        ("ProxyCommand", ":1", "no value"),
    ],
)
def test_wrong_lines_are_named(text: str, place: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_config(text, "/x/config")
    assert f"/x/config{place}" in caught.value.message


def test_a_match_that_is_not_understood_is_an_error_where_it_counts() -> None:
    config = parse_config("Match host db localnetwork 10.0.0.0/8\n User a")
    assert config.lookup("web").first("user") is None
    with pytest.raises(ConfigError, match="localnetwork"):
        config.lookup("db")


# Include


def tree(folder: Path, **files: str) -> SshConfig:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return SshConfig((read_config(folder / "config", folder=folder),))


def test_include_takes_globs_in_order(tmp_path: Path) -> None:
    config = tree(
        tmp_path,
        config="Include conf.d/* missing\nUser late\n",
        conf_d="",
        conf="",
        **{"conf.d__20": "User second\n", "conf.d__10": "Port 10\n"},
    )
    options = config.lookup("web")
    assert (options.first("port"), options.first("user")) == ("10", "second")


def test_an_included_file_does_not_leave_its_block(tmp_path: Path) -> None:
    config = tree(
        tmp_path,
        config="Host web\n Include web\n Port 7\nHost db\n Port 8\n",
        web="User inside\nHost *\n ForwardAgent no\nHost other\n User wrong\n",
    )
    web, database = config.lookup("web"), config.lookup("db")
    assert (web.first("user"), web.first("port")) == ("inside", "7")
    assert web.first("forwardagent") == "no"
    # `Host *` in a file that another host's block includes is not for everybody.
    assert (database.first("forwardagent"), database.first("port")) == (None, "8")


def test_include_in_a_circle(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="includes itself"):
        tree(tmp_path, config="Include config")


def test_errors_in_included_files_name_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"other:2"):
        tree(tmp_path, config="Include other", other="Host a\nUser\n")


def test_missing_files(tmp_path: Path) -> None:
    assert read_config(tmp_path / "none", folder=tmp_path) == ()
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path / "none", folder=tmp_path, required=True)


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("ProxyCommand evil\n")
    path.chmod(0o666)
    with pytest.raises(ConfigError, match="written by others") as caught:
        read_config(path, folder=tmp_path, private=True)
    assert caught.value.hint == f"chmod go-w {path}"
    path.chmod(0o644)
    assert read_config(path, folder=tmp_path, private=True)


# Patterns and tokens


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("web1", "web1", True),
        ("web1", "web*", True),
        ("web1", "*", True),
        ("", "*", True),
        ("web1", "w?b1", True),
        ("web1", "web", False),
        ("web.1", "web?1", True),
        ("webx1", "web.1", False),
        ("a\nb", "a*b", True),
        ("a+b", "a+b", True),
    ],
)
def test_patterns(name: str, pattern: str, expected: bool) -> None:
    assert matches(name, pattern) is expected


def test_many_stars_do_not_take_for_ever() -> None:
    assert not matches("a" * 200 + "b", "*" * 500 + "c")


@given(st.text("ab*?!,.", max_size=12), st.lists(st.text("ab*?!.", max_size=6), max_size=4))
def test_patterns_never_raise(name: str, patterns: list[str]) -> None:
    assert matches_any(name, tuple(patterns)) in (True, False)


def test_tokens() -> None:
    assert expand("%h:%p %%h", {"h": "web", "p": "22"}) == "web:22 %h"
    with pytest.raises(ConfigError, match="%T"):
        expand("x%T", {"h": "web"})
    with pytest.raises(ConfigError):
        expand("x%", {})


@given(st.text(max_size=200), st.text("abc.", min_size=1, max_size=8))
def test_any_text_is_read_or_refused_with_its_line(text: str, host: str) -> None:
    try:
        config = parse_config(text, "file")
    except ConfigError as error:
        assert (error.file, bool(error.line)) == ("file", True)  # noqa: PT017 - or no error at all
        return
    with contextlib.suppress(ConfigError):
        config.lookup(host)
