"""Writes the tables of the documents from the code: public names, settings, fields. `make docs` runs it.

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

import candle_vllm_core
from candle_vllm_server import settings

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("packages/*/README.md")])
TABLE = re.compile(r"(<!-- table: (\w+) (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def names(package: str) -> Iterator[str]:
    """The public names of a package, each with the first line of its docstring."""
    module = importlib.import_module(package)
    yield from ("| name | what it is |", "| --- | --- |")
    for name in module.__all__:
        value = getattr(module, name)
        documented = inspect.isclass(value) or inspect.isfunction(value)
        yield f"| `{name}` | {(inspect.getdoc(value) or '').partition(chr(10))[0] if documented else ''} |"


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
    """The fields of one of the core's dataclasses, with the text that stands below each in the source."""
    kind = getattr(candle_vllm_core, dataclass)
    [node] = ast.parse(dedent(inspect.getsource(kind))).body
    assert isinstance(node, ast.ClassDef)
    said = {
        line.target.id: below.value.value
        for line, below in zip(node.body, node.body[1:], strict=False)
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
    }
    yield from ("| field | default | meaning |", "| --- | --- | --- |")
    for field in dataclasses.fields(kind):
        yield f"| `{field.name}` | `{field.default!r}` | {said.get(field.name, '')} |"


KINDS: dict[str, Callable[[str], Iterator[str]]] = {"names": names, "flags": flags, "fields": fields}


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
