"""What no file may exceed or contain."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from candle_vllm_core.model.families import FAMILIES
from workspace import ROOT, Module, modules

FILE_LINES = 400
FUNCTION_LINES = 60
KERNEL_LINES = 120
FOLDERS = ["src", "packages", "tests", "examples", "bench", "training", "scripts"]
CORE = "packages/candle-vllm-core/src/candle_vllm_core/planted.py"


def python_files() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def is_kernel(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether triton compiles it: it is written for a GPU, as one piece."""
    return any(ast.unparse(decorator).startswith("triton.jit") for decorator in function.decorator_list)


def untyped(module: Module) -> Iterator[str]:
    """Functions in the kernels' folder that Python runs and that lack a type: triton's have none to give."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef) and not is_kernel(node):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            if node.returns is None or any(a.annotation is None and a.arg != "self" for a in arguments):
                yield f"{module.name}:{node.lineno} {node.name} lacks types"


def long_functions(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            wall = KERNEL_LINES if is_kernel(node) else FUNCTION_LINES
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > wall:
                yield f"{module.name}:{node.lineno} {node.name} has {lines} lines; the wall is {wall}"


def families() -> set[str]:
    """The families that the core knows, as a checkpoint's `architectures` and as its `model_type` spell them."""
    known = {name.lower() for name in FAMILIES} | {family.model_type.lower() for family in FAMILIES.values()}
    return known | {name.partition("for")[0] for name in known}


def names_in_code(module: Module) -> set[str]:
    """Every identifier and string of a module, docstrings left out."""
    found: set[str] = set()
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docs = {id(n.body[0].value) for n in ast.walk(module.tree) if isinstance(n, documented) and ast.get_docstring(n)}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name | ast.Attribute | ast.alias | ast.FunctionDef | ast.ClassDef):
            found.add(
                node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else node.name
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            found.add(node.value)
    return found


def lint(source: str, path: str) -> set[str]:
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--output-format",
        "concise",
        "--no-cache",
        "--stdin-filename",
        path,
        "-",
    ]
    run = subprocess.run(command, input=source, capture_output=True, text=True, cwd=ROOT)
    return {line.split(" ")[1] for line in run.stdout.splitlines() if line.startswith(path)}


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_longer_than_the_wall(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= FILE_LINES, f"{lines} lines; the wall is {FILE_LINES}: a file is about one noun"


def test_no_function_is_longer_than_the_wall() -> None:
    assert [fault for module in modules() for fault in long_functions(module)] == []


def test_a_long_function_is_found() -> None:
    source = "def f():\n" + "    pass\n" * FUNCTION_LINES
    assert list(long_functions(Module("candle_vllm_core.engine", source))) == [
        "candle_vllm_core.engine:1 f has 61 lines; the wall is 60"
    ]
    assert list(long_functions(Module("candle_vllm_core.kernels.fused", "@triton.jit\n" + source))) == []


def test_launchers_of_kernels_are_typed() -> None:
    found = [fault for m in modules() if m.inner.startswith("kernels.") for fault in untyped(m)]
    assert found == []


def test_an_untyped_launcher_is_found() -> None:
    source = "@triton.jit\ndef _kernel(x):\n    pass\n\n\ndef launch(x) -> None:\n    pass\n"
    assert list(untyped(Module("candle_vllm_core.kernels.fused", source))) == [
        "candle_vllm_core.kernels.fused:6 launch lacks types"
    ]


def test_every_folder_of_sources_says_what_it_is_for() -> None:
    folders = {path.parent for module in modules() if (path := module.path) is not None}
    assert sorted(str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").exists()) == []


def test_a_family_is_named_in_one_package() -> None:
    core = [m for m in modules() if m.package == "candle_vllm_core" and not m.inner.startswith("model.families")]
    named = {m.name: words for m in core if (words := {w for w in names_in_code(m) if w.lower() in families()})}
    assert named == {}


def test_a_family_named_elsewhere_is_found() -> None:
    planted = Module("candle_vllm_core.engine", '"""llama."""\nif config.model_type == "qwen3":\n    llama()')
    assert names_in_code(planted) & families() == {"llama", "qwen3"}


def test_the_settings_are_the_only_reader_of_the_environment() -> None:
    silenced = {m.name for m in modules() if "noqa: TID251" in m.source}
    assert silenced == {"candle_vllm_server.settings"}
    assert [m.name for m in modules() if "noqa: S101" in m.source or "# ruff:" in m.source] == []


@pytest.mark.parametrize(
    ("source", "path", "code"),
    [
        ("import os\n\nHOME = os.environ['HOME']\n", CORE, "TID251"),
        ("from os import getenv\n\nHOME = getenv('HOME')\n", CORE, "TID251"),
        ("import pickle\n\nload = pickle.load\n", CORE, "TID251"),
        ("import torch\n\nload = torch.load\n", CORE, "TID251"),
        ("from jinja2 import Environment\n\nenvironment = Environment()\n", CORE, "TID251"),
        ("from jinja2.sandbox import SandboxedEnvironment\n\ne = SandboxedEnvironment()\n", CORE, "TID251"),
        ("size = 1\nassert size\n", CORE, "S101"),
        ("print(1)\n", CORE, "T201"),
        ("def f():\n    pass\n", CORE, "D103"),
        ("class A:\n    pass\n", CORE, "D101"),
    ],
)
def test_what_no_source_may_do_is_found_by_the_linter(source: str, path: str, code: str) -> None:
    assert code in lint('"""Planted."""\n\n' + source, path)


def test_the_sandbox_passes_the_linter() -> None:
    sandbox = "from jinja2.sandbox import ImmutableSandboxedEnvironment\n\ne = ImmutableSandboxedEnvironment()\n"
    assert lint('"""Planted."""\n\n' + sandbox, CORE) == set()
