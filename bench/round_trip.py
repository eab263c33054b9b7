"""Calls drawn at random, written by released chat templates, and read back.

`python -m bench round_trip` prints for every template how many calls came back equal. It fails at the first that does
not.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

from rich.console import Console
from rich.table import Table

SUPPORT = Path(__file__).parents[1] / "packages/candle-vllm-openai/tests/support"


def main(arguments: Sequence[str]) -> None:
    """Write, read back and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench round_trip", description=__doc__)
    parser.add_argument("--messages", type=int, default=300, help="messages of calls per template")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    sys.path.append(str(SUPPORT))
    chat_templates, written_by = importlib.import_module("chat_templates"), importlib.import_module("template_calls")
    drawn = importlib.import_module("drawn_calls")
    table, random, num_all = Table("template", "messages", "calls", "characters"), Random(options.seed), 0
    for name, written in written_by.TEMPLATES.items():
        template, num_calls, num_chars = chat_templates.chat_template(name), 0, 0
        for _ in range(options.messages):
            calls = drawn.drawn_calls(random, written.num_calls, plain_keys=written.plain_keys)
            text = written_by.written_answer(template, written, calls)
            if written_by.read_back(template, text) != (calls, ""):
                sys.exit(f"{name}: not read back equal: {text!r}")
            num_calls, num_chars = num_calls + len(calls), num_chars + len(text)
        table.add_row(name, f"{options.messages:,}", f"{num_calls:,}", f"{num_chars:,}")
        num_all += num_calls
    Console().print(table, f"All {num_all:,} calls came back equal.")
