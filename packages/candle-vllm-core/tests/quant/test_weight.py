import pytest
import torch
import torch.nn.functional as F

from candle_vllm_core.quant import packed
from candle_vllm_core.quant.int8 import quantize
from candle_vllm_core.quant.packed import PackedWeight, can_pack, pack
from candle_vllm_core.quant.weight import FEWEST_ROWS, DenseWeight, Weight, filled_up, stack

CPU = torch.device("cpu")
DTYPES = [torch.float32, torch.bfloat16]
SHAPES = [(1, 1), (7, 3), (48, 40), (33, 129), (896, 896), (128, 4864)]


def random(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


def weights(plain: torch.Tensor) -> list[Weight]:
    return [DenseWeight(plain), PackedWeight(plain)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_matmul_is_the_plain_product(shape: tuple[int, int], dtype: torch.dtype) -> None:
    plain, bias = random(*shape, dtype=dtype), random(shape[0], dtype=dtype)
    for tokens in (1, 2, 3, 17):
        x = random(tokens, shape[1], dtype=dtype)
        right = F.linear(x.double(), plain.double(), bias.double())
        for weight in weights(plain):
            for given in (bias, None):
                expected = right if given is not None else right - bias.double()
                found = weight.matmul(x, given)
                assert found.dtype == dtype
                scale = expected.abs().max().item() + 1
                assert (found.double() - expected).abs().max().item() <= 16 * torch.finfo(dtype).eps * scale


@pytest.mark.parametrize("dtype", DTYPES)
def test_dense_and_rows_are_exact(dtype: torch.dtype) -> None:
    plain = random(33, 129, dtype=dtype)
    for weight in weights(plain):
        assert weight.shape == (33, 129)
        assert torch.equal(weight.dense(), plain)
        part = weight.rows(5, 20)
        assert part.shape == (15, 129)
        assert torch.equal(part.dense(), plain[5:20])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_row_has_the_same_bits_whatever_it_is_multiplied_with(shape: tuple[int, int], dtype: torch.dtype) -> None:
    weight = PackedWeight(random(*shape, dtype=dtype))
    x = random(64, shape[1], dtype=dtype)
    # A bias that nearly cancels the first row's sums makes their last bits visible in short types too.
    for bias in (None, -weight.matmul(x)[0]):
        every = weight.matmul(x, bias)
        for tokens in (1, 2, 3, 8, 33):
            assert torch.equal(weight.matmul(x[:tokens], bias), every[:tokens])


def test_inputs_may_be_views() -> None:
    plain = random(16, 24)
    x = random(6, 48)[:, 12:36]
    assert torch.allclose(PackedWeight(plain).matmul(x), F.linear(x, plain), atol=1e-5)
    assert torch.equal(PackedWeight(plain).matmul(x[:1]), PackedWeight(plain).matmul(x[:1].contiguous()))


def test_no_rows_give_no_rows() -> None:
    for weight in weights(random(16, 24)):
        assert weight.matmul(torch.empty(0, 24), torch.ones(16)).shape == (0, 16)


def test_stacked_matrices_stand_one_under_the_other() -> None:
    parts = [random(4, 8), random(2, 8), random(3, 8)]
    stacked = stack([DenseWeight(part) for part in parts], CPU, torch.float32)
    assert torch.equal(stacked.dense(), torch.cat(parts))


def test_stacking_one_matrix_copies_it() -> None:
    plain = random(4, 8)
    stacked = stack([DenseWeight(plain)], CPU, torch.float32)
    plain.zero_()
    assert stacked.dense().abs().sum() > 0


def test_what_this_cpu_can_pack_is_packed() -> None:
    assert isinstance(pack(DenseWeight(random(4, 8))), PackedWeight) == can_pack(torch.float32)
    assert can_pack(torch.float32)


def test_types_that_cannot_be_packed_stay_plain() -> None:
    weight = DenseWeight(random(4, 8).double())
    assert pack(weight) is weight


def test_meta_tensors_stay_plain() -> None:
    weight = DenseWeight(torch.empty(4, 8, device="meta"))
    assert pack(weight) is weight


@pytest.mark.parametrize("broken", ["raises", "lies"])
def test_a_torch_whose_packed_product_is_missing_or_wrong_gets_plain_matrices(
    broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def multiply(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, added: torch.Tensor) -> torch.Tensor:
        if broken == "raises":
            raise RuntimeError("no such operation")
        return F.linear(x, weight.to_dense(), bias) + added + 0.1

    monkeypatch.setattr(packed, "_multiply", multiply)
    packed._multiplies_right.cache_clear()
    weight = DenseWeight(random(4, 8))
    assert pack(weight) is weight
    packed._multiplies_right.cache_clear()


def test_few_numbers_of_rows_are_ever_multiplied_and_little_for_nothing() -> None:
    given = [1, 2, 15, 16, 17, 31, 100, 1000, *range(1024, 8193, 7)]
    filled = [filled_up(torch.ones(rows, 2)) for rows in given]
    counts = [len(rows) for rows in filled]
    assert all(rows <= count <= max(FEWEST_ROWS, rows * 9 / 8) for rows, count in zip(given, counts, strict=True))
    assert counts[:4] == [4, 4, 15, 16] and len(set(counts)) < 40
    assert all(int(own[:rows].sum()) == 2 * rows for own, rows in zip(filled, given, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_has_the_same_bits_with_rows_filled_up_below_it(dtype: torch.dtype) -> None:
    weight, x = PackedWeight(random(48, 40, dtype=dtype)), random(37, 40, dtype=dtype)
    found = weight.matmul(x)
    assert found.shape == (37, 48)
    assert torch.equal(found, weight.matmul(torch.cat((x, random(27, 40, dtype=dtype))))[:37])


@pytest.mark.parametrize("kind", ["plain", "packed", "int8"])
def test_a_residual_is_added_to_every_row_with_the_same_bits_beside_others(kind: str) -> None:
    plain = DenseWeight(random(64, 96, dtype=torch.bfloat16))
    weight = {"plain": plain, "packed": PackedWeight(plain.dense()), "int8": quantize(plain)}[kind]
    x, residual = random(9, 96, dtype=torch.bfloat16), random(9, 64, dtype=torch.bfloat16)
    found = weight.matmul(x, None, residual)
    right = F.linear(x.float(), plain.dense().float()) + residual.float()
    assert float((found.float() - right).norm() / right.norm()) < (0.02 if kind == "int8" else 0.004)
    if kind != "plain":
        for rows in range(1, 9):
            assert torch.equal(weight.matmul(x[:rows], None, residual[:rows]), found[:rows])
