"""Random requests answered step after step, and with each step made while the one before is computed.

The runner has no model: its caches hold tokens, and the next one is a hash of what it reads there. With steps ahead it
computes as late as a device may. Every answer must be the one that its prompt gives alone, and the same both ways.
"""

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "packages/candle-vllm-core/tests/support"))

from workloads import SIZES, asked, outputs  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> None:
    """Answer the requests both ways in every world and print what happened."""
    parser = argparse.ArgumentParser(prog="bench overlap", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="of sixty requests in each world")
    rounds = parser.parse_args(arguments).rounds
    columns = ("requests", "tokens", "steps", "steps ahead", "rows for nothing", "preempted", "brought back", "differ")
    table = Table("world", *columns, title="The same requests step after step, and a step ahead")
    total = 0
    for name, size in SIZES.items():
        draw, counts = random.Random(1), [0] * len(columns)
        for _ in range(rounds):
            work = list(asked(draw, 60, 45))
            plain, expected = outputs(work, False, size)
            ahead, found = outputs(work, True, size)
            computed = [sum(len(step) for step in its.runner.steps) for its in (plain, ahead)]
            counts = [
                before + more
                for before, more in zip(
                    counts,
                    (
                        len(work),
                        sum(len(output.tokens) for output in found),
                        len(plain.runner.steps),
                        len(ahead.runner.steps),
                        computed[1] - computed[0],
                        ahead.scheduler.preemptions,
                        sum(move.back for move in ahead.runner.moved),
                        sum(one != other for one, other in zip(expected, found, strict=True)),
                    ),
                    strict=True,
                )
            ]
        table.add_row(name, *(f"{count:,}" for count in counts))
        total += counts[-1]
    Console().print(table)
    if total:
        raise SystemExit(f"bench: {total} answers differ")
