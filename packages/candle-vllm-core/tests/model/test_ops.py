"""Whoever adds what the parts of a layer give, and whoever writes keys and values, the model is the same."""

from pathlib import Path

import pytest
import torch
from checkpoints import save_model
from paged import CPU, in_chunks
from torch import Tensor

from candle_vllm_core import spec as s
from candle_vllm_core.attention.backend import Pass
from candle_vllm_core.model.build import build_decoder
from candle_vllm_core.model.families import decoder_spec
from candle_vllm_core.model.ops import TORCH_OPS, Angles, Heads, JointNorms, NormWeights, Ops, TorchOps
from candle_vllm_core.weights.source import open_source

LENGTH = 41
SIZES = [20, 1, LENGTH - 21]
FAMILIES = ["llama", "olmo2", "gemma2", "cohere", "phi", "granite", "mixtral", "qwen3-next", "deepseek-v3"]


class AddsInNorms(TorchOps):
    """Leaves every sum to the next normalisation, as a kernel does that makes both."""

    adds_in_norms = True


class WritesItself(TorchOps):
    """Writes keys and values before they are attended to."""

    def heads(
        self,
        attention: s.Attention,
        projected: Tensor,
        norm: NormWeights | JointNorms | None,
        angles: Angles,
        pass_: Pass,
        layer: int,
    ) -> Heads:
        q, k, v = super().heads(attention, projected, norm, angles, pass_, layer)
        destination = pass_.destination(layer)
        assert destination is not None and k is not None and v is not None
        slots, own = destination[:2]
        slots[own] = torch.stack((k, v), 1)
        return Heads(q, None, None)


def logits(path: Path, ops: Ops) -> Tensor:
    source = open_source(path)
    decoder = build_decoder(decoder_spec(source.config), source, device=CPU, dtype=torch.float32, ops=ops)
    source.close()
    ids = torch.randint(0, 97, (LENGTH,), generator=torch.Generator().manual_seed(1))
    return in_chunks(decoder, ids, SIZES)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_sum_can_wait_for_the_next_normalisation(name: str, tmp_path: Path) -> None:
    save_model(tmp_path, name)
    found, right = logits(tmp_path, AddsInNorms()), logits(tmp_path, TORCH_OPS)
    assert (found - right).abs().max() <= 1e-5 * right.abs().max()


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_keys_and_values_can_be_written_before_they_are_attended_to(name: str, tmp_path: Path) -> None:
    save_model(tmp_path, name)
    assert torch.equal(logits(tmp_path, WritesItself()), logits(tmp_path, TORCH_OPS))
