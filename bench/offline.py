"""Many prompts at once without a server: tokens per second over a run of mixed lengths.

The harness of nano-vllm: 256 requests, 100 to 1,024 tokens in and as many out, drawn at random, on a random model of
Qwen3-0.6B's shape. The defaults are smaller, for a laptop's sake: `--requests 256 --lengths 100 1024` is the whole of
it. `--peer` lets `generate` of transformers answer the same prompts with the same lengths in the same run, in padded
batches of the longest first.
"""

import argparse
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from bench.models import QWEN3_0_6B, random_model
from candle_vllm_core import EngineConfig, GenerationParams, InferenceEngine

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
FIRST_WORD, WORDS = 1000, 150_000


@dataclass(frozen=True)
class Asked:
    """A prompt and how many tokens its answer shall have."""

    prompt: list[int]
    new_tokens: int


@dataclass(frozen=True)
class Took:
    """What a run of all requests took."""

    seconds: float
    preemptions: int = 0


def requests(count: int, lengths: Sequence[int], seed: int) -> list[Asked]:
    """Random prompts of random lengths."""
    draw = random.Random(seed)
    return [
        Asked([draw.randrange(FIRST_WORD, WORDS) for _ in range(draw.randint(*lengths))], draw.randint(*lengths))
        for _ in range(count)
    ]


def with_engine(path: Path, asked: Sequence[Asked], args: argparse.Namespace) -> Took:
    """The engine, which is given everything at once."""
    config = EngineConfig(
        model_path=path,
        device="cpu",
        dtype=args.dtype,
        quantization=args.quantization,
        max_batch_size=args.batch,
        max_sequence_length=2 * max(args.lengths) + 16,
        prefill_chunk_size=args.chunk,
    )
    params = [
        GenerationParams(max_tokens=one.new_tokens, temperature=args.temperature, ignore_eos=True, seed=number)
        for number, one in enumerate(asked)
    ]
    with InferenceEngine(config) as engine:
        engine.generate_sync(asked[0].prompt[:8], GenerationParams(max_tokens=2))
        began = time.perf_counter()
        outputs = engine.generate_batch([one.prompt for one in asked], params, progress=True)
        seconds = time.perf_counter() - began
        if [len(output.tokens) for output in outputs] != [one.new_tokens for one in asked]:
            raise RuntimeError(f"an answer has another length than was asked for: {outputs[0].error}")
        return Took(seconds, engine.stats().preemptions)


def with_transformers(path: Path, asked: Sequence[Asked], args: argparse.Namespace) -> Took:
    """`generate`, in batches of answers that are about as long; each batch goes on until its longest one ends."""
    model = AutoModelForCausalLM.from_pretrained(path, dtype=DTYPES[args.dtype]).eval()
    ordered = sorted(asked, key=lambda one: one.new_tokens, reverse=True)
    batches = [ordered[first : first + args.batch] for first in range(0, len(ordered), args.batch)]
    began = time.perf_counter()
    for batch in batches:
        longest = max(len(one.prompt) for one in batch)
        ids = torch.tensor([[0] * (longest - len(one.prompt)) + one.prompt for one in batch])
        mask = torch.tensor([[0] * (longest - len(one.prompt)) + [1] * len(one.prompt) for one in batch])
        sampling = {"do_sample": True, "temperature": args.temperature} if args.temperature else {"do_sample": False}
        with torch.inference_mode():
            model.generate(
                ids,
                attention_mask=mask,
                max_new_tokens=batch[0].new_tokens,
                min_new_tokens=batch[0].new_tokens,
                pad_token_id=0,
                top_k=0,
                **sampling,
            )
    return Took(time.perf_counter() - began)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        prog="bench offline", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--lengths", type=int, nargs=2, default=(16, 128), help="least and most tokens, in and out")
    parser.add_argument("--batch", type=int, default=16, help="sequences that run at once")
    parser.add_argument("--chunk", type=int, default=2048, help="the most tokens of one step")
    parser.add_argument("--temperature", type=float, default=0.6)
    parser.add_argument("--dtype", choices=DTYPES, default="bf16")
    parser.add_argument("--quantization", help="how the engine holds its weights")
    parser.add_argument("--peer", action="store_true", help="let transformers answer them too")
    parser.add_argument("--model", type=Path, help="a directory; the random model of Qwen3-0.6B's shape by default")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    logging.getLogger("candle_vllm_core").setLevel(logging.ERROR)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    path = args.model or random_model("qwen3-0.6b-random", QWEN3_0_6B)
    asked = requests(args.requests, args.lengths, args.seed)
    prompt_tokens, new_tokens = sum(len(one.prompt) for one in asked), sum(one.new_tokens for one in asked)
    found = {"engine": with_engine(path, asked, args)}
    if args.peer:
        found["transformers"] = with_transformers(path, asked, args)
    table = Table(title=f"{len(asked)} requests, {prompt_tokens:,} tokens in, {new_tokens:,} out, {args.dtype}")
    for column in ("contender", "seconds", "new tokens/s", "tokens/s in all", "preemptions", "x"):
        table.add_column(column, justify="left" if column == "contender" else "right")
    last = list(found.values())[-1].seconds
    for name, took in found.items():
        speeds = f"{new_tokens / took.seconds:.1f}", f"{(prompt_tokens + new_tokens) / took.seconds:.1f}"
        table.add_row(name, f"{took.seconds:.1f}", *speeds, str(took.preemptions), f"{last / took.seconds:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
