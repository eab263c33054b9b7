"""What the prefix cache spares: the second turn of a long chat, and several answers to one prompt.

A small random model; each kind is asked in turn of an engine with the cache and of one without, so that both meet the
same machine. `computed` counts the prompt tokens that the model computed.
"""

import argparse
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

from bench.models import random_model, small_config
from candle_vllm_core import EngineConfig, GenerationOutput, GenerationParams, InferenceEngine

Tokens = list[int]


@dataclass
class Seen:
    """What one engine showed."""

    first_token_ms: list[float] = field(default_factory=list)
    cached: int = 0
    computed: int = 0

    def take(self, outputs: Sequence[GenerationOutput], computed: int) -> None:
        """Note the answers of one round and how many prompt tokens they took."""
        self.first_token_ms.append(max(output.stats.time_to_first_token_ms for output in outputs))
        self.cached, self.computed = sum(output.stats.cached_tokens for output in outputs), computed


def second_turn(engine: InferenceEngine, prompt: Tokens, new: Tokens, seen: Seen) -> None:
    """A turn, its answer, and a turn after them."""
    params = GenerationParams(temperature=0, max_tokens=50, ignore_eos=True)
    answer = engine.generate_sync(prompt, params).tokens
    before = engine.stats().prompt_tokens
    output = engine.generate_sync([*prompt, *answer, *new], params)
    seen.take([output], engine.stats().prompt_tokens - before)


def answers(engine: InferenceEngine, prompt: Tokens, new: Tokens, seen: Seen) -> None:
    """Four answers to one prompt, asked for at once."""
    params = [GenerationParams(seed=number, max_tokens=10, ignore_eos=True) for number in range(4)]
    before = engine.stats().prompt_tokens
    outputs = engine.generate_batch([prompt] * len(params), params)
    seen.take(outputs, engine.stats().prompt_tokens - before)


def main(arguments: Sequence[str] | None = None) -> None:
    """Ask and print the table."""
    parser = argparse.ArgumentParser(prog="bench prefix", description=__doc__)
    parser.add_argument("--prompt", type=int, default=2000, help="tokens of the first turn")
    parser.add_argument("--new", type=int, default=50, help="tokens that the second turn adds")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--dim", type=int, default=512)
    args = parser.parse_args(arguments)
    config = small_config(layers=args.layers, dim=args.dim)
    model = random_model(f"small-{args.layers}-{args.dim}", config)
    draw = random.Random(0)
    table = Table("", "cached", "computed", "ms to the first token", title=f"A prompt of {args.prompt} tokens")
    for name, ask in (("second turn", second_turn), ("four answers at once", answers)):
        seen = {True: Seen(), False: Seen()}
        with _open(model, True) as cached, _open(model, False) as plain:
            for _ in range(args.rounds):
                prompt, new = (
                    [draw.randrange(2, config.vocab_size) for _ in range(n)] for n in (args.prompt, args.new)
                )
                for engine, its in ((cached, seen[True]), (plain, seen[False])):
                    ask(engine, prompt, new, its)
        medians = {on: statistics.median(its.first_token_ms) for on, its in seen.items()}
        for on, its in seen.items():
            label = f"{name}, {'with' if on else 'without'} the cache"
            table.add_row(label, f"{its.cached:,}", f"{its.computed:,}", f"{medians[on]:.1f}")
        table.add_row(f"{name}, without over with", "", "", f"{medians[False] / medians[True]:.1f}")
    Console().print(table)


def _open(model: object, cache: bool) -> InferenceEngine:
    return InferenceEngine(EngineConfig(model_path=str(model), device="cpu", enable_prefix_cache=cache))
