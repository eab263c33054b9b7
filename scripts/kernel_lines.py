"""The table of the GPU kernels: what each file is for and how long its kernels are, read from the sources."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

KERNELS = Path(__file__).parents[1] / "packages/candle-vllm-core/src/candle_vllm_core/kernels"


def table(name: str) -> Iterator[str]:
    """Each file with kernels: the first sentence of its docstring, its kernels with their lines, and its own lines."""
    yield from ("| file | what for | kernels, in lines | lines |", "| --- | --- | --- | --- |")
    for path in sorted(KERNELS.glob("*.py")):
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
        if lengths := [f"`{node.name}` {_lines(node)}" for node in tree.body if is_kernel(node)]:
            about = (ast.get_docstring(tree) or "").partition("\n")[0].partition(":")[0].rstrip(".")
            yield f"| `{path.name}` | {about} | {', '.join(lengths)} | {len(source.splitlines())} |"


def is_kernel(node: ast.stmt) -> TypeGuard[ast.FunctionDef]:
    """Whether it is what a launch names, and not a helper that is compiled into it."""
    return isinstance(node, ast.FunctionDef) and node.name.endswith("_kernel") and bool(node.decorator_list)


def _lines(node: ast.FunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1
