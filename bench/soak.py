"""Whether an engine stays right under load: thousands of requests of every kind with far too little room for them.

Random lengths, parameters, priorities and cancels meet a KV cache so small that running requests are preempted all the
time. Every greedy or seeded answer must equal the one that the request gets alone, in an engine with room enough and no
prefix cache; no block may be lost; and memory must stay flat.
"""

import argparse
import asyncio
import gc
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import psutil
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.models import random_model, small_config
from candle_vllm_core import Constraint, EngineConfig, GenerationOutput, GenerationParams, InferenceEngine

MIB = 1 << 20
REQUESTS, WANTED_PREEMPTIONS = 5000, 200
"""Of that many requests; with fewer preemptions a soak shows nothing."""
MODELS = ("embedded", "random")
CONSTRAINTS = (
    Constraint(choice=["yes", "no", "perhaps, but ask again"]),
    Constraint(regex="[A-Z][a-z]{2,9}( [a-z]{2,6}){1,5}[.!?]"),
    Constraint(
        json_schema={
            "type": "object",
            "properties": {"name": {"type": "string", "maxLength": 9}, "count": {"type": "integer"}},
            "required": ["name", "count"],
        }
    ),
)


@dataclass(frozen=True)
class Asked:
    """A request, and after how many tokens its owner goes away."""

    prompt: list[int]
    params: GenerationParams
    leaves_after: int | None

    @property
    def is_repeatable(self) -> bool:
        """Whether its answer is the same whenever it is asked."""
        return self.params.greedy or self.params.seed is not None


@dataclass
class Answer:
    """What came of a request."""

    tokens: tuple[int, ...] = ()
    text: str = ""
    ended: str = "left"
    logprobs: tuple[Any, ...] | None = None
    wait: float = 0.0
    """Seconds from asking to the first token."""
    failed: bool = False

    @classmethod
    def of(cls, output: GenerationOutput, wait: float = 0.0) -> "Answer":
        """A whole answer."""
        logprobs = tuple((one.token_id, one.logprob) for one in output.logprobs) if output.logprobs else None
        ended = output.error or f"{output.finish_reason} {output.stop_sequence}"
        return cls(output.tokens, output.text, ended, logprobs, wait, output.error is not None)


@dataclass
class Run:
    """What a soak found."""

    answers: list[Answer]
    seconds: float
    preemptions: int
    hit_tokens: int
    lost_blocks: int
    memory: list[int] = field(default_factory=list)
    """Resident bytes, sampled each time a tenth of the requests has ended."""


def requests(count: int, vocab: int, length: int, seed: int, most: int, *, constrain: bool) -> list[Asked]:
    """Requests of every kind; a third of the prompts begin like others, and some answers have a form to keep."""
    draw = random.Random(seed)
    stems = [[draw.randrange(3, vocab) for _ in range(draw.choice((16, 40, 100)))] for _ in range(20)]
    asked = []
    for number in range(count):
        stem = draw.choice(stems) if draw.random() < 0.35 else []
        own = [draw.randrange(3, vocab) for _ in range(max(1, int(draw.expovariate(1 / 40))))]
        params = parameters(draw, vocab, number, most)
        if constrain and draw.random() < 0.1:
            # An answer that is complete before `min_tokens` would have no token left to draw, which is an error.
            params = replace(params, constraint=draw.choice(CONSTRAINTS), min_tokens=0)
        leaves = draw.randint(1, params.max_tokens) if draw.random() < 0.1 else None
        asked.append(Asked([*stem, *own][: length - most - 1], params, leaves))
    return asked


