"""What `bench gpu` counts and lets race, at small shapes: a GPU is only needed for the times."""

from __future__ import annotations

import argparse
import io
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from bench import _gpu_work as work
from bench import gpu, tune
from bench._gpu_models import MODELS, TINY, Transformers, as_stored
from bench._gpu_race import TINY as TINY_RACES
from bench._gpu_race import late
from bench._gpu_races import races
from rich.console import Console
from torch import Tensor
from transformers import AutoModelForCausalLM, Qwen3NextConfig

from candle_vllm_core.model.build import expected_shapes
from candle_vllm_core.model.families import decoder_spec
from candle_vllm_core.spec import Attention, DeltaNet, Norm

MACHINE = work.Machine("a machine that copies a terabyte a second", 1e12, 1e14)


def test_attention_is_counted_as_it_is_written_down() -> None:
    a = Attention(heads=8, kv_heads=2, head_dim=64, rope=None, scale=1.0)
    counted = work.attention(a, [3, 1], [5, 9], 2, 1)
    pairs = sum(position + 1 for position in (2, 3, 4)) + 9
    assert counted.flops == 2 * 2 * 8 * 64 * pairs
    assert counted.bytes == (5 + 9) * 2 * 2 * 64 * 1 + 2 * (3 + 1) * 8 * 64 * 2


def test_a_window_bounds_what_is_read_and_seen() -> None:
    a = Attention(heads=1, kv_heads=1, head_dim=1, rope=None, scale=1.0, window=4)
    assert work.seen(3, 5, 4) == 3 + 4 + 4
    assert work.attention(a, [1], [100], 0, 1).bytes == 2 * 4
    assert work.attention(a, [3], [100], 0, 1).bytes == 2 * 6


def test_a_recurrent_state_is_read_and_written() -> None:
    a = DeltaNet(key_heads=2, value_heads=4, key_dim=8, value_dim=6, kernel=4, norm=Norm())
    memory, channels, values = 4 * 8 * 6, 2 * 2 * 8 + 4 * 6, 4 * 6
    counted = work.delta_net(a, 3, 2)
    projected = channels + values + 2 * 4
    assert counted.bytes == 3 * (2 * memory * 4 + (2 * 3 * channels + projected + values) * 2)
    assert counted.flops == 3 * 7 * memory


def test_the_roofline_is_the_slower_of_reading_and_computing() -> None:
    assert work.Work(1e12, 1e13).least_seconds(MACHINE) == 1
    assert work.Work(1e11, 1e14).least_seconds(MACHINE) == 1
    assert work.Work(1, 2) + work.Work(3, 4) == work.Work(4, 6)


@pytest.mark.parametrize("name", TINY)
def test_a_step_reads_each_weight_once(name: str) -> None:
    config = TINY[name]
    model = AutoModelForCausalLM.from_config(config)
    spec = decoder_spec(as_stored(config))
    shapes = expected_shapes(spec)
    # With so many tokens every expert is asked for, and of the cache nothing is read.
    counted = work.step(spec, shapes, [1] * 1000, [0] * 1000, 1)
    embedding = math.prod(shapes["model.embed_tokens.weight"])
    looked_up = 1000 * config.hidden_size
    weights = sum(weight.numel() for weight in model.parameters())
    assert counted.bytes == pytest.approx(weights + looked_up - (0 if spec.tied else embedding))


def test_a_step_reads_and_writes_recurrent_states() -> None:
    spec = decoder_spec(as_stored(Qwen3NextConfig(num_hidden_layers=2, layer_types=["linear_attention"] * 2)))
    (layer, _) = spec.attentions()
    assert isinstance(layer, DeltaNet)
    without_weights = work.step(spec, {}, [1] * 3, [50] * 3, 2)
    assert without_weights.bytes == 2 * work.state(layer, 3, 2).bytes
    assert without_weights.bytes == 2 * 3 * 2 * (32 * 128 * 128 * 4 + 3 * (2 * 16 * 128 + 32 * 128) * 2)


def test_a_chunk_beside_decoding_sequences_is_checked(device: torch.device) -> None:
    named = {race.operation: race for race in races(TINY_RACES, device, torch.bfloat16)}
    assert named["attention, mixed"].shape == "4 x 33, 7 new"
    assert named["attention, chunk"].shape == "1 x 33, 7 new"
    halves = named["attention, decode, fp8 KV"].work, named["attention, decode"].work
    assert halves[0].bytes < 0.6 * halves[1].bytes
    pairs = 3 * 33 + sum(range(27, 34))
    assert named["attention, mixed"].work.flops == 2 * 2 * 4 * 32 * pairs


