"""How far the logits of small random models are from those of `transformers`: the figures of the comparison tests.

An error is the largest difference of a logit over the largest logit; in bf16 it is the norm of all differences over the
norm of all logits, both against `transformers` in fp32.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from rich.console import Console
from rich.table import Table

TESTS = Path(__file__).parent.parent / "packages/candle-vllm-core/tests/model/test_parity.py"


class Collector:
    """Keeps what the tests recorded."""

    def __init__(self) -> None:
        self.tables: dict[str, list[Mapping[str, str]]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called by pytest for each phase of each test."""
        for name, row in report.user_properties if report.when == "call" else ():
            if isinstance(row, Mapping):
                self.tables.setdefault(name, []).append(row)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparison and print its tables."""
    argparse.ArgumentParser(prog="bench parity", description=__doc__).parse_args(arguments)
    torch.set_num_threads(1)  # the models are too small for more
    collector = Collector()
    status = pytest.main(["-q", "--assert=plain", "-p", "no:cacheprovider", str(TESTS)], plugins=[collector])
    for title, rows in collector.tables.items():
        table = Table(*rows[0], title=title)
        for row in rows:
            table.add_row(*row.values())
        Console().print(table)
    raise SystemExit(status)


if __name__ == "__main__":
    main()
