"""What a long prompt costs those who are being answered, and what a chat's second turn costs who asks it.

`streams`: many streams run, then one long prompt arrives; the time between two tokens of a stream before it came and
while it is computed, for several `mixed_chunk_size`. `turn`: the time to the first token of a chat's second turn,
with the prefix cache and without.
"""

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.models import random_model, small_config
from candle_vllm_core import EngineConfig, GenerationParams, InferenceEngine

FIRST_WORD = 3
MARGIN = 64


@dataclass
class Gaps:
    """Seconds between two tokens of one stream, of all streams together."""

    quiet: list[float] = field(default_factory=list)
    """While only the streams ran."""
    loaded: list[float] = field(default_factory=list)
    """From the long prompt's arrival to its first token."""
    long_wait: float = 0.0
    """Seconds from the long prompt's arrival to its first token."""


def prompt(length: int, vocab: int, seed: int) -> list[int]:
    """Random tokens, other ones for each seed."""
    draw = random.Random(seed)
    return [draw.randrange(FIRST_WORD, vocab) for _ in range(length)]


class Streams:
    """Many streams and one long prompt, in one event loop."""

    def __init__(self, engine: InferenceEngine, args: argparse.Namespace) -> None:
        self._engine, self._args = engine, args
        self._vocab = engine.model_info().vocab_size
        self._unstarted, self._enough = args.streams, asyncio.Event()
        self._arrived = self._answered = False
        self.gaps = Gaps()

    async def run(self) -> Gaps:
        """Run the streams, let the long prompt come once all have written for a while, and note the gaps."""
        await asyncio.gather(self._long(), *(self._stream(number) for number in range(self._args.streams)))
        await self._engine.generate([FIRST_WORD], GenerationParams(max_tokens=1))  # after it, all have been cancelled
        return self.gaps

    async def _stream(self, number: int) -> None:
        params = GenerationParams(max_tokens=self._args.most, temperature=0, ignore_eos=True)
        last = None
        async with aclosing(
            self._engine.generate_stream(prompt(self._args.short, self._vocab, number), params)
        ) as chunks:
            async for _ in chunks:
                now = time.perf_counter()
                self._note(now - last if last is not None else None)
                last = now
                if self._answered:
                    return

    def _note(self, gap: float | None) -> None:
        if gap is None:
            self._unstarted -= 1
        elif not self._unstarted and not self._answered:
            (self.gaps.loaded if self._arrived else self.gaps.quiet).append(gap)
        if len(self.gaps.quiet) >= self._args.quiet_tokens * self._args.streams:
            self._enough.set()

    async def _long(self) -> None:
        await self._enough.wait()
        self._arrived, began = True, time.perf_counter()
        await self._engine.generate(prompt(self._args.long, self._vocab, -1), GenerationParams(max_tokens=1))
        self._answered, self.gaps.long_wait = True, time.perf_counter() - began


def measure_streams(path: Path, args: argparse.Namespace) -> Table:
    """A row for each chunk size."""
    table = Table(title=f"{args.streams} streams, then a prompt of {args.long:,} tokens; ms between two tokens")
    for column in ("chunk", "p50 without", "p99 without", "p50 with", "p99 with", "most", "x p99", "its first token"):
        table.add_column(column, justify="right")
    for chunk in args.chunks:
        with InferenceEngine(config(path, args, chunk)) as engine:
            found = asyncio.run(Streams(engine, args).run())
        quiet, loaded = (statistics.quantiles(gaps, n=100) for gaps in (found.quiet, found.loaded))
        cells = (quiet[49], quiet[98], loaded[49], loaded[98], max(found.loaded))
        ratio = f"{loaded[98] / quiet[98]:.1f}"
        table.add_row(f"{chunk:,}", *(f"{cell * 1000:.1f}" for cell in cells), ratio, f"{found.long_wait:.2f} s")
    return table


