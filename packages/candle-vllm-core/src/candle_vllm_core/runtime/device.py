"""Which device and dtype a config means on this machine, found out before anything is loaded."""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import psutil
import torch

from .. import kernels
from ..config import DType, KVCacheDType, Quantization
from ..errors import ConfigError, DeviceError
from ..quant.int8 import can_quantize
from ..quant.panels import has_panels
from .container import left_in_container
from .threads import usable_cores

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
FP8_CAPABILITY = (8, 9)


def resolve_device(name: str) -> torch.device:
    """The device that a config's `device` means.

    Raises:
        DeviceError: the device is not there; the message lists those that are.
    """
    present = _present()
    if name == "auto":
        return torch.device(present[0])
    device = torch.device(name if name != "cuda" else "cuda:0")
    if str(device) not in present:
        raise DeviceError(f"device {name!r} is not there; this machine has {', '.join(present)}", name)
    return device


def _present() -> list[str]:
    """The devices of this machine, the best first."""
    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    metal = ["mps"] if torch.backends.mps.is_available() else []
    return [*gpus, *metal, "cpu"]


def resolve_dtype(name: DType, device: torch.device) -> torch.dtype:
    """The dtype that a config's `dtype` means on a device."""
    if name != "auto":
        return DTYPES[name]
    match device.type:
        case "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        case "cpu":
            return torch.bfloat16 if cpu_has_bf16() else torch.float32
        case _:
            return torch.float16


def check_quantization(quantization: Quantization | None, device: torch.device, dtype: torch.dtype) -> None:
    """Refuse a config's `quantization` where it cannot be computed with.

    Raises:
        ConfigError: the device is no CPU, or products of 8-bit matrices come out wrong on it.
    """
    if quantization is None or (device.type == "cpu" and can_quantize(dtype)):
        return
    why = (
        "this build of torch does not multiply such matrices right on this processor"
        if device.type == "cpu"
        else f"{device} has no product of such matrices, a CPU has"
    )
    raise ConfigError(f"quantization is {quantization!r}, and {why}; leave it out", "quantization")


def check_kv_cache_dtype(kv_cache_dtype: KVCacheDType, device: torch.device) -> None:
    """Refuse a config's `kv_cache_dtype` where nothing reads such a cache.

    Raises:
        ConfigError: the device is no GPU that knows e4m3, or triton is not installed.
    """
    if kv_cache_dtype == "auto":
        return
    if not kernels.available(device):
        why = f"{device} has none: only triton's kernels on a GPU read it"
    elif torch.cuda.get_device_capability(device) < FP8_CAPABILITY:
        why = f"{device} does not know e4m3: compute capability 8.9 and above do"
    else:
        return
    raise ConfigError(f"kv_cache_dtype is {kv_cache_dtype!r}, and {why}; leave it out", "kv_cache_dtype")


def set_threads(asked: int | None) -> int:
    """Compute with so many threads in this process, or with no more than there are cores for; how many they are."""
    count = threads_for(asked)
    if count != torch.get_num_threads():
        torch.set_num_threads(count)
    return count


def threads_for(asked: int | None) -> int:
    """How many threads `set_threads` would compute with."""
    return asked or min(torch.get_num_threads(), usable_cores())


def cpu_has_bf16() -> bool:
    """Whether bf16 is fast: our own code or the processor multiplies it; where neither does, fp32 is faster."""
    if has_panels(torch.bfloat16):
        return True
    if platform.machine().lower() in ("x86_64", "amd64"):
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def dtype_name(dtype: torch.dtype) -> str:
    """A dtype's name as configs have it."""
    return next(name for name, known in DTYPES.items() if known == dtype)


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device now."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    left, available = left_in_container(), int(psutil.virtual_memory().available)
    return available if left is None else min(left, available)


def total_memory(device: torch.device) -> int:
    """Bytes of memory that a device has."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return int(psutil.virtual_memory().total)


def computes_beside(device: torch.device) -> bool:
    """Whether a device computes while the host goes on, so that the next step can be made meanwhile."""
    return device.type == "cuda"


def lack_of_memory_as_memory_error(work: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Let a function raise MemoryError where torch says that a device has too little; what torch kept is given back."""

    @wraps(work)
    def told(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        try:
            return work(*arguments, **named)
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            raise MemoryError(f"the device has too little memory for this step: {error}") from error

    return told
