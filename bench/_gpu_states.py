"""The race of layers that keep a state of a sequence instead of its tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bench import _gpu_work as work
from bench._gpu_race import OURS, Race, Run, Size
from candle_vllm_core.kernels import delta
from candle_vllm_core.spec import DeltaNet, Norm

EPS = 1e-6
STILL = -100.0
"""Of decay and beta: nothing is forgotten and nothing written, so that every run does the same."""


def delta_net(size: Size, device: torch.device, dtype: torch.dtype, rows: int) -> Race:
    """One more token of each sequence through a gated delta-net, whose states lie in any order."""
    heads = delta.Heads(*size.delta)
    each = heads.value_heads // heads.key_heads
    parts = (heads.key_dim, heads.key_dim, each * heads.value_dim, each * heads.value_dim)
    main = torch.randn(rows, heads.key_heads, sum(parts), device=device, dtype=dtype)
    small = torch.full((rows, 2 * heads.value_heads), STILL, device=device, dtype=dtype)
    inner = torch.cat((main.flatten(1), small), 1)
    *qkv, _ = main.split_with_sizes(parts, 2)
    newest = torch.cat([part.flatten(1) for part in qkv], 1)
    places = torch.randperm(rows, device=device)
    # The last inputs are like the newest, so that they stay what they are.
    conv = torch.empty(rows, newest.shape[1], heads.kernel - 1, device=device, dtype=dtype)
    conv[places] = newest[..., None].expand(-1, -1, heads.kernel - 1)
    memory = torch.randn(rows, heads.value_heads, heads.key_dim, heads.value_dim, device=device)
    learned = delta.Learned(
        torch.randn(heads.kernel, newest.shape[1], device=device),
        -torch.rand(heads.value_heads, device=device),
        torch.zeros(heads.value_heads, device=device),
        torch.randn(heads.value_dim, device=device, dtype=dtype),
    )
    out = torch.empty(rows, heads.value_heads * heads.value_dim, device=device, dtype=dtype)

    def ours() -> Tensor:
        delta.step(out, inner, (conv, memory), places, heads, learned, EPS)
        return out

    def in_torch() -> Tensor:
        return _all_at_once(inner, conv, memory, places, heads, learned)

    contenders: dict[str, Run] = {OURS: ours, "torch, all at once": in_torch}
    if device.type == "cuda":
        contenders["torch, compiled"] = torch.compile(in_torch)
    counted = work.delta_net(DeltaNet(**heads._asdict(), norm=Norm()), rows, dtype.itemsize)
    return Race("gated delta-net, decode", f"{rows:,} x {heads.value_heads}", counted, contenders, 3e-2)


def _all_at_once(
    inner: Tensor, conv: Tensor, memory: Tensor, places: Tensor, heads: delta.Heads, learned: delta.Learned
) -> Tensor:
    """The states of all sequences gathered, computed as one tensor, and put back."""
    rows, keys, values = len(places), heads.key_heads * heads.key_dim, heads.value_heads * heads.value_dim
    each = heads.value_heads // heads.key_heads
    main, small = inner.split_with_sizes((2 * keys + 2 * values, 2 * heads.value_heads), 1)
    sizes = (heads.key_dim, heads.key_dim, each * heads.value_dim, each * heads.value_dim)
    *qkv, gate = main.view(rows, heads.key_heads, -1).split_with_sizes(sizes, 2)
    beta, decay = (part.flatten(1).float() for part in small.view(rows, heads.key_heads, 2, each).unbind(2))
    seen = torch.cat((conv[places], torch.cat([part.flatten(1) for part in qkv], 1)[..., None]), 2)
    conv[places] = seen[..., 1:]
    x = F.silu((seen.float() * learned.taps.t()).sum(2))
    q, k, v = x.split_with_sizes((keys, keys, values), 1)
    q, k = (F.normalize(part.view(rows, heads.key_heads, heads.key_dim), dim=2) for part in (q, k))
    q, k = (part.repeat_interleave(each, 1)[:, :, None] for part in (q * heads.key_dim**-0.5, k))
    kept = torch.exp(learned.rate * F.softplus(decay + learned.dt_bias))
    held = memory[places] * kept[..., None, None]
    written = beta.sigmoid()[..., None, None] * (v.view(rows, heads.value_heads, 1, -1) - k @ held)
    held = held + k.mT * written
    memory[places] = held
    given = (q @ held)[:, :, 0].to(inner.dtype)
    normed = F.rms_norm(given, (heads.value_dim,), learned.weight, EPS)
    return (normed * F.silu(gate.reshape(normed.shape).float())).to(inner.dtype).flatten(1)
