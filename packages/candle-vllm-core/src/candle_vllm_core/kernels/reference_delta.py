"""What `delta` computes, in plain torch, one sequence and one head after the other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .delta import Heads, Learned


def step(
    out: Tensor,
    inner: Tensor,
    states: tuple[Tensor, Tensor],
    places: Tensor,
    heads: Heads,
    learned: Learned,
    eps: float,
    *,
    rows: Tensor | None = None,
) -> None:
    """See `delta.step`; in float64, and rounded where the kernel rounds."""
    conv, memory = states
    key_heads, value_heads, key_dim, value_dim, _ = heads
    each = value_heads // key_heads
    parts = [key_dim, key_dim, each * value_dim, each * value_dim]
    for index, place in enumerate(places.tolist()):
        row = index if rows is None else int(rows[index])
        main, small = inner[row].split([key_heads * sum(parts), 2 * value_heads])
        q, k, v, gate = (part.reshape(-1) for part in main.view(key_heads, -1).split(parts, 1))
        beta, decay = (part.reshape(-1).double() for part in small.view(key_heads, 2, each).unbind(1))
        seen = torch.cat((conv[place], torch.cat((q, k, v))[:, None]), 1)
        conv[place] = seen[:, 1:]
        x = F.silu((seen.double() * learned.taps.double().t()).sum(1))
        q, k, v = x.split([key_heads * key_dim, key_heads * key_dim, value_heads * value_dim])
        found = torch.empty(value_heads, value_dim, dtype=torch.float64, device=out.device)
        for head in range(value_heads):
            own_q, own_k = (part.view(key_heads, key_dim)[head // each] for part in (q, k))
            own_q, own_k = (part / (part.square().sum() + 1e-6).sqrt() for part in (own_q, own_k))
            held = memory[place, head].double()
            held = held * torch.exp(learned.rate[head].double() * F.softplus(decay[head] + learned.dt_bias[head]))
            own_v = v.view(value_heads, value_dim)[head]
            held = held + torch.outer(own_k, beta[head].sigmoid() * (own_v - own_k @ held))
            memory[place, head] = held.float()
            found[head] = own_q @ held * key_dim**-0.5
        found = found.to(out.dtype).double()
        found = found / (found.square().mean(1, keepdim=True) + eps).sqrt()
        found = found.to(learned.weight.dtype).double() * learned.weight.double()
        gated = found.to(out.dtype).double() * F.silu(gate.double()).view(value_heads, value_dim)
        out[row] = gated.to(out.dtype).view(-1)
