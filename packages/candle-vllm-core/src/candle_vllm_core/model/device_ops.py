"""Which `Ops` a device computes with."""

from __future__ import annotations

import torch

from .. import kernels
from ..native import library
from .native_ops import NativeOps
from .ops import TORCH_OPS, Ops


def choose_ops(device: torch.device) -> Ops:
    """The best that a device has."""
    if kernels.available(device):
        from .triton_ops import TritonOps

        return TritonOps()
    found = library() if device.type == "cpu" else None
    return TORCH_OPS if found is None else NativeOps(found)
