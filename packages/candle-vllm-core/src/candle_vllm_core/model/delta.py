"""The gated delta-net: attention in linear time, whose memory of a sequence is one matrix per head."""

from __future__ import annotations

from torch import Tensor, nn

from .. import spec as s
from ..attention.backend import Pass
from .loader import Loader


class DeltaNet(nn.Module):
    """To be written."""

    def __init__(self, spec: s.DeltaNet, dim: int, index: int, load: Loader) -> None:
        super().__init__()

    def forward(self, x: Tensor, pass_: Pass, angles: object) -> Tensor:
        raise NotImplementedError
