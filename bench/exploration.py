"""Every state of small worlds of scheduler and memory: all orders of arrivals, steps, cancels and failing steps.

In each state the books must add up, no block be written by two owners, nobody be overtaken, and from each state steps
alone must end with every request answered as it would be alone; the first fault found ends the run with the way there.
"""

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "packages/candle-vllm-core/tests/support"))

from exploration import WORLDS, explore, small  # noqa: E402


def main(arguments: Sequence[str] | None = None) -> None:
    """Explore the worlds and print what was seen."""
    parser = argparse.ArgumentParser(prog="bench exploration", description=__doc__)
    parser.add_argument("--requests", type=int, default=3, help="that come at most in each world")
    parser.add_argument("--ahead", action="store_true", help="make each step while the one before is computed")
    asked = parser.parse_args(arguments)
    most = asked.requests
    logging.disable(logging.CRITICAL)
    columns = ("states", "ways", "preemptions", "came back", "prefixes found", "waits for one", "steps to the end")
    table = Table("world", *columns, "seconds", title=f"Small worlds with up to {most} requests")
    for name, world in WORLDS.items():
        began = time.monotonic()
        seen = explore(small(world, most, ahead=asked.ahead))
        met = seen.preemptions, seen.returns, seen.hits, seen.waits
        counts = (seen.states, seen.transitions, *met, seen.longest_way)
        table.add_row(name, *(f"{count:,}" for count in counts), f"{time.monotonic() - began:.0f}")
    Console().print(table)
