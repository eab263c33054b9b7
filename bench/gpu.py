"""Each kernel beside its roofline and the best that the machine has, and whole models with random weights, on a GPU.

The rooflines are of this machine as it was measured in this run: a copy, and a product of large matrices. Operations
are timed behind a flushed cache. A model's decode is the time from the first token to the last, its prefill the time to
the first; `of bandwidth` is the time that reading what a step cannot do without takes at a copy's speed, by the time
that the step took. Without a GPU there is nothing to measure: this leaves with 2.
"""

import argparse
import gc
import importlib
import json
import logging
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers import PretrainedConfig
from transformers.utils import logging as transformers_logging

from bench import _gpu_work as work
from bench._gpu_models import CONTENDERS, MODELS, Engine, Transformers, as_stored
from bench._gpu_race import FULL, Race, Run
from bench.decode import Contender, Prompts, seconds
from candle_vllm_core import kernels
from candle_vllm_core.model.build import expected_shapes
from candle_vllm_core.model.families import decoder_spec


class Raced(NamedTuple):
    """What came of one contender of a race."""

    operation: str
    shape: str
    contender: str
    microseconds: float
    of_roofline: float
    difference: float
    """to the first contender, beside its largest value"""
    fault: str = ""


class Decoded(NamedTuple):
    """What came of one contender with one model, batch and length of prompt."""

    model: str
    batch: int
    prompt: int
    contender: str
    decode: float
    """tokens per second of all sequences"""
    prefill: float
    """tokens per second of all sequences"""
    of_bandwidth: float
    start: float
    """seconds from nothing to the first token"""
    fault: str = ""


def measured(device: torch.device, dtype: torch.dtype = torch.bfloat16, large: int = 1 << 31) -> work.Machine:
    """The bandwidth of a copy and the peak of a matrix product."""
    source, target = torch.empty(2, large, dtype=torch.uint8, device=device)
    copy = timed(lambda: target.copy_(source))
    side = 8192
    a, b = torch.randn(2, side, side, dtype=dtype, device=device)
    product = timed(lambda: a @ b)
    return work.Machine(torch.cuda.get_device_name(device), 2 * large / copy, 2 * side**3 / product)


def timed(run: Run) -> float:
    """The median on a GPU, behind a flushed cache."""
    do_bench = importlib.import_module("triton.testing").do_bench
    return float(do_bench(run, warmup=50, rep=200, return_mode="median")) / 1e3


def difference(found: Tensor, expected: Tensor) -> float:
    """The largest difference, beside the largest value; NaN counts as infinite."""
    gap = (found.double() - expected.double()).abs().max() / expected.double().abs().max().clamp_min(1e-30)
    return float(gap.nan_to_num(nan=float("inf")))


def raced(race: Race, machine: work.Machine, clock: Callable[[Run], float] = timed) -> Iterator[Raced]:
    """Check and time each contender; one that fails is said to, and the race goes on."""
    expected: Tensor | None = None
    for name, run in race.contenders.items():
        try:
            found = run()
            expected = found if expected is None else expected
            gap, took = difference(found, expected), clock(run)
        except Exception as error:  # A peer's faults are not ours, and many.
            yield Raced(race.operation, race.shape, name, 0, 0, 0, said_of(error))
            continue
        fault = "" if gap <= race.tolerance else "another result"
        yield Raced(race.operation, race.shape, name, took * 1e6, race.work.least_seconds(machine) / took, gap, fault)


