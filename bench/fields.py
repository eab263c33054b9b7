"""How many fields of each endpoint's requests are honoured, refused by name, or documented no-ops.

`python -m bench fields` prints the numbers; `--all` prints every field that is not honoured, and why.
"""

import argparse
from collections.abc import Sequence
from typing import get_args

from rich.console import Console
from rich.table import Table

from candle_vllm_openai import FIELDS
from candle_vllm_openai.fields import Status, num_fields


def main(arguments: Sequence[str]) -> None:
    """Count, and print."""
    parser = argparse.ArgumentParser(prog="bench fields", description=__doc__)
    parser.add_argument("--all", action="store_true", help="list the fields that are not honoured")
    asked = parser.parse_args(arguments)
    counts = Table("endpoint", *get_args(Status), "all")
    for endpoint, fields in FIELDS.items():
        numbers = [num_fields(endpoint, status) for status in get_args(Status)]
        counts.add_row(endpoint, *map(str, [*numbers, len(fields)]))
    console = Console()
    console.print(counts)
    for endpoint, fields in FIELDS.items() if asked.all else ():
        table = Table("field", "", "", title=endpoint)
        for field in fields.values():
            if field.status != "honoured":
                table.add_row(field.path, field.status, field.note)
        console.print(table)
