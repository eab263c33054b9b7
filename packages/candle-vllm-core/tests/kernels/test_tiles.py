"""Tile sizes from files, and how they are found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import triton
from bench import gpu, tune
from bench._gpu_race import TINY, Race, Run
from bench._gpu_races import races
from bench._gpu_work import Machine, Work
from torch import Tensor
from triton import language as tl

from candle_vllm_core.kernels import tiles

MACHINE = Machine("NVIDIA H200", 1.0, 2.0)


@triton.jit
def _double_kernel(out, x, size, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + at, tl.load(x + at, mask=at < size) * 2, mask=at < size)


def double(x: Tensor) -> Tensor:
    chosen = tiles.tiles("double", str(x.dtype), {"block": 256, "warps": 1, "stages": 1})
    out = torch.full_like(x, torch.nan)
    grid = (triton.cdiv(x.numel(), chosen["block"]),)
    LAUNCHED.append(*grid)
    _double_kernel[grid](
        out, x, x.numel(), BLOCK=chosen["block"], num_warps=chosen["warps"], num_stages=chosen["stages"]
    )
    return out


LAUNCHED: list[int] = []
"""The programs of each launch of `double`."""


def programs(run: Run) -> float:
    """Stands for seconds, and does not change with what else a machine does."""
    LAUNCHED.clear()
    run()
    return float(sum(LAUNCHED))


def test_a_launch_takes_what_is_tried_and_else_its_own_choice() -> None:
    default = {"block": 32, "warps": 4}
    assert tiles.tiles("one", "bf16", default) == default
    with tiles.asking() as asked, tiles.trying("one", "bf16", {"block": 64, "warps": 4}):
        assert tiles.tiles("one", "bf16", default)["block"] == 64
        assert tiles.tiles("one", "fp16", default) == default
    assert asked == {("one", "bf16"): default, ("one", "fp16"): default}
    assert tiles.tiles("one", "bf16", default) == default


def test_choices_are_near_the_built_in_one_and_bounded() -> None:
    found = list(tune.choices({"keys": 16, "warps": 16, "stages": 3}))
    assert len(found) == len(set(found)) == 2 * 2 * 5 - 4, "all three at once are not"
    assert {dict(choice)["keys"] for choice in found} == {16, 32}
    assert {dict(choice)["warps"] for choice in found} == {8, 16}
    assert list(tune.choices({})) == [()]


def test_the_fastest_right_choice_is_found(device: torch.device) -> None:
    x = torch.randn(300, device=device)
    race = Race("double", "300", Work(2400), {"ours": lambda: double(x)}, 0.0)
    *_, found = tune.try_all([race], programs)
    times = found["double", "torch.float32"]
    assert {dict(choice)["block"] for choice in times} == {128, 256, 512}
    assert {each[0] for each in times.values()} == {1.5, 1.0, 0.5}, "beside its own choice"
    assert tune.best(found)["double"]["torch.float32"]["block"] == 512


def test_a_choice_that_gives_something_else_or_fails_is_not_taken() -> None:
    def run() -> Tensor:
        size = tiles.tiles("wrong", "", {"size": 32})["size"]
        if size == 16:
            raise ValueError("no such tile")
        return torch.full((2,), float(size))

    def fails() -> Tensor:
        raise RuntimeError("no such type here")

    given = [Race(name, "2", Work(8), {"ours": ours}, 1e-3) for name, ours in (("fails", fails), ("wrong", run))]
    *_, found = tune.try_all(given, lambda run: 1.0)
    assert found == {
        ("wrong", ""): {(("size", 16),): [float("inf")], (("size", 32),): [1.0], (("size", 64),): [float("inf")]}
    }
    assert tune.best(found) == {}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_size_that_kernels_offer_gives_the_same(device: torch.device) -> None:
    offering = set()
    for race in races(TINY, device, torch.float32):
        prepare = tune.prepared(race)
        with tiles.asking() as asked:
            expected = prepare()()
        for (operation, key), default in asked.items():
            assert default.keys() <= {"keys", "rows", *tune.BOUNDS}, "others have bounds that are not theirs"
            # The interpreter knows no warps: they are tried where there is a GPU.
            sizes = default.keys() - (set() if device.type == "cuda" else {"warps", "stages"})
            for choice in map(dict, tune.choices(default)):
                if all(choice[name] == default[name] for name in default if name not in sizes):
                    with tiles.trying(operation, key, choice):
                        assert gpu.difference(prepare()(), expected) < 1e-5, (operation, key, choice)
            offering.add(operation)
    attention = {"attention of answers", "attention of prompts", "latent attention"}
    assert offering == {*attention, "experts", "norm", "activation", "heads"}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tuned" / tiles.file_name("NVIDIA H200")
    assert path.name == "NVIDIA-H200.json"
    assert tiles.read(path) == {}
    tables = {"double": {"bf16": {"block": 64}}}
    tune.write(path, MACHINE, tables)
    assert tiles.read(path) == tables
    assert json.loads(path.read_text())["machine"]["name"] == "NVIDIA H200"


@pytest.mark.parametrize("path", sorted(tiles.TUNED.glob("*.json")), ids=lambda path: path.stem)
def test_shipped_files_say_their_machine(path: Path) -> None:
    assert path.name == tiles.file_name(json.loads(path.read_text())["machine"]["name"])
    for tables in tiles.read(path).values():
        assert all(0 < value <= 1024 for values in tables.values() for value in values.values())
