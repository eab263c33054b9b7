"""Writes the tables of the documents from the code: names, settings, fields, families. `make docs` runs it.

A table stands between `<!-- table: KIND NAME -->` and `<!-- end -->`; a test asserts that every one is up to date.
"""

import ast
import dataclasses
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Literal, get_args, get_origin

import candle_vllm_core
import families
import kernel_lines
import request_fields
from candle_vllm_server import settings

PACKAGES = ["candle_vllm_core", "candle_vllm_openai", "candle_vllm_responses", "candle_vllm_server"]
ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("packages/*/README.md")])
TABLE = re.compile(r"(<!-- table: (\w+) (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def names(package: str) -> Iterator[str]:
    """The public names that a package makes, each with its first line of documentation; then those it hands up."""
    module = importlib.import_module(package)
    handed_up = [name for name in module.__all__ if any(hasattr(lower, name) for lower in beneath(package))]
    made = [name for name in module.__all__ if name not in handed_up]
    if made:
        yield from ("| name | what it is |", "| --- | --- |")
        yield from (f"| `{name}` | {description(module, name)} |" for name in made)
    if handed_up:
        yield f"\nHanded up from below: {', '.join(f'`{name}`' for name in handed_up)}."


def beneath(package: str) -> list[ModuleType]:
    """The packages below one, imported."""
    return [importlib.import_module(name) for name in PACKAGES[: PACKAGES.index(package)]]


def description(module: ModuleType, name: str) -> str:
    """The first line of a class's or function's docstring or the text below an assignment, or a `Literal`'s words."""
    value = getattr(module, name)
    if get_origin(value) is Literal:
        return "One of " + ", ".join(f"`{word}`" for word in get_args(value)) + "."
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        sources = (path.read_text(encoding="utf-8") for path in Path(module.__path__[0]).rglob("*.py"))
        value_doc = next((said[name] for source in sources if name in (said := said_below(ast.parse(source)))), "")
        return value_doc.partition("\n")[0]
    if value.__name__ != name:
        return f"Another name of `{value.__name__}`."
    return (inspect.getdoc(value) or "").partition("\n")[0]


def said_below(node: ast.Module | ast.ClassDef) -> dict[str, str]:
    """The texts that stand directly below assignments, by the assigned name."""
    said = {}
    for line, below in zip(node.body, node.body[1:], strict=False):
        target = line.targets[0] if isinstance(line, ast.Assign) else getattr(line, "target", None)
        if isinstance(target, ast.Name) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            said[target.id] = inspect.cleandoc(str(below.value.value))
    return said


def flags(group: str) -> Iterator[str]:
    """The server's settings of one group."""
    yield from ("| flag | variable | default | meaning |", "| --- | --- | --- | --- |")
    for name, flag in settings.flags().items():
        if flag.group == group:
            field = settings.Settings.model_fields[name]
            default = "" if field.default is None else f"`{str(field.default).lower()}`"
            spelled = ", ".join(f"`{spelling}`" for spelling in flag.names)
            yield f"| {spelled} | `{settings.variable(name)}` | {default} | {field.description} |"


def fields(dataclass: str) -> Iterator[str]:
    """The fields of one of the core's dataclasses."""
    kind = getattr(candle_vllm_core, dataclass)
    [node] = ast.parse(dedent(inspect.getsource(kind))).body
    assert isinstance(node, ast.ClassDef)
    said = said_below(node)
    yield from ("| field | default | meaning |", "| --- | --- | --- |")
    for field in dataclasses.fields(kind):
        yield f"| `{field.name}` | `{field.default!r}` | {said.get(field.name, '')} |"


KINDS: dict[str, Callable[[str], Iterator[str]]] = {
    "names": names,
    "flags": flags,
    "fields": fields,
    "families": families.table,
    "requests": request_fields.table,
    "kernels": kernel_lines.table,
}


def renewed(text: str) -> str:
    """A document with its tables written anew."""
    return TABLE.sub(lambda m: m[1] + "\n".join(KINDS[m[2]](m[3])) + "\n" + m[4], text)


def main() -> None:
    """Renew every document and say which ones changed."""
    for path in DOCUMENTS:
        before = path.read_text(encoding="utf-8")
        if (after := renewed(before)) != before:
            path.write_text(after, encoding="utf-8")
            sys.stdout.write(f"renewed {path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
