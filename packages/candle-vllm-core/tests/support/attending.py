"""Queries, keys and values of whole sequences, the exact attention over them, and steps that attend."""

from __future__ import annotations

import torch
from paged import Caches
from torch import Tensor

from candle_vllm_core import spec as s
from candle_vllm_core.attention.backend import Pass

AnyAttention = s.Attention | s.LatentAttention


def grouped(heads: int, kv_heads: int, head_dim: int, window: int | None = None) -> s.Attention:
    rope = s.Rope(theta=10000.0, dim=head_dim)
    return s.Attention(
        heads=heads, kv_heads=kv_heads, head_dim=head_dim, rope=rope, scale=head_dim**-0.5, window=window
    )


def latent(heads: int, kv_rank: int, rope_dim: int) -> s.LatentAttention:
    return s.LatentAttention(
        heads=heads,
        q_rank=None,
        kv_rank=kv_rank,
        nope_dim=8,
        value_head_dim=8,
        rope=s.Rope(theta=10000.0, dim=rope_dim),
        scale=(8 + rope_dim) ** -0.5,
        norm=s.Norm(),
    )


def recurrent() -> s.DeltaNet:
    return s.DeltaNet(key_heads=2, value_heads=4, key_dim=8, value_dim=6, kernel=4, norm=s.Norm())


def of(*attentions: AnyAttention | s.DeltaNet) -> s.Decoder:
    layers = tuple(s.Layer(attention=attention, feed_forward=s.Dense(width=1)) for attention in attentions)
    return s.Decoder(vocab=1, dim=1, norm=s.Norm(), layers=layers, max_position=1)


def model(heads: int, kv_heads: int, head_dim: int, *windows: int | None) -> s.Decoder:
    return of(*(grouped(heads, kv_heads, head_dim, window) for window in windows))


class Sequence:
    """Queries, keys and values of a whole sequence, and the exact attention over them."""

    def __init__(self, attention: AnyAttention, length: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.a = attention
        shapes = (attention.heads, attention.key_dim), (attention.kv_heads, attention.key_dim)
        self.q, self.k = (torch.randn((length, *shape), generator=generator) for shape in shapes)
        self.stored = torch.randn((length, attention.kv_heads, attention.value_dim), generator=generator)
        is_latent = isinstance(attention, s.LatentAttention)
        self.v = self.k[..., : attention.value_dim] if is_latent else self.stored

    def to(self, dtype: torch.dtype) -> Sequence:
        """Rounded, where they are."""
        self.q, self.k, self.v = (side.to(dtype) for side in (self.q, self.k, self.v))
        return self

    def right(self, start: int, stop: int, sinks: Tensor | None) -> Tensor:
        """[stop - start, heads, value_dim], one query at a time, in float64."""
        k, v = (side.double().repeat_interleave(self.a.heads // self.a.kv_heads, 1) for side in (self.k, self.v))
        found = torch.empty((stop - start, self.a.heads, self.a.value_dim), dtype=torch.float64)
        for at in range(start, stop):
            first = max(0, at + 1 - self.a.window) if self.a.window else 0
            scores = torch.einsum("khd,hd->hk", k[first : at + 1], self.q[at].double()) * self.a.scale
            if self.a.softcap is not None:
                scores = self.a.softcap * (scores / self.a.softcap).tanh()
            weights = scores.exp()
            taken = weights.sum(1) + (sinks.double().exp() if sinks is not None else 0)
            found[at - start] = torch.einsum("hk,khd->hd", weights, v[first : at + 1]) / taken[:, None]
        return found


def attend(
    cache: Caches,
    layers: list[int],
    sequences: list[Sequence],
    starts: list[int],
    stops: list[int],
    sinks: Tensor | None = None,
) -> list[Tensor]:
    """What some layers give for the same step."""
    pass_ = cache.backend.plan(cache.layout(dict(enumerate(zip(starts, stops, strict=True)))))
    return [attend_in(pass_, cache, layer, sequences, starts, stops, sinks) for layer in layers]


def attend_in(
    pass_: Pass,
    cache: Caches,
    layer: int,
    sequences: list[Sequence],
    starts: list[int],
    stops: list[int],
    sinks: Tensor | None = None,
) -> Tensor:
    """What a layer gives for a step."""
    q, k, v = (
        torch.cat([side[start:stop] for side, start, stop in zip(sides, starts, stops, strict=True)]).to(cache.device)
        for sides in zip(*((one.q, one.k, one.v) for one in sequences), strict=True)
    )
    a = sequences[0].a
    return pass_.attend(layer, a, q, k, None if isinstance(a, s.LatentAttention) else v, sinks)
