"""Memory of opening and closing an engine ten times: what `close()` gives back.

`python -m bench lifecycle [MODEL]` prints resident memory after each cycle and the ratio of the last to the first.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Sequence

import psutil
from rich.console import Console
from rich.table import Table

from candle_vllm_core import EngineConfig, GenerationParams, InferenceEngine

CYCLES = 10
MIB = 1 << 20


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(psutil.Process().memory_info().rss)


def cycle(model: str | None) -> tuple[int, int]:
    """Open, answer, close: resident memory while open and after."""
    with InferenceEngine(EngineConfig(model_path=model, device="cpu")) as engine:
        prompt = engine.tokenize("What is candle-vllm?")
        engine.generate_batch([prompt] * 16, GenerationParams(max_tokens=64, ignore_eos=True))
        opened = resident()
    gc.collect()
    return opened, resident()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the cycles and print a table."""
    parser = argparse.ArgumentParser(prog="bench lifecycle", description=__doc__)
    parser.add_argument("model", nargs="?", help="directory or Hugging Face id; the embedded model by default")
    model = parser.parse_args(arguments).model
    table = Table("cycle", "MiB while open", "MiB after close", title="Opening and closing one engine")
    after: list[int] = []
    for number in range(1, CYCLES + 1):
        opened, closed = cycle(model)
        after.append(closed)
        table.add_row(str(number), f"{opened / MIB:.0f}", f"{closed / MIB:.0f}")
    console = Console()
    console.print(table)
    console.print(f"after the last close: {after[-1] / after[0]:.3f} of what it was after the first")
