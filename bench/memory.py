"""What `plan` predicts against what is then there: weights, KV cache and the largest step of several models.

Each model is measured in fresh processes, in three ways.

allocated  what torch's allocator gave out for weights, for the KV cache, and at the peak of the largest step
resident   what the operating system says: the most that the process had since the engine was opened, over what it had
           when everything was imported; it is opened, every block of its KV cache is written, and prompts are computed
           in the largest steps. The C library hands back at once what is freed.
kept too   the same where the C library keeps freed memory as it likes. glibc has heaps of 64 MB for the engine thread,
           in which tensors leave gaps; what is in them is used again, and given back when an engine is closed.

Loading is the most that was resident until the engine was open, in the same ways.
"""

import argparse
import gc
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import psutil
import torch
from rich.console import Console
from rich.table import Table
from transformers import LlamaConfig, PretrainedConfig, Qwen3Config, Qwen3MoeConfig

from bench.decode import SHAPE
from bench.models import random_model
from candle_vllm_core import EngineConfig, GenerationParams, InferenceEngine, MemoryPlan, plan
from candle_vllm_core.detokenizer import TextStream
from candle_vllm_core.memory import return_freed_memory
from candle_vllm_core.runtime.kv import KVBlocks
from candle_vllm_core.runtime.request import Request
from candle_vllm_core.runtime.runner import ModelRunner
from candle_vllm_core.runtime.scheduler import Scheduler
from candle_vllm_core.runtime.stepper import Stepper

