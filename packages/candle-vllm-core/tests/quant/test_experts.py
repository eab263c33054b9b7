from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from candle_vllm_core.quant.experts import LoopedExperts
from candle_vllm_core.quant.packed import pack
from candle_vllm_core.quant.weight import DenseWeight, Weight

DTYPES = [torch.float32, torch.bfloat16]
COUNTS = [0, 3, 0, 1, 17, 0, 2, 0]
ROWS, COLUMNS = 33, 40


def random(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


class Counted(DenseWeight):
    """A matrix that keeps a record of how many tokens it was multiplied with each time."""

    def __init__(self, tensor: Tensor) -> None:
        super().__init__(tensor)
        self.tokens: list[int] = []

    def matmul(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        self.tokens.append(x.shape[0])
        return super().matmul(x, bias)


def packed(stack: Tensor) -> Sequence[Weight]:
    return [pack(DenseWeight(matrix)) for matrix in stack]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("biased", [False, True])
def test_each_token_is_multiplied_with_its_own_expert(dtype: torch.dtype, biased: bool) -> None:
    stack, x = random(len(COUNTS), ROWS, COLUMNS, dtype=dtype), random(sum(COUNTS), COLUMNS, dtype=dtype)
    biases = random(len(COUNTS), ROWS, dtype=dtype) if biased else None
    found = LoopedExperts(packed(stack), biases).multiply(x, COUNTS)
    owners = [expert for expert, count in enumerate(COUNTS) for _ in range(count)]
    for row, (expert, token) in enumerate(zip(owners, x, strict=True)):
        right = F.linear(
            token.double(), stack[expert].double(), biases[expert].double() if biases is not None else None
        )
        assert (found[row].double() - right).abs().max() <= 16 * torch.finfo(dtype).eps * right.abs().max()
    assert (found.shape, found.dtype) == ((sum(COUNTS), ROWS), dtype)


def test_no_expert_is_multiplied_with_tokens_that_it_does_not_get() -> None:
    experts = [Counted(matrix) for matrix in random(len(COUNTS), ROWS, COLUMNS)]
    LoopedExperts(experts).multiply(random(sum(COUNTS), COLUMNS), COUNTS)
    assert [expert.tokens for expert in experts] == [[count] if count else [] for count in COUNTS]


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_tokens_give_no_rows(dtype: torch.dtype) -> None:
    experts = LoopedExperts(packed(random(3, ROWS, COLUMNS, dtype=dtype)), random(3, ROWS, dtype=dtype))
    found = experts.multiply(random(0, COLUMNS, dtype=dtype), [0, 0, 0])
    assert (found.shape, found.dtype) == ((0, ROWS), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_has_the_same_bits_however_many_its_expert_gets(dtype: torch.dtype) -> None:
    experts = LoopedExperts(packed(random(3, ROWS, COLUMNS, dtype=dtype)))
    x = random(30, COLUMNS, dtype=dtype)
    every = experts.multiply(x, [10, 5, 15])
    for first, second, third in ((1, 0, 0), (2, 1, 1), (0, 3, 14), (7, 5, 2)):
        some = torch.cat((x[:first], x[10 : 10 + second], x[15 : 15 + third]))
        right = torch.cat((every[:first], every[10 : 10 + second], every[15 : 15 + third]))
        assert torch.equal(experts.multiply(some, [first, second, third]), right)
