"""Products in our own code: near the exact ones, and the same bits in any batch."""

from collections.abc import Iterator

import pytest
import torch

from candle_vllm_core.native import library, processor
from candle_vllm_core.quant import int8, packed
from candle_vllm_core.quant.panels import Bf16Panels, from_panels, panel_bytes, to_panels
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


def blocks(matrix: torch.Tensor) -> torch.Tensor:
    """The bytes of a matrix in panels, by the words of the module's docstring."""
    rows, width = len(matrix), matrix[0].nbytes
    filled = torch.zeros(-(-rows // 64) * 64, -(-width // 4) * 4, dtype=torch.uint8)
    filled[:rows, :width] = matrix.contiguous().view(torch.uint8)
    return filled.view(-1, 64, filled.shape[1] // 4, 4).transpose(1, 2).contiguous().flatten()


@pytest.mark.parametrize("shape", [*SHAPES, (33, 7), (65, 1)])
def test_packed_is_what_is_said_and_back(shape: tuple[int, int]) -> None:
    for matrix in (normal(*shape), torch.arange(-128, 128, dtype=torch.int8).repeat(shape)[:, : shape[1]].clone()):
        panels = to_panels(matrix)
        assert torch.equal(panels.flatten().view(torch.uint8), blocks(matrix))
        assert panels.nbytes == panel_bytes(*matrix.shape, matrix.itemsize)
        assert torch.equal(from_panels(panels, matrix.shape, matrix.dtype), matrix)


@pytest.mark.parametrize("shape", [*SHAPES, (33, 7)])
def test_a_row_is_the_same_bits_alone_and_among_many_and_near_the_exact_one(shape: tuple[int, int]) -> None:
    rows, columns = shape
    matrix, x = normal(rows, columns), normal(MANY, columns, seed=1)
    weight, bias, residual = Bf16Panels(matrix), normal(rows, seed=2), normal(MANY, rows, seed=3)
    exact = x.double() @ matrix.double().T
    for added in (None, residual):
        for shift in (None, bias):
            right = exact + (0 if shift is None else shift.double()) + (0 if added is None else added.double())
            many = weight.matmul(x, shift, added)
            assert ((many - right).abs() <= right.abs() * 2**-8 + columns * 2**-18).all()
            for m in (1, 2, 3, 4, 5, 6, 7, 13, 64, 65, 129, MANY - 2):
                own = weight.matmul(x[2 : 2 + m], shift, None if added is None else added[2 : 2 + m])
                assert torch.equal(own, many[2 : 2 + m])


def test_every_column_and_row_is_multiplied_once() -> None:
    """Of whole numbers, which are summed exactly."""
    rows, columns = 70, 2 * 512 + 38
    matrix = (torch.arange(rows * columns).view(rows, columns) % 7 - 3).bfloat16()
    x = (torch.arange(9 * columns).view(9, columns) % 5 - 2).bfloat16()
    right = (x.double() @ matrix.double().T).bfloat16()
    assert torch.equal(Bf16Panels(matrix).matmul(x), right)


@pytest.mark.skipif(processor() != "avx512", reason="another processor sums in another order")
@pytest.mark.parametrize("shape", [(1152, 256), (130, 70), (64, 4)])
def test_bits_are_onednns_where_that_sums_all_columns_at_once(shape: tuple[int, int]) -> None:
    matrix, x = normal(*shape), normal(MANY, shape[1], seed=1)
    onednns = torch.ops.mkldnn._reorder_linear_weight(matrix, None)
    assert torch.equal(Bf16Panels(matrix).matmul(x), packed._multiply(filled_up(x), onednns, None)[:MANY])


def test_rows_are_those_of_the_whole_matrix() -> None:
    weight, x = Bf16Panels(normal(200, 70)), normal(3, 70, seed=1)
    assert weight.rows(5, 90).shape == (85, 70)
    assert torch.equal(weight.rows(5, 90).matmul(x), weight.matmul(x)[:, 5:90])


def test_inputs_may_be_views() -> None:
    weight, x = Bf16Panels(normal(96, 64)), normal(6, 256)[:, 12:76]
    assert torch.equal(weight.matmul(x), weight.matmul(x.contiguous()))


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


@pytest.mark.parametrize("shape", [*SHAPES, (33, 7)])
def test_integers_are_the_same_bits_as_without_our_own_code(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, columns = shape
    own = int8.quantize(DenseWeight(normal(rows, columns)))
    monkeypatch.setattr(int8, "has_panels", lambda dtype: False)
    plain = int8.quantize(DenseWeight(normal(rows, columns)))
    for m in (1, 2, 3, 4, 5, 17, 70):
        x, bias, residual = normal(m, columns, seed=1), normal(rows, seed=2), normal(m, rows, seed=3)
        x[m // 2] = 0
        for shift in (None, bias):
            for added in (None, residual):
                assert torch.equal(own.matmul(x, shift, added), plain.matmul(x, shift, added))


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("columns", [64, 72, 896])
def test_a_number_that_is_not_finite_makes_its_row_none_in_integers_too(columns: int, wrong: float) -> None:
    weight, x = int8.quantize(DenseWeight(normal(64, columns))), normal(3, columns, seed=1)
    x[1, columns - 3] = wrong
    found = weight.matmul(x)
    assert found[1].isnan().all() and found[[0, 2]].isfinite().all()


@pytest.mark.parametrize("columns", [70, 33, 1])
def test_rows_are_looked_up(columns: int) -> None:
    matrix, numbers = normal(200, columns), torch.tensor([199, 0, 64, 63, 64, 130])
    found = Bf16Panels(matrix).lookup(numbers)
    assert torch.equal(found, matrix[numbers])
    assert Bf16Panels(matrix).lookup(numbers[:0]).shape == (0, columns)


@pytest.mark.parametrize("own", [torch.bfloat16, torch.float64])
def test_the_programs_own_default_type_does_not_matter(own: torch.dtype) -> None:
    plain, x = DenseWeight(normal(96, 64)), normal(3, 64, seed=1)
    right = int8.quantize(plain).matmul(x)
    torch.set_default_dtype(own)
    try:
        found = int8.quantize(plain).matmul(x)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(found, right)
