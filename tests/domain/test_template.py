"""Templates: what they render to, and what every mistake in one says."""

from __future__ import annotations

import base64
import shlex
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bootcfleet.domain.document import Document
from bootcfleet.domain.render import Renderer, RenderRequest, render_image
from bootcfleet.domain.template import ContextFile, SourceFile, TemplateSet, path_problem
from bootcfleet.domain.template_language import Environment, b64, shquote, toml
from bootcfleet.errors import ConfigError

DIGEST = "sha256:" + "0a" * 32
BASE = f"registry.example.com/acme/soe@{DIGEST}"


def templates(
    files: dict[str, str | bytes], variables: dict[str, Any] | None = None, **options: bool
) -> TemplateSet:
    """A set with the template ``web`` and further files; origins are ``T/…`` as in a folder."""
    sources = {
        path: SourceFile(
            text.encode() if isinstance(text, str) else text,
            options.get("executable", False) and path.endswith(".sh"),
            f"T/{path}",
        )
        for path, text in {"web/Containerfile.j2": "FROM {{ base }}\n", **files}.items()
    }
    body = {"description": "d", "variables": variables or {}}
    return TemplateSet(sources, {"web": Document("T/web/template.yaml", body)})


def request(variables: dict[str, Any] | None = None, **other: Any) -> RenderRequest:
    return RenderRequest(
        **{
            "template": "web",
            "base": BASE,
            "image": {"name": "web", "version": "1.0", "description": ""},
            "project": {"name": "acme", "registry": "registry.example.com/acme"},
            "git": {"commit": "c" * 40, "short": "c" * 12, "dirty": False, "url": None},
            "variables": variables or {},
            **other,
        }
    )


