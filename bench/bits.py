"""Whether a request's logits are the same bits however it is computed: the share of rows that differ in any bit.

Each of a set of prompts is answered alone, in one chunk; then the same is done in batches, in chunks of several sizes,
from the prefix cache, and with a KV cache so small that requests are preempted. A row is what one token was drawn from;
it is compared with the row of the same tokens alone. Every answer's rows count, until the answers part.
"""

import argparse
import logging
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers import Gemma2Config, GptOssConfig, PretrainedConfig, Qwen2Config, Qwen3MoeConfig

from bench.models import random_model
from candle_vllm_core import EngineConfig, EngineStats, GenerationParams
from candle_vllm_core.detokenizer import TextStream
from candle_vllm_core.runtime.adjust import SamplingRow
from candle_vllm_core.runtime.kv import KVBlocks
from candle_vllm_core.runtime.request import Request
from candle_vllm_core.runtime.runner import ModelRunner
from candle_vllm_core.runtime.sampling import Sampled, Sampler
from candle_vllm_core.runtime.scheduler import Scheduler
from candle_vllm_core.runtime.stepper import Stepper

Rows = Mapping[tuple[int, ...], Tensor]
"""By the tokens before it, what one token was drawn from [vocabulary]."""

WORDS, FIRST_WORD = 4096, 3
BATCHES = (2, 5, 16, 61)
CHUNKS = (16, 64, 100, 512, 2048, 8192)
LENGTH = 8192
PREEMPTED, SHORT, MANY_TOKENS = 16, 60, 96
COMMON = {
    "vocab_size": WORDS,
    "max_position_embeddings": LENGTH,
    "initializer_range": 0.05,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
SIZES = {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4, "num_attention_heads": 8}
MODELS: dict[str, PretrainedConfig] = {
    "tiny": Qwen2Config(
        hidden_size=64,
        intermediate_size=176,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        **COMMON,
    ),
    "middle": Qwen2Config(
        hidden_size=896,
        intermediate_size=2432,
        num_hidden_layers=8,
        num_attention_heads=14,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        **COMMON,
    ),
    "experts": Qwen3MoeConfig(
        num_key_value_heads=2,
        head_dim=64,
        num_experts=16,
        num_experts_per_tok=4,
        moe_intermediate_size=96,
        **SIZES,
        **COMMON,
    ),
    "windows, soft caps": Gemma2Config(
        num_key_value_heads=4, head_dim=32, sliding_window=128, query_pre_attn_scalar=32, **SIZES, **COMMON
    ),
    "windows, sinks": GptOssConfig(
        num_key_value_heads=2,
        head_dim=32,
        sliding_window=128,
        num_local_experts=8,
        num_experts_per_tok=2,
        **SIZES,
        **COMMON,
    ),
}
WAYS = ("bf16", "fp32", "int8")


class Recorder(ModelRunner):
    """Keeps every row that a token was drawn from."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config)
        self.rows: dict[tuple[int, ...], Tensor] = {}
        self._sampler = Watched(self._sampler, self.rows)


class Watched(Sampler):
    """A sampler that notes what it is given."""

    def __init__(self, sampler: Sampler, rows: dict[tuple[int, ...], Tensor]) -> None:
        self.__dict__ |= vars(sampler)
        self._seen = rows

    def sample(self, logits: Tensor, rows: Sequence[SamplingRow]) -> Sampled:
        """See `Sampler.sample`."""
        for row, request in zip(logits, rows, strict=True):
            self._seen[(*request.prompt, *request.generated)] = row.clone()
        return super().sample(logits, rows)


class Bench:
    """One model in one way of storing it, and the prompts."""

    def __init__(self, path: Path, way: str, args: argparse.Namespace) -> None:
        self._path, self._way = path, way
        self.new_tokens: int = args.new_tokens
        draw = random.Random(0)
        lengths = [args.longest, *(draw.randint(20, args.longest) for _ in range(max(BATCHES) - 1))]
        lengths += [SHORT] * PREEMPTED
        self.prompts = [[draw.randrange(FIRST_WORD, WORDS) for _ in range(length)] for length in lengths]
        self._alone: dict[tuple[int, ...], Tensor] = {}

    def alone(self) -> Rows:
        """The rows of each prompt by itself, in one chunk."""
        if not self._alone:
            steps = self._open()
            for number in range(len(self.prompts)):
                steps.answer([number], new_tokens=None if number < max(BATCHES) else MANY_TOKENS)
            self._alone = dict(steps.rows)
        return self._alone

    def _open(self, batch: int = 1, chunk: int = LENGTH, prefix: bool = False, blocks: int | None = None) -> "Steps":
        how = "int8" if self._way == "int8" else None
        config = EngineConfig(
            model_path=self._path,
            device="cpu",
            dtype="fp32" if self._way == "fp32" else "bf16",
            quantization=how,
            max_batch_size=batch,
            prefill_chunk_size=chunk,
            enable_prefix_cache=prefix,
            kv_cache_memory=1 << 28,
        )
        return Steps(config, self, blocks)

    def in_batches_of(self, size: int) -> str:
        """So many at once."""
        steps = self._open(batch=size)
        for first in range(0, max(BATCHES), size):
            steps.answer(range(first, min(first + size, max(BATCHES))))
        return self._share(steps)

    def in_chunks_of(self, size: int) -> str:
        """Eight prompts, one after another, so many tokens in a step."""
        steps = self._open(chunk=size)
        for number in range(8):
            steps.answer([number])
        return self._share(steps)

    def from_the_prefix_cache(self) -> str:
        """Every prompt again after others that begin alike, and once more after itself."""
        steps = self._open(prefix=True)
        for number in range(16):
            steps.answer([number], cut=self.prompts[number][: len(self.prompts[number]) * 2 // 3])
            steps.rows.clear()
        for number in (*range(16), *range(16)):
            steps.answer([number])
        return f"{self._share(steps)} ({steps.stats.prefix_hit_tokens:,} tokens hit)"

    def with_preemptions(self) -> str:
        """Some at once, with long answers, in a KV cache that holds little more than their prompts."""
        steps = self._open(batch=PREEMPTED, blocks=PREEMPTED * (SHORT // 16 + 1))
        steps.answer(range(max(BATCHES), len(self.prompts)), new_tokens=MANY_TOKENS)
        return f"{self._share(steps)} ({steps.stats.preemptions} preemptions)"

    def _share(self, steps: "Steps") -> str:
        alone = self.alone()
        same = [torch.equal(row, alone[tokens]) for tokens, row in steps.rows.items() if tokens in alone]
        return f"{same.count(False) / len(same):.4f} of {len(same):,}"


class Steps:
    """An engine without its thread."""

    def __init__(self, config: EngineConfig, bench: Bench, blocks: int | None) -> None:
        self._runner = Recorder(config)
        sizes = self._runner.kv_sizes
        if blocks is not None:
            sizes = type(sizes)(
                block_size=sizes.block_size,
                windows=sizes.windows,
                num_blocks=tuple(min(count, blocks) for count in sizes.num_blocks),
                num_states=sizes.num_states,
            )
        kv = KVBlocks(sizes, prefix_cache=config.enable_prefix_cache, fingerprint=b"bits")
        scheduler = Scheduler(kv, max_batch_size=config.max_batch_size, chunk_size=config.prefill_chunk_size)
        self._stepper, self._bench, self._number = Stepper(scheduler, self._runner), bench, 0
        self.rows = self._runner.rows

    @property
    def stats(self) -> EngineStats:
        """Of all that was answered."""
        return self._stepper.stats()

    def answer(self, numbers: Sequence[int], *, cut: list[int] | None = None, new_tokens: int | None = None) -> None:
        """Answer the prompts of these numbers at once; `cut` stands in their place."""
        params = GenerationParams(max_tokens=new_tokens or self._bench.new_tokens, temperature=0, ignore_eos=True)
        for number in numbers:
            self._number += 1
            self._stepper.add(
                Request(
                    id=self._number,
                    prompt=cut or self._bench.prompts[number],
                    params=params,
                    seed=0,
                    limits=self._runner.limits,
                    stream=TextStream(self._runner.tokenizer.decode),
                    sink=lambda chunk: None,
                )
            )
        while self._stepper.has_work:
            self._stepper.step()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="bench bits", description=__doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["tiny", "middle"])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--longest", type=int, default=600, help="tokens in the longest prompt")
    parser.add_argument("--new-tokens", type=int, default=8, help="tokens in each answer")
    args = parser.parse_args(arguments)
    logging.getLogger("candle_vllm_core").setLevel(logging.ERROR)
    benches = {
        f"{name} {way}": Bench(
            random_model(f"bits-{name}".replace(", ", "-").replace(" ", "-"), MODELS[name]), way, args
        )
        for name in args.models
        for way in args.ways
    }
    table = Table(
        "computed", *benches, title="Rows of logits that differ in any bit from those of a prompt alone, in one chunk"
    )
    for size in BATCHES:
        table.add_row(f"in a batch of {size}", *(bench.in_batches_of(size) for bench in benches.values()))
    for size in CHUNKS:
        table.add_row(f"in chunks of {size}", *(bench.in_chunks_of(size) for bench in benches.values()))
    table.add_row("from the prefix cache", *(bench.from_the_prefix_cache() for bench in benches.values()))
    table.add_row("with preemptions", *(bench.with_preemptions() for bench in benches.values()))
    Console(width=60 + 26 * len(benches)).print(table)


if __name__ == "__main__":
    main()
