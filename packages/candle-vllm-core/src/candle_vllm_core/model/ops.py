"""What layers do beside matrix products: `Ops`, the seam where fused kernels take torch's place."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import spec as s
from ..attention.backend import Pass, States
from .activation import GATED, sigmoid
from .rope import rotate

if TYPE_CHECKING:
    from .decoder import Block

Angles = tuple[Tensor, Tensor] | None
"""Cosines and signed sines [tokens, 1, dim] of a layer's rope in float32; None where it has none."""


class NormWeights(NamedTuple):
    """A normalisation with what it learned; where its spec has an offset, that has been added."""

    spec: s.Norm
    weight: Tensor
    """[dim], or [heads, dim] where each head has its own; float32 where it counts before rounding"""
    bias: Tensor | None
    """As the weight."""


class JointNorms(NamedTuple):
    """The normalisation of all heads of q as one vector, and of all heads of k as another."""

    q: NormWeights
    k: NormWeights


class DeltaWeights(NamedTuple):
    """What a delta-net learned beside its matrices."""

    taps: Tensor
    """[kernel, conv_dim] float32, of the convolution"""
    rate: Tensor
    """[value_heads] float32, below 0, by which the memory decays"""
    dt_bias: Tensor
    """[value_heads] float32"""
    norm: NormWeights
    """of what each value head gives"""


class Heads(NamedTuple):
    """What attends."""

    q: Tensor
    """[tokens, heads, key_dim]"""
    k: Tensor | None
    """[tokens, kv_heads, key_dim]; None if keys and values have been written to the cache already"""
    v: Tensor | None
    """[tokens, kv_heads, value_dim]; None also where the value is the key's beginning"""


Whole = Callable[[Tensor, Pass, Angles], Tensor | None]
"""The residual stream [tokens, dim] before and after a layer; None where the step is not one for it."""


