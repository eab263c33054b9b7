"""What it costs that a request's logits are the same bits in any batch and chunks: ratios of time in one run.

Two engines take turns. One is as it is; from the other everything was taken that this model does only for equal bits:
rows are not filled up, attention is not given more keys and queries than there are. A ratio of 1.02 says that equal
bits cost 2 % of the time.

`own code`: with the C functions. `library`: without them, as on processors that have none. The order of sums in the
attention of the C functions is part of how it works and is in both. Where an engine never calls what could be left out,
two engines would be the same: equal bits cost nothing, and that is said in place of a ratio.
"""

import argparse
import logging
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

from rich.console import Console
from rich.table import Table

from bench.decode import model_directory
from candle_vllm_core import EngineConfig, GenerationParams, InferenceEngine, native
from candle_vllm_core.attention import reading, reference, softmax
from candle_vllm_core.quant import int8, packed

WAYS = {"own code, bf16": (True, "bf16"), "library, bf16": (False, "bf16"), "library, fp32": (False, "fp32")}
FIRST_WORD = 1000
KINDS = {"1 answer": (1, 64), "16 answers": (16, 64), "prompt of 509": (1, 509)}
"""How many prompts of how many tokens."""


def as_they_are(x: Any, *_: object) -> Any:
    """No more than there is."""
    return x


FREE = [
    (packed, "filled_up", as_they_are),
    (int8, "filled_up", as_they_are),
    (reading, "padded", as_they_are),
    (reference, "padded_rows", as_they_are),
    (softmax, "padded_rows", as_they_are),
]


@contextmanager
def made(*, own: bool, free: bool) -> Iterator[None]:
    """Within it, engines are opened and compute so."""
    native.library.cache_clear()
    patches = [patch.object(*each) for each in FREE] if free else []
    patches += [] if own else [patch.object(native, "processor", lambda: None)]
    for each in patches:
        each.start()
    try:
        yield
    finally:
        for each in patches:
            each.stop()


def work(engine: InferenceEngine, kind: str, new_tokens: int) -> float:
    """Seconds that some work takes."""
    batch, length = KINDS[kind]
    prompts = [[FIRST_WORD + 7 * row + at for at in range(length)] for row in range(batch)]
    engine.generate_batch([[1]], GenerationParams(max_tokens=1))
    tokens = 1 if kind.startswith("prompt") else new_tokens
    params = GenerationParams(max_tokens=tokens, temperature=0, ignore_eos=True)
    begun = time.perf_counter()
    engine.generate_batch(prompts, params)
    return time.perf_counter() - begun


def calls_of_what_is_left_out(engine: InferenceEngine, *, own: bool, new_tokens: int) -> int:
    """How often an engine as it is does something for equal bits alone, in one round."""
    spies = [(module, name, Mock(side_effect=getattr(module, name))) for module, name, _ in FREE]
    with made(own=own, free=False), ExitStack() as stack:
        for spy in spies:
            stack.enter_context(patch.object(*spy))
        for kind in KINDS:
            work(engine, kind, new_tokens)
    return sum(spy.call_count for *_, spy in spies)


def row(path: Path, way: str, args: argparse.Namespace) -> list[str]:
    """The ratios of one way, medians over rounds."""
    own, dtype = WAYS[way]
    config = EngineConfig(
        model_path=path,
        device="cpu",
        dtype="fp32" if dtype == "fp32" else "bf16",
        max_batch_size=16,
        max_sequence_length=1024,
        kv_cache_memory=1 << 28,
        enable_prefix_cache=False,
    )
    engines = {}
    for free in (False, True):
        with made(own=own, free=free):
            engines[free] = InferenceEngine(config)
    calls = calls_of_what_is_left_out(engines[False], own=own, new_tokens=args.new_tokens)
    ratios: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for number in range(args.rounds + 1 if calls else 0):
        for kind, found in ratios.items():
            took = {}
            for free in (False, True) if number % 2 else (True, False):
                with made(own=own, free=free):
                    took[free] = work(engines[free], kind, args.new_tokens)
            found.append(took[False] / took[True])
    for engine in engines.values():
        engine.close()
    if not calls:
        return [way, "nothing is done for it", *[""] * (len(KINDS) - 1)]
    return [way, *(f"{statistics.median(found[1:]):.3f}" for found in ratios.values())]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="bench determinism", description=__doc__)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--new-tokens", type=int, default=16)
    args = parser.parse_args(arguments)
    logging.getLogger("candle_vllm_core").setLevel(logging.ERROR)
    path = model_directory()
    table = Table("computed by", *KINDS, title="Time with equal bits over without")
    for way in args.ways:
        table.add_row(*row(path, way, args))
    Console().print(table)


if __name__ == "__main__":
    main()
