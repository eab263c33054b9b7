"""Products in our own code: the same bits as oneDNN's, and in any batch."""

from collections.abc import Iterator

import pytest
import torch

from candle_vllm_core.native import library
from candle_vllm_core.quant import bf16, int8, packed
from candle_vllm_core.quant.weight import DenseWeight, filled_up

SHAPES = [(896, 896), (1152, 896), (896, 4864), (130, 70), (64, 4), (77, 34), (1, 64), (300, 2050), (2048, 3000)]

MANY = 150
"""Rows, of which our code takes 64 at a time."""

pytestmark = pytest.mark.skipif(library() is None, reason="the C functions are not for this machine, or were not built")


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(torch.bfloat16)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_row_is_the_same_bits_alone_and_among_many_and_as_onednns(shape: tuple[int, int]) -> None:
    rows, columns = shape
    matrix = normal(rows, columns)
    weight, onednns = packed.pack(DenseWeight(matrix)), torch.ops.mkldnn._reorder_linear_weight(matrix, None)
    x, bias, residual = normal(MANY, columns, seed=1), normal(rows, seed=2), normal(MANY, rows, seed=3)
    for added in (None, residual):
        for shift in (None, bias):
            its = None if added is None else filled_up(added)
            many = packed._multiply(filled_up(x), onednns, shift, its)[:MANY]
            for m in (1, 2, 3, 4, 5, 6, 7, 13, 64, 65, 129, MANY - 2):
                own = weight.matmul(x[2 : 2 + m], shift, None if added is None else added[2 : 2 + m])
                assert torch.equal(own, many[2 : 2 + m])


def test_most_shapes_are_multiplied_here() -> None:
    found = [
        bf16.bf16_product(torch.ops.mkldnn._reorder_linear_weight(normal(*s), None), torch.bfloat16, s) for s in SHAPES
    ]
    assert sum(product is not None for product in found) >= len(SHAPES) - 2


def test_threads_do_not_change_bits(threads: None) -> None:
    weight, x = packed.pack(DenseWeight(normal(1152, 896))), normal(1, 896, seed=1)
    two = weight.matmul(x)
    torch.set_num_threads(1)
    assert torch.equal(weight.matmul(x), two)


@pytest.mark.parametrize("quantized", [False, True])
def test_tensors_that_do_not_fit_the_matrix_are_refused(quantized: bool) -> None:
    plain = DenseWeight(normal(96, 64))
    weight = int8.quantize(plain) if quantized else packed.pack(plain)
    x, bias, residual = normal(2, 64), normal(96), normal(2, 96)
    for given in (
        (normal(2, 32), bias, residual),
        (x, bias[:-1], residual),
        (x, bias.float(), residual),
        (x, normal(96, 2)[:, 0], residual),
        (x, bias, residual[:1]),
        (x, bias, residual.float()),
    ):
        with pytest.raises(ValueError, match="asks for bfloat16"):
            weight.matmul(*given)
    assert weight.matmul(x, bias, residual).shape == (2, 96)


def test_another_order_of_summing_is_told_from_onednns(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (64, 3000)
    matrix = torch.ops.mkldnn._reorder_linear_weight(normal(*shape), None)
    monkeypatch.setattr(bf16, "_spans", {})
    assert bf16.bf16_product(matrix, torch.bfloat16, shape) is not None
    right = bf16._spans.pop(shape)
    monkeypatch.setattr(bf16, "SPANS", [span for span in bf16.SPANS if span != right])
    assert bf16.bf16_product(matrix, torch.bfloat16, shape) is None


@pytest.mark.parametrize("shape", [*SHAPES, (33, 7)])
def test_integers_are_the_same_bits_as_without_our_own_code(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, columns = shape
    own = int8.quantize(DenseWeight(normal(rows, columns)))
    monkeypatch.setattr(int8, "library", lambda: None)
    plain = int8.quantize(DenseWeight(normal(rows, columns)))
    for m in (1, 2, 3, 4, 5, 17, 70):
        x, bias, residual = normal(m, columns, seed=1), normal(rows, seed=2), normal(m, rows, seed=3)
        x[m // 2] = 0
        for shift in (None, bias):
            for added in (None, residual):
                assert torch.equal(own.matmul(x, shift, added), plain.matmul(x, shift, added))


@pytest.mark.parametrize("columns", [64, 72, 896])
def test_a_number_that_is_none_makes_its_row_none_in_integers_too(columns: int) -> None:
    weight, x = int8.quantize(DenseWeight(normal(64, columns))), normal(3, columns, seed=1)
    x[1, columns - 3] = torch.nan
    found = weight.matmul(x)
    assert found[1].isnan().all() and found[[0, 2]].isfinite().all()
