"""What triton's interpreter gets wrong, put right.

It multiplies bf16 as the integers that hold it; and what is rounded up to a power of two in fp8 loses half its size.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from triton import language as tl
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

_dot = InterpreterBuilder.create_dot
_cast = InterpreterBuilder.create_fp_to_fp


def mend() -> None:
    """Let every kernel that is interpreted from now on multiply bf16 and round to fp8 right."""
    InterpreterBuilder.create_dot = _dot_of_numbers
    InterpreterBuilder.create_fp_to_fp = _rounded


def _dot_of_numbers(builder: Any, a: Any, b: Any, *others: Any) -> Any:
    return _dot(builder, _wide(a), _wide(b), *others)


def _wide(handle: Any) -> Any:
    """bf16 is the upper half of float32."""
    if handle.dtype.scalar != tl.bfloat16 or handle.data.dtype != np.uint16:
        return handle
    return TensorHandle((handle.data.astype(np.uint32) << 16).view(np.float32), tl.float32)


def _rounded(builder: Any, source: Any, kind: Any, mode: Any) -> Any:
    """float32 to e4m3 by torch; all else as the interpreter does it."""
    if source.dtype.scalar != tl.float32 or kind.scalar != tl.float8e4nv:
        return _cast(builder, source, kind, mode)
    numbers = torch.from_numpy(np.ascontiguousarray(source.data)).to(torch.float8_e4m3fn)
    return TensorHandle(numbers.view(torch.uint8).numpy(), tl.float8e4nv)
