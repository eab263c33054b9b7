"""The documents are true: their Python runs, their links and commands exist, their variables are the settings'."""

import ast
import asyncio
import importlib
import inspect
import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

import tables
from candle_vllm_server import flags, settings
from servers import running_server
from workspace import ROOT, modules

ADDRESS = "http://127.0.0.1:2000"
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block and the line of its text where it begins."""

    language: str
    code: str
    line: int


def blocks(text: str) -> list[Block]:
    return [Block(m[2], dedent(m[3]), text.count("\n", 0, m.start()) + 2) for m in FENCE.finditer(text)]


def run_python(name: str, text: str, given: Mapping[str, object] = {}) -> None:
    """Run a text's Python blocks one after another in one namespace; `await` may stand at the top of one."""
    namespace = {**given, "__name__": "__main__"}
    with asyncio.Runner() as runner:
        for block in blocks(text):
            if block.language == "python":
                source = "\n" * (block.line - 1) + block.code
                code = compile(source, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
                result = types.FunctionType(code, namespace)()
                if inspect.iscoroutine(result):
                    runner.run(result)


def docstrings() -> Iterator[tuple[str, tuple[str, str]]]:
    """Every docstring of the packages that shows Python: where it stands, in which module, its text."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for module in modules():
        for node in ast.walk(module.tree):
            text = ast.get_docstring(node) if isinstance(node, documented) else None
            if text and "```python" in text:
                yield f"{module.name}.{getattr(node, 'name', '')}".rstrip("."), (module.name, text)


EXAMPLES = dict(docstrings())


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with running_server() as address:
        yield address


@pytest.mark.parametrize("path", tables.DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_python_in_a_document_runs(path: Path, request: pytest.FixtureRequest) -> None:
    text = path.read_text(encoding="utf-8")
    if any(block.language == "python" and ADDRESS in block.code for block in blocks(text)):
        text = text.replace(ADDRESS, request.getfixturevalue("server"))
    run_python(str(path), text)


@pytest.mark.parametrize("place", EXAMPLES)
def test_the_python_in_a_docstring_runs(place: str) -> None:
    module, text = EXAMPLES[place]
    run_python(place, text, vars(importlib.import_module(module)))


PLANTED = """
```python
import asyncio
x = 1
```

```text
not Python
```

1. In a list:

   ```python
   await asyncio.sleep(0)
   assert x == 2, "planted"
   ```
"""


def test_a_false_document_is_found() -> None:
    with pytest.raises(AssertionError, match="planted"):
        run_python("planted.md", PLANTED)


@pytest.mark.parametrize("path", tables.DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_commands_of_a_document_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if not link.startswith("http")]
    links += re.findall(r'<img[^>]* src="([^"]+)"', text)
    assert [link for link in links if not (path.parent / link).exists()] == []
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    commands = [block.code for block in blocks(text) if block.language == "bash"] + re.findall(r"`(make [^`]*)`", text)
    assert {target for code in commands for target in re.findall(r"\bmake ([a-z]+)", code)} - targets == set()


@pytest.mark.parametrize("path", tables.DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_tables_of_a_document_are_up_to_date(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert tables.renewed(text) == text, "`make docs` writes the tables anew"


@pytest.mark.parametrize("path", tables.DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_everything_in_a_table_is_described(path: Path) -> None:
    written = [match[0] for match in tables.TABLE.finditer(path.read_text(encoding="utf-8"))]
    assert [row for table in written for row in table.splitlines() if row.endswith("|  |")] == []


def test_every_setting_is_in_the_configuration_page() -> None:
    text = (ROOT / "docs/CONFIGURATION.md").read_text(encoding="utf-8")
    groups = {flag.group for flag in settings.flags().values()}
    assert {match[3] for match in tables.TABLE.finditer(text)} == {*groups, "EngineConfig"}


def test_the_example_environment_names_every_variable_once() -> None:
    lines = (ROOT / ".example.env").read_text(encoding="utf-8").splitlines()
    named = [match[1] for line in lines if (match := re.match(r"#?([A-Z][A-Z0-9_]+)=", line))]
    assert sorted(named) == sorted(settings.variable(name) for name in settings.flags())


def test_the_example_environment_asks_for_nothing_unusual() -> None:
    lines = (ROOT / ".example.env").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []


def test_flags_that_are_planned_are_refused_by_this_version() -> None:
    planned = (
        (ROOT / "docs/CONFIGURATION.md").read_text(encoding="utf-8").partition("### Planned")[2].partition("## ")[0]
    )
    named = re.findall(r"`(--[\w-]+)`", planned)
    assert named
    assert set(named) - set(flags.UNSUPPORTED) == set()
