"""What layers do beside matrix products, in Triton's kernels; imported only where they run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .. import spec as s
from ..attention.backend import Destination, Pass, States
from ..kernels import activation, delta, norm, rotary
from .ops import Angles, DeltaWeights, Heads, JointNorms, NormWeights

if TYPE_CHECKING:
    from .decoder import Block


class TritonOps:
    """See `Ops`; keys and values are written to the cache as soon as they are made, where the pass has a place."""

    adds_in_norms = True

    def whole(self, block: Block) -> None:
        """See `Ops.whole`: a GPU is told what to do ahead of time."""

    def normalise(self, norm: NormWeights, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """See `Ops.normalise`."""
        rows = x.flatten(0, -2)
        return _normalised(norm, rows, residual=None if residual is None else residual.view(rows.shape))[0].view(
            x.shape
        )

    def add_and_normalise(self, norm: NormWeights, x: Tensor, added: Tensor) -> tuple[Tensor, Tensor]:
        """See `Ops.add_and_normalise`."""
        return _normalised(norm, x, added=added)

    def normalise_rows(self, norm: NormWeights, x: Tensor, added: Tensor | None, rows: Tensor | None) -> Tensor:
        """See `Ops.normalise_rows`."""
        return _normalised(norm, x, added=added, index=rows)[0]

    def gated(self, act: s.Activation, gate_up: Tensor) -> Tensor:
        """See `Ops.gated`."""
        return activation.gated(act, gate_up)

    def activated(self, act: s.Activation, x: Tensor) -> Tensor:
        """See `Ops.activated`."""
        return activation.gated(act, x, has_up=False)

    def sigmoid_gated(self, x: Tensor, gate: Tensor) -> Tensor:
        """See `Ops.sigmoid_gated`."""
        return activation.gate_heads(x, gate)

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
        a, dtype = attention, projected.dtype
        if isinstance(norm, JointNorms):
            projected, norm = _jointly_normalised(a, norm, projected), None
        room = (len(projected), 2, a.kv_heads, a.head_dim)
        cache, slots, scales = _destination(pass_, layer, dtype) or (projected.new_empty(room), None, None)
        q = rotary.turn_heads(
            projected,
            a.heads,
            (cache, slots),
            q_step=2 * a.head_dim if a.gate else a.head_dim,
            angles=None if a.rope is None else angles,
            interleaved=a.rope is not None and a.rope.interleaved,
            norm=None if norm is None else (norm.weight, norm.bias, norm.spec.eps),
            centred=norm is not None and norm.spec.kind == "layer",
            growth=None if a.query_growth is None else (pass_.positions, a.query_growth.beta, a.query_growth.length),
            scales=scales,
        )
        return Heads(q, None, None) if slots is not None else Heads(q, cache[:, 0], cache[:, 1])

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
        q = queries.new_empty(len(queries), a.heads, a.key_dim)
        latents = q[..., : a.kv_rank].transpose(0, 1)
        torch.bmm(queries[..., : a.nope_dim].transpose(0, 1), to_key, out=latents)
        room = (len(q), 1, 1, a.key_dim)
        cache, slots, scales = _destination(pass_, layer, q.dtype) or (q.new_empty(room), None, None)
        rotary.turn_latent(
            q,
            queries,
            compressed,
            (cache, slots),
            norm.weight,
            norm.spec.eps,
            angles=angles,
            interleaved=a.rope.interleaved,
            scales=scales,
        )
        return Heads(q, None if slots is not None else cache[:, 0], None)

    def each_head(self, x: Tensor, matrices: Tensor) -> Tensor:
        """See `Ops.each_head`."""
        found = x.new_empty(*x.shape[:2], matrices.shape[2])
        torch.bmm(x.transpose(0, 1), matrices, out=found.transpose(0, 1))
        return found

    def delta_answers(self, net: s.DeltaNet, weights: DeltaWeights, inner: Tensor, states: States, out: Tensor) -> bool:
        """See `Ops.delta_answers`."""
        heads = delta.Heads(net.key_heads, net.value_heads, net.key_dim, net.value_dim, net.kernel)
        spec, weight, bias = weights.norm
        if states.answers is None or not delta.takes(heads) or spec.kind != "rms" or bias is not None:
            return False
        places, rows = states.answers
        learned = delta.Learned(weights.taps, weights.rate, weights.dt_bias, weight)
        delta.step(out, inner, (states.conv, states.memory), places, heads, learned, spec.eps, rows=rows)
        return True


def _normalised(
    weights: NormWeights,
    x: Tensor,
    *,
    added: Tensor | None = None,
    residual: Tensor | None = None,
    index: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    spec, weight, bias = weights
    centred = spec.kind == "layer"
    return norm.normalise(x, weight, bias, spec.eps, centred=centred, added=added, residual=residual, index=index)


def _jointly_normalised(a: s.Attention, norms: JointNorms, projected: Tensor) -> Tensor:
    """q, k and v, with all heads of q normalised as one vector, and all heads of k as another."""
    q, k, v = projected.split_with_sizes([a.heads * a.head_dim, *[a.kv_heads * a.head_dim] * 2], 1)
    return torch.cat((_normalised(norms.q, q)[0], _normalised(norms.k, k)[0], v), 1)


def _destination(pass_: Pass, layer: int, dtype: torch.dtype) -> Destination | None:
    """Where a layer's keys and values go, if they are stored as they are or with scales."""
    found = pass_.destination(layer)
    fits = found is not None and (found.cache.dtype == dtype or found.scales is not None)
    return found if fits else None
