"""Enforced choices: a model of random weights, which would write noise, calls tools as it is asked to.

`python -m bench enforced` asks for calls in every format, with the format's marks as special tokens and as plain text,
parses each answer and validates the arguments of each call against its tool's schema with `jsonschema`. Required and
named calls go through the engine. Strict tools bind a call from the moment it begins, which noise hardly ever does: so
those answers begin with a call's mark, and go on with tokens drawn from all that the constraint allows.
"""

import argparse
import importlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from candle_vllm_openai import EngineConfig, GenerationParams, InferenceEngine
from candle_vllm_openai.enforce import constraint_of, mark_writer
from candle_vllm_openai.formats import FORMATS, Format
from candle_vllm_openai.reasoning import STYLES

SUPPORT = [Path(__file__).parents[1] / f"packages/candle-vllm-{name}/tests/support" for name in ("core", "openai")]
THINK = STYLES["think"]


def through_engine(
    engine: InferenceEngine, support: Any, format: Format, kind: str, seeds: Sequence[int], max_tokens: int
) -> list[tuple[str, int]]:
    """What came of a request for each seed, and its tokens.

    Every other one thinks first, where noise can end that: where the mark after it is a token.
    """
    mark, prompt = mark_writer(engine), engine.tokenize("x")
    may_think = THINK.closing in engine.model_info().special_tokens and not format.channels
    requests, params = [], []
    for seed in seeds:
        request = support.request_of(format, kind, seed)
        style = THINK if seed % 2 and may_think else None
        constraint = constraint_of(request, format, mark=mark, reasoning=style, started=style is not None)
        requests.append((request, style))
        params.append(GenerationParams(constraint=constraint, max_tokens=max_tokens, seed=seed))
    outputs = engine.generate_batch([prompt] * len(params), params)
    found = []
    for (request, style), output in zip(requests, outputs, strict=True):
        tokens = [token for token in output.tokens if token != support.EOS_ID]
        text = engine.detokenize(tokens, skip_special_tokens=False) if output.finish_reason == "stop" else None
        found.append((support.verdict(request, format, text, style, started=style is not None), len(output.tokens)))
    return found


def drawn(noise: Any, support: Any, format: Format, seeds: Sequence[int], max_tokens: int) -> list[tuple[str, int]]:
    """The same for strict tools, without an engine."""
    found = []
    for seed in seeds:
        request = support.request_of(format, "strict", seed)
        style = THINK if seed % 2 and not format.channels else None
        constraint = constraint_of(request, format, mark=noise.marks, reasoning=style, started=style is not None)
        start = ("so</think>" if style is not None else "") + support.beginning(format)
        text = noise.answer(constraint, seed, start=start, max_tokens=max_tokens)
        verdict = support.verdict(request, format, text, style, started=style is not None)
        found.append((verdict, max_tokens if text is None else len(noise.tokenizer.encode(text))))
    return found


def measure(
    support: Any, name: str, *, special: bool, seeds: Sequence[int], max_tokens: int
) -> dict[str, list[tuple[str, int]]]:
    """What came of so many requests of each kind, in one format and one vocabulary."""
    format = FORMATS[name]
    marks = [*format.tokens, THINK.opening, THINK.closing] if special else []
    found = {}
    with tempfile.TemporaryDirectory() as path:
        support.save_noise(Path(path), marks, "")
        with InferenceEngine(EngineConfig(model_path=path, device="cpu", max_batch_size=32)) as engine:
            for kind in ("required", "named"):
                found[kind] = through_engine(engine, support, format, kind, seeds, max_tokens)
    noise = support.Noise.of(marks)
    found["strict"] = drawn(noise, support, format, seeds, max_tokens)
    noise.close()
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="bench enforced", description=__doc__)
    parser.add_argument("--requests", type=int, default=300, help="requests in each format")
    parser.add_argument("--max-tokens", type=int, default=2000, help="tokens after which an answer is given up")
    parser.add_argument("--formats", nargs="*", help="all, if left out")
    args = parser.parse_args(arguments)
    sys.path[:0] = map(str, SUPPORT)
    support = importlib.import_module("enforcing")
    num_each = max(1, args.requests // 6)
    columns = ("format", "required", "named", "strict", "valid", "cut", "otherwise", "tokens", "seconds")
    table = Table(
        *columns,
        title=f"{6 * num_each} requests in each format, half of them (harmony: all) with marks as special tokens",
    )
    for name in track(args.formats or support.ENFORCED, description="formats"):
        began = time.perf_counter()
        # Channels are left by a mark that noise cannot spell; no model has channels without tokens for their marks.
        vocabularies = (True, FORMATS[name].channels)
        halves = [
            measure(support, name, special=special, seeds=range(first, first + num_each), max_tokens=args.max_tokens)
            for special, first in zip(vocabularies, (0, num_each), strict=True)
        ]
        found = {kind: [each for half in halves for each in half[kind]] for kind in support.KINDS}
        valid = [f"{sum(verdict == 'valid' for verdict, _ in found[kind])}/{len(found[kind])}" for kind in found]
        total = Counter(verdict for each in found.values() for verdict, _ in each)
        others = ", ".join(f"{count} {verdict}" for verdict, count in total.items() if verdict not in ("valid", "cut"))
        tokens = sum(count for each in found.values() for _, count in each)
        row = [name, *valid, str(total["valid"]), str(total["cut"]), others or "none", str(tokens)]
        table.add_row(*row, f"{time.perf_counter() - began:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
