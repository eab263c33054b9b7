import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from candle_vllm_core import spec as s
from candle_vllm_core.model.layers import Norm
from candle_vllm_core.model.loader import Blueprint


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("tokens", [0, 1, 3, 64])
def test_norm_rounds_before_it_weighs_as_llama_does(tokens: int, dtype: torch.dtype) -> None:
    """Bit for bit: the order matters in types shorter than float32."""
    torch.manual_seed(0)
    x, weight = torch.randn(tokens, 96).to(dtype) * 3, torch.randn(96).to(dtype)
    theirs = LlamaRMSNorm(96, eps=1e-5).to(dtype)
    theirs.weight.data.copy_(weight)
    norm = Norm(s.Norm(eps=1e-5), 96, Blueprint())
    norm.weight = weight
    with torch.inference_mode():
        assert torch.equal(norm(x), theirs(x))
