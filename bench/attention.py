"""Attention on a CPU over scattered blocks: machine code of ours beside torch's function, in the same run.

Microseconds for one layer, the least of several rounds in which both take turns; each round goes over several layers,
so that keys and values come from memory. Torch's function is given what it needs: copies of the blocks, and masks,
which are made once per step and counted as `plan`, shared by the layers of a model.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table

from candle_vllm_core import spec as s
from candle_vllm_core.attention.backend import Layout
from candle_vllm_core.attention.cache import KVCache
from candle_vllm_core.attention.native import NativeBackend
from candle_vllm_core.attention.reference import ReferenceBackend
from candle_vllm_core.native import library

AnyAttention = s.Attention | s.LatentAttention
LAYERS, BLOCK = 8, 16


def grouped(heads: int, kv_heads: int, head_dim: int) -> s.Attention:
    """Plain attention."""
    return s.Attention(heads=heads, kv_heads=kv_heads, head_dim=head_dim, rope=None, scale=head_dim**-0.5)


LATENT = s.LatentAttention(
    heads=16,
    q_rank=None,
    kv_rank=512,
    nope_dim=128,
    value_head_dim=128,
    rope=s.Rope(theta=10000.0, dim=64),
    scale=192**-0.5,
    norm=s.Norm(),
)


@dataclass(frozen=True)
class Case:
    """A step: `sequences` of `length` tokens, of which `new` are computed."""

    model: str
    attention: AnyAttention
    sequences: int
    length: int
    new: int


QWEN, LLAMA = grouped(14, 2, 64), grouped(32, 8, 128)
CASES = [
    *(Case("Qwen 0.5B", QWEN, 1, length, 1) for length in (150, 1000, 8000)),
    *(Case("Qwen 0.5B", QWEN, 16, length, 1) for length in (50, 300, 2000)),
    Case("Llama-8B", LLAMA, 4, 2000, 1),
    Case("32 KV heads", grouped(32, 32, 128), 1, 2000, 1),
    Case("V2-Lite", LATENT, 1, 1000, 1),
    Case("Qwen 0.5B", QWEN, 1, 512, 512),
    Case("Qwen 0.5B", QWEN, 1, 4096, 512),
    Case("Llama-8B", LLAMA, 1, 1024, 1024),
    Case("V2-Lite", LATENT, 1, 512, 512),
]


@dataclass
class Contender:
    """One way of attending; seconds of a layer, and of a plan."""

    backend: NativeBackend | ReferenceBackend
    layer: float = float("inf")
    plan: float = float("inf")


def contender(case: Case, make: Callable[[s.Decoder, KVCache], NativeBackend | ReferenceBackend]) -> Contender:
    """A backend with a full cache, whose blocks come in random order."""
    layer = s.Layer(attention=case.attention, feed_forward=s.Dense(width=1))
    spec = s.Decoder(vocab=1, dim=1, norm=s.Norm(), layers=(layer,) * LAYERS, max_position=1)
    blocks = case.sequences * -(-case.length // BLOCK)
    cache = KVCache(spec, num_blocks=[blocks], block_size=BLOCK, dtype=torch.bfloat16, device=torch.device("cpu"))
    for slots in cache.layers.values():
        slots.normal_()
    return Contender(make(spec, cache))


def layout(case: Case) -> Layout:
    """The step as tensors."""
    tables = torch.randperm(case.sequences * -(-case.length // BLOCK)).view(case.sequences, -1)
    positions = torch.arange(case.length - case.new, case.length)
    slots = tables[:, positions // BLOCK] * BLOCK + positions % BLOCK
    return Layout(
        tokens=positions.repeat(case.sequences),
        positions=positions.repeat(case.sequences),
        slot_mapping=[slots.flatten()],
        block_tables=[list(tables)],
        query_lens=[case.new] * case.sequences,
        seq_lens=[case.length] * case.sequences,
    )


def measure(case: Case, rounds: int, contenders: Sequence[Contender]) -> None:
    """Let all take turns at the same step."""
    a, step, tokens = case.attention, layout(case), case.sequences * case.new
    q, k, v = (torch.randn(tokens, heads, a.key_dim).bfloat16() for heads in (a.heads, a.kv_heads, a.kv_heads))
    for _ in range(rounds):
        for one in contenders:
            begun = time.perf_counter()
            pass_ = one.backend.plan(step)
            planned = time.perf_counter()
            for layer in range(LAYERS):
                pass_.attend(layer, a, q, k, None if isinstance(a, s.LatentAttention) else v)
            one.layer = min(one.layer, (time.perf_counter() - planned) / LAYERS)
            one.plan = min(one.plan, planned - begun)


def row(case: Case, rounds: int) -> list[str]:
    """A row of the table."""
    functions = library()
    if functions is None:
        sys.exit("this machine has no C functions of ours")
    own = contender(case, lambda spec, cache: NativeBackend(spec, cache, functions))
    other = contender(case, ReferenceBackend)
    measure(case, rounds, (own, other))
    read = own.backend.kv_bytes / LAYERS / own.layer / 1e9
    times = [f"{seconds * 1e6:,.0f}" for seconds in (own.plan, own.layer, other.plan, other.layer)]
    kind = f"{case.sequences}x{case.new:,} of {case.length:,}"
    return [case.model, kind, *times, f"{other.layer / own.layer:.1f}", f"{read:.1f}" if case.new == 1 else "-"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="bench attention", description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    args = parser.parse_args(arguments)
    table = Table(title=f"us for one layer, bf16, {torch.get_num_threads()} threads")
    for column in ("model", "tokens", "plan", "layer", "torch plan", "torch layer", "x", "GB/s"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for case in CASES:
        table.add_row(*row(case, args.rounds))
    Console().print(table)


if __name__ == "__main__":
    main()