class Ops(Protocol):
    """What layers do beside matrix products, on one kind of device; it has no state."""

    adds_in_norms: bool
    """Whether what a part of a layer gives waits until the next normalisation adds it to the residual stream.

    Else the part's last matrix product adds it, before it is rounded.
    """

    def whole(self, block: Block) -> Whole | None:
        """How to compute a whole layer at once, where that is one thing; `Block.forward` is the other way."""
        ...

    def normalise(self, norm: NormWeights, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """x [tokens, dim] normalised, plus a residual of that shape; the rows of x may lie apart."""
        ...

    def add_and_normalise(self, norm: NormWeights, x: Tensor, added: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of x and what is added to it [tokens, dim], normalised and as it is."""
        ...

    def normalise_rows(self, norm: NormWeights, x: Tensor, added: Tensor | None, rows: Tensor | None) -> Tensor:
        """Some rows [rows] of x [tokens, dim], plus those of what is added, normalised; None are all rows."""
        ...

    def gated(self, act: s.Activation, gate_up: Tensor) -> Tensor:
        """[tokens, 2 * width], gate and up side by side, to act(gate) * up [tokens, width]."""
        ...

    def activated(self, act: s.Activation, x: Tensor) -> Tensor:
        """act(x), [tokens, width]."""
        ...

    def sigmoid_gated(self, x: Tensor, gate: Tensor) -> Tensor:
        """x times sigmoid(gate), both [tokens, heads, dim]; the gate's heads may lie apart, its dim may be 1."""
        ...

    def heads(
        self,
        attention: s.Attention,
        projected: Tensor,
        norm: NormWeights | JointNorms | None,
        angles: Angles,
        pass_: Pass,
        layer: int,
    ) -> Heads:
        """Heads as they attend: normalised, rotated, and where that is one thing, keys and values in the cache.

        `projected` [tokens, ...] has the heads of q, of k and of v in turn, with a gate behind each of q where the
        attention has one.
        """
        ...

    def latent_heads(
        self,
        attention: s.LatentAttention,
        queries: Tensor,
        compressed: Tensor,
        norm: NormWeights,
        to_key: Tensor,
        angles: Angles,
        pass_: Pass,
        layer: int,
    ) -> Heads:
        """Heads as they attend in the latent, from queries [tokens, heads, nope_dim + rope.dim].

        `compressed` [tokens, kv_rank + rope.dim] is the latent, which is normalised, and the key part, which rotates;
        `to_key` [heads, nope_dim, kv_rank] brings queries into the latent.
        """
        ...

    def each_head(self, x: Tensor, matrices: Tensor) -> Tensor:
        """Heads [tokens, heads, a], each times its own of the matrices [heads, a, b]: [tokens, heads, b]."""
        ...

    def delta_answers(self, net: s.DeltaNet, weights: DeltaWeights, inner: Tensor, states: States, out: Tensor) -> bool:
        """Give all `states.answers` at once what `model.delta` gives them, and change their states; False: it cannot.

        `inner` [tokens, ...] is what was projected, `out` [tokens, value_heads * value_dim] takes what is found.
        """
        ...


class TorchOps:
    """See `Ops`: in plain torch, on any device."""

    adds_in_norms = False

    def whole(self, block: Block) -> Whole | None:
        """See `Ops.whole`."""
        return None

    def normalise(self, norm: NormWeights, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """See `Ops.normalise`."""
        found = _normalised(norm, x)
        return found if residual is None else residual + found

    def add_and_normalise(self, norm: NormWeights, x: Tensor, added: Tensor) -> tuple[Tensor, Tensor]:
        """See `Ops.add_and_normalise`."""
        x = x + added
        return _normalised(norm, x), x

    def normalise_rows(self, norm: NormWeights, x: Tensor, added: Tensor | None, rows: Tensor | None) -> Tensor:
        """See `Ops.normalise_rows`."""
        if rows is not None:
            x, added = x[rows], None if added is None else added[rows]
        return _normalised(norm, x if added is None else x + added)

    def gated(self, act: s.Activation, gate_up: Tensor) -> Tensor:
        """See `Ops.gated`."""
        gate, up = gate_up.chunk(2, -1)
        return GATED[act](gate, up)

    def activated(self, act: s.Activation, x: Tensor) -> Tensor:
        """See `Ops.activated`."""
        return GATED[act](x, x.new_ones(()))

    def sigmoid_gated(self, x: Tensor, gate: Tensor) -> Tensor:
        """See `Ops.sigmoid_gated`."""
        return x * sigmoid(gate)

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
        qkv = _without_gate(a, projected) if a.gate else projected
        qk, v = qkv.view(qkv.shape[0], a.heads + 2 * a.kv_heads, a.head_dim).split_with_sizes(
            (a.heads + a.kv_heads, a.kv_heads), 1
        )
        if isinstance(norm, JointNorms):
            qk = _jointly_normalised(a, norm, qk)
        elif norm is not None:
            qk = _normalised(norm, qk.float())
        if angles is not None and a.rope is not None:
            qk = rotate(qk, *angles, interleaved=a.rope.interleaved)
        q, k = qk.to(projected.dtype).split_with_sizes((a.heads, a.kv_heads), 1)
        if a.query_growth is not None:
            q = q * _growth(a.query_growth, pass_.positions).to(q.dtype)
        return Heads(q, k, v)

    def latent_heads(
        self,
        attention: s.LatentAttention,
        queries: Tensor,
        compressed: Tensor,
        norm: NormWeights,
        to_key: Tensor,
        angles: Angles,
        pass_: Pass,
        layer: int,
    ) -> Heads:
        """See `Ops.latent_heads`."""
        a = attention
        nope, turning = queries.split_with_sizes((a.nope_dim, a.rope.dim), -1)
        latent, key = compressed.split_with_sizes((a.kv_rank, a.rope.dim), -1)
        if angles is not None:
            both = torch.cat((turning, key[:, None]), 1)
            turning, key = rotate(both, *angles, interleaved=a.rope.interleaved).split_with_sizes((a.heads, 1), 1)
        q = torch.cat((self.each_head(nope, to_key), turning), -1)
        return Heads(q, torch.cat((_normalised(norm, latent)[:, None], key), -1), None)

    def each_head(self, x: Tensor, matrices: Tensor) -> Tensor:
        """See `Ops.each_head`."""
        tokens = x.shape[0]
        padded = F.pad(x, (0, 0, 0, 0, 0, FEWEST_ROWS - tokens)) if tokens < FEWEST_ROWS else x
        return torch.bmm(padded.transpose(0, 1), matrices).transpose(0, 1)[:tokens]

    def delta_answers(self, net: s.DeltaNet, weights: DeltaWeights, inner: Tensor, states: States, out: Tensor) -> bool:
        """See `Ops.delta_answers`: here one sequence is computed after the other."""
        return False


TORCH_OPS = TorchOps()
FEWEST_ROWS = 4
"""Batched multiplication sums up fewer rows in another order, so that a token's bits would depend on others."""


def _normalised(norm: NormWeights, x: Tensor) -> Tensor:
    """Normalise the last dimension of x in float32, round to the weight's type, apply weight and bias."""
    spec, weight, bias = norm
    wide = x.to(weight.dtype)
    found = F.rms_norm(wide, x.shape[-1:], None, spec.eps) if spec.kind == "rms" else _centred(wide, spec.eps)
    found = found * weight if bias is None else torch.addcmul(bias, found, weight)
    return found.to(x.dtype)


def _centred(x: Tensor, eps: float) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], None, None, eps)


def _jointly_normalised(a: s.Attention, norms: JointNorms, qk: Tensor) -> Tensor:
    q, k = (part.flatten(1) for part in qk.split_with_sizes((a.heads, a.kv_heads), 1))
    return torch.cat((_normalised(norms.q, q), _normalised(norms.k, k)), 1).view(qk.shape)


def gate_of(a: s.Attention, projected: Tensor) -> Tensor:
    """The gate [tokens, heads, head_dim] of an attention that has one, whose rows stand after each head's query."""
    queries = projected[:, : 2 * a.heads * a.head_dim]
    return queries.view(queries.shape[0], a.heads, 2, a.head_dim)[:, :, 1]


def _without_gate(a: s.Attention, projected: Tensor) -> Tensor:
    q, kv = a.heads * a.head_dim, a.kv_heads * a.head_dim
    queries, keys_values = projected.split_with_sizes((2 * q, 2 * kv), 1)
    return torch.cat((queries.view(queries.shape[0], a.heads, 2, a.head_dim)[:, :, 0].flatten(1), keys_values), 1)


def _growth(growth: s.QueryGrowth, positions: Tensor) -> Tensor:
    """[tokens, 1, 1] in float32."""
    return (1 + growth.beta * torch.log1p((positions // growth.length).float()))[:, None, None]
