"""A layer in one call is its parts, one after the other, in the same bits."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoints import save_model
from paged import CPU, Paged
from torch import Tensor

from candle_vllm_core.config import Quantization
from candle_vllm_core.model.build import build_decoder
from candle_vllm_core.model.decoder import Block, Decoder
from candle_vllm_core.model.device_ops import choose_ops
from candle_vllm_core.model.families import decoder_spec
from candle_vllm_core.model.native_ops import NativeOps
from candle_vllm_core.native import library
from candle_vllm_core.weights.source import open_source

pytestmark = pytest.mark.skipif(library() is None, reason="the C functions are not for this machine, or were not built")

WHOLE = ["llama", "llama, llama3 rope", "mistral, window 7", "qwen2, tied", "qwen3", "gemma", "smollm3, windows"]
PARTS = [
    "phi",
    "stablelm",
    "cohere",
    "gemma2",
    "gpt-oss",
    "mixtral",
    "deepseek-v2",
    "qwen3-next",
    "granite",
    "ministral3",
]
STEPS = [{"a": 40, "b": 9}, {"a": 1, "c": 3}, {"a": 1, "b": 1, "c": 1}, *[{"b": 1, "c": 1}] * 3, {"a": 20}]


def load(path: Path, quantization: Quantization | None = None) -> Decoder:
    source = open_source(path)
    spec = decoder_spec(source.config)
    return build_decoder(spec, source, device=CPU, dtype=torch.bfloat16, quantization=quantization, ops=choose_ops(CPU))


def logits(decoder: Decoder) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    paged = Paged(decoder, {n: torch.randint(0, 97, (70,), generator=draw) for n in "abc"}, dtype=torch.bfloat16)
    return torch.cat([row for step in STEPS for row in paged.step(step).values()])


def without(monkeypatch: pytest.MonkeyPatch, make: Callable[[], Decoder]) -> Decoder:
    with monkeypatch.context() as patch:
        patch.setattr(NativeOps, "whole", lambda self, block: None)
        return make()


def wholes(decoder: Decoder) -> list[bool]:
    return [isinstance(block, Block) and block.whole is not None for block in decoder.blocks]


@pytest.mark.parametrize("quantization", [None, "int8"])
@pytest.mark.parametrize("name", WHOLE)
def test_a_layer_at_once_gives_the_bits_of_its_parts(
    name: str, quantization: Quantization | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(tmp_path, name, initializer_range=0.1)
    whole = load(tmp_path, quantization)
    parts = without(monkeypatch, lambda: load(tmp_path, quantization))
    assert (set(wholes(whole)), set(wholes(parts))) == ({True}, {False})
    assert torch.equal(logits(whole), logits(parts))


@pytest.mark.parametrize("name", PARTS)
def test_layers_of_other_kinds_are_computed_part_by_part(name: str, tmp_path: Path) -> None:
    save_model(tmp_path, name)
    assert not any(wholes(load(tmp_path)))


def test_many_tokens_are_computed_part_by_part_and_few_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(tmp_path, "llama")
    decoder, asked = load(tmp_path), []
    first = decoder.blocks[0]
    assert isinstance(first, Block)
    given = first.whole
    assert given is not None

    def noting(x: Tensor, *rest: object) -> Tensor | None:
        found = given(x, *rest)  # type: ignore[arg-type]
        asked.append((len(x), found is not None))
        return found

    monkeypatch.setattr(first, "whole", noting)
    paged = Paged(decoder, {"only": torch.zeros(140, dtype=torch.int64)}, dtype=torch.bfloat16)
    for count in (65, 64, 1):
        paged.step({"only": count})
    assert asked == [(65, False), (64, True), (1, True)]