def config(path: Path, args: argparse.Namespace, chunk: int, *, prefix_cache: bool = True) -> EngineConfig:
    """An engine with room for everything that is asked."""
    tokens = args.streams * (args.short + args.most + MARGIN) + args.long + MARGIN
    plan = EngineConfig(
        model_path=path, device="cpu", dtype=args.dtype, kv_cache_memory=1 << 24, max_sequence_length=1024
    )
    with InferenceEngine(plan) as engine:
        token_bytes = engine.model_info().kv_bytes_per_token
    return EngineConfig(
        model_path=path,
        device="cpu",
        dtype=args.dtype,
        max_batch_size=args.streams + 1,
        kv_cache_memory=tokens * token_bytes,
        mixed_chunk_size=chunk,
        enable_prefix_cache=prefix_cache,
    )


def measure_turn(path: Path, args: argparse.Namespace) -> Table:
    """A row with the prefix cache and one without."""
    table = Table(title=f"Second turn of a chat: {args.first:,} tokens, an answer, and {args.added} more; medians")
    for column in ("prefix cache", "tokens prefilled", "first turn", "second turn", "x"):
        table.add_column(column, justify="right")
    waits: dict[bool, float] = {}
    for cached in (False, True):
        with InferenceEngine(config(path, args, max(args.chunks), prefix_cache=cached)) as engine:
            rounds = [turns(engine, args, seed) for seed in range(args.rounds)]
        firsts, seconds, prefilled = zip(*rounds[1:], strict=True)
        waits[cached] = statistics.median(seconds)
        cells = f"{statistics.median(firsts) * 1000:.1f} ms", f"{waits[cached] * 1000:.1f} ms"
        ratio = f"{waits[False] / waits[cached]:.1f}"
        table.add_row("on" if cached else "off", f"{statistics.median(prefilled):.0f}", *cells, ratio)
    return table


def turns(engine: InferenceEngine, args: argparse.Namespace, seed: int) -> tuple[float, float, int]:
    """Seconds to the first token of a chat's first and second turn, and how many tokens the second one prefilled."""
    vocab, params = engine.model_info().vocab_size, GenerationParams(max_tokens=16, temperature=0, ignore_eos=True)
    opening = prompt(args.first, vocab, 2 * seed)
    first = engine.generate_sync(opening, params)
    again = [*opening, *first.tokens, *prompt(args.added, vocab, 2 * seed + 1)]
    second = engine.generate_sync(again, params)
    prefilled = second.stats.prompt_tokens - second.stats.cached_tokens
    return first.stats.time_to_first_token_ms / 1000, second.stats.time_to_first_token_ms / 1000, prefilled


MEASURES = {"streams": measure_streams, "turn": measure_turn}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(prog="bench latency", description=__doc__)
    parser.add_argument("--what", nargs="+", choices=MEASURES, default=list(MEASURES))
    parser.add_argument("--streams", type=int, default=100, help="answers that are being written")
    parser.add_argument("--short", type=int, default=32, help="tokens in the prompt of each stream")
    parser.add_argument("--most", type=int, default=2000, help="the most tokens of each stream")
    parser.add_argument("--quiet-tokens", type=int, default=30, help="of each stream before the long prompt comes")
    parser.add_argument("--long", type=int, default=16384, help="tokens in the long prompt")
    parser.add_argument("--chunks", type=int, nargs="+", default=[64, 128, 256, 512, 8192], help="mixed_chunk_size")
    parser.add_argument("--first", type=int, default=2000, help="tokens in a chat's first turn")
    parser.add_argument("--added", type=int, default=40, help="tokens that the second turn adds")
    parser.add_argument("--rounds", type=int, default=6, help="chats, the first of which does not count")
    parser.add_argument("--dtype", choices=("bf16", "fp32"), default="bf16")
    args = parser.parse_args(arguments)
    path = random_model("latency-256", small_config())
    for what in args.what:
        Console().print(MEASURES[what](path, args))


if __name__ == "__main__":
    main()
