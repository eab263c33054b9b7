"""What a step costs beside the model: the null model knows at once what it draws, so only the host's work is left.

`schedule`: who runs, and blocks for them. `tensors`: the step as the model takes it. `text`: tokens taken in, as text,
and handed on. It is the processor's time, so that what else the machine does counts little. Then how much of the KV
slots that sequences hold is empty, over a run of mixed lengths.
"""

import argparse
import logging
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle

import torch
from rich.console import Console
from rich.table import Table

from candle_vllm_core import GenerationParams
from candle_vllm_core.detokenizer import TextStream
from candle_vllm_core.runtime.batch import layout_of, sampling_rows
from candle_vllm_core.runtime.kv import KVBlocks, KVSizes
from candle_vllm_core.runtime.request import Drawn, Limits, Request
from candle_vllm_core.runtime.scheduler import Scheduler, Step
from candle_vllm_core.runtime.stepper import Stepper
from candle_vllm_core.tokenizer import Tokenizer
from candle_vllm_core.weights.source import EMBEDDED

CPU = torch.device("cpu")
FIRST_WORD = 3
DRAWN = 99_991  # a prime: no sequence draws the same tokens over and over
AIMS = {1: 0.1, 64: 0.5, 256: 1.5}
"""Milliseconds of the host's work in a step of so many sequences."""


@dataclass
class NullModel:
    """Makes the tensors of a step and takes the time of that; who draws is given the next of `tokens`."""

    block_size: int
    tokens: Iterator[int]
    """Drawn beforehand: that they are random is no work of the host's."""
    tensors: float = 0.0
    """Seconds that the last step's tensors took."""
    began: float = 0.0
    """When the last step was handed over, and so was scheduled."""

    @torch.inference_mode()
    def run(self, step: Step) -> list[Drawn]:
        """See `stepper.Runner`."""
        self.began = time.thread_time()
        layout_of(step, self.block_size, CPU)
        sampling_rows(step, CPU)
        self.tensors = time.thread_time() - self.began
        return [Drawn(next(self.tokens)) for part in step if part.samples]

    def forget(self, request_id: int) -> None:
        """See `stepper.Runner`."""


