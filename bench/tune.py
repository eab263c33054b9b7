"""Measures which tile sizes are best on this machine's GPU, and writes them where the kernels look for them.

The races of `bench gpu` are run with each choice near the built-in one that a kernel offers (`kernels/tiles.py`); a
choice counts if it gives the same result, and is written if it is 2 % faster on average over the shapes that ask for
it. Without a GPU there is nothing to measure: this leaves with 2.
"""

import argparse
import itertools
import json
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from bench import gpu
from bench._gpu_race import Race, Run
from bench._gpu_work import Machine
from candle_vllm_core import kernels
from candle_vllm_core.kernels import tiles

WORTH = 0.98
BOUNDS = {"warps": (1, 16), "stages": (1, 8), "block": (128, 4096)}
SIZES = (16, 256)
AT_ONCE = 2
"""So many numbers of a choice are other than the built-in ones: of all there would be too many to compile."""

Choice = tuple[tuple[str, int], ...]
Found = dict[tuple[str, str], dict[Choice, list[float]]]
"""For an operation and key, and each choice: its time beside the built-in choice's, for each shape."""


def choices(default: tiles.Tiles) -> Iterator[Choice]:
    """The built-in choice and those near it: half and twice one or two sizes, or up to two stages more or less."""
    near = []
    for name, value in default.items():
        low, high = BOUNDS.get(name, SIZES)
        values = range(value - 2, value + 3) if name == "stages" else (value // 2, value, 2 * value)
        near.append([(name, each) for each in values if low <= each <= high or each == value])
    for choice in itertools.product(*near):
        if sum(value != default[name] for name, value in choice) <= AT_ONCE:
            yield choice


def try_all(given: Iterable[Race], timed: Callable[[Run], float]) -> Iterator[Found]:
    """Time our contender of each race with each choice that it asks for; after each race, all that was found so far."""
    found: Found = {}
    for race in given:
        prepare = prepared(race)
        try:
            with tiles.asking() as asked:
                expected = prepare()()
        except Exception as error:  # Not every GPU knows every type, and the other races are still to be run.
            print(f"{race.operation}, {race.shape}: {gpu.said_of(error)}", file=sys.stderr)
            continue
        for (operation, key), default in asked.items():
            built_in = tuple(default.items())
            standard = timed_with(prepare, operation, key, built_in, expected, race.tolerance, timed)
            if standard is None:
                continue
            table = found.setdefault((operation, key), {})
            for choice in choices(default):
                took = timed_with(prepare, operation, key, choice, expected, race.tolerance, timed)
                table.setdefault(choice, []).append(float("inf") if took is None else took / standard)
        yield found


def prepared(race: Race) -> Callable[[], Run]:
    """What makes our contender, so that it takes the tiles of that moment."""
    run = next(iter(race.contenders.values()))
    return race.prepare or (lambda: run)


def timed_with(
    prepare: Callable[[], Run],
    operation: str,
    key: str,
    choice: Choice,
    expected: Tensor,
    tolerance: float,
    timed: Callable[[Run], float],
) -> float | None:
    """Seconds with a choice; None if it does not compile, fit or give the same."""
    with tiles.trying(operation, key, dict(choice)):
        try:
            run = prepare()
            return timed(run) if gpu.difference(run(), expected) <= tolerance else None
        except Exception:  # A choice may ask more than the GPU has, which is said in many ways.
            return None


def best(found: Found) -> dict[str, dict[str, dict[str, int]]]:
    """The tables of a file: choices that are worth it, by operation and key."""
    tables: dict[str, dict[str, dict[str, int]]] = {}
    for (operation, key), times in found.items():
        choice, ratio = min(((c, statistics.geometric_mean(r)) for c, r in times.items()), key=lambda pair: pair[1])
        if ratio < WORTH:
            tables.setdefault(operation, {})[key] = dict(choice)
    return tables


def write(path: Path, machine: Machine, tables: Mapping[str, object]) -> None:
    """A file for the kernels, with the machine that it is true of."""
    about = {**machine._asdict(), "torch": torch.__version__, "triton": version("triton")}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"machine": about, "tables": tables}, indent=1) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="bench tune", description=__doc__)
    parser.add_argument("--dtype", nargs="+", choices=("bf16", "fp16"), default=["bf16", "fp16"])
    args = parser.parse_args(arguments)
    device = torch.device("cuda")
    if not torch.cuda.is_available() or not kernels.available(device):
        print("bench tune: there is no GPU here, or no triton; nothing was measured", file=sys.stderr)
        sys.exit(2)
    machine = gpu.measured(device)
    dtypes = [{"bf16": torch.bfloat16, "fp16": torch.float16}[name] for name in args.dtype]
    path = tiles.TUNED / tiles.file_name(machine.name)
    unfinished = path.with_suffix(".unfinished")
    found: Found = {}
    with torch.inference_mode():
        for found in try_all(gpu.all_races(device, dtypes), gpu.timed):
            write(unfinished, machine, best(found))
    if found:
        unfinished.replace(path)
    print(f"{sum(map(len, found.values()))} choices measured; {path} has {sum(map(len, best(found).values()))} of them")


if __name__ == "__main__":
    main()
