"""What fails when an exception is thrown at each seam of a running engine: three requests run and a fourth waits.

The figures are those of the tests; the second request is the one whose own work breaks.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
TESTS = ROOT / "packages/candle-vllm-core/tests/runtime/test_faults.py"


class Collector:
    """Keeps what the tests recorded."""

    def __init__(self) -> None:
        self.rows: list[Mapping[str, str]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called by pytest for each phase of each test."""
        found = report.user_properties if report.when == "call" else ()
        self.rows += [row for name, row in found if name == "faults" and isinstance(row, Mapping)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the tests and print what they saw."""
    argparse.ArgumentParser(prog="bench faults", description=__doc__).parse_args(arguments)
    collector = Collector()
    failed = pytest.main(["-q", "-p", "no:logging", str(TESTS)], plugins=[collector])
    table = Table("thrown in", "should fail", "failed", "next requests answered", title="Exceptions at each seam")
    for row in collector.rows:
        table.add_row(row["seam"], row["should fail"], row["failed"], "yes" if row["alive"] == "True" else "NO")
    Console().print(table)
    if failed:
        raise SystemExit("bench: some test failed")
