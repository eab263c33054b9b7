"""What a layer does to each token alone."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .. import spec as s
from .layers import Linear
from .loader import Loader


class Dense(nn.Module):
    """down(silu(gate(x)) * up(x)); gate and up are one matrix."""

    def __init__(self, dense: s.Dense, dim: int, load: Loader) -> None:
        super().__init__()
        width = dense.width
        self.gate_up = Linear(("gate_proj", "up_proj"), (width, width), dim, load, bias=dense.bias)
        self.down = Linear(("down_proj",), (dim,), width, load, bias=dense.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[tokens, dim] to the same."""
        gate, up = self.gate_up(x).chunk(2, -1)
        result: Tensor = self.down(F.silu(gate) * up)
        return result
