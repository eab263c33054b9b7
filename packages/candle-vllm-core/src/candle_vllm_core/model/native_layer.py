"""A whole decoder layer in one call of our C code, for steps of few tokens in bfloat16 on a CPU.

A layer has nine parts, each computed in some microseconds between two matrices that are read from memory. To ask for
them one by one took Python longer than that, since the matrices drive its own code out of the processor's caches.
"""

from __future__ import annotations

import ctypes
from ctypes import byref
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .. import spec as s
from ..attention import native
from ..attention.backend import Pass
from ..native import address, structs
from .attention import Attention
from .feed_forward import Dense
from .layers import Linear, Norm
from .ops import Angles, JointNorms, NormWeights

if TYPE_CHECKING:
    from .decoder import Block

MOST_ROWS = 64
"""More are computed part by part: Python's share of the time is small then, and so is what lives at once."""
MOST_DIM = 1024
"""Numbers of a head that there is room for."""
ACTIVATIONS = {"silu": 0, "gelu_tanh": 1}


class NativeLayer:
    """See `Ops.whole`."""

    def __init__(self, library: ctypes.CDLL, layer: structs.Layer, index: int, keeps: object) -> None:
        """`keeps` is what the layer's addresses are of."""
        self._call, self._layer, self._index, self._keeps = library.native_layer, layer, index, keeps
        c, numbers = layer, 2
        widths = (
            *(c.out.rows, c.qkv.rows, c.heads * c.head_dim, c.heads * c.head_dim, c.out.rows),
            *(c.gate_up.rows, c.down.columns),
        )
        filled = max(each.columns for each in (c.qkv, c.out, c.gate_up, c.down)) + 4
        self._row_bytes = (*(numbers * width for width in widths), filled, 4)

    def __call__(self, x: Tensor, pass_: Pass, angles: Angles) -> Tensor | None:
        """Few rows of bfloat16 in an attention that is computed in C, else None."""
        rows = x.shape[0]
        if not isinstance(pass_, native.NativePass) or not 0 < rows <= MOST_ROWS or x.dtype != torch.bfloat16:
            return None
        step, cache, scratch = pass_.inside(self._index)
        cos, sin = angles if angles is not None and self._layer.turning else (None, None)
        x, y = x.contiguous(), torch.empty_like(x, memory_format=torch.contiguous_format)
        places = scratch.places([rows * each for each in self._row_bytes])
        self._call(
            byref(self._layer),
            byref(step),
            byref(places),
            address(x),
            address(y),
            address(cache),
            cache.stride(0),
            address(cos),
            address(sin),
        )
        return y


def native_layer(library: ctypes.CDLL, block: Block) -> NativeLayer | None:
    """The layer as C takes it, if it is of the kind."""
    attention, dense = block.attention, block.feed_forward
    norms = [_norm(norm) for norm in (block.attention_norm, block.feed_forward_norm)]
    if block.residual != "pre" or block.scale != 1.0 or None in norms:
        return None
    if not isinstance(attention, Attention) or not isinstance(dense, Dense) or not _is_plain(attention, dense):
        return None
    matrices = [_matrix(linear) for linear in (attention.qkv, attention.out, dense.gate_up, dense.down)]
    if None in matrices:
        return None
    a, heads = attention.spec, attention.qk_norm
    sinks = None if attention.sinks is None else attention.sinks.to(torch.bfloat16)
    layer = structs.Layer(
        norms[0],
        _weights(heads) if isinstance(heads, NormWeights) else structs.Norm(),
        norms[1],
        *matrices,
        address(sinks),
        *(a.heads, a.kv_heads, a.head_dim, 0 if a.rope is None else a.rope.dim),
        a.rope is not None and a.rope.interleaved,
        a.window or 0,
        ACTIVATIONS[dense.spec.act],
        a.scale,
        a.softcap or 0,
    )
    return NativeLayer(library, layer, attention.index, (block, sinks))


def takes_heads(a: s.Attention, norm: NormWeights | JointNorms | None) -> bool:
    """Whether heads of this kind are what `native_heads` computes."""
    plain = norm is None or (isinstance(norm, NormWeights) and _is_rms(norm) and norm.weight.dtype == torch.float32)
    turning = 0 if a.rope is None else a.rope.dim
    return plain and not a.gate and a.query_growth is None and turning <= a.head_dim <= MOST_DIM


def _is_plain(attention: Attention, dense: Dense) -> bool:
    takes = takes_heads(attention.spec, attention.qk_norm)
    return takes and dense.spec.gated and dense.spec.act in ACTIVATIONS


def _is_rms(norm: NormWeights) -> bool:
    return norm.spec.kind == "rms" and norm.bias is None and norm.weight.is_contiguous()


def _norm(norm: Norm | None) -> structs.Norm | None:
    return None if norm is None or not _is_rms(norm.weights) else _weights(norm.weights)


def _weights(norm: NormWeights) -> structs.Norm | None:
    if norm.weight.dtype not in (torch.float32, torch.bfloat16):
        return None
    return structs.Norm(address(norm.weight), norm.weight.dtype == torch.float32, norm.spec.eps)


def _matrix(linear: Linear) -> structs.Matrix | None:
    if linear.bias is not None and linear.bias.dtype != torch.bfloat16:
        return None
    return linear.weight.matrix(linear.bias)
