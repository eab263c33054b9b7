"""What becomes of random requests, most of them nearly right: an answer, or a 400 that names the field.

`python -m bench bodies` sends 20,000 to a scripted model and prints how many ended in which way; the first that ends in
any other way stops it and is shown.
"""

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from rich.console import Console
from rich.table import Table

SUPPORT = Path(__file__).parents[1] / "packages/candle-vllm-openai/tests/support"


def main(arguments: Sequence[str]) -> None:
    """Send them, and print."""
    parser = argparse.ArgumentParser(prog="bench bodies", description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    counts = counted(asked.requests, asked.seed)
    table = Table("endpoint", "answered or the error's code", "requests")
    for (endpoint, outcome), count in sorted(counts.items()):
        table.add_row(endpoint, outcome, f"{count:,}")
    table.add_row("all", "", f"{counts.total():,}")
    Console().print(table)


def counted(num_requests: int, first: int) -> Counter[tuple[str, str]]:
    """How many requests to each endpoint ended in which way."""
    sys.path.append(str(SUPPORT))
    from random_bodies import answer_or_named, models, nearly_right

    counts: Counter[tuple[str, str]] = Counter()
    with asyncio.Runner() as runner:

        @seed(first)
        @settings(
            max_examples=num_requests,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(asked=nearly_right(), model=models)
        def send(asked: tuple[str, dict[str, object]], model: tuple[str, str]) -> None:
            counts[asked[0], answer_or_named(*asked, model, runner)] += 1

        send()
    return counts
