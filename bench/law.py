"""The law of streams: however an answer is cut, its events are those of the whole.

`python -m bench law` reads answers of every kind in every chat format: whole, in every cut in two, character by
character and in random cuts, and prints how many cases agreed. It fails at the first that does not.
"""

import argparse
import importlib
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

from rich.console import Console
from rich.table import Table

SUPPORT = Path(__file__).parents[1] / "packages/candle-vllm-openai/tests/support"


def main(arguments: Sequence[str]) -> None:
    """Check every case and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench law", description=__doc__)
    parser.add_argument("--random", type=int, default=500, help="random cuts of each answer")
    parser.add_argument("--broken", type=int, default=12, help="malformed answers, and answers cut short, per format")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    sys.path.append(str(SUPPORT))
    answers = importlib.import_module("answers")
    random, begun = Random(options.seed), time.perf_counter()
    table = Table("format", "answers", "cuts", "pieces", "calls")
    total: Counter[str] = Counter()
    for variant in answers.VARIANTS:
        counts: Counter[str] = Counter()
        for answer in answers.answers(variant, num_broken=options.broken):
            whole = answers.read(answer.parser, [answer.text])
            counts.update(answers=1, calls=len(answers.written_calls(whole)))
            for pieces in answers.cuts(answer.text, options.random, random):
                counts.update(cuts=1, pieces=len(pieces))
                if answers.read(answer.parser, pieces) != whole:
                    sys.exit(f"{variant.label}, {answer.kind}: not the same events from {pieces!r}")
        table.add_row(variant.label, *(f"{counts[name]:,}" for name in ("answers", "cuts", "pieces", "calls")))
        total += counts
    table.add_row("together", *(f"{total[name]:,}" for name in ("answers", "cuts", "pieces", "calls")))
    Console().print(table, f"All agreed, in {time.perf_counter() - begun:.0f} s.")
