"""Triton's interpreter multiplies bf16 as the integers that hold it; here it multiplies the numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from triton import language as tl
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

_dot = InterpreterBuilder.create_dot


def mend() -> None:
    """Let every kernel that is interpreted from now on multiply bf16 right."""
    InterpreterBuilder.create_dot = _dot_of_numbers


def _dot_of_numbers(builder: Any, a: Any, b: Any, *others: Any) -> Any:
    return _dot(builder, _wide(a), _wide(b), *others)


def _wide(handle: Any) -> Any:
    """bf16 is the upper half of float32."""
    if handle.dtype.scalar != tl.bfloat16 or handle.data.dtype != np.uint16:
        return handle
    return TensorHandle((handle.data.astype(np.uint32) << 16).view(np.float32), tl.float32)