def complaint(found: TemplateSet, asked: RenderRequest | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        render_image(found, asked or request())
    return caught.value


def test_variables_and_built_ins_are_there() -> None:
    found = templates(
        {
            "web/Containerfile.j2": (
                "FROM {{ base }}\nLABEL a={{ image.name }} b={{ project.registry }} "
                "c={{ git.short }} d={{ port }} e={{ greeting }}\n"
            )
        },
        {"port": {"default": 80}, "greeting": {"default": "hi", "help": "x"}},
    )
    text = render_image(found, request({"greeting": "hello"})).containerfile
    assert text == (
        f"FROM {BASE}\nLABEL a=web b=registry.example.com/acme c={'c' * 12} d=80 e=hello\n"
    )


def test_files_are_rendered_copied_and_dropped() -> None:
    found = templates(
        {
            "web/files/etc/motd.j2": "Welcome to {{ image.name }}\n",
            "web/files/etc/empty.conf.j2": "{% if port %}x{% endif %}\n \t\n",
            "web/files/usr/share/logo.png": b"\x89PNG\xff\x00",
            "web/files/usr/share/{{ port }}": "as it is: {{ port }}",
            "web/files/usr/bin/run.sh": "#!/bin/sh\n",
            "web/files/etc/really-empty": "",
            "other/files/etc/foreign": "no",
            "web/unused.j2": "{% broken",
        },
        {"port": {"default": 0}},
        executable=True,
    )
    assert render_image(found, request()).files == {
        "files/etc/motd": ContextFile(b"Welcome to web\n", 0o644),
        "files/usr/share/logo.png": ContextFile(b"\x89PNG\xff\x00", 0o644),
        "files/usr/share/{{ port }}": ContextFile(b"as it is: {{ port }}", 0o644),
        "files/usr/bin/run.sh": ContextFile(b"#!/bin/sh\n", 0o755),
        "files/etc/really-empty": ContextFile(b"", 0o644),
    }


def test_shared_macros_and_inheritance_between_templates() -> None:
    found = templates(
        {
            "_shared/labels.j2": (
                "{% macro label(x) %}LABEL n={{ x }}-{{ image.name }}{% endmacro %}"
            ),
            "soe/Containerfile.j2": "FROM {{ base }}\n{% block body %}none{% endblock %}\n",
            "web/Containerfile.j2": (
                '{% extends "soe/Containerfile.j2" %}\n{% block body %}'
                '{% from "_shared/labels.j2" import label with context %}'
                "{{ label('a') }}\n{% endblock %}\n"
            ),
        }
    )
    assert render_image(found, request()).containerfile == f"FROM {BASE}\nLABEL n=a-web\n"
    assert found.names == ("soe", "web")


#: (file, its text, message, hint): each mistake names the template's file and line.
MISTAKES = [
    ("Containerfile.j2", "FROM x\n\n{{ timezone }}\n", "T/web/Containerfile.j2:3: 'timezone' is "
     "undefined", "declare it in template.yaml"),
    ("Containerfile.j2", "{{ prot }}", "T/web/Containerfile.j2:1: 'prot' is undefined",
     "did you mean 'port'?"),
    ("Containerfile.j2", "\n{% if nope %}x{% endif %}", "T/web/Containerfile.j2:2: 'nope' is "
     "undefined", "declare it in template.yaml"),
    ("Containerfile.j2", "{{ git.comit }}", "T/web/Containerfile.j2:1: 'dict object' has no "
     "attribute 'comit'", "did you mean 'commit'?"),
    ("files/a.j2", "1\n2\n{{ missing | toml }}", "T/web/files/a.j2:3: 'missing' is undefined",
     "declare it in template.yaml"),
    ("Containerfile.j2", "FROM x\n{% if port %}\n", "T/web/Containerfile.j2:2: is not a valid "
     "template: Unexpected end of template. Jinja was looking for the following tags: 'elif' or "
     "'else' or 'endif'. The innermost block that needs to be closed is 'if'.", None),
    ("Containerfile.j2", "\n{{ port | tomll }}", "T/web/Containerfile.j2:2: is not a valid "
     "template: No filter named 'tomll'.", None),
    ("Containerfile.j2", '\n{% include "_shared/lables.j2" %}', "T/web/Containerfile.j2:2: there "
     "is no template file '_shared/lables.j2'", "did you mean '_shared/labels.j2'?"),
    ("Containerfile.j2", '{% include "../../etc/passwd" %}', "T/web/Containerfile.j2:1: there is "
     "no template file '../../etc/passwd'", "known: _shared/labels.j2, web/Containerfile.j2"),
    ("Containerfile.j2", "\n{{ port.__class__.__mro__ }}", "T/web/Containerfile.j2:2: does what "
     "a template may not: access to attribute '__class__' of 'int' object is unsafe.", "any"),
    ("Containerfile.j2", "{% set _ = names.append('x') %}", "T/web/Containerfile.j2:1: does what "
     "a template may not: access to attribute 'append' of 'list' object is unsafe.",
     "values are not changed in place: make a new one, as {% set x = x + [y] %}"),
    ("Containerfile.j2", "\n\n{{ 1 / 0 }}", "T/web/Containerfile.j2:3: cannot be rendered: "
     "division by zero", None),
    ("Containerfile.j2", "{% for a in port %}{% endfor %}", "T/web/Containerfile.j2:1: cannot be "
     "rendered: 'int' object is not iterable", None),
    ("Containerfile.j2", "\n{% include 'web/Containerfile.j2' %}", "T/web/Containerfile.j2:2: "
     "includes or calls itself without end", None),
    ("Containerfile.j2", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
     "T/web/Containerfile.j2:1: includes or calls itself without end", None),
    ("Containerfile.j2", "{{ 'x' * 100000000000 }}", "T/web/Containerfile.j2:1: does what a "
     "template may not: this would make a value of more than 1,000,000 characters", "any"),
    ("Containerfile.j2", "{{ 9 ** 99999999999 }}", "T/web/Containerfile.j2:1: does what a "
     "template may not: this would make a value of more than 1,000,000 characters", "any"),
    ("Containerfile.j2", "{{ 'x'.ljust(99999999999) }}", "T/web/Containerfile.j2:1: does what a "
     "template may not: this would make a value of more than 1,000,000 characters", "any"),
    ("Containerfile.j2", "{{ '%99999999d' % 1 }}", "T/web/Containerfile.j2:1: does what a "
     "template may not: this format's width is too large or not written out", "any"),
    ("Containerfile.j2", "{{ '%99999999d' | format(1) }}", "T/web/Containerfile.j2:1: does what a "
     "template may not: this format's width is too large or not written out", "any"),
    ("Containerfile.j2", "{{ '{:99999999}'.format(1) }}", "T/web/Containerfile.j2:1: does what a "
     "template may not: this format's width is too large or not written out", "any"),
    ("Containerfile.j2", "{% for a in range(100000) %}{% for b in range(100000) %}0123456789"
     "{% endfor %}{% endfor %}", "T/web/Containerfile.j2: renders to more than 16 MiB", None),
    ("Containerfile.j2", b"FROM x\n\xe4", "T/web/Containerfile.j2:2: is not UTF-8 (byte 0xe4), so "
     "it cannot be rendered", "convert it to UTF-8, or drop .j2 from its name to copy it as it is"),
    ("files/etc/a", "", "T/web/files/etc/a.j2: makes the same file as T/web/files/etc/a",
     "remove or rename one of the two"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "text", "message", "hint"), MISTAKES, ids=[m[2][:70] for m in MISTAKES]
)
def test_a_mistake_names_file_line_and_remedy(
    file: str, text: str | bytes, message: str, hint: str | None
) -> None:
    files: dict[str, str | bytes] = {
        "_shared/labels.j2": "{% macro label() %}{% endmacro %}",
        f"web/{file}": text,
    }
    if file == "files/etc/a":
        files["web/files/etc/a.j2"] = "x"
    found = templates(files, {"port": {"default": 80}, "names": {"default": []}})
    error = complaint(found)
    assert error.message == message
    assert hint == "any" or error.hint == hint


def test_a_mistake_in_a_macro_also_names_who_used_it() -> None:
    found = templates(
        {
            "_shared/a.j2": "{% macro a() %}\n{{ nope }}{% endmacro %}",
            "_shared/b.j2": '\n\n{% from "_shared/a.j2" import a with context %}{{ a() }}',
            "web/Containerfile.j2": '\n{% include "_shared/b.j2" %}',
        }
    )
    error = complaint(found)
    assert error.message == "T/_shared/a.j2:2: 'nope' is undefined"
    assert error.details == ("used by T/_shared/b.j2:3", "used by T/web/Containerfile.j2:2")


VARIABLES = {
    "port": {"default": 80, "help": "The port."},
    "names": {"default": []},
    "on": {"default": True},
    "owner": {"help": "Who answers for it."},
}

#: (vars, message, hint)
WRONG_VARS = [
    ({"owner": "x", "prot": 1}, "images.web.vars.prot: the template 'web' has no such variable",
     "did you mean 'port'?"),
    ({}, "images.web: the template 'web' needs the variable 'owner'",
     "add it under vars: — Who answers for it."),
    ({"owner": "x", "names": "httpd"}, "images.web.vars.names: must be a list, as its default is, "
     "and is text", None),
    ({"owner": "x", "port": "80"}, "images.web.vars.port: must be a number, as its default is, and "
     "is text", "The port."),
    ({"owner": "x", "on": "yes"}, "images.web.vars.on: must be true or false, as its default is, "
     "and is text", None),
    ({"owner": "x", "on": None}, "images.web.vars.on: must be true or false, as its default is, "
     "and is empty", None),
]  # fmt: skip


@pytest.mark.parametrize(("variables", "message", "hint"), WRONG_VARS)
def test_wrong_variables(variables: dict[str, Any], message: str, hint: str | None) -> None:
    error = complaint(templates({}, VARIABLES), request(variables))
    assert (error.message, error.hint) == (message, hint)


def test_complaints_point_at_the_project_file() -> None:
    def where(key: str | None, message: str, *, hint: str | None = None) -> ConfigError:
        return ConfigError(message, file="bootcfleet.yaml", line=7, field=key, hint=hint)

    error = complaint(templates({}), request({"x": 1}, error=where))
    assert error.message == "bootcfleet.yaml:7: x: the template 'web' has no such variable"
    assert error.hint == "declare it under variables: in web/template.yaml"
    error = complaint(templates({}), request(template="wep", error=where))
    assert (error.message, error.hint) == (
        "bootcfleet.yaml:7: there is no template 'wep'",
        "did you mean 'web'?",
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"variables": {"a-b": {}}}, "'a-b' cannot be a variable"),
        ({"variables": {"class": {}}}, "'class' cannot be a variable"),
        ({"variables": {"git": {}}}, "'git' is defined by bootcfleet itself"),
        ({"variables": {"a": {"defualt": 1}}}, "variables.a.defualt: unknown key"),
        ({"descripton": "x"}, "descripton: unknown key"),
        ({"variables": []}, "variables: "),
    ],
)
def test_wrong_metadata(body: dict[str, Any], message: str) -> None:
    files = {"web/Containerfile.j2": SourceFile(b"FROM x", origin="T/web/Containerfile.j2")}
    found = TemplateSet(files, {"web": Document("T/web/template.yaml", body)})
    error = complaint(found)
    assert error.message.startswith("T/web/template.yaml: ")
    assert message in error.message


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../x", "web/../../x", "web//x", "web/./x", "", "a\\b", "a\nb", "a\0b"]
)
def test_paths_that_leave_their_folder_are_refused(path: str) -> None:
    assert path_problem(path)
    with pytest.raises(ConfigError, match="of a template file"):
        TemplateSet({path: SourceFile(b"", origin="T")})


