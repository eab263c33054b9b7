"""Attention as the model sees it: projections, head norms and rotation; keys, values and softmax are the pass's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import spec as s
from ..attention.backend import Pass
from .delta import DeltaNet
from .layers import Linear, Norm, norm_parameters, normalise, sigmoid
from .loader import Loader
from .rope import rotate

Angles = tuple[Tensor, Tensor] | None
"""Cosines and sines of a layer's rope; None where it has none."""


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
        self.spec, self.index = attention, index
        a = attention
        q, kv = a.heads * a.head_dim, a.kv_heads * a.head_dim
        self.rows = (2 * q if a.gate else q, kv, kv)
        self.qkv = Linear(("q_proj", "k_proj", "v_proj"), self.rows, dim, load, bias=a.qkv_bias)
        self.out = Linear(("o_proj",), (dim,), q, load, bias=a.out_bias)
        self.qk_norm = head_norm(a, load)
        self.sinks = load.tensor("sinks", a.heads) if a.sinks else None

    def forward(self, x: Tensor, pass_: Pass, angles: Angles, residual: Tensor | None = None) -> Tensor:
        """[tokens, dim] to the same, plus a residual; `angles` are the cosines and sines of this layer's rope."""
        a = self.spec
        projected = self.qkv(x)
        gate, qkv = self._gate(projected) if a.gate else (None, projected)
        qk, v = qkv.view(x.shape[0], a.heads + 2 * a.kv_heads, a.head_dim).split_with_sizes(
            (a.heads + a.kv_heads, a.kv_heads), 1
        )
        if self.qk_norm is not None:
            qk = self.qk_norm(qk)
        if angles is not None and a.rope is not None:
            qk = rotate(qk, *angles, interleaved=a.rope.interleaved)
        q, k = qk.to(x.dtype).split_with_sizes((a.heads, a.kv_heads), 1)
        if a.query_growth is not None:
            q = q * _growth(a.query_growth, pass_.positions).to(q.dtype)
        found = pass_.attend(self.index, a, q, k, v, self.sinks).flatten(1)
        result: Tensor = self.out(found if gate is None else found * sigmoid(gate), residual)
        return result

    def _gate(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """The gate [tokens, heads * head_dim], whose rows stand after each head's query, and q, k and v without it."""
        a = self.spec
        queries, keys_values = projected.split_with_sizes((self.rows[0], sum(self.rows[1:])), 1)
        q, gate = queries.view(queries.shape[0], a.heads, 2, a.head_dim).unbind(2)
        return gate.flatten(1), torch.cat((q.flatten(1), keys_values), 1)


def _growth(growth: s.QueryGrowth, positions: Tensor) -> Tensor:
    """[tokens, 1, 1] in float32."""
    return (1 + growth.beta * torch.log1p((positions // growth.length).float()))[:, None, None]


class HeadNorm(nn.Module):
    """Normalises each head of q and k by itself."""

    def __init__(self, attention: s.Attention, head_norm: s.HeadNorm, load: Loader) -> None:
        super().__init__()
        self.norm, dim = head_norm.norm, attention.head_dim
        sides = []
        for name, heads in (("q_norm", attention.heads), ("k_norm", attention.kv_heads)):
            shape = (heads, dim) if head_norm.heads == "each" else (dim,)
            weight, bias = norm_parameters(self.norm, load.within(name), *shape)
            sides.append((weight.float().expand(heads, -1), None if bias is None else bias.float().expand(heads, -1)))
        (q_weight, q_bias), (k_weight, k_bias) = sides
        self.weight = torch.cat((q_weight, k_weight))
        self.bias = None if q_bias is None or k_bias is None else torch.cat((q_bias, k_bias))

    def forward(self, qk: Tensor) -> Tensor:
        """[tokens, heads of q and k, head_dim] to the same in float32, so that what is rotated next is rounded once."""
        return normalise(self.norm, qk.float(), self.weight, self.bias)


class JointNorm(nn.Module):
    """Normalises all heads of q as one vector, and all heads of k as another."""

    def __init__(self, attention: s.Attention, norm: s.Norm, load: Loader) -> None:
        super().__init__()
        self.heads = (attention.heads, attention.kv_heads)
        q, k = (heads * attention.head_dim for heads in self.heads)
        self.q, self.k = Norm(norm, q, load.within("q_norm")), Norm(norm, k, load.within("k_norm"))

    def forward(self, qk: Tensor) -> Tensor:
        """[tokens, heads of q and k, head_dim] to the same."""
        q, k = (part.flatten(1) for part in qk.split_with_sizes(self.heads, 1))
        return torch.cat((self.q(q), self.k(k)), 1).view(qk.shape)


def head_norm(attention: s.Attention, load: Loader) -> nn.Module | None:
    """The module that an attention's `qk_norm` describes."""
    spec = attention.qk_norm
    if spec is None:
        return None
    return JointNorm(attention, spec.norm, load) if spec.heads == "together" else HeadNorm(attention, spec, load)


class LatentAttention(nn.Module):
    """Multi-head latent attention, absorbed: queries are brought into the latent instead of keys and values out of it.

    With keys K = W_k c of a latent c, the score of a query q is q . W_k c = (W_k^T q) . c; and a weighted sum of values
    W_v c is W_v times the weighted sum of latents (DeepSeek-V2, section 2.1.2).
    """

    def __init__(self, attention: s.LatentAttention, dim: int, index: int, load: Loader) -> None:
        super().__init__()
        self.spec, self.index = attention, index
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
        self.kv_norm = Norm(a.norm, a.kv_rank, load.within("kv_a_layernorm"))
        up = load.within("kv_b_proj").tensor("weight", a.heads * (a.nope_dim + a.value_head_dim), a.kv_rank)
        self.to_key, self.to_value = up.view(a.heads, -1, a.kv_rank).split_with_sizes((a.nope_dim, a.value_head_dim), 1)
        self.out = Linear(("o_proj",), (dim,), a.heads * a.value_head_dim, load, bias=a.bias)

    def forward(self, x: Tensor, pass_: Pass, angles: Angles, residual: Tensor | None = None) -> Tensor:
        """[tokens, dim] to the same, plus a residual; `angles` are the cosines and sines of this layer's rope."""
        a = self.spec
        nope, turning = self._queries(x).split_with_sizes((a.nope_dim, a.rope.dim), -1)
        latent, key = self.kv_down(x).split_with_sizes((a.kv_rank, a.rope.dim), -1)
        if angles is not None:
            both = torch.cat((turning, key[:, None]), 1)
            turning, key = rotate(both, *angles, interleaved=a.rope.interleaved).split_with_sizes((a.heads, 1), 1)
        q = torch.cat((_each_head(nope, self.to_key), turning), -1)
        k = torch.cat((self.kv_norm(latent)[:, None], key), -1)
        found = pass_.attend(self.index, a, q, k, None, None)
        result: Tensor = self.out(_each_head(found, self.to_value.mT).flatten(1), residual)
        return result

    def _queries(self, x: Tensor) -> Tensor:
        """[tokens, heads, nope_dim + rope.dim]"""
        if self.q_down is not None and self.q_norm is not None:
            x = self.q_norm(self.q_down(x))
        result: Tensor = self.q_up(x).view(x.shape[0], self.spec.heads, self.spec.nope_dim + self.spec.rope.dim)
        return result


FEWEST_ROWS = 4
"""Batched multiplication sums up fewer rows in another order, so that a token's bits would depend on others."""


def _each_head(x: Tensor, matrices: Tensor) -> Tensor:
    """Heads [tokens, heads, a], each times its own of the matrices [heads, a, b]: [tokens, heads, b]."""
    tokens = x.shape[0]
    padded = F.pad(x, (0, 0, 0, 0, 0, FEWEST_ROWS - tokens)) if tokens < FEWEST_ROWS else x
    return torch.bmm(padded.transpose(0, 1), matrices).transpose(0, 1)[:tokens]
