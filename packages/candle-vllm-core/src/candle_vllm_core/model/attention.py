"""Attention as the model sees it: projections, head norms and rotation; keys, values and softmax are the pass's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import spec as s
from ..attention.backend import Pass
from .layers import Linear
from .loader import Loader
from .rope import rotate


class Attention(nn.Module):
    """Grouped-query attention; q, k and v come from one matrix, and q and k are normalised and rotated together."""

    def __init__(self, attention: s.Attention, dim: int, index: int, load: Loader) -> None:
        super().__init__()
        self.spec, self.index = attention, index
        a = attention
        q, kv = a.heads * a.head_dim, a.kv_heads * a.head_dim
        self.qkv = Linear(("q_proj", "k_proj", "v_proj"), (q, kv, kv), dim, load, bias=a.qkv_bias)
        self.out = Linear(("o_proj",), (dim,), q, load, bias=a.out_bias)
        self.qk_norm = HeadNorm(a, a.qk_norm, load) if a.qk_norm else None

    def forward(self, x: Tensor, pass_: Pass, angles: tuple[Tensor, Tensor]) -> Tensor:
        """[tokens, dim] to the same; `angles` are the cosines and sines of this layer's rope."""
        a = self.spec
        heads = self.qkv(x).view(x.shape[0], a.heads + 2 * a.kv_heads, a.head_dim)
        qk, v = heads.split_with_sizes((a.heads + a.kv_heads, a.kv_heads), 1)
        if self.qk_norm is not None:
            qk = self.qk_norm(qk)
        q, k = rotate(qk, *angles).split_with_sizes((a.heads, a.kv_heads), 1)
        result: Tensor = self.out(pass_.attend(self.index, a, q, k, v).flatten(1))
        return result


class HeadNorm(nn.Module):
    """Normalises each head, all of q with one weight and all of k with another."""

    def __init__(self, attention: s.Attention, norm: s.Norm, load: Loader) -> None:
        super().__init__()
        a = attention
        self.eps = norm.eps
        q, k = (load.tensor(f"{name}.weight", a.head_dim) for name in ("q_norm", "k_norm"))
        self.weight = torch.cat((q.expand(a.heads, -1), k.expand(a.kv_heads, -1)))

    def forward(self, qk: Tensor) -> Tensor:
        """[tokens, heads of q and k, head_dim] to the same."""
        return F.rms_norm(qk, qk.shape[-1:], None, self.eps) * self.weight
