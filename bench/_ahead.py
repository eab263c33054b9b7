"""Compiles kernels for GPUs that are not here, and reads from the machine code what it takes of a GPU."""

import importlib
import os
import pkgutil
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import triton
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from candle_vllm_core import kernels
from candle_vllm_core.kernels.case import Case

TARGETS = {
    "sm_80": ("cuda", 80, 32),
    "sm_90": ("cuda", 90, 32),
    "sm_100": ("cuda", 100, 32),
    "gfx942": ("hip", "gfx942", 64),
}
SHARED = {"sm_80": 163 << 10, "sm_90": 227 << 10, "sm_100": 227 << 10, "gfx942": 64 << 10}
"""Shared memory that a program can have, in bytes: the CUDA programming guide, and the instruction set of CDNA 3."""
NARROW = re.compile(r"\b(?:ld|st)\.global\S*\.b(?:8|16)\b")
"""In NVIDIA's assembly."""


class Usage(NamedTuple):
    """What one configuration of a kernel takes of a GPU: registers per thread, bytes per program, bytes spilled.

    `narrow` is how many instructions read or write 2 bytes or fewer of a GPU's memory; for AMD's it is not read.
    """

    file: str
    case: str
    target: str
    registers: int
    shared: int
    spilled: int
    narrow: int = 0
    fault: str = ""

    @property
    def fits(self) -> bool:
        """Whether it compiles, spills nothing and fits the shared memory."""
        return not self.fault and self.spilled == 0 and self.shared <= SHARED[self.target]


def kernel_files() -> list[str]:
    """The kernel files that have something to compile."""
    names = [module.name for module in pkgutil.iter_modules(kernels.__path__)]
    return [name for name in names if "signatures" in vars(_module(name))]


def cases(file: str) -> list[Case]:
    """The configurations of a kernel file."""
    listed: list[Case] = _module(file).signatures()
    return listed


def usages(files: Sequence[str], targets: Sequence[str], jobs: int) -> Iterator[Usage]:
    """Compile every configuration for every target, in so many processes at once; in the order of the files."""
    work = [
        (file, number, target)
        for file in files
        for number, case in enumerate(cases(file))
        for target in targets
        if target in (case.targets or targets)
    ]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_compiled, work)


def _compiled(job: tuple[str, int, str]) -> Usage:
    file, number, target = job
    case = cases(file)[number]
    try:
        return Usage(file, case.name, target, *compile_case(case, target))
    except Exception as error:  # A compiler fails in as many ways as it has passes: the table says so, and goes on.
        why = f"{type(error).__name__}: {error}".strip().splitlines()
        return Usage(file, case.name, target, 0, 0, 0, fault=" ".join([why[0], why[-1]])[:300])


def compile_case(case: Case, target: str) -> tuple[int, int, int, int]:
    """Registers per thread, shared memory of a program and spilled memory of a thread, in bytes; narrow accesses."""
    names = [*case.kernel.arg_names]
    if missing := set(names) ^ {*case.types, *case.constants}:
        raise ValueError(f"{case.name}: {sorted(missing)} stand in the kernel or in the case, not in both")
    types = {name: kind.partition(":")[0] for name, kind in case.types.items()}
    aligned = [name for name, kind in case.types.items() if kind.startswith("*") or kind.endswith(":16")]
    source = ASTSource(
        fn=case.kernel,
        signature={name: types.get(name, "constexpr") for name in names},
        constexprs=dict(case.constants),
        attrs={(names.index(name),): [["tt.divisibility", 16]] for name in aligned},
    )
    options = {"num_warps": case.num_warps, "num_stages": case.num_stages, "enable_fp_fusion": True}
    compiled = triton.compile(source, target=GPUTarget(*TARGETS[target]), options=options)
    if "cubin" in compiled.asm:
        registers, static, spilled = _of_cubin(compiled.asm["cubin"])
    else:
        registers, static, spilled = of_assembly(compiled.asm["amdgcn"])
    narrow = len(NARROW.findall(compiled.asm.get("ptx", "")))
    return registers, compiled.metadata.shared + static, spilled, narrow


def _of_cubin(cubin: bytes) -> tuple[int, int, int]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(cubin)
        command = [knobs.nvidia.cuobjdump.path, "-res-usage", str(path)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = {name: int(number) for name, number in re.findall(r"(REG|STACK|SHARED|LOCAL):(\d+)", said)}
    return found["REG"], found["SHARED"], found["STACK"] + found["LOCAL"]


def of_assembly(text: str) -> tuple[int, int, int]:
    """Registers, shared memory and spilled memory, from the metadata at the end of AMD's assembly."""
    found = {name: int(number) for name, number in re.findall(r"\.(\w+):\s+(\d+)", text)}
    # Scalar registers spill into lanes of vector registers, not into memory.
    spilled = 4 * found["vgpr_spill_count"] + found["private_segment_fixed_size"]
    return found["vgpr_count"], found["group_segment_fixed_size"], spilled


def _module(name: str) -> ModuleType:
    if os.environ.get("TRITON_INTERPRET"):
        raise RuntimeError("kernels that are interpreted cannot be compiled: unset TRITON_INTERPRET")
    return importlib.import_module(f"{kernels.__name__}.{name}")
