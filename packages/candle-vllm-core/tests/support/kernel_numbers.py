"""Random tensors for kernels, memory that shows what was not written, and how exact each type can be."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def random(*shape: int, dtype: torch.dtype, device: torch.device, seed: int = 0) -> Tensor:
    """Normal numbers, others for each shape and seed."""
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(shape, generator=generator).to(dtype).to(device)


def tolerance(dtype: torch.dtype, roundings: int = 1) -> float:
    """Of results that are rounded so often; the interpreter cuts off where a GPU rounds to the nearest bfloat16."""
    return 4e-6 if dtype == torch.float32 else roundings * torch.finfo(dtype).eps


def poison(patch: pytest.MonkeyPatch) -> None:
    """Fill what `Tensor.new_empty` gives with NaN, so that what a kernel does not write stays that."""
    new_empty = Tensor.new_empty

    def poisoned(self: Tensor, *size: object, **settings: object) -> Tensor:
        found = new_empty(self, *size, **settings)  # type: ignore[call-overload]
        return found.fill_(torch.nan) if found.is_floating_point() else found

    patch.setattr(Tensor, "new_empty", poisoned)
