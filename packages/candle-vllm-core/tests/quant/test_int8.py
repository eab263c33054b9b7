from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from checkpoints import save_model
from paged import CPU, in_chunks
from tiny_models import save_llama

from candle_vllm_core import ConfigError, EngineConfig, GenerationParams, InferenceEngine
from candle_vllm_core.model.build import build_decoder
from candle_vllm_core.model.families import decoder_spec
from candle_vllm_core.quant import int8
from candle_vllm_core.quant.experts import LoopedExperts
from candle_vllm_core.quant.int8 import Int8Weight, int8_bytes, quantize
from candle_vllm_core.quant.packed import PackedWeight
from candle_vllm_core.quant.panels import Int8Panels, has_panels
from candle_vllm_core.quant.weight import DenseWeight, Weight
from candle_vllm_core.weights.source import open_source

DTYPES = [torch.float32, torch.bfloat16]
SHAPES = [(1, 1), (7, 3), (48, 40), (33, 129), (896, 896), (128, 4864)]


def random(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


def of(plain: torch.Tensor) -> Weight:
    weight = quantize(DenseWeight(plain))
    assert isinstance(weight, Int8Panels if has_panels(plain.dtype) else Int8Weight)
    return weight


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_product_is_that_of_the_rounded_matrix_and_the_rounded_activations(
    shape: tuple[int, int], dtype: torch.dtype
) -> None:
    plain, bias, x = random(*shape, dtype=dtype), random(shape[0], dtype=dtype), random(17, shape[1], dtype=dtype)
    scale = x.double().abs().amax(1, keepdim=True) / 127
    rounded = (x.double() / scale).add(0.5).floor() * scale
    right = rounded @ of(plain).dense().double().T
    for given in (None, bias):
        found = of(plain).matmul(x, given)
        expected = right if given is None else right + given.double()
        # A number of the matrix is rounded once more when it is given out, and a half may fall to either side.
        assert (found.dtype, found.shape) == (dtype, (17, shape[0]))
        assert (found.double() - expected).norm() <= (1e-2 if dtype == torch.bfloat16 else 1e-3) * expected.norm()


@pytest.mark.parametrize("shape", SHAPES)
def test_no_number_is_rounded_by_more_than_half_a_step(shape: tuple[int, int]) -> None:
    plain = random(*shape)
    step = plain.abs().amax(1, keepdim=True) / 127
    assert ((of(plain).dense() - plain).abs() <= step * 0.5001).all()
    assert (of(plain).matmul(torch.eye(shape[1])) - of(plain).dense().T).abs().max() <= 1e-6 * plain.abs().max()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_row_has_the_same_bits_whatever_it_is_multiplied_with(shape: tuple[int, int], dtype: torch.dtype) -> None:
    weight, x, bias = of(random(*shape, dtype=dtype)), random(64, shape[1], dtype=dtype), random(shape[0], dtype=dtype)
    for given in (None, bias):
        every = weight.matmul(x, given)
        for first, last in ((0, 1), (5, 6), (0, 2), (3, 6), (0, 33)):
            assert torch.equal(weight.matmul(x[first:last], given), every[first:last])


def test_rows_are_those_of_the_whole_matrix() -> None:
    weight = of(random(33, 129, dtype=torch.bfloat16))
    assert weight.rows(5, 20).shape == (15, 129)
    assert torch.equal(weight.rows(5, 20).dense(), weight.dense()[5:20])
    x = random(3, 129, dtype=torch.bfloat16)
    assert torch.equal(weight.rows(5, 20).matmul(x), weight.matmul(x)[:, 5:20])


def test_zeros_give_zero_and_what_is_not_finite_stays_with_its_own_token() -> None:
    weight, x = of(random(16, 24)), random(4, 24)
    x[0], x[1, 3], x[2, 3] = 0.0, torch.nan, torch.inf
    found = weight.matmul(x)
    assert found[0].eq(0).all() and not found[1].isfinite().any() and not found[2].isfinite().any()
    assert torch.equal(found[3:], weight.matmul(x[3:]))
    assert of(torch.zeros(4, 8)).matmul(random(2, 8)).eq(0).all()


def test_no_tokens_give_no_rows() -> None:
    assert of(random(16, 24)).matmul(torch.empty(0, 24), torch.ones(16)).shape == (0, 16)


def test_inputs_may_be_views() -> None:
    x = random(6, 48)[:, 12:36]
    assert torch.equal(of(random(16, 24)).matmul(x), of(random(16, 24)).matmul(x.contiguous()))


def test_experts_are_rounded_each_for_itself() -> None:
    stack, x, counts = random(3, 33, 40), random(9, 40), [4, 0, 5]
    found = LoopedExperts([of(matrix) for matrix in stack]).multiply(x, counts)
    right = torch.cat((F.linear(x[:4], stack[0]), F.linear(x[4:], stack[2])))
    assert (found - right).norm() <= 0.02 * right.norm()


@pytest.mark.parametrize("shape", [(48, 40), (896, 896), (1152, 896)])
def test_memory_is_what_is_said(shape: tuple[int, int]) -> None:
    weight = of(random(*shape))
    assert isinstance(weight, Int8Weight)
    packed = torch.ops.mkldnn._nbytes(weight._packed)
    # oneDNN keeps the sums of rows, filled up to 64, beside the integers.
    assert packed + weight._scale.nbytes + weight._zero.nbytes == int8_bytes(*shape, torch.float32)


@pytest.mark.skipif(not has_panels(torch.bfloat16), reason="no C functions for this machine")
@pytest.mark.parametrize("shape", [(48, 40), (896, 896), (130, 33)])
def test_memory_in_panels_is_what_is_said(shape: tuple[int, int]) -> None:
    weight = of(random(*shape, dtype=torch.bfloat16))
    assert isinstance(weight, Int8Panels)
    parts = weight._panels, weight._scale, weight._sums
    assert sum(part.nbytes for part in parts) == int8_bytes(*shape, torch.bfloat16)


MIXTURES = {"qwen2": 0, "qwen3-moe, some layers dense": 2, "llama, tied": 0, "gpt-oss": 3, "deepseek-v3": 2}


@pytest.mark.parametrize("name", MIXTURES)
def test_a_model_keeps_its_answers_near_and_its_routers_exact(name: str, tmp_path: Path) -> None:
    save_model(tmp_path, name)
    source, ids = open_source(tmp_path), torch.arange(3, 43)
    spec = decoder_spec(source.config)
    plain, rounded = (
        build_decoder(spec, source, device=CPU, dtype=torch.float32, quantization=how) for how in (None, "int8")
    )
    right, found = (in_chunks(decoder, ids, [40], block_size=16) for decoder in (plain, rounded))
    assert 0 < (found - right).norm() <= 0.25 * right.norm()
    weights = {path: module.weight for path, module in rounded.named_modules() if path.endswith(("router", "head"))}
    exact = {path for path, weight in weights.items() if isinstance(weight, PackedWeight)}
    assert exact == {path for path in weights if path.endswith("router")}
    assert len(exact) == MIXTURES[name] and isinstance(weights["head"], Int8Weight)


def test_an_engine_says_how_it_stores_and_answers(tmp_path: Path) -> None:
    path = save_llama(tmp_path)
    params = GenerationParams(max_tokens=8, temperature=0)
    with InferenceEngine(EngineConfig(model_path=path, device="cpu", quantization="int8")) as engine:
        assert engine.model_info().quantization == "int8"
        (alone,) = engine.generate_batch([[5, 6, 7]], params)
        assert [answer.tokens for answer in engine.generate_batch([[5, 6, 7]] * 5, params)] == [alone.tokens] * 5
    with InferenceEngine(EngineConfig(model_path=path, device="cpu")) as engine:
        assert engine.model_info().quantization is None


@pytest.mark.parametrize("broken", ["raises", "lies"])
def test_a_torch_whose_product_is_missing_or_wrong_is_refused_before_anything_is_loaded(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def product(weight: Int8Weight, shifted: torch.Tensor) -> torch.Tensor:
        if broken == "raises":
            raise RuntimeError("no such operation")
        return torch.ones(shifted.shape[0], weight.shape[0])

    monkeypatch.setattr(int8.Int8Weight, "_product", product)
    int8._multiplies_right.cache_clear()
    with pytest.raises(ConfigError, match="quantization is 'int8', and this build of torch .* leave it out") as raised:
        InferenceEngine(EngineConfig(model_path=save_llama(tmp_path), device="cpu", dtype="fp32", quantization="int8"))
    assert raised.value.field == "quantization"
    int8._multiplies_right.cache_clear()
