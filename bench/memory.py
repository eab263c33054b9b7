"""What `plan` predicts against what is then there: weights, KV cache and the largest step of several models.

Each model is opened in a process of its own, after a small one was opened, used and closed there, so that libraries,
threads and lookup tables are not counted. Memory is what the operating system says is resident, after a collection of
garbage and after freed memory was handed back:

weights      more than before the model was opened (the KV cache is not resident until it is written)
KV cache     more after prompts filled every block of it
activations  the peak while a prompt as long as may be is computed, over what was resident before
"""

import argparse
import gc
import json
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table
from transformers import LlamaConfig, PretrainedConfig, Qwen2Config, Qwen3Config, Qwen3MoeConfig

from bench.models import random_model
from candle_vllm_core import EngineConfig, GenerationParams, InferenceEngine, MemoryPlan, plan
from candle_vllm_core.runtime.device import return_freed_memory

FIRST_WORD = 3
KNOWN: dict[str, PretrainedConfig | None] = {
    "embedded": None,
    "qwen2.5-0.5b": Qwen2Config(
        vocab_size=151936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        max_position_embeddings=32768,
    ),
    "qwen3-wide-heads": Qwen3Config(
        vocab_size=32000,
        hidden_size=512,
        intermediate_size=1536,
        num_hidden_layers=12,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        tie_word_embeddings=True,
        max_position_embeddings=8192,
    ),
    "llama-untied": LlamaConfig(
        vocab_size=32000,
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=12,
        max_position_embeddings=4096,
    ),
    "qwen3-moe": Qwen3MoeConfig(
        vocab_size=32000,
        hidden_size=512,
        intermediate_size=1024,
        moe_intermediate_size=256,
        num_experts=16,
        num_experts_per_tok=4,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=2,
        head_dim=64,
        max_position_embeddings=8192,
    ),
}


def resident() -> int:
    """Bytes of this process that are in memory, without what could be handed back."""
    gc.collect()
    return_freed_memory()
    return int(psutil.Process().memory_info().rss)


def peak_of(work: Callable[[], object]) -> int:
    """The most bytes that are resident while something is done, over what was before."""
    before = resident()
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    work()
    status = Path("/proc/self/status").read_text()
    high = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(high.split()[1]) * 1024 - before


def prompt(length: int, vocab: int, seed: int) -> list[int]:
    """Random tokens, other ones for each seed."""
    draw = random.Random(seed)
    return [draw.randrange(FIRST_WORD, vocab) for _ in range(length)]


def compute(engine: InferenceEngine, tokens: int, seed: int) -> None:
    """Compute so many tokens of prompts, all of them at once where they fit into a step."""
    info = engine.model_info()
    one = GenerationParams(max_tokens=1, temperature=0)
    lengths = [info.max_sequence_length - 1] * (tokens // info.max_sequence_length)
    lengths.append(max(tokens % info.max_sequence_length, 2) - 1)
    prompts = [prompt(length, info.vocab_size, seed * 1000 + i) for i, length in enumerate(lengths)]
    outputs = engine.generate_batch(prompts, one)
    if failed := [output.error for output in outputs if output.error]:
        raise RuntimeError(failed[0])


def fill(engine: InferenceEngine) -> None:
    """Write every block of the KV cache: the prefix cache keeps what was written and blank ones are given out first."""
    info = engine.model_info()
    for seed in range(1, info.kv_cache_tokens // info.max_sequence_length + 2):
        compute(engine, info.max_sequence_length, seed)


def measure(config: EngineConfig) -> dict[str, int]:
    """The bytes that are there when a model is opened, when its KV cache is full, and while a step runs."""
    with InferenceEngine(EngineConfig(device="cpu", dtype=config.dtype, max_batch_size=2)) as small:
        compute(small, 512, 0)
    before = resident()
    with InferenceEngine(config) as engine:
        opened = resident()
        compute(engine, 32, 0)
        fill(engine)
        filled = resident()
        step = min(config.prefill_chunk_size, engine.model_info().max_sequence_length * config.max_batch_size)
        peak = peak_of(lambda: compute(engine, step, 200))
        after = resident()
    return {
        "weights": opened - before,
        "kv": filled - opened,
        "activations": peak,
        "kept": after - filled,
        "closed": resident() - before,
    }


def config_of(name: str, args: argparse.Namespace) -> EngineConfig:
    """The engine that a model is opened with."""
    made = KNOWN[name]
    config = EngineConfig(
        model_path=None if made is None else random_model(f"memory-{name}", made),
        device="cpu",
        dtype=args.dtype,
        max_batch_size=args.batch,
        max_sequence_length=min(args.length, 2048 if made is None else made.max_position_embeddings),
        prefill_chunk_size=args.chunk,
    )
    full = plan(config)
    return replace(config, kv_cache_memory=args.kv_tokens * full.kv_bytes // full.kv_tokens)


def measured_apart(name: str, arguments: Sequence[str]) -> dict[str, int]:
    """`measure` in a process of its own."""
    command = [sys.executable, "-m", "bench", "memory", "--only", name, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def rows(name: str, predicted: MemoryPlan, found: dict[str, int]) -> list[tuple[str, ...]]:
    """What was predicted and measured of one model."""
    each = [
        ("weights", predicted.weight_bytes, found["weights"]),
        ("KV cache", predicted.kv_bytes, found["kv"]),
        ("activations", predicted.activation_bytes, found["activations"]),
    ]
    each.append(("all", predicted.total_bytes, sum(measured for _, _, measured in each)))
    return [
        (name if index == 0 else "", part, f"{was / 1e6:,.1f}", f"{is_ / 1e6:,.1f}", f"{was / is_ - 1:+.1%}")
        for index, (part, was, is_) in enumerate(each)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure each model in a process of its own and print the table."""
    parser = argparse.ArgumentParser(
        prog="bench memory", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=KNOWN, default=list(KNOWN))
    parser.add_argument("--dtype", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--batch", type=int, default=8, help="max_batch_size")
    parser.add_argument("--length", type=int, default=4096, help="max_sequence_length, if the model has as many")
    parser.add_argument("--chunk", type=int, default=2048, help="prefill_chunk_size")
    parser.add_argument("--kv-tokens", type=int, default=12288, help="that the KV cache holds")
    parser.add_argument("--only", choices=KNOWN, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.only:
        print(json.dumps(measure(config_of(args.only, args))))
        return
    table = Table(title=f"Memory in MB, {args.dtype}, steps of {args.chunk:,} tokens: predicted and resident")
    for column in ("model", "part", "predicted", "measured", "off by"):
        table.add_column(column, justify="left" if column in ("model", "part") else "right")
    passed = [f"--{key}={getattr(args, key)}" for key in ("dtype", "batch", "length", "chunk")]
    passed.append(f"--kv-tokens={args.kv_tokens}")
    for name in args.models:
        predicted = plan(config_of(name, args))
        for row in rows(name, predicted, measured_apart(name, passed)):
            table.add_row(*row)
        table.add_section()
    Console().print(table)


if __name__ == "__main__":
    main()
