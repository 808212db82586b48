"""The layers of the design: cli → ops → drivers → domain, read from the imports themselves."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "bootcfleet"
LAYERS = ["domain", "drivers", "ops", "cli"]
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Every module that a file imports, at the top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def layer_of(path: Path) -> str | None:
    first = path.relative_to(PACKAGE).parts[0]
    return first if first in LAYERS else None


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_downwards(path: Path) -> None:
    layer = layer_of(path)
    if layer is None:
        return
    forbidden = LAYERS[LAYERS.index(layer) + 1 :]
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "bootcfleet" and len(parts) > 1:
            assert parts[1] not in forbidden, f"{layer} may not import {name}"


#: What the standard library offers of clocks, chance and the outside world.
WORLD = {
    "asyncio", "http", "io", "os", "pathlib", "random", "secrets", "select", "shutil", "signal",
    "socket", "sqlite3", "ssl", "subprocess", "sys", "tempfile", "threading", "time", "urllib",
    "uuid",
}  # fmt: skip


@pytest.mark.parametrize("path", [m for m in MODULES if layer_of(m) == "domain"], ids=name_of)
def test_the_domain_is_pure(path: Path) -> None:
    for name in imports(path):
        top = name.split(".")[0]
        allowed = name.startswith("urllib.parse") or top in {
            "bootcfleet",
            "pydantic",
            "pydantic_core",
            "jinja2",
            # Parsers without any I/O: the shell inside of RUN.
            "tree_sitter",
            "tree_sitter_bash",
            # Cron expressions, on the calendar alone.
            "cronsim",
            # A writer of TOML into a string.
            "tomli_w",
            "__future__",
        }
        assert allowed or (top in sys.stdlib_module_names and top not in WORLD), (
            f"the domain may not import {name}"
        )
    source = path.read_text()
    for call in ("datetime.now(", "datetime.utcnow(", "date.today(", "open("):
        assert call not in source.replace("urlopen(", ""), f"the domain may not call {call})"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_command_driver_starts_processes(path: Path) -> None:
    if name_of(path) == "drivers/command.py":
        return
    names = {name.split(".")[0] for name in imports(path)}
    assert "subprocess" not in names
    assert not any(word in path.read_text() for word in ("os.system(", "os.popen(", "os.exec"))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_only_the_command_line_prints_or_exits(path: Path) -> None:
    if layer_of(path) == "cli" or name_of(path) == "__main__.py":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"print", "exit", "input"}, f"{path}:{node.lineno}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) != ("sys", "exit"), f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_at_most_400_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
    assert path.name not in {"utils.py", "helpers.py", "common.py"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_everything_public_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text())
    if path.name != "__init__.py" or tree.body:
        assert ast.get_docstring(tree), "the module has no docstring"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"
            if isinstance(node, ast.ClassDef):
                for part in node.body:
                    if isinstance(part, ast.FunctionDef) and not part.name.startswith("_"):
                        assert ast.get_docstring(part), f"{node.name}.{part.name} has no docstring"
