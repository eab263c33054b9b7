"""What `norm`, `rotary` and `activation` compute, in plain torch, one step after the other."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .activation import Activation


def normalise(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    eps: float,
    *,
    centred: bool = False,
    added: Tensor | None = None,
    residual: Tensor | None = None,
    index: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """See `norm.normalise`."""
    if added is not None:
        summed = (x.float() + added.float()).to(x.dtype)
        x, given = summed, summed if index is None else x
    else:
        given = x
    if index is not None:
        x, residual = x[index], None if residual is None else residual[index]
    found = _normalised(x.float(), eps, centred=centred).to(weight.dtype).float() * weight.float()
    if bias is not None:
        found = found + bias.float()
    if residual is not None:
        found = found.to(x.dtype).float() + residual.float()
    return found.to(x.dtype), given


def _normalised(x: Tensor, eps: float, *, centred: bool) -> Tensor:
    if centred:
        x = x - x.mean(-1, keepdim=True)
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt()


def gated(act: Activation, gate_up: Tensor, *, has_up: bool = True) -> Tensor:
    """See `activation.gated`."""
    gate, up = (
        gate_up.double().chunk(2, -1) if has_up else (gate_up.double(), torch.ones(1).double().to(gate_up.device))
    )
    match act:
        case "silu":
            found = gate / (1 + torch.exp(-gate)) * up
        case "gelu":
            found = gate * (1 + torch.erf(gate / math.sqrt(2))) / 2 * up
        case "gelu_tanh":
            found = gate * (1 + torch.tanh(math.sqrt(2 / math.pi) * (gate + 0.044715 * gate**3))) / 2 * up
        case "clamped_swish":
            gate = gate.clamp(max=7)
            found = gate / (1 + torch.exp(-1.702 * gate)) * (up.clamp(-7, 7) + 1)
    return found.to(gate_up.dtype)


def gate_heads(x: Tensor, gate: Tensor) -> Tensor:
    """See `activation.gate_heads`."""
    return (x.double() / (1 + torch.exp(-gate.double()))).to(x.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor, *, interleaved: bool) -> Tensor:
    """Heads [tokens, heads, head_dim] in float32, of which the first numbers turn."""
    turning = cos.shape[-1]
    cos, sin = (part.view(-1, 1, turning) for part in (cos, sin))
    first, rest = x[..., :turning], x[..., turning:]
    order = torch.arange(turning, device=x.device)
    other = order ^ 1 if interleaved else (order + turning // 2) % turning
    return torch.cat((first * cos + first[..., other] * sin, rest), -1)


def turn_heads(
    projected: Tensor,
    heads: int,
    destination: tuple[Tensor, Tensor | None],
    *,
    q_step: int | None = None,
    angles: tuple[Tensor, Tensor] | None = None,
    interleaved: bool = False,
    norm: tuple[Tensor, Tensor | None, float] | None = None,
    centred: bool = False,
    growth: tuple[Tensor, float, int] | None = None,
) -> Tensor:
    """See `rotary.turn_heads`."""
    cache, slots = destination
    kv_heads, dim = cache.shape[2], cache.shape[3]
    queries = projected[:, : heads * (q_step or dim)].unflatten(1, (heads, q_step or dim))[..., :dim]
    k, v = (
        projected[:, -2 * kv_heads * dim :].unflatten(1, (2 * kv_heads, dim)).split_with_sizes((kv_heads, kv_heads), 1)
    )
    qk = torch.cat((queries, k), 1).float()
    if norm is not None:
        weight, bias, eps = norm
        qk = _normalised(qk, eps, centred=centred) * weight + (0 if bias is None else bias)
    if angles is not None:
        qk = rotate(qk, *angles, interleaved=interleaved)
    q, k = qk.to(projected.dtype).split_with_sizes((heads, kv_heads), 1)
    _put(cache, slots, torch.stack((k, v), 1))
    if growth is not None:
        positions, beta, length = growth
        grown = 1 + beta * torch.log(1 + positions // length)
        return q * grown.to(q.dtype)[:, None, None]
    return q


def turn_latent(
    q: Tensor,
    queries: Tensor,
    compressed: Tensor,
    destination: tuple[Tensor, Tensor | None],
    weight: Tensor,
    eps: float,
    *,
    angles: tuple[Tensor, Tensor] | None,
    interleaved: bool = False,
) -> None:
    """See `rotary.turn_latent`."""
    rank, turning = weight.shape[0], q.shape[2] - weight.shape[0]
    latent = normalise(compressed[:, :rank], weight, None, eps)[0]
    ends = torch.cat((queries[:, :, -turning:], compressed[:, None, rank:]), 1).float()
    if angles is not None:
        ends = rotate(ends, *angles, interleaved=interleaved)
    q[:, :, rank:] = ends[:, :-1].to(q.dtype)
    cache, slots = destination
    _put(cache, slots, torch.cat((latent, ends[:, -1].to(q.dtype)), 1)[:, None, None])


def _put(cache: Tensor, slots: Tensor | None, given: Tensor) -> None:
    if slots is None:
        cache[: len(given)] = given
    else:
        cache[slots[slots >= 0]] = given[slots >= 0]