class Host:
    """A scheduler, a null model, and requests whose chunks nobody waits for."""

    def __init__(self, args: argparse.Namespace, sequences: int, tokens: int) -> None:
        self.tokenizer = Tokenizer.from_directory(EMBEDDED)
        self.vocab = args.vocab
        self.draw = random.Random(1)
        self.runner = NullModel(args.block_size, cycle(self._random(DRAWN)))
        sizes = KVSizes(block_size=args.block_size, windows=(None,), num_blocks=(-(-tokens // args.block_size),))
        self.scheduler = Scheduler(KVBlocks(sizes), max_batch_size=sequences, chunk_size=args.chunk)
        self.stepper = Stepper(self.scheduler, self.runner)

    def _random(self, count: int) -> list[int]:
        return [self.draw.randrange(FIRST_WORD, self.vocab) for _ in range(count)]

    def add(self, number: int, prompt: int, answer: int) -> None:
        """A request with a prompt and an answer of so many tokens."""
        self.stepper.add(
            Request(
                id=number,
                prompt=self._random(prompt),
                params=GenerationParams(max_tokens=answer, temperature=0, ignore_eos=True),
                seed=0,
                limits=Limits(vocab_size=self.vocab, max_sequence_length=1 << 20),
                stream=TextStream(self.tokenizer.decode, pieces=self.tokenizer.pieces(skip_special_tokens=False)),
                sink=lambda chunk: None,
            )
        )

    def step(self) -> tuple[float, float, float]:
        """Seconds that scheduling, tensors and what comes after the model took in one step."""
        began = time.thread_time()
        self.stepper.step()
        ended = time.thread_time()
        drawn = self.runner.began + self.runner.tensors
        return self.runner.began - began, self.runner.tensors, ended - drawn


def measure(sequences: int, args: argparse.Namespace) -> tuple[list[tuple[float, float, float]], float]:
    """The parts of each step in which all sequences write, and the seconds of the steps that let them in, together."""
    host = Host(args, sequences, sequences * (args.prompt + args.steps + 2 * args.block_size))
    for number in range(sequences):
        host.add(number, args.prompt, args.steps + 1)
    admission = 0.0
    while any(request.num_uncomputed > 1 for request in host.scheduler.requests()):
        admission += sum(host.step())
    return [host.step() for _ in range(args.steps)], admission


def overhead(args: argparse.Namespace) -> Table:
    """A row for each number of sequences."""
    title = f"Host's work in a step, in ms: medians of {args.steps} steps, prompts of {args.prompt} tokens"
    table = Table(title=title)
    for column in ("sequences", "schedule", "tensors", "text", "all", "p99", "aim", "µs to let one in"):
        table.add_column(column, justify="right")
    for sequences in args.sequences:
        steps, admission = measure(sequences, args)
        parts = [statistics.median(part) * 1000 for part in zip(*steps, strict=True)]
        whole = [sum(step) * 1000 for step in steps]
        p99 = statistics.quantiles(whole, n=100)[98]
        aim = f"{AIMS[sequences]:g}" if sequences in AIMS else ""
        cells = [*parts, statistics.median(whole), p99]
        table.add_row(str(sequences), *(f"{cell:.3f}" for cell in cells), aim, f"{admission / sequences * 1e6:.0f}")
    return table


def waste(args: argparse.Namespace) -> Table:
    """Of the KV slots that sequences hold, the share without a token, in the steps of a run of mixed lengths."""
    host = Host(args, args.running, args.kv_tokens)
    lengths = random.Random(2)
    for number in range(args.requests):
        host.add(number, lengths.randint(*args.lengths), lengths.randint(*args.lengths))
    empty, held, used = [], 0, 0
    while host.stepper.has_work:
        host.stepper.step()
        if running := host.scheduler.running:
            slots = sum(len(request.block_tables[0]) for request in running) * args.block_size
            tokens = sum(request.num_computed for request in running)
            empty.append(1 - tokens / slots)
            held, used = held + slots, used + tokens
    title = (
        f"KV slots held and empty: {args.requests} prompts and answers of {args.lengths[0]} to {args.lengths[1]} tokens"
    )
    table = Table("steps", "of all slots held", "median step", "worst step", "preemptions", title=title)
    shares = (1 - used / held, statistics.median(empty), max(empty))
    table.add_row(f"{len(empty):,}", *(f"{share:.2%}" for share in shares), str(host.scheduler.preemptions))
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(prog="bench scheduler", description=__doc__)
    parser.add_argument("--sequences", type=int, nargs="+", default=list(AIMS), help="that write at once")
    parser.add_argument("--vocab", type=int, default=600, help="tokens of the embedded model's that are drawn")
    parser.add_argument("--steps", type=int, default=300, help="that are measured")
    parser.add_argument("--prompt", type=int, default=128, help="tokens in each prompt")
    parser.add_argument("--block-size", type=int, default=16, help="tokens in one block")
    parser.add_argument("--chunk", type=int, default=2048, help="the most tokens of one step")
    parser.add_argument("--requests", type=int, default=256, help="of the run of mixed lengths")
    parser.add_argument("--lengths", type=int, nargs=2, default=(100, 1024), help="least and most tokens in that run")
    parser.add_argument("--running", type=int, default=64, help="sequences that run at once in that run")
    parser.add_argument("--kv-tokens", type=int, default=60_000, help="that the KV cache holds in that run")
    args = parser.parse_args(arguments)
    logging.getLogger("candle_vllm_core").setLevel(logging.ERROR)
    console = Console()
    console.print(overhead(args))
    console.print(waste(args))


if __name__ == "__main__":
    main()
