"""What a CPU computes with machine code of ours: a library of C functions, if it was built and fits this processor.

The functions are built when the package is, where there is a C compiler, once for processors with AVX2 and once for
those that multiply bfloat16 by themselves (AVX-512 BF16 and VNNI). Everything that uses them has a way of its own
without them. Which of them are taken follows torch: ATEN_CPU_CAPABILITY=avx2 has torch and us do with AVX2.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import platform
import sys
from pathlib import Path

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

Address = ctypes.c_void_p
Number = ctypes.c_long
Small = ctypes.c_int
Real = ctypes.c_float

FOLDER = Path(__file__).parent
BUILT_FOR: dict[str | None, tuple[str, ...]] = {"avx512": ("avx512", "avx2"), "avx2": ("avx2",)}
"""What a kind of processor can run, the best first: an old compiler does not build all."""
SIGNATURES = {
    "native_setup": (Address,) * 3,
    "native_pack": (Address, Address, Number, Number, Small),
    "native_linear_bf16": (*(Address,) * 5, *(Number,) * 3, Small),
    "native_linear_int8": (*(Address,) * 8, *(Number,) * 3, Small),
    "native_round": (*(Address,) * 3, Number, Number, Number, Small),
    "native_rms_norm": (Address, Number, Address, Small, Address, Number, Number, Real, Small),
    "native_gated": (Address, Address, Number, Number, Small, Small),
    "native_experts": (*(Address,) * 2, Number, *(Address,) * 4, Number, Small),
    "native_combine": (*(Address,) * 6, *(Number,) * 3, Small),
    "native_peaks": (Address, Address, Number, Small),
    "native_heads": (*(Address,) * 8, *(Number,) * 6, Real, Small, Small),
    "native_layer": (*(Address,) * 6, Number, *(Address,) * 2),
    "native_attention": (*(Address,) * 7, *(Number,) * 8, Real, Real, Small),
}
OPENMP = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")


@functools.cache
def library() -> ctypes.CDLL | None:
    """The functions, with their arguments' types; None where there are none for this machine."""
    kinds = BUILT_FOR.get(processor(), ())
    paths = [path for each in kinds if (path := FOLDER / f"libnative-{each}.so").exists()]
    error: Exception | str = "they were not built"
    try:
        if paths:
            return _loaded(paths[0])
    except (OSError, AttributeError, LookupError) as raised:
        error = raised
    if kinds:
        logger.warning(
            "this processor would be several times as fast with the package's C functions, but %s; "
            "where there is a C compiler (cc), they are built when candle-vllm-core is installed",
            error,
        )
    return None


def processor() -> str | None:
    """The kind of processor that the functions are built for; None if this is of no such kind."""
    if sys.platform != "linux" or platform.machine().lower() not in ("x86_64", "amd64"):
        return None
    capability = torch.backends.cpu.get_cpu_capability()
    if capability == "AVX512" and torch.cpu._is_avx512_bf16_supported() and torch.cpu._is_vnni_supported():
        return "avx512"
    return "avx2" if capability in ("AVX2", "AVX512") else None


def _loaded(path: Path) -> ctypes.CDLL:
    found, threads = ctypes.CDLL(str(path)), _openmp()
    for name, types in SIGNATURES.items():
        function = getattr(found, name)
        function.argtypes, function.restype = types, None
    found.native_setup(*(ctypes.cast(getattr(threads, name), Address) for name in OPENMP))
    return found


def address(tensor: Tensor | None) -> int | None:
    """Where a tensor's numbers begin, as the functions take it."""
    return None if tensor is None else tensor.data_ptr()


def _openmp() -> ctypes.CDLL:
    """The OpenMP runtime whose threads torch computes with."""
    lines = Path("/proc/self/maps").read_text("utf-8").splitlines()
    paths = {line.split(maxsplit=5)[-1] for line in lines if "libgomp" in line}
    if len(paths) != 1:
        raise LookupError(f"torch's threads were not found among {sorted(paths)}")
    return ctypes.CDLL(paths.pop())