def decoded(
    model: str, config: PretrainedConfig, device: torch.device, machine: work.Machine, args: argparse.Namespace
) -> Iterator[Decoded]:
    """Let each contender answer alone, as two large models do not fit beside each other; one that fails is said to."""
    for kind in CONTENDERS:
        try:
            yield from _decoded_by(kind, model, config, device, machine, args)
        except Exception as error:  # One may need more memory than there is, and the others are still to be measured.
            yield Decoded(model, 0, args.prompt, kind.name, 0, 0, 0, 0, said_of(error))
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _decoded_by(
    kind: type[Engine] | type[Transformers],
    model: str,
    config: PretrainedConfig,
    device: torch.device,
    machine: work.Machine,
    args: argparse.Namespace,
) -> Iterator[Decoded]:
    shapes = expected_shapes(spec := decoder_spec(as_stored(config)))
    began = time.perf_counter()
    contender = kind(config, device, max(args.batch), args.prompt + args.new_tokens + 1)
    try:
        contender.generate(_prompts(config, 1, 16, 0), 1)
        start = time.perf_counter() - began
        for batch in args.batch:
            first, whole = _answered(contender, config, batch, args)
            each = (whole - first) / (args.new_tokens - 1)
            lengths = [args.prompt + args.new_tokens // 2] * batch
            least = work.step(spec, shapes, [1] * batch, lengths, torch.bfloat16.itemsize).bytes / machine.bandwidth
            speeds = batch / each, batch * args.prompt / first
            yield Decoded(model, batch, args.prompt, contender.name, *speeds, least / each, start)
    finally:
        contender.close()


def said_of(error: Exception) -> str:
    """The first line of a fault."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _prompts(config: PretrainedConfig, batch: int, length: int, seed: int) -> Prompts:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(2, config.vocab_size, (batch, length), generator=generator).tolist()


def _answered(
    contender: Contender, config: PretrainedConfig, batch: int, args: argparse.Namespace
) -> tuple[float, float]:
    """Seconds to the first token and to the last: medians over the rounds, after one that is not counted."""
    contender.generate(_prompts(config, batch, args.prompt, 999), min(8, args.new_tokens))
    first, whole = [], []
    for turn in range(args.rounds):
        first.append(seconds(contender, _prompts(config, batch, args.prompt, 2 * turn), 1))
        whole.append(seconds(contender, _prompts(config, batch, args.prompt, 2 * turn + 1), args.new_tokens))
    return statistics.median(first), statistics.median(whole)


def all_races(device: torch.device, dtypes: Sequence[torch.dtype]) -> Iterator[Race]:
    """Every race at its full size; what they launch can be imported where triton is."""
    races = importlib.import_module("bench._gpu_races").races
    return (race for dtype in dtypes for race in races(FULL, device, dtype))


def races_table(found: Sequence[Raced]) -> Table:
    """Each race's contenders, ours first; x is how much longer another one takes."""
    table = Table(title="operations")
    for column in ("operation", "shape", "contender", "us", "of roofline", "x", "difference"):
        table.add_column(column, justify="left" if column in ("operation", "shape", "contender") else "right")
    ours = {(one.operation, one.shape): one.microseconds for one in reversed(found)}
    for one in found:
        times = one.microseconds / ours[one.operation, one.shape] if ours[one.operation, one.shape] else 0
        numbers = f"{one.microseconds:.1f}", f"{one.of_roofline:.0%}", f"{times:.2f}", f"{one.difference:.1e}"
        said = (one.fault[:60], "", "", "") if one.fault and not one.microseconds else numbers
        table.add_row(one.operation, one.shape, one.contender, *said, style="red" if one.fault else None)
    return table


def models_table(found: Sequence[Decoded]) -> Table:
    """Each model's contenders, ours first; x is how many times as many tokens ours decodes in the same time."""
    table = Table(title="models, bf16, random weights")
    numbers = ("decode tok/s", "of bandwidth", "x", "prefill tok/s", "start s")
    for column in ("model", "batch", "prompt", "contender", *numbers):
        table.add_column(column, justify="left" if column in ("model", "contender") else "right")
    ours = {(one.model, one.batch): one.decode for one in found if one.contender == Engine.name}
    for one in found:
        if one.fault:
            table.add_row(one.model, "", str(one.prompt), one.contender, one.fault[:60], style="red")
            continue
        times = ours.get((one.model, one.batch), 0) / one.decode
        speeds = f"{one.decode:.1f}", f"{one.of_bandwidth:.0%}", f"{times:.2f}" if times else ""
        rest = f"{one.prefill:.0f}", f"{one.start:.1f}"
        table.add_row(one.model, str(one.batch), str(one.prompt), one.contender, *speeds, *rest)
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(prog="bench gpu", description=__doc__)
    parser.add_argument("--only", choices=("operations", "models"), help="leave out the others")
    parser.add_argument("--models", nargs="*", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 64], help="sequences at once")
    parser.add_argument("--prompt", type=int, default=4096, help="tokens in each prompt")
    parser.add_argument("--new-tokens", type=int, default=128, help="tokens in each answer")
    parser.add_argument("--rounds", type=int, default=3, help="how often each contender answers")
    parser.add_argument("--json", type=Path, help="write what was measured there, too")
    args = parser.parse_args(arguments)
    device = torch.device("cuda")
    if not torch.cuda.is_available() or not kernels.available(device):
        print("bench gpu: there is no GPU here, or no triton; nothing was measured", file=sys.stderr)
        sys.exit(2)
    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.ERROR)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    console, machine = Console(width=150), measured(device)
    console.print(
        f"{machine.name}: copy {machine.bandwidth / 1e12:.2f} TB/s, bf16 product {machine.peak / 1e12:.0f} TFLOP/s, "
        f"torch {torch.__version__}"
    )
    about = {"machine": machine._asdict(), "torch": torch.__version__, "python": platform.python_version()}
    operations: list[Raced] = []
    models: list[Decoded] = []
    if args.only != "models":
        with torch.inference_mode():
            for race in all_races(device, [torch.bfloat16]):
                operations += raced(race, machine)
                write(args.json, about, operations, models)
        console.print(races_table(operations))
    if args.only != "operations":
        for name in args.models:
            for one in decoded(name, MODELS[name], device, machine, args):
                models.append(one)
                write(args.json, about, operations, models)
        console.print(models_table(models))


def write(
    path: Path | None, about: Mapping[str, object], operations: Sequence[Raced], models: Sequence[Decoded]
) -> None:
    """Write what there is so far: a run that is cut off keeps what it measured."""
    if path is not None:
        found = {**about, "operations": [o._asdict() for o in operations], "models": [m._asdict() for m in models]}
        path.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
