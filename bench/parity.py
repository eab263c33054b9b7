"""How far the logits of small random models are from those of `transformers`: the figures of the comparison tests.

An error is the largest difference of a logit over the largest logit; in bf16 it is the norm of all differences over the
norm of all logits, both against `transformers` in fp32. Beside them stand how many of 64 greedy tokens are those of
`generate`, the fewest of three prompts that run at once; the released checkpoints whose names and shapes are asked for;
and the lines of code that each family takes.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
MODEL_TESTS = ROOT / "packages/candle-vllm-core/tests/model"
NAMES = ("test_parity.py", "test_greedy.py", "test_real_checkpoints.py")
TESTS = (*(MODEL_TESTS / name for name in NAMES), ROOT / "tests/test_family_lines.py")
FIGURES = ROOT / "docs/parity.json"
Rows = Sequence[Mapping[str, str]]


class Collector:
    """Keeps what the tests recorded."""

    def __init__(self) -> None:
        self.tables: dict[str, list[Mapping[str, str]]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Called by pytest for each phase of each test."""
        for name, row in report.user_properties if report.when == "call" else ():
            if isinstance(row, Mapping):
                self.tables.setdefault(name, []).append(row)


def figures(exact: Rows, rounded: Rows) -> dict[str, dict[str, str]]:
    """The worst error of each small model in fp32, and its errors in bf16 where it was compared in it."""
    found = {row["model"]: {"fp32": max((row[way] for way in row if way != "model"), key=float)} for row in exact}
    for row in rounded:
        found[row["model"]] |= {"bf16": row["own"], "bf16 of transformers": row["transformers"]}
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparison and print its tables."""
    parser = argparse.ArgumentParser(prog="bench parity", description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep the figures, from which `make docs` writes tables")
    write = parser.parse_args(arguments).write
    torch.set_num_threads(1)  # the models are too small for more
    collector = Collector()
    status = pytest.main(["-q", "--assert=plain", "-p", "no:cacheprovider", *map(str, TESTS)], plugins=[collector])
    for title, rows in collector.tables.items():
        table = Table(*rows[0], title=title)
        for row in rows:
            table.add_row(*row.values())
        Console().print(table)
    if write and status == pytest.ExitCode.OK:
        found = figures(collector.tables["parity"], collector.tables["parity in bf16"])
        FIGURES.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    raise SystemExit(status)


if __name__ == "__main__":
    main()
