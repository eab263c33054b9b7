"""Every kernel is compiled for GPUs that are not here, in processes where triton does not interpret."""

from __future__ import annotations

import ast
import importlib
import json
import os
import pkgutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest
import triton
from bench._ahead import TARGETS, Usage, of_assembly
from bench.kernels import DOCUMENT, table, written

from candle_vllm_core import kernels

ROOT = Path(__file__).parents[4]
PINNED = next(
    line.removeprefix("triton==")
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line.startswith("triton==")
)
PLANTED = """
    import triton
    from triton import language as tl
    from candle_vllm_core.kernels.case import Case
    from bench._ahead import compile_case

    @triton.jit
    def _square_kernel(out, a, size, BLOCK: tl.constexpr):
        at = tl.arange(0, BLOCK)[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
        x = tl.load(a + at, mask=at < size, other=0.0)
        tl.store(out + at, tl.dot(x, x).to(tl.bfloat16), mask=at < size)

    def case(block, **types):
        return Case("square", _square_kernel, types, {"BLOCK": block}, 1, 1)

    types = {"out": "*bf16", "a": "*bf16", "size": "i32:16"}
    print([compile_case(case(32, **types), target) for target in ("sm_90", "gfx942")])
    print(compile_case(case(128, **types), "sm_90"))
    try:
        compile_case(case(32, out="*bf16"), "sm_80")
    except ValueError as error:
        print(error)
"""


def run(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=check
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Usage]:
    path = tmp_path_factory.mktemp("ahead") / "usages.json"
    said = run("-m", "bench", "kernels", "--json", str(path), check=False)
    assert path.exists(), said.stderr
    return [Usage(**usage) for usage in json.loads(path.read_text(encoding="utf-8"))]


def kernel_files() -> list[ModuleType]:
    """The files that have kernels."""
    names = [module.name for module in pkgutil.iter_modules(kernels.__path__)]
    modules = [importlib.import_module(f"{kernels.__name__}.{name}") for name in names]
    return [module for module in modules if kernels_in(module)]


def kernels_in(module: ModuleType) -> set[str]:
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.endswith("_kernel")]
    return {node.name for node in functions if node.decorator_list}


@pytest.mark.parametrize("module", kernel_files(), ids=lambda module: module.__name__.rpartition(".")[2])
def test_every_kernel_of_a_file_has_something_to_compile(module: ModuleType) -> None:
    cases = module.signatures()
    assert {case.kernel.__name__ for case in cases} == kernels_in(module)
    named = Counter((case.name, target) for case in cases for target in case.targets or TARGETS)
    assert [name for name, count in named.items() if count > 1] == []
    for name in kernels_in(module):
        compiled = {target for case in cases if case.kernel.__name__ == name for target in case.targets or TARGETS}
        assert compiled == set(TARGETS), name
    for case in cases:
        assert {*case.types, *case.constants} == set(case.kernel.arg_names), case.name


@pytest.mark.timeout(1800)
def test_every_kernel_compiles_for_every_gpu_and_spills_nothing(found: Sequence[Usage]) -> None:
    assert [usage for usage in found if not usage.fits] == []
    listed = [
        (file.__name__.rpartition(".")[2], case.name, target)
        for file in kernel_files()
        for case in file.signatures()
        for target in case.targets or TARGETS
    ]
    assert Counter((usage.file, usage.case, usage.target) for usage in found) == Counter(listed)


@pytest.mark.timeout(1800)
def test_what_decides_the_speed_is_not_read_number_by_number(found: Sequence[Usage]) -> None:
    """But for sinks, which are one number of a head, and latents, whose ends are rows of few numbers."""
    files = {"activation", "attention", "cache", "experts", "norm", "rotary"}
    wide = [one for one in found if one.file in files and "sinks" not in one.case and "latent" not in one.case]
    assert [one for one in wide if one.narrow] == []
    assert {one.narrow for one in found if "sinks" in one.case and one.target == "sm_90"} == {2}


@pytest.mark.timeout(1800)
@pytest.mark.skipif(triton.__version__ != PINNED, reason="the table is of another compiler")
def test_the_document_has_what_is_compiled(found: Sequence[Usage]) -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert written(document, table(found, list(TARGETS))) == document, "python -m bench kernels --write"


def test_spills_are_read_from_assembly() -> None:
    counts = {"vgpr_count": 256, "vgpr_spill_count": 3, "sgpr_spill_count": 1, "private_segment_fixed_size": 8}
    text = "\n".join(f"    .{name}: {count}" for name, count in {**counts, "group_segment_fixed_size": 512}.items())
    assert of_assembly(text) == (256, 512, 4 * 3 + 8)


def test_spills_are_found_and_arguments_must_be_complete(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text(dedent(PLANTED), encoding="utf-8")
    small, large, error = run(
        "-c", f"import runpy, sys; sys.path.insert(0, '.'); runpy.run_path({str(planted)!r})"
    ).stdout.splitlines()
    assert all(registers > 0 and spilled == 0 for registers, _, spilled, _ in ast.literal_eval(small))
    assert ast.literal_eval(large)[2] > 0
    assert error == "square: ['a', 'size'] stand in the kernel or in the case, not in both"
