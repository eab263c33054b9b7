"""Each kernel beside the best that the machine has for the same work, on the same numbers.

A race is made where it is run, since its tensors fill a GPU, and in two sizes: `FULL`, and `TINY` for tests, which
check that all contenders give the same.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import LlamaConfig

from bench import _gpu_work as work
from candle_vllm_core.attention.backend import Layout
from candle_vllm_core.attention.cache import KVCache
from candle_vllm_core.attention.triton import TritonBackend
from candle_vllm_core.kernels.activation import gated
from candle_vllm_core.kernels.experts import few, multiply, tile_for
from candle_vllm_core.kernels.norm import normalise
from candle_vllm_core.kernels.routing import sort_pairs
from candle_vllm_core.model.families import decoder_spec
from candle_vllm_core.spec import Attention

Run = Callable[[], Tensor]


class Size(NamedTuple):
    """The shapes of the races."""

    heads: int
    kv_heads: int
    head_dim: int
    dim: int
    width: int
    decode: Sequence[tuple[int, int]]
    """sequences and their length"""
    prefill: Sequence[int]
    """lengths of prompts"""
    block_size: int
    rows: Sequence[int]
    """tokens of a step"""
    experts: tuple[int, int, int, int]
    """how many there are, how many a token chooses, rows and columns of their matrices"""


FULL = Size(
    heads=32,
    kv_heads=8,
    head_dim=128,
    dim=4096,
    width=14336,
    decode=((1, 4096), (32, 8192), (256, 1024)),
    prefill=(1024, 8192),
    block_size=64,
    rows=(1, 64, 8192),
    experts=(128, 8, 1536, 2048),
)
TINY = Size(4, 2, 32, 64, 96, ((1, 40), (3, 33)), (20,), 16, (1, 5), (8, 2, 24, 32))


@dataclass(frozen=True)
class Race:
    """Contenders that do the same work; the first is ours."""

    operation: str
    shape: str
    work: work.Work
    contenders: Mapping[str, Run]
    tolerance: float
    """of the difference to the first contender, beside its largest value"""


def races(size: Size, device: torch.device, dtype: torch.dtype) -> Iterator[Race]:
    """All races, each when it is asked for."""
    for batch, length in size.decode:
        yield attention(size, device, dtype, [1] * batch, length)
    for length in size.prefill:
        yield attention(size, device, dtype, [length], length)
    for rows in size.rows:
        yield norm(size, device, dtype, rows)
        yield activation(size, device, dtype, rows)
        yield experts(size, device, dtype, rows)


def attention(size: Size, device: torch.device, dtype: torch.dtype, new: Sequence[int], length: int) -> Race:
    """The last tokens of sequences of one length: one each (decode), or all (prefill)."""
    config = LlamaConfig(
        hidden_size=size.dim,
        num_hidden_layers=1,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        head_dim=size.head_dim,
        max_position_embeddings=length,
    )
    spec = decoder_spec(config.to_dict())
    (a,) = spec.attentions()
    if not isinstance(a, Attention):
        raise TypeError(f"{type(a).__name__} is no attention over keys and values")
    each = -(-length // size.block_size)
    cache = KVCache(spec, num_blocks=[each * len(new)], block_size=size.block_size, dtype=dtype, device=device)
    cache.layers[0].normal_()
    tables = [torch.arange(each, device=device) * len(new) + i for i in range(len(new))]
    pass_ = TritonBackend(spec, cache).plan(_layout(tables, new, length, size.block_size))
    q = torch.randn(sum(new), size.heads, size.head_dim, device=device, dtype=dtype)
    contenders: dict[str, Run] = {"candle-vllm": lambda: pass_.attend(0, a, q, None, None)}
    contenders |= _attention_peers(q, cache.layers[0], tables, new, length, size.block_size)
    counted = work.attention(a, new, [length] * len(new), dtype.itemsize, dtype.itemsize)
    kind = "decode" if new[0] == 1 else "prefill"
    return Race(f"attention, {kind}", f"{len(new)} x {length:,}", counted, contenders, 2e-2)


def _layout(tables: Sequence[Tensor], new: Sequence[int], length: int, block_size: int) -> Layout:
    """Blocks lie dealt out in turn, so no two of a sequence lie side by side in a larger batch."""
    positions = [torch.arange(length - n, length, device=tables[0].device) for n in new]
    slots = [t[at // block_size] * block_size + at % block_size for t, at in zip(tables, positions, strict=True)]
    return Layout(
        tokens=torch.zeros(sum(new), dtype=torch.int64, device=tables[0].device),
        positions=torch.cat(positions),
        slot_mapping=[torch.cat(slots)],
        block_tables=[tables],
        query_lens=list(new),
        seq_lens=[length] * len(new),
    )


def _attention_peers(
    q: Tensor, slots: Tensor, tables: Sequence[Tensor], new: Sequence[int], length: int, block_size: int
) -> Mapping[str, Run]:
    """Torch's attention over keys that lie side by side, which is less work than over blocks; and FlashInfer's."""
    blocks = slots.view(-1, block_size, *slots.shape[1:])
    whole = torch.stack([blocks[table].flatten(0, 1)[:length] for table in tables])
    k, v = whole[:, :, 0].transpose(1, 2).contiguous(), whole[:, :, 1].transpose(1, 2).contiguous()
    queries = q.view(len(new), new[0], *q.shape[1:]).transpose(1, 2)
    causal = new[0] > 1

    def sdpa() -> Tensor:
        found = F.scaled_dot_product_attention(queries, k, v, is_causal=causal, enable_gqa=True)
        return found.transpose(1, 2).reshape(q.shape)

    peers: dict[str, Run] = {"torch SDPA": sdpa}
    if q.is_cuda and causal:
        peers["torch FlexAttention"] = _flex(queries, k, v, q.shape)
    if q.is_cuda and importlib.util.find_spec("flashinfer") is not None:
        pages = blocks.transpose(1, 2).contiguous()
        peers["FlashInfer"] = _flashinfer(q, pages, tables, length, causal=causal)
    return peers


def _flex(queries: Tensor, k: Tensor, v: Tensor, shape: torch.Size) -> Run:
    flex = importlib.import_module("torch.nn.attention.flex_attention")
    length = queries.shape[2]
    mask = flex.create_block_mask(lambda b, h, q, kv: q >= kv, None, None, length, length, device=queries.device)
    compiled = torch.compile(flex.flex_attention)
    return lambda: compiled(queries, k, v, block_mask=mask, enable_gqa=True).transpose(1, 2).reshape(shape)


def _flashinfer(q: Tensor, pages: Tensor, tables: Sequence[Tensor], length: int, *, causal: bool) -> Run:
    """Pages are [blocks, 2, block_size, kv_heads, head_dim]."""
    flashinfer = importlib.import_module("flashinfer")
    block_size, kv_heads, head_dim = pages.shape[2:]
    space = torch.empty(256 << 20, dtype=torch.uint8, device=q.device)
    starts = torch.arange(len(tables) + 1, dtype=torch.int32) * len(tables[0])
    last = torch.full((len(tables),), (length - 1) % block_size + 1, dtype=torch.int32)
    indices = torch.cat(list(tables)).int()
    if causal:
        prefill = flashinfer.BatchPrefillWithPagedKVCacheWrapper(space, "NHD")
        queries = torch.arange(len(tables) + 1, dtype=torch.int32) * (len(q) // len(tables))
        shapes = (q.shape[1], kv_heads, head_dim, block_size)
        prefill.plan(queries, starts, indices, last, *shapes, causal=True, q_data_type=q.dtype)
        return lambda: prefill.run(q, pages)
    decode = flashinfer.BatchDecodeWithPagedKVCacheWrapper(space, "NHD", use_tensor_cores=True)
    decode.plan(starts, indices, last, q.shape[1], kv_heads, head_dim, block_size, q_data_type=q.dtype)
    return lambda: decode.run(q, pages)


def norm(size: Size, device: torch.device, dtype: torch.dtype, rows: int) -> Race:
    """RMSNorm of what a part of a layer gave, added to the residual stream."""
    x, added = torch.randn(2, rows, size.dim, device=device, dtype=dtype)
    weight = torch.randn(size.dim, device=device, dtype=dtype)

    def in_torch() -> Tensor:
        return F.rms_norm(x + added, (size.dim,), weight, 1e-6)

    contenders: dict[str, Run] = {"candle-vllm": lambda: normalise(x, weight, None, 1e-6, added=added)[0]}
    contenders["torch"] = in_torch
    if device.type == "cuda":
        contenders["torch, compiled"] = torch.compile(in_torch)
    counted = work.norm(rows, size.dim, dtype.itemsize, added=True)
    return Race("RMSNorm with residual", f"{rows:,} x {size.dim:,}", counted, contenders, 2e-2)


def activation(size: Size, device: torch.device, dtype: torch.dtype, rows: int) -> Race:
    """SiLU of the gate, times up."""
    gate_up = torch.randn(rows, 2 * size.width, device=device, dtype=dtype)

    def in_torch() -> Tensor:
        gate, up = gate_up.chunk(2, -1)
        return F.silu(gate) * up

    contenders: dict[str, Run] = {"candle-vllm": lambda: gated("silu", gate_up), "torch": in_torch}
    if device.type == "cuda":
        contenders["torch, compiled"] = torch.compile(in_torch)
    counted = work.gated(rows, size.width, dtype.itemsize)
    return Race("SiLU x up", f"{rows:,} x {size.width:,}", counted, contenders, 2e-2)


def experts(size: Size, device: torch.device, dtype: torch.dtype, rows: int) -> Race:
    """Tokens times the matrices of the experts that they chose at random, sorting included."""
    count, top_k, out, columns = size.experts
    x = torch.randn(rows, columns, device=device, dtype=dtype)
    matrices = torch.randn(count, out, columns, device=device, dtype=dtype) / columns**0.5
    chosen = torch.rand(rows, count, device=device).topk(top_k).indices.contiguous()

    def ours() -> Tensor:
        pairs = chosen.numel()
        height = tile_for(pairs, count, dtype.itemsize).pairs
        found = None if few(pairs, count) else sort_pairs(chosen, count, height)
        return multiply(x, matrices, chosen, found)

    counted = work.experts(chosen.numel(), len(chosen.unique()), out, columns, rows, dtype.itemsize)
    contenders: dict[str, Run] = {
        "candle-vllm": ours,
        "torch, expert by expert": _expert_by_expert(x, matrices, chosen),
    }
    if device.type == "cuda" and dtype == torch.bfloat16:
        contenders["torch grouped_mm"] = _grouped(x, matrices, chosen)
    return Race("experts", f"{rows:,} x {top_k} of {count}", counted, contenders, 2e-2)


def _expert_by_expert(x: Tensor, matrices: Tensor, chosen: Tensor) -> Run:
    def run() -> Tensor:
        out = x.new_empty(chosen.numel(), matrices.shape[1])
        for expert in range(len(matrices)):
            pairs = (chosen.flatten() == expert).nonzero().flatten()
            out[pairs] = x[pairs // chosen.shape[1]] @ matrices[expert].T
        return out

    return run


def _grouped(x: Tensor, matrices: Tensor, chosen: Tensor) -> Run:
    def run() -> Tensor:
        order = chosen.flatten().argsort(stable=True)
        ends = torch.bincount(chosen.flatten(), minlength=len(matrices)).cumsum(0).int()
        found = torch._grouped_mm(x[order // chosen.shape[1]], matrices.transpose(1, 2), ends)
        return torch.empty_like(found).index_copy_(0, order, found)

    return run
