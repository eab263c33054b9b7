"""Compiles every kernel for GPUs that need not be here and prints the registers, shared memory and spills of each.

It leaves with 1 if a kernel does not compile, spills registers, or asks more shared memory than the GPU has.
`--write` puts the table into docs/kernels.md.
"""

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench._ahead import TARGETS, Usage, cases, kernel_files, usages

DOCUMENT = Path(__file__).parents[1] / "docs/kernels.md"
REGISTERS = re.compile(r"(<!-- registers -->\n).*?(<!-- end -->)", re.DOTALL)


def table(found: Sequence[Usage], targets: Sequence[str]) -> list[str]:
    """Rows in Markdown: registers / KB of shared memory, and what is wrong if something is."""
    lines = [f"| kernel | {' | '.join(targets)} |", "| --- |" + " --- |" * len(targets)]
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for usage in found:
        cells.setdefault((usage.file, usage.case), {})[usage.target] = _cell(usage)
    lines += [
        f"| `{file}`: {case} | {' | '.join(row.get(target, '') for target in targets)} |"
        for (file, case), row in cells.items()
    ]
    return lines


def _cell(usage: Usage) -> str:
    if usage.fault:
        return "**fails**"
    spilled = f", **{usage.spilled} bytes spilled**" if usage.spilled else ""
    return f"{usage.registers} / {usage.shared / 1024:.0f}{'' if usage.fits or spilled else ' **too much**'}{spilled}"


def written(document: str, lines: Sequence[str]) -> str:
    """A document with the table in its place."""
    return REGISTERS.sub(lambda match: match[1] + "\n".join(lines) + "\n" + match[2], document)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compile and print."""
    parser = argparse.ArgumentParser(prog="bench kernels", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="FILE", help="kernel files, without .py")
    parser.add_argument("--target", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes that compile at once")
    parser.add_argument("--json", type=Path, help="write what was found there, too")
    parser.add_argument("--write", action="store_true", help="put the table into docs/kernels.md")
    args = parser.parse_args(arguments)
    files = args.only or kernel_files()
    begin = time.perf_counter()
    found = list(usages(files, args.target, args.jobs))
    print("\n".join(table(found, args.target)))
    for usage in found:
        if usage.fault:
            print(f"{usage.file}: {usage.case} for {usage.target}: {usage.fault}")
    count = sum(len(cases(file)) for file in files)
    faults = [usage for usage in found if not usage.fits]
    seconds = time.perf_counter() - begin
    print(f"{count} configurations, {len(found)} compiled in {seconds:.0f} s, {len(faults)} of them at fault")
    if args.json:
        args.json.write_text(json.dumps([usage._asdict() for usage in found], indent=1), encoding="utf-8")
    if args.write:
        DOCUMENT.write_text(written(DOCUMENT.read_text(encoding="utf-8"), table(found, args.target)), encoding="utf-8")
    sys.exit(bool(faults))
