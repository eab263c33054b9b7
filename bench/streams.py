"""The law of streams: however an answer's text is cut, its stream adds up to the whole, in every chat format.

`python -m bench streams` draws requests (`n`, tools, reasoning, stop texts, log probabilities, limits), the texts that
a model answers, and how they are cut into tokens and chunks; each is answered whole and streamed, and what our
collector and the official client's own accumulator make of the stream must equal the whole answer.
"""

import argparse
import asyncio
import importlib
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

SUPPORT = Path(__file__).parents[1] / "packages/candle-vllm-openai/tests/support"
WIDTH = 110
KINDS = ("cases", "choices", "calls", "reasoning", "logprobs", "stop", "length", "tool_calls", "failed")


def main(arguments: Sequence[str]) -> None:
    """Draw, check, and print how many of what there were; exits with 1 if one failed."""
    parser = argparse.ArgumentParser(prog="bench streams", description=__doc__)
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    asked = parser.parse_args(arguments)
    sys.path.append(str(SUPPORT))
    counts = asyncio.run(checked(importlib.import_module("streams"), range(asked.first, asked.first + asked.cases)))
    table = Table("format", *KINDS)
    for name, count in counts.items():
        table.add_row(name, *(str(count[kind]) for kind in KINDS))
    total = sum(counts.values(), Counter[str]())
    table.add_row("all", *(str(total[kind]) for kind in KINDS))
    Console(width=WIDTH).print(table)
    sys.exit(bool(total["failed"]))


async def checked(streams: Any, numbers: Sequence[int]) -> dict[str, Counter[str]]:
    """What there was in the cases of these numbers, by format."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for number in numbers:
        case = streams.drawn(number)
        count = counts[case.config.parser]
        count["cases"] += 1
        try:
            count += found(await streams.check(case))
        except Exception as error:
            count["failed"] += 1
            print(f"case {number} of {case.config.parser}: {type(error).__name__}: {error}")
        counts[case.config.parser] = count
    return counts


def found(body: dict[str, Any]) -> Counter[str]:
    """What there was in one response."""
    count: Counter[str] = Counter()
    for choice in body["choices"]:
        message = choice["message"]
        count["choices"] += 1
        count["calls"] += len(message.get("tool_calls") or ())
        count["reasoning"] += bool(message.get("reasoning_content"))
        count["logprobs"] += choice["logprobs"] is not None
        count[choice["finish_reason"]] += 1
    return count
