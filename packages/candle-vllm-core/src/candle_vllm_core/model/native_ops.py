"""`NativeOps`: what layers do beside matrix products, in machine code of ours, in bfloat16 on a CPU."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .. import spec as s
from ..attention.backend import Pass
from ..native import address, processor
from .native_layer import ACTIVATIONS, NativeLayer, native_layer, takes_heads
from .ops import Angles, Heads, JointNorms, NormWeights, TorchOps

if TYPE_CHECKING:
    from .decoder import Block

ALONE = 1 << 15
"""So many numbers are worth more than one thread."""


class NativeOps(TorchOps):
    """See `Ops`; what it has no code for, and other types, are computed by torch."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def whole(self, block: Block) -> NativeLayer | None:
        """See `Ops.whole`."""
        return native_layer(self._library, block)

    def normalise(self, norm: NormWeights, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """See `Ops.normalise`."""
        if residual is not None or not _is_rms(norm, x):
            return super().normalise(norm, x, residual)
        m, dim = x.shape
        y, wide = x.new_empty(m, dim), norm.weight.dtype == torch.float32
        self._library.native_rms_norm(
            address(x), x.stride(0), address(norm.weight), wide, address(y), m, dim, norm.spec.eps, _threads(y)
        )
        return y

    def gated(self, act: s.Activation, gate_up: Tensor) -> Tensor:
        """See `Ops.gated`."""
        if gate_up.dtype != torch.bfloat16 or act not in ACTIVATIONS or not gate_up.is_contiguous():
            return super().gated(act, gate_up)
        m, width = gate_up.shape[0], gate_up.shape[1] // 2
        y = gate_up.new_empty(m, width)
        self._library.native_gated(address(gate_up), address(y), m, width, ACTIVATIONS[act], _threads(y))
        return y

    def each_head(self, x: Tensor, matrices: Tensor) -> Tensor:
        """See `Ops.each_head`; where a processor has no bfloat16, torch is many times as fast in float32."""
        if x.dtype != torch.bfloat16 or processor() != "avx2":
            return super().each_head(x, matrices)
        return super().each_head(x.float(), matrices.float()).to(x.dtype)

    def heads(
        self,
        attention: s.Attention,
        projected: Tensor,
        norm: NormWeights | JointNorms | None,
        angles: Angles,
        pass_: Pass,
        layer: int,
    ) -> Heads:
        """See `Ops.heads`."""
        a = attention
        if not _fits(a, projected, norm):
            return super().heads(a, projected, norm, angles, pass_, layer)
        tokens, dim = projected.shape[0], a.head_dim
        q = projected.new_empty(tokens, a.heads, dim)
        destination = pass_.destination(layer)
        fits = destination is not None and destination[0].dtype == torch.bfloat16
        cache, slots = destination[:2] if destination is not None and fits else (_no_cache(projected, a), None)
        k, v = cache.unbind(1)
        cos, sin = angles if angles is not None and a.rope is not None else (None, None)
        weight, eps = (norm.weight, norm.spec.eps) if isinstance(norm, NormWeights) else (None, 0.0)
        self._library.native_heads(
            address(projected),
            address(weight),
            address(cos),
            address(sin),
            address(q),
            address(k),
            address(v),
            address(slots),
            tokens,
            a.heads,
            a.kv_heads,
            dim,
            0 if cos is None else cos.shape[-1],
            cache.stride(0),
            eps,
            a.rope is not None and a.rope.interleaved,
            _threads(projected),
        )
        return Heads(q, None, None) if slots is not None else Heads(q, k, v)


def _no_cache(projected: Tensor, a: s.Attention) -> Tensor:
    """Room for keys and values beside the cache [tokens, 2, kv_heads, head_dim]."""
    return projected.new_empty(projected.shape[0], 2, a.kv_heads, a.head_dim)


def _is_rms(norm: NormWeights, x: Tensor) -> bool:
    """Whether this is what `native_rms_norm` computes."""
    return (
        x.dtype == torch.bfloat16
        and x.dim() == 2
        and x.stride(1) == 1
        and norm.spec.kind == "rms"
        and norm.bias is None
        and norm.weight.shape == x.shape[1:]
    )


def _fits(a: s.Attention, projected: Tensor, norm: NormWeights | JointNorms | None) -> bool:
    """Whether this is what `native_heads` computes."""
    return (
        takes_heads(a, norm)
        and projected.dtype == torch.bfloat16
        and projected.is_contiguous()
        and projected.shape[1] == (a.heads + 2 * a.kv_heads) * a.head_dim
    )


def _threads(made: Tensor) -> int:
    """With how many threads to make a tensor."""
    return torch.get_num_threads() if made.numel() >= ALONE and made.shape[0] > 1 else 1