def parameters(draw: random.Random, vocab: int, number: int, most: int) -> GenerationParams:
    """Random parameters: greedy, seeded, or (few) neither."""
    longest = draw.randint(1, most)
    params = GenerationParams(max_tokens=longest, temperature=0.0, priority=draw.choice((0, 0, 0, -1, 1)))
    if draw.random() < 0.6:
        params = replace(
            params,
            temperature=draw.choice((0.3, 0.8, 1.0, 1.7)),
            seed=None if draw.random() < 0.08 else number,
            top_p=draw.choice((1.0, 1.0, 0.9, 0.5)),
            top_k=draw.choice((None, None, 1, 20, 300)),
            min_p=draw.choice((0.0, 0.0, 0.05)),
        )
    if draw.random() < 0.3:
        params = replace(
            params,
            repetition_penalty=draw.choice((1.0, 1.2)),
            frequency_penalty=draw.choice((0.0, 0.5, -0.5)),
            presence_penalty=draw.choice((0.0, 0.7)),
            logit_bias={draw.randrange(vocab): draw.uniform(-10, 10) for _ in range(4)}
            if draw.random() < 0.5
            else None,
        )
    return replace(
        params,
        ignore_eos=draw.random() < 0.5,
        min_tokens=draw.choice((0, 0, longest // 2)),
        stop_token_ids=tuple(draw.randrange(3, vocab) for _ in range(draw.choice((0, 0, 8)))),
        stop_sequences=tuple(draw.sample(("e", " t", "the", "\n", "7 "), draw.choice((0, 0, 2)))),
        logprobs=draw.random() < 0.2,
    )


async def soak(engine: InferenceEngine, asked: Sequence[Asked], concurrency: int) -> Run:
    """Ask everything, so many at once, and note what comes."""
    answers = [Answer() for _ in asked]
    numbers = iter(range(len(asked)))
    process, memory = psutil.Process(), []
    ended, started = 0, time.perf_counter()
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("soaking", total=len(asked))

        async def caller() -> None:
            nonlocal ended
            for number in numbers:
                answers[number] = await ask(engine, asked[number])
                ended += 1
                progress.advance(bar)
                if ended * 10 // len(asked) > len(memory):
                    gc.collect()
                    memory.append(int(process.memory_info().rss))

        await asyncio.gather(*(caller() for _ in range(concurrency)))
    seconds = time.perf_counter() - started
    await engine.generate([5], GenerationParams(max_tokens=1))  # after it, every cancel before it has been done
    stats = engine.stats()
    return Run(answers, seconds, stats.preemptions, stats.prefix_hit_tokens, stats.kv_blocks_used, memory)


async def ask(engine: InferenceEngine, asked: Asked) -> Answer:
    """One request, until its end or until its owner leaves."""
    began, wait, tokens = time.perf_counter(), None, []
    stream = engine.generate_stream(asked.prompt, asked.params)
    try:
        async for chunk in stream:
            wait = time.perf_counter() - began if wait is None else wait
            tokens += chunk.tokens
            if chunk.output is not None:
                return Answer.of(chunk.output, wait)
            if asked.leaves_after is not None and len(tokens) >= asked.leaves_after:
                break
    finally:
        await stream.aclose()
    return Answer(tokens=tuple(tokens), wait=wait or 0.0)


def differences(engine: InferenceEngine, asked: Sequence[Asked], answers: Sequence[Answer]) -> tuple[list[str], int]:
    """How answers differ from those that the same requests get alone, and how many were compared."""
    found, compared = [], 0
    with Progress(console=Console(stderr=True), transient=True) as progress:
        for number in progress.track(range(len(asked)), description="asking alone"):
            if not asked[number].is_repeatable:
                continue
            compared += 1
            alone = Answer.of(engine.generate_sync(asked[number].prompt, asked[number].params))
            if said := difference(alone, answers[number]):
                found.append(f"request {number}: {said}; prompt of {len(asked[number].prompt)}, {asked[number].params}")
    return found, compared


def difference(alone: Answer, under_load: Answer) -> str | None:
    """What differs; of an answer whose owner left, only what had come."""
    count = len(under_load.tokens)
    if alone.tokens[:count] != under_load.tokens:
        pairs = zip(alone.tokens, under_load.tokens, strict=False)
        return f"tokens differ from {next((i for i, (a, b) in enumerate(pairs) if a != b), len(alone.tokens))}"
    if under_load.ended == "left":
        return None
    if (alone.tokens, alone.text, alone.ended) != (under_load.tokens, under_load.text, under_load.ended):
        return f"ended as {under_load.ended!r} after {count} tokens, alone as {alone.ended!r} after {len(alone.tokens)}"
    return None if alone.logprobs == under_load.logprobs else "log probabilities differ"


def configs(model: str, args: argparse.Namespace) -> tuple[EngineConfig, EngineConfig]:
    """Of the engine under load, and of the one with room enough."""
    if model == "embedded":
        roomy = EngineConfig(device="cpu", dtype="bf16", max_sequence_length=512, max_batch_size=1)
    else:
        path = random_model("soak-64", small_config(layers=2, dim=64, length=512, init=0.2))
        roomy = EngineConfig(model_path=path, device="cpu", dtype="fp32", max_batch_size=1)
    roomy = replace(roomy, enable_prefix_cache=False, seed=0)
    with InferenceEngine(replace(roomy, kv_cache_memory=1 << 20)) as engine:
        token_bytes = engine.model_info().kv_bytes_per_token
    cramped = replace(
        roomy,
        max_batch_size=args.batch,
        kv_cache_memory=args.kv_tokens * token_bytes,
        prefill_chunk_size=args.chunk,
        enable_prefix_cache=True,
    )
    return cramped, roomy


def measure(model: str, args: argparse.Namespace, console: Console) -> tuple[list[str], bool]:
    """A model's column of the table, and whether all is well."""
    cramped, roomy = configs(model, args)
    with InferenceEngine(cramped) as engine:
        info = engine.model_info()
        length = min(info.max_sequence_length, 512)
        constrain = model == "embedded"  # the random one's tokens are whole words
        asked = requests(args.requests, info.vocab_size, length, args.seed, args.most, constrain=constrain)
        run = asyncio.run(soak(engine, asked, args.concurrency))
    with InferenceEngine(roomy) as engine:
        found, compared = differences(engine, asked, run.answers)
    for line in found[:5]:
        console.print(line, style="red")
    waits = [answer.wait for answer in run.answers]
    failed = sum(answer.failed for answer in run.answers)
    column = [
        f"{info.dtype}, {args.kv_tokens} tokens of KV, chunks of {args.chunk}, batch {args.batch}",
        f"{len(asked):,}",
        f"{sum(answer.ended == 'left' for answer in run.answers):,}",
        f"{sum(one.params.constraint is not None for one in asked):,}",
        f"{failed:,}",
        f"{compared:,}",
        f"{len(found):,}",
        f"{run.preemptions:,}",
        f"{run.hit_tokens:,}",
        f"{run.lost_blocks:,}",
        f"{max(waits):.2f} s",
        f"{statistics.quantiles(waits, n=100)[98]:.2f} s",
        " ".join(f"{sample / MIB:.0f}" for sample in run.memory),
        f"{run.seconds:.0f} s",
    ]
    hard = run.preemptions * REQUESTS >= WANTED_PREEMPTIONS * len(asked)
    return column, hard and not found and not run.lost_blocks and not failed


ROWS = (
    "engine",
    "requests",
    "cancelled by their owners",
    "with a constraint",
    "failed",
    "greedy or seeded, compared with themselves alone",
    "of these different",
    "preemptions",
    "prompt tokens from the prefix cache",
    "blocks lost",
    "longest wait for the first token",
    "p99 wait for the first token",
    "resident MiB after each tenth",
    "took",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Soak, compare, print a table; the exit code is 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="bench soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=REQUESTS, help="of each model")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--concurrency", type=int, default=128, help="requests that are asked at once")
    parser.add_argument("--batch", type=int, default=32, help="sequences that run at once, if there is room")
    parser.add_argument("--kv-tokens", type=int, default=1200, help="that the KV cache holds")
    parser.add_argument("--chunk", type=int, default=96, help="the most tokens of one step")
    parser.add_argument("--most", type=int, default=48, help="the most tokens of an answer")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    console = Console()
    columns, good = zip(*(measure(model, args, console) for model in args.models), strict=True)
    table = Table("", *args.models, title="Soak")
    for name, *cells in zip(ROWS, *columns, strict=True):
        table.add_row(name, *cells)
    console.print(table)
    if not all(good):
        sys.exit(1)
