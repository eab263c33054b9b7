"""Who else attends over keys and values in blocks: torch, with them side by side, and FlashInfer."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from bench._gpu_race import Run, late


def attention_peers(
    q: Tensor, slots: Tensor, tables: Sequence[Tensor], new: Sequence[int], length: int, block_size: int
) -> Mapping[str, Run]:
    """Torch's attention over keys that lie side by side, which is less work than over blocks; and FlashInfer's.

    q is [tokens, heads, head_dim], the last `new` tokens of sequences of `length`, which one table each says the blocks
    of; slots are [slots, 2, kv_heads, head_dim].
    """
    blocks = slots.view(-1, block_size, *slots.shape[1:])
    whole = torch.stack([blocks[table].flatten(0, 1)[:length] for table in tables])
    k, v = whole[:, :, 0].transpose(1, 2).contiguous(), whole[:, :, 1].transpose(1, 2).contiguous()
    peers: dict[str, Run] = {"torch SDPA": _sdpa(q, k, v, new)}
    if q.is_cuda and min(new) == length:
        peers["torch FlexAttention"] = late(lambda: _flex(q, k, v))
    if q.is_cuda and importlib.util.find_spec("flashinfer") is not None:
        peers["FlashInfer"] = late(lambda: _flashinfer(q, blocks.transpose(1, 2).contiguous(), tables, new, length))
    return peers


def _sdpa(q: Tensor, k: Tensor, v: Tensor, new: Sequence[int]) -> Run:
    """A call for the sequences that have one new token, which come first, and one for the others."""
    ones = sum(n == 1 for n in new)
    parts = [_sdpa_of_equals(q[:ones], k[:ones], v[:ones])] if ones else []
    if ones < len(new):
        parts.append(_sdpa_of_equals(q[ones:], k[ones:], v[ones:]))
    return parts[0] if len(parts) == 1 else lambda: torch.cat([part() for part in parts])


def _sdpa_of_equals(q: Tensor, k: Tensor, v: Tensor) -> Run:
    """Of sequences with as many new tokens each."""
    new, length = len(q) // len(k), k.shape[2]
    queries = q.view(len(k), new, *q.shape[1:]).transpose(1, 2)
    lower_right = importlib.import_module("torch.nn.attention.bias").causal_lower_right
    mask = lower_right(new, length) if 1 < new < length else None

    def run() -> Tensor:
        found = F.scaled_dot_product_attention(
            queries, k, v, attn_mask=mask, is_causal=1 < new == length, enable_gqa=True
        )
        return found.transpose(1, 2).reshape(q.shape)

    return run


def _flex(q: Tensor, k: Tensor, v: Tensor) -> Run:
    """Of whole prompts."""
    flex = importlib.import_module("torch.nn.attention.flex_attention")
    length = k.shape[2]
    queries = q.view(len(k), length, *q.shape[1:]).transpose(1, 2)
    mask = flex.create_block_mask(lambda b, h, q, kv: q >= kv, None, None, length, length, device=q.device)
    compiled = torch.compile(flex.flex_attention)
    return lambda: compiled(queries, k, v, block_mask=mask, enable_gqa=True).transpose(1, 2).reshape(q.shape)


def _flashinfer(q: Tensor, pages: Tensor, tables: Sequence[Tensor], new: Sequence[int], length: int) -> Run:
    """Pages are [blocks, 2, block_size, kv_heads, head_dim]."""
    flashinfer = importlib.import_module("flashinfer")
    block_size, kv_heads, head_dim = pages.shape[2:]
    space = torch.empty(256 << 20, dtype=torch.uint8, device=q.device)
    starts = torch.arange(len(tables) + 1, dtype=torch.int32) * len(tables[0])
    last = torch.full((len(tables),), (length - 1) % block_size + 1, dtype=torch.int32)
    indices = torch.cat(list(tables)).int()
    if max(new) > 1:
        prefill = flashinfer.BatchPrefillWithPagedKVCacheWrapper(space, "NHD")
        queries = torch.tensor([0, *new]).cumsum(0).int()
        shapes = (q.shape[1], kv_heads, head_dim, block_size)
        prefill.plan(queries, starts, indices, last, *shapes, causal=True, q_data_type=q.dtype)
        return lambda: prefill.run(q, pages)
    decode = flashinfer.BatchDecodeWithPagedKVCacheWrapper(space, "NHD", use_tensor_cores=True)
    decode.plan(starts, indices, last, q.shape[1], kv_heads, head_dim, block_size, q_data_type=q.dtype)
    return lambda: decode.run(q, pages)