def test_the_models_are_as_large_as_their_names_say() -> None:
    sizes = {name: expected_shapes(decoder_spec(as_stored(config))) for name, config in MODELS.items()}
    billions = {name: sum(math.prod(shape) for shape in shapes.values()) / 1e9 for name, shapes in sizes.items()}
    assert billions == pytest.approx({"Qwen3-0.6B": 0.596, "Llama-8B": 8.03, "Qwen3-30B-A3B": 30.53}, rel=1e-3)
    spec = decoder_spec(as_stored(MODELS["Qwen3-30B-A3B"]))
    active = work.step(spec, sizes["Qwen3-30B-A3B"], [1], [0], 1)
    assert active.bytes / 1e9 == pytest.approx(3.04, rel=0.01)
    assert active.flops == pytest.approx(2 * active.bytes, rel=0.01)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_all_contenders_of_a_race_give_the_same(device: torch.device) -> None:
    found = []
    for race in races(TINY_RACES, device, torch.bfloat16):
        assert race.work.bytes > 0
        found += gpu.raced(race, MACHINE, lambda run: 1e-3)
        assert len(race.contenders) > 1
    assert [one for one in found if one.fault] == []
    Console(quiet=True).print(gpu.races_table(found))


def test_a_contender_that_fails_or_errs_is_said_to() -> None:
    def fails() -> Tensor:
        raise ValueError("no")

    contenders: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: torch.ones(2),
        "errs": lambda: torch.tensor([1.0, 2.0]),
        "is NaN": lambda: torch.tensor([1.0, torch.nan]),
        "fails": fails,
    }
    race = gpu.Race("one", "2", work.Work(1e9), contenders, 1e-2)
    found = {one.contender: one for one in gpu.raced(race, MACHINE, lambda run: 1e-3)}
    assert {name: one.fault for name, one in found.items()} == {
        "ours": "",
        "errs": "another result",
        "is NaN": "another result",
        "fails": "ValueError: no",
    }
    assert found["ours"].of_roofline == pytest.approx(1.0)


@pytest.mark.parametrize("name", TINY)
def test_whole_models_answer_without_a_checkpoint(name: str) -> None:
    args = argparse.Namespace(batch=[1, 2], prompt=8, new_tokens=4, rounds=1)
    found = list(gpu.decoded(name, TINY[name], torch.device("cpu"), MACHINE, args))
    assert [(one.batch, one.contender) for one in found] == [
        (batch, contender.name) for contender in gpu.CONTENDERS for batch in (1, 2)
    ]
    assert all(one.prefill > 0 and one.start > 0 for one in found)
    Console(quiet=True).print(gpu.models_table(found))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("bench", [gpu.main, tune.main])
def test_without_a_gpu_nothing_is_measured(
    bench: Callable[[list[str]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        bench([])
    assert left.value.code == 2
    assert "there is no GPU here" in capsys.readouterr().err


def test_who_fails_is_said_to_and_the_others_are_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class TooLarge(Transformers):
        name = "too large"

        def __init__(self, *given: object) -> None:
            raise MemoryError("no room\nat all")

    monkeypatch.setattr(gpu, "CONTENDERS", (TooLarge, Transformers))
    args = argparse.Namespace(batch=[1], prompt=8, new_tokens=4, rounds=1)
    found = list(gpu.decoded("tiny dense", TINY["tiny dense"], torch.device("cpu"), MACHINE, args))
    assert [(one.contender, one.batch, one.fault) for one in found] == [
        ("too large", 0, "MemoryError: no room"),
        ("transformers generate", 1, ""),
    ]
    console = Console(width=150, record=True, file=io.StringIO())
    console.print(gpu.models_table(found))
    assert "MemoryError: no room" in console.export_text()
    gpu.write(tmp_path / "found.json", {"torch": "2"}, [], found[:1])
    kept = json.loads((tmp_path / "found.json").read_text())
    assert kept["torch"] == "2" and [one["fault"] for one in kept["models"]] == ["MemoryError: no room"]


def test_a_contender_is_made_when_it_first_runs() -> None:
    made = []

    def make() -> Callable[[], Tensor]:
        made.append(1)
        return lambda: torch.ones(2)

    run = late(make)
    assert made == []
    assert torch.equal(run(), run())
    assert made == [1]
