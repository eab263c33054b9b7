"""Attention written out, for scores that the library's own function does not know: soft caps, sinks, latents."""

from __future__ import annotations

import torch
from torch import Tensor


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float,
    softcap: float | None = None,
    sinks: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """q [kv_heads, group, queries, key_dim] over k [kv_heads, keys, key_dim], v [kv_heads, keys, value_dim].

    `mask` [queries, keys] is added to the scores. `sinks` [kv_heads * group] are further scores that take their share
    of the softmax and give nothing. Scores and softmax are float32. Returns [kv_heads, group, queries, value_dim].
    """
    heads = q.shape[:3]
    scores = (q.flatten(1, 2).float() @ k.float().transpose(1, 2)).view(*heads, -1) * scale
    if softcap is not None:
        scores = (scores / softcap).tanh() * softcap
    if mask is not None:
        scores = scores + mask
    if sinks is not None:
        scores = torch.cat((scores, sinks.float().view(*heads[:2], 1, 1).expand(*heads, 1)), -1)
    weights = scores.softmax(-1)[..., : k.shape[1]].to(q.dtype)
    return (weights.flatten(1, 2) @ v).view(*heads, -1)
