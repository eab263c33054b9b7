"""Attention as the model sees it: projections, head norms and rotation; keys, values and softmax are the pass's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .. import spec as s
from ..attention.backend import Pass
from .delta import DeltaNet
from .layers import Linear, Norm, norm_weights
from .loader import Loader
from .ops import Angles, JointNorms, NormWeights, gate_of


def mixer(spec: s.Attention | s.LatentAttention | s.DeltaNet, dim: int, index: int, load: Loader) -> nn.Module:
    """The module of a spec: what lets a token see those before it."""
    match spec:
        case s.Attention():
            return Attention(spec, dim, index, load.within("self_attn"))
        case s.LatentAttention():
            return LatentAttention(spec, dim, index, load.within("self_attn"))
        case s.DeltaNet():
            return DeltaNet(spec, dim, index, load.within("linear_attn"))


class Attention(nn.Module):
    """Grouped-query attention; q, k and v come from one matrix, and q and k are normalised and rotated together."""

    def __init__(self, attention: s.Attention, dim: int, index: int, load: Loader) -> None:
        super().__init__()
        self.spec, self.index, self.ops = attention, index, load.ops
        a = attention
        q, kv = a.heads * a.head_dim, a.kv_heads * a.head_dim
        rows = (2 * q if a.gate else q, kv, kv)
        self.qkv = Linear(("q_proj", "k_proj", "v_proj"), rows, dim, load, bias=a.qkv_bias)
        self.out = Linear(("o_proj",), (dim,), q, load, bias=a.out_bias)
        self.qk_norm = head_norm(a, load)
        self.sinks = load.tensor("sinks", a.heads) if a.sinks else None

    def forward(self, x: Tensor, pass_: Pass, angles: Angles, residual: Tensor | None = None) -> Tensor:
        """[tokens, dim] to the same, plus a residual; `angles` are the cosines and sines of this layer's rope."""
        a = self.spec
        projected = self.qkv(x)
        q, k, v = self.ops.heads(a, projected, self.qk_norm, angles, pass_, self.index)
        found = pass_.attend(self.index, a, q, k, v, self.sinks)
        if a.gate:
            found = self.ops.sigmoid_gated(found, gate_of(a, projected))
        result: Tensor = self.out(found.flatten(1), residual)
        return result


def head_norm(attention: s.Attention, load: Loader) -> NormWeights | JointNorms | None:
    """What an attention's `qk_norm` learned."""
    spec, dim = attention.qk_norm, attention.head_dim
    if spec is None:
        return None
    each = []
    for name, heads in (("q_norm", attention.heads), ("k_norm", attention.kv_heads)):
        shape = {"shared": (dim,), "each": (heads, dim), "together": (heads * dim,)}[spec.heads]
        each.append(norm_weights(spec.norm, load.within(name), *shape))
    return JointNorms(*each) if spec.heads == "together" else _of_each_head(attention, *each)


def _of_each_head(a: s.Attention, q: NormWeights, k: NormWeights) -> NormWeights:
    """One weight [heads + kv_heads, head_dim] in float32, so that what is rotated next is rounded once."""
    heads = ((q, a.heads), (k, a.kv_heads))
    biases = [norm.bias.float().expand(count, -1) for norm, count in heads if norm.bias is not None]
    weight = torch.cat([norm.weight.float().expand(count, -1) for norm, count in heads])
    return NormWeights(q.spec, weight, torch.cat(biases) if biases else None)


class LatentAttention(nn.Module):
    """Multi-head latent attention, absorbed: queries are brought into the latent instead of keys and values out of it.

    With keys K = W_k c of a latent c, the score of a query q is q . W_k c = (W_k^T q) . c; and a weighted sum of values
    W_v c is W_v times the weighted sum of latents (DeepSeek-V2, section 2.1.2).
    """

    def __init__(self, attention: s.LatentAttention, dim: int, index: int, load: Loader) -> None:
        super().__init__()
        self.spec, self.index, self.ops = attention, index, load.ops
        a = attention
        q_rows = a.heads * (a.nope_dim + a.rope.dim)
        if a.q_rank is None:
            self.q_down, self.q_norm = None, None
            self.q_up = Linear(("q_proj",), (q_rows,), dim, load, bias=False)
        else:
            self.q_down = Linear(("q_a_proj",), (a.q_rank,), dim, load, bias=a.bias)
            self.q_norm = Norm(a.norm, a.q_rank, load.within("q_a_layernorm"))
            self.q_up = Linear(("q_b_proj",), (q_rows,), a.q_rank, load, bias=False)
        self.kv_down = Linear(("kv_a_proj_with_mqa",), (a.key_dim,), dim, load, bias=a.bias)
        self.kv_norm = norm_weights(a.norm, load.within("kv_a_layernorm"), a.kv_rank)
        up = load.within("kv_b_proj").tensor("weight", a.heads * (a.nope_dim + a.value_head_dim), a.kv_rank)
        self.to_key, self.to_value = up.view(a.heads, -1, a.kv_rank).split_with_sizes((a.nope_dim, a.value_head_dim), 1)
        self.out = Linear(("o_proj",), (dim,), a.heads * a.value_head_dim, load, bias=a.bias)

    def forward(self, x: Tensor, pass_: Pass, angles: Angles, residual: Tensor | None = None) -> Tensor:
        """[tokens, dim] to the same, plus a residual; `angles` are the cosines and sines of this layer's rope."""
        a = self.spec
        heads = self.ops.latent_heads(
            a, self._queries(x), self.kv_down(x), self.kv_norm, self.to_key, angles, pass_, self.index
        )
        found = pass_.attend(self.index, a, heads.q, heads.k, heads.v)
        result: Tensor = self.out(self.ops.each_head(found, self.to_value.mT).flatten(1), residual)
        return result

    def _queries(self, x: Tensor) -> Tensor:
        """[tokens, heads, nope_dim + rope.dim]"""
        if self.q_down is not None and self.q_norm is not None:
            x = self.q_norm(self.q_down(x))
        result: Tensor = self.q_up(x).view(x.shape[0], self.spec.heads, self.spec.nope_dim + self.spec.rope.dim)
        return result
