"""What drawing a step's tokens takes, beside the model: microseconds for each way to draw and number of sequences.

`peaked` logits are like those of a trained model that knows what it wants: 200 tokens stand above a sea of others.
`flat` ones are those of a random model: thousands of tokens share the probability.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from candle_vllm_core import GenerationParams
from candle_vllm_core.runtime.sampling import Sampler

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
WAYS = {
    "greedy": GenerationParams(temperature=0),
    "temperature": GenerationParams(temperature=0.7),
    "top-p": GenerationParams(temperature=0.7, top_p=0.9),
    "min-p": GenerationParams(temperature=0.7, min_p=0.05),
    "top-k": GenerationParams(temperature=0.7, top_k=20),
    "top-k, top-p, penalties": GenerationParams(
        temperature=0.7, top_k=50, top_p=0.9, repetition_penalty=1.1, frequency_penalty=0.1, presence_penalty=0.1
    ),
    "greedy, 5 logprobs": GenerationParams(temperature=0, logprobs=True, top_logprobs=5),
    "temperature, mask": GenerationParams(temperature=0.7),
}


@dataclass
class Row:
    """A request as the sampler sees it."""

    id: int
    params: GenerationParams
    prompt: list[int]
    allowed: Tensor | None = None
    generated: list[int] = field(default_factory=list)
    bad_words: Sequence[Sequence[int]] = ()

    @property
    def seed(self) -> int:
        """See `SamplingRow`."""
        return self.id


def logits_of(rows: int, vocab: int, kind: str, dtype: torch.dtype) -> Tensor:
    """[rows, vocab] random logits."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(rows, vocab, generator=generator) * (2 if kind == "peaked" else 3)
    for row in logits if kind == "peaked" else ():
        row[torch.randperm(vocab, generator=generator)[:200]] += torch.linspace(18, 4, 200)
    return logits.to(dtype)


def best_of(way: str, logits: Tensor, steps: int) -> float:
    """Microseconds of the fastest of some steps."""
    count, vocab = logits.shape
    prompts = torch.randint(vocab, (count, 500), generator=torch.Generator().manual_seed(1)).tolist()
    mask = torch.full((-(-vocab // 32),), 0x55555555, dtype=torch.int32) if "mask" in way else None
    rows = [Row(number, WAYS[way], prompt, mask) for number, prompt in enumerate(prompts)]
    sampler, took = Sampler(vocab), []
    for _ in range(steps):
        began = time.perf_counter()
        sampled = sampler.sample(logits, rows)
        took.append(time.perf_counter() - began)
        for row, token in zip(rows, sampled.tokens, strict=True):
            row.generated.append(token)
    return min(took) * 1e6


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(prog="bench sampling", description=__doc__)
    parser.add_argument("--vocab", type=int, default=151_936)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16, 64], help="sequences that draw at once")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20, help="of which the fastest counts")
    parser.add_argument("--dtype", choices=DTYPES, default="bf16", help="of the logits: that of the model")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    for kind in ("peaked", "flat"):
        given = f"{args.vocab:,} {kind} {args.dtype} logits, {args.threads} threads"
        title = f"µs for a step's draws, {given}, fastest of {args.steps}"
        table = Table("", *(f"batch {batch}" for batch in args.batch), title=title)
        batches = [logits_of(batch, args.vocab, kind, DTYPES[args.dtype]) for batch in args.batch]
        for way in WAYS:
            table.add_row(way, *(f"{best_of(way, logits, args.steps):,.0f}" for logits in batches))
        Console().print(table)


if __name__ == "__main__":
    main()