def test_a_file_without_a_name_is_refused() -> None:
    error = complaint(templates({"web/files/etc/.j2": "x"}))
    assert error.message == (
        "T/web/files/etc/.j2: the path 'files/etc/' leaves or repeats its folder"
    )


def test_one_image_cannot_change_what_another_sees() -> None:
    found = templates(
        {"web/Containerfile.j2": "{% set ns = namespace(x=names) %}{{ names | length }}"},
        {"names": {"default": ["a"]}},
    )
    renderer = Renderer(found)
    assert [renderer.render(request()).containerfile for _ in range(2)] == ["1", "1"]


def test_nothing_random_is_offered() -> None:
    environment = Environment(lambda name: None)
    assert "lipsum" not in environment.globals
    assert "random" not in environment.filters


@given(st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_shquote_makes_exactly_one_word(text: str) -> None:
    assert shlex.split(shquote(text)) == [text]


def test_shquote_refuses_nul() -> None:
    with pytest.raises(ValueError, match="NUL"):
        shquote("a\0b")


@given(st.binary())
def test_b64_is_reversible(data: bytes) -> None:
    assert base64.b64decode(b64(data)) == data


VALUES = st.recursive(
    st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False)
    | st.text(alphabet=st.characters(exclude_categories=["Cs"]))
    | st.dates(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(alphabet=st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=10,
)


@given(VALUES)
def test_toml_reads_back_as_it_was(value: Any) -> None:
    assert tomllib.loads(f"x = {toml(value)}")["x"] == value


@pytest.mark.parametrize("value", [None, object(), {"a": None}])
def test_toml_refuses_what_toml_has_not(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot be written as TOML"):
        toml(value)