FIRST_WORD = 3
KNOWN: dict[str, PretrainedConfig | None] = {
    "embedded": None,
    "qwen2.5-0.5b": SHAPE,
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


def most_resident() -> int:
    """The most bytes of this process that were in memory since `forget_most`."""
    status = Path("/proc/self/status").read_text()
    high = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(high.split()[1]) * 1024


def forget_most() -> None:
    """Let `most_resident` begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


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


def resident_peaks(config: EngineConfig) -> dict[str, int]:
    """The most that was resident until a model was opened, and until it had computed its largest steps."""
    before = resident()
    forget_most()
    with InferenceEngine(config) as engine:
        loading = most_resident() - before
        fill(engine)
        step = min(config.prefill_chunk_size, engine.model_info().max_sequence_length * config.max_batch_size)
        for seed in (200, 201):
            compute(engine, step, seed)
        return {"loading": loading, "all": most_resident() - before}


def changes(profile: "torch.autograd.profiler.profile") -> list[int]:
    """What torch's allocator gave out, and took back as negative numbers, in turn."""
    return [event.nbytes() for event in profile.kineto_results.events() if event.name() == "[memory]"]


def allocated(config: EngineConfig) -> dict[str, int]:
    """The bytes of tensors, as torch's allocator counts them, of the same parts."""
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        runner = ModelRunner(config)
    kv = runner._backend.kv_bytes
    weights = sum(changes(profile)) - kv
    stepper = Stepper(scheduler_of(runner, config), runner)
    for number in range(config.max_batch_size):  # they end at different times, so that free blocks lie apart then
        stepper.add(request(runner, number, 8, answer=2 + number * 7 % 5))
    while stepper.has_work:
        stepper.step()
    length = runner.limits.longest - 1
    for number in range(max(config.prefill_chunk_size // length, 1)):
        stepper.add(request(runner, 1000 + number, length))
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        while stepper.has_work:
            stepper.step()
    return {"weights": weights, "KV cache": kv, "activations": max(accumulate(changes(profile)))}


def scheduler_of(runner: ModelRunner, config: EngineConfig) -> Scheduler:
    """A scheduler as the engine makes it, for steps in this thread: torch counts memory for each thread."""
    kv = KVBlocks(runner.kv_sizes)
    return Scheduler(kv, max_batch_size=config.max_batch_size, chunk_size=config.prefill_chunk_size)


def request(runner: ModelRunner, number: int, length: int, answer: int = 1) -> Request:
    """A random prompt, to be answered with so many tokens."""
    return Request(
        id=number,
        prompt=prompt(length, runner.limits.vocab_size, 300 + number),
        params=GenerationParams(max_tokens=answer, temperature=0, ignore_eos=True),
        seed=0,
        limits=runner.limits,
        stream=TextStream(runner.tokenizer.decode),
        sink=lambda chunk: None,
    )


WAYS: dict[str, Callable[[EngineConfig], dict[str, int]]] = {
    "allocated": allocated,
    "resident": resident_peaks,
    "kept too": resident_peaks,
}


def config_of(name: str, args: argparse.Namespace) -> EngineConfig:
    """The engine that a model is opened with."""
    made = KNOWN[name]
    config = EngineConfig(
        model_path=None if made is None else random_model(f"memory-{name}", made),
        device="cpu",
        dtype=args.dtype,
        quantization=args.quantization,
        max_batch_size=args.batch,
        max_sequence_length=min(args.length, 2048 if made is None else made.max_position_embeddings),
        prefill_chunk_size=args.chunk,
        kv_cache_memory=args.kv_bytes,
    )
    if args.kv_bytes is not None:
        return config
    full = plan(config)
    return replace(config, kv_cache_memory=args.kv_tokens * full.kv_bytes // full.kv_tokens)


def measured_apart(way: str, arguments: Sequence[str]) -> dict[str, int]:
    """One of `WAYS`, in a process of its own."""
    command = [sys.executable, "-m", "bench", "memory", "--way", way, *arguments]
    given_back = {"MALLOC_MMAP_THRESHOLD_": str(1 << 17)} if way == "resident" else {}
    done = subprocess.run(
        command,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[1],
        env=os.environ | given_back,
    )
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def rows(name: str, predicted: MemoryPlan, found: dict[str, dict[str, int]]) -> list[tuple[str, ...]]:
    """What was predicted and measured of one model, part by part."""
    parts = {
        "weights": predicted.weight_bytes,
        "KV cache": predicted.kv_bytes,
        "activations": predicted.activation_bytes,
        "once": predicted.overhead_bytes,
        "all": predicted.total_bytes,
        "loading": None,
    }
    return [
        (
            name if part == "weights" else "",
            part,
            "" if bytes_ is None else f"{bytes_ / 1e6:,.1f}",
            *(cell for of in found.values() for cell in _beside(bytes_, of.get(part))),
        )
        for part, bytes_ in parts.items()
    ]


def _beside(predicted: int | None, measured: int | None) -> tuple[str, str]:
    """What was measured, and how far the prediction is off."""
    if measured is None:
        return "", ""
    return f"{measured / 1e6:,.1f}", "" if predicted is None else f"{predicted / measured - 1:+.1%}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure each model in a process of its own and print the table."""
    parser = argparse.ArgumentParser(
        prog="bench memory", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=KNOWN, default=list(KNOWN))
    parser.add_argument("--dtype", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--quantization", choices=("int8",))
    parser.add_argument("--batch", type=int, default=8, help="max_batch_size")
    parser.add_argument("--length", type=int, default=2048, help="max_sequence_length, if the model has as many")
    parser.add_argument("--chunk", type=int, default=2048, help="prefill_chunk_size")
    parser.add_argument("--kv-tokens", type=int, default=6144, help="that the KV cache holds")
    parser.add_argument("--kv-bytes", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.way:
        print(json.dumps(WAYS[args.way](config_of(args.models[0], args))))
        return
    kind = f"{args.dtype}, {args.quantization}" if args.quantization else args.dtype
    table = Table(title=f"Memory in MB, {kind}, steps of {args.chunk:,} tokens: predicted and measured")
    for column in ("model", "part", "predicted", "allocated", "off by", "resident", "off by", "kept too", "off by"):
        table.add_column(column, justify="left" if column in ("model", "part") else "right")
    passed = [f"--{key}={getattr(args, key)}" for key in ("dtype", "batch", "length", "chunk")]
    passed += [f"--quantization={args.quantization}"] if args.quantization else []
    for name in args.models:
        config = config_of(name, args)
        own = [*passed, f"--models={name}", f"--kv-bytes={config.kv_cache_memory}"]
        for row in rows(name, plan(config), {way: measured_apart(way, own) for way in WAYS}):
            table.add_row(*row)
        table.add_section()
    Console().print(table)


if __name__ == "__main__":
    main()
