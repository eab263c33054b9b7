from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from transformers.models.cohere.modeling_cohere import CohereLayerNorm
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.olmo2.modeling_olmo2 import Olmo2RMSNorm

from candle_vllm_core import spec as s
from candle_vllm_core.model.activation import GATED, sigmoid
from candle_vllm_core.model.layers import Norm
from candle_vllm_core.model.loader import Blueprint
from candle_vllm_core.model.names import NameMap

DIM, EPS = 96, 1e-5
THEIRS = {
    "rounds first": (s.Norm(eps=EPS), LlamaRMSNorm(DIM, eps=EPS)),
    "weighs first": (s.Norm(eps=EPS, wide=True), Olmo2RMSNorm(DIM, eps=EPS)),
    "stored less one": (s.Norm(eps=EPS, wide=True, offset=True), Gemma2RMSNorm(DIM, eps=EPS)),
    "centred": (s.Norm(eps=EPS, kind="layer", wide=True), CohereLayerNorm(DIM, eps=EPS)),
    "centred, with bias": (s.Norm(eps=EPS, kind="layer", wide=True, bias=True), nn.LayerNorm(DIM, eps=EPS)),
}


class Given(Blueprint):
    """Hands out the parameters of a module of transformers."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__(NameMap(s.Names()))
        self._module = module

    def tensor(self, name: str, *shape: int) -> Tensor:
        found = dict(self._module.named_parameters())[name].data
        assert found.shape == shape
        return found


def modules(name: str, dtype: torch.dtype) -> tuple[s.Norm, nn.Module, Tensor]:
    spec, theirs = THEIRS[name]
    torch.manual_seed(0)
    for parameter in theirs.parameters():
        parameter.data = torch.randn(DIM).to(dtype)
    return spec, theirs, torch.randn(64, DIM).to(dtype) * 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", [name for name in THEIRS if "bias" not in name])
def test_a_norm_rounds_where_its_family_does(name: str, dtype: torch.dtype) -> None:
    """Bit for bit: the order matters in types shorter than float32."""
    spec, theirs, x = modules(name, dtype)
    with torch.inference_mode():
        right = theirs(x)
        for tokens in (0, 1, 3, 64):
            assert torch.equal(Norm(spec, DIM, Given(theirs))(x[:tokens]), right[:tokens])
        if not spec.offset:
            assert not torch.equal(Norm(replace(spec, wide=not spec.wide), DIM, Given(theirs))(x), right)


@pytest.mark.parametrize("name", THEIRS)
def test_a_norm_is_that_of_its_family(name: str) -> None:
    spec, theirs, x = modules(name, torch.float32)
    with torch.inference_mode():
        assert torch.allclose(Norm(spec, DIM, Given(theirs))(x), theirs(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_sigmoid_has_the_same_bits_wherever_a_number_stands(dtype: torch.dtype) -> None:
    x = torch.randn(4099, generator=torch.Generator().manual_seed(0)).to(dtype) * 5
    every = sigmoid(x)
    assert every.dtype == dtype
    assert torch.allclose(every.double(), x.double().sigmoid(), rtol=torch.finfo(dtype).eps, atol=0)
    for size in (1, 7, 33):
        assert torch.equal(torch.cat([sigmoid(part) for part in x.split(size)]), every)


def test_a_clamped_swish_has_the_same_bits_wherever_a_number_stands() -> None:
    gate, up = torch.randn(2, 500, 19, generator=torch.Generator().manual_seed(0)) * 4
    every = GATED["clamped_swish"](gate, up)
    for size in (1, 7):
        pairs = zip(gate.split(size), up.split(size), strict=True)
        assert torch.equal(torch.cat([GATED["clamped_swish"](*pair) for pair in pairs]), every)
