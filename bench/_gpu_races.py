"""Each kernel beside the best that the machine has for the same work, on the same numbers.

A race is made where it is run, since its tensors fill a GPU, and in two sizes: `FULL`, and `TINY` for tests, which
check that all contenders give the same.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DeepseekV2Config, LlamaConfig

from bench import _gpu_work as work
from bench._gpu_attention import attention_peers
from bench._gpu_models import as_stored
from bench._gpu_race import OURS, Race, Run, Size
from bench._gpu_states import delta_net
from candle_vllm_core.attention.backend import Layout
from candle_vllm_core.attention.cache import KVCache
from candle_vllm_core.attention.triton import TritonBackend, TritonPass
from candle_vllm_core.kernels.activation import gated
from candle_vllm_core.kernels.experts import few, multiply, tile_for
from candle_vllm_core.kernels.norm import normalise
from candle_vllm_core.kernels.routing import sort_pairs
from candle_vllm_core.model.families import decoder_spec
from candle_vllm_core.model.ops import TORCH_OPS, NormWeights
from candle_vllm_core.model.rope import Rotary
from candle_vllm_core.model.triton_ops import TritonOps
from candle_vllm_core.runtime.device_sampling import DeviceSampler
from candle_vllm_core.spec import Attention, DeltaNet, Norm, Rope
from candle_vllm_core.types import GenerationParams


def races(size: Size, device: torch.device, dtype: torch.dtype) -> Iterator[Race]:
    """All races, each when it is asked for."""
    for batch, length in size.decode:
        yield attention(size, device, dtype, [1] * batch, length)
        yield latent_attention(size, device, dtype, batch, length)
    for batch, length in size.decode[:2]:
        yield attention(size, device, dtype, [1] * batch, length, fp8=True)
    for length in size.prefill:
        yield attention(size, device, dtype, [length], length)
    batch, new, length = size.mixed
    yield attention(size, device, dtype, [new], length)
    yield attention(size, device, dtype, [1] * batch + [new], length)
    for rows in size.rows:
        yield norm(size, device, dtype, rows)
        yield activation(size, device, dtype, rows)
        yield heads(size, device, dtype, rows)
        yield experts(size, device, dtype, rows)
    for rows in size.rows[:2]:
        yield delta_net(size, device, dtype, rows)
        yield greedy(size, device, rows)
        yield nucleus(size, device, rows)
        yield of_likeliest(size, device, rows)


def attention(
    size: Size, device: torch.device, dtype: torch.dtype, new: Sequence[int], length: int, *, fp8: bool = False
) -> Race:
    """The last tokens of sequences of one length: one each (decode), all (prefill), a chunk, or some of this and that.

    With `fp8` keys and values are stored so; peers have them in `dtype`.
    """
    config = LlamaConfig(
        hidden_size=size.dim,
        num_hidden_layers=1,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        head_dim=size.head_dim,
        max_position_embeddings=length,
    )
    step = Step(as_stored(config), new, length, size.block_size, device, dtype, fp8=fp8)
    a, q = step.attention, torch.randn(sum(new), size.heads, size.head_dim, device=device, dtype=dtype)

    def prepare() -> Run:
        pass_ = step.plan()
        return lambda: pass_.attend(0, a, q, None, None)

    contenders: dict[str, Run] = {OURS: prepare()}
    contenders |= attention_peers(q, step.slots(), step.tables, new, length, size.block_size)
    stored = 1 if fp8 else dtype.itemsize
    counted = work.attention(a, new, [length] * len(new), dtype.itemsize, stored)
    kind = "decode" if max(new) == 1 else "prefill" if min(new) == length else "chunk" if len(new) == 1 else "mixed"
    shape = f"{len(new)} x {length:,}" + ("" if kind in ("decode", "prefill") else f", {new[-1]:,} new")
    return Race(f"attention, {kind}{', fp8 KV' if fp8 else ''}", shape, counted, contenders, 2e-2, prepare)


def latent_attention(size: Size, device: torch.device, dtype: torch.dtype, batch: int, length: int) -> Race:
    """One new token for each sequence, over latents that all heads share."""
    rank, rope_dim, heads = size.latent
    config = DeepseekV2Config(
        hidden_size=size.dim,
        num_hidden_layers=1,
        num_attention_heads=heads,
        kv_lora_rank=rank,
        q_lora_rank=None,
        qk_rope_head_dim=rope_dim,
        first_k_dense_replace=1,
        num_experts_per_tok=1,
        max_position_embeddings=length,
    )
    step = Step(as_stored(config), [1] * batch, length, size.block_size, device, dtype)
    a, q = step.attention, torch.randn(batch, heads, rank + rope_dim, device=device, dtype=dtype)
    slots = step.cache.layers[0].view(-1, size.block_size, rank + rope_dim)
    whole = torch.stack([slots[table].flatten(0, 1)[:length] for table in step.tables])[:, None]

    def sdpa() -> Tensor:
        # All heads of a sequence are queries over its one head of keys.
        return F.scaled_dot_product_attention(q[:, None], whole, whole[..., :rank], scale=a.scale)[:, 0]

    def prepare() -> Run:
        pass_ = step.plan()
        return lambda: pass_.attend(0, a, q, None, None)

    contenders: dict[str, Run] = {OURS: prepare(), "torch SDPA": sdpa}
    counted = work.attention(a, [1] * batch, [length] * batch, dtype.itemsize, dtype.itemsize)
    return Race("latent attention, decode", f"{batch} x {length:,}", counted, contenders, 2e-2, prepare)


class Step:
    """The last tokens of sequences of one length, in a model of one layer whose cache is full of random numbers."""

    def __init__(
        self,
        config: Mapping[str, Any],
        new: Sequence[int],
        length: int,
        block_size: int,
        device: torch.device,
        dtype: torch.dtype,
        *,
        fp8: bool = False,
    ) -> None:
        spec = decoder_spec(config)
        (attention,) = spec.attentions()
        if isinstance(attention, DeltaNet):
            raise TypeError("a recurrent layer has no cache")
        self.attention = attention
        each = -(-length // block_size)
        blocks = [each * len(new)]
        self.cache = KVCache(spec, num_blocks=blocks, block_size=block_size, dtype=dtype, device=device, fp8=fp8)
        slots = self.cache.layers[0]
        slots.copy_(torch.randn(slots.shape, device=device, dtype=dtype))
        if fp8:
            self.cache.scales[0].uniform_(0.5, 1.5)
        self.tables = [torch.arange(each, device=device) * len(new) + i for i in range(len(new))]
        self.layout = _layout(self.tables, new, length, block_size)
        self._backend = TritonBackend(spec, self.cache)

    def slots(self) -> Tensor:
        """The cache's numbers [slots, 2, kv_heads, head_dim] in the model's type."""
        stored = self.cache.layers[0]
        return (stored.float() * self.cache.scales[0][..., None]).to(self.cache.dtype) if self.cache.scales else stored

    def plan(self) -> TritonPass:
        """Lay it out for the kernels."""
        return self._backend.plan(self.layout)


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


def norm(size: Size, device: torch.device, dtype: torch.dtype, rows: int) -> Race:
    """RMSNorm of what a part of a layer gave, added to the residual stream."""
    x, added = torch.randn(2, rows, size.dim, device=device, dtype=dtype)
    weight = torch.randn(size.dim, device=device, dtype=dtype)

    def in_torch() -> Tensor:
        return F.rms_norm(x + added, (size.dim,), weight, 1e-6)

    contenders: dict[str, Run] = {OURS: lambda: normalise(x, weight, None, 1e-6, added=added)[0]}
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

    contenders: dict[str, Run] = {OURS: lambda: gated("silu", gate_up), "torch": in_torch}
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
        OURS: ours,
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


def heads(size: Size, device: torch.device, dtype: torch.dtype, rows: int) -> Race:
    """Heads of q and k normalised and rotated, keys and values written to the cache: one new token of each sequence."""
    config = LlamaConfig(
        hidden_size=size.dim,
        num_hidden_layers=1,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        head_dim=size.head_dim,
    )
    step = Step(as_stored(config), [1] * rows, size.block_size, size.block_size, device, dtype)
    a = step.attention
    if not isinstance(a, Attention):
        raise TypeError(f"{type(a).__name__} has no heads of keys")
    projected = torch.randn(rows, (a.heads + 2 * a.kv_heads) * a.head_dim, device=device, dtype=dtype)
    pass_ = step.plan()
    learned = NormWeights(Norm(eps=1e-6), torch.randn(a.heads + a.kv_heads, a.head_dim, device=device), None)
    angles = Rotary(Rope(theta=1e6, dim=a.head_dim), device).angles(step.layout.positions)

    def in_torch() -> Tensor:
        found = TORCH_OPS.heads(a, projected, learned, angles, pass_, 0)
        if found.k is not None:
            step.cache.write(0, step.layout.slot_mapping[0], found.k, found.v)
        return found.q

    ours = TritonOps()
    contenders: dict[str, Run] = {OURS: lambda: ours.heads(a, projected, learned, angles, pass_, 0).q}
    contenders["torch"] = in_torch
    counted = work.heads(a, rows, dtype.itemsize)
    return Race("head norm, RoPE, cache", f"{rows:,} x {a.heads}+2x{a.kv_heads}", counted, contenders, 3e-2)


@dataclass(frozen=True)
class Row:
    """A request as the sampler sees it."""

    params: GenerationParams
    id: int
    seed: int
    prompt: Sequence[int] = (1, 2, 3)
    generated: Sequence[int] = ()
    allowed: Tensor | None = None
    bad_words: Sequence[Sequence[int]] = ()


def _drawing(params: GenerationParams, size: Size, device: torch.device, rows: int) -> tuple[Tensor, Run]:
    logits = torch.randn(rows, size.vocab, device=device) * 3
    sampler = DeviceSampler(size.vocab, [0], device)
    prepared = sampler.prepare([Row(params, number, number) for number in range(rows)])
    return logits, lambda: sampler.draw(logits, prepared).tokens


def greedy(size: Size, device: torch.device, rows: int) -> Race:
    """The likeliest token of each row of logits."""
    logits, ours = _drawing(GenerationParams(temperature=0), size, device, rows)
    contenders: dict[str, Run] = {OURS: ours, "torch argmax": lambda: logits.argmax(-1)}
    return Race("sampling, greedy", f"{rows:,} x {size.vocab:,}", work.Work(logits.nbytes), contenders, 0)


def nucleus(size: Size, device: torch.device, rows: int) -> Race:
    """A token of each row by temperature and top-p. Others draw by other numbers, so no difference is too large."""
    logits, ours = _drawing(GenerationParams(temperature=0.6, top_p=0.95), size, device, rows)

    def in_torch() -> Tensor:
        likely, order = (logits / 0.6).softmax(-1).sort(-1, descending=True)
        likely = likely.masked_fill(likely.cumsum(-1) - likely >= 0.95, 0)
        return order.gather(1, likely.multinomial(1))[:, 0]

    contenders: dict[str, Run] = {OURS: ours, "torch, sorted": in_torch}
    if device.type == "cuda" and importlib.util.find_spec("flashinfer") is not None:
        sampling = importlib.import_module("flashinfer.sampling")
        contenders["FlashInfer"] = lambda: sampling.top_p_sampling_from_probs((logits / 0.6).softmax(-1), 0.95)
    work_of_it = work.Work(logits.nbytes)
    return Race("sampling, top-p", f"{rows:,} x {size.vocab:,}", work_of_it, contenders, float("inf"))


def of_likeliest(size: Size, device: torch.device, rows: int) -> Race:
    """A token of each row of a large top-k, by temperature. Others draw by other numbers, as above."""
    top_k = min(1000, size.vocab - 1)
    logits, ours = _drawing(GenerationParams(temperature=0.6, top_k=top_k), size, device, rows)

    def in_torch() -> Tensor:
        likely, order = logits.topk(top_k, dim=-1)
        return order.gather(1, (likely / 0.6).softmax(-1).multinomial(1))[:, 0]

    contenders: dict[str, Run] = {OURS: ours, "torch topk": in_torch}
    work_of_it = work.Work(logits.nbytes)
    return Race(f"sampling, top-k {top_k:,}", f"{rows:,} x {size.vocab:,}", work_of_it, contenders, float("inf"))
