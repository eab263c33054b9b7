from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from candle_vllm_core.native import library
from candle_vllm_core.quant.experts import LoopedExperts
from candle_vllm_core.quant.int8 import quantize
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


@pytest.mark.skipif(library() is None, reason="the C functions are not for this machine, or were not built")
@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_experts_in_one_call_are_the_same_bits_as_one_by_one(quantized: bool, biased: bool) -> None:
    store: Callable[[DenseWeight], Weight] = quantize if quantized else pack
    stack = random(len(COUNTS), ROWS, 42, dtype=torch.bfloat16)
    experts = [store(DenseWeight(matrix)) for matrix in stack]
    biases = random(len(COUNTS), ROWS, dtype=torch.bfloat16) if biased else None
    assert LoopedExperts(experts, biases)._native is not None
    for counts in (COUNTS, [0, 70, 0, 0, 0, 200, 1, 5]):
        x = random(sum(counts), 42, dtype=torch.bfloat16)
        parts = zip(experts, x.split_with_sizes(counts), biases if biases is not None else [None] * 8, strict=True)
        alone = torch.cat([expert.matmul(part, bias) for expert, part, bias in parts])
        assert torch.equal(LoopedExperts(experts, biases).multiply(x, counts), alone)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tokens", [1, 2, 19])
@pytest.mark.parametrize("num_added", [0, 1, 2, 3])
def test_what_experts_give_is_weighed_and_summed_for_each_token(
    dtype: torch.dtype, tokens: int, num_added: int
) -> None:
    stack = random(len(COUNTS), ROWS, COLUMNS, dtype=dtype)
    chosen = random(tokens, len(COUNTS)).topk(3).indices
    x, weights = random(tokens * 3, COLUMNS, dtype=dtype), random(tokens, 3).abs()
    added = [random(tokens, ROWS, dtype=dtype) * (place + 1) for place in range(num_added)]
    experts = LoopedExperts(packed(stack))
    routing = experts.route(chosen)
    found = experts.gather(x, routing, weights, added)
    given = torch.empty(tokens * 3, ROWS, dtype=torch.float64)
    owners = chosen.flatten()[routing.order]
    given[routing.order] = torch.einsum("pc,prc->pr", x.double(), stack[owners].double())
    right = (given.view(tokens, 3, ROWS) * weights[..., None]).sum(1) + sum(each.double() for each in added)
    assert (found.double() - right).abs().max() <= 16 * torch.finfo(dtype).eps * right.abs().max()
    assert found.dtype == dtype


def test_tensors_that_do_not_fit_the_experts_are_refused() -> None:
    experts = LoopedExperts(packed(random(3, ROWS, COLUMNS, dtype=torch.bfloat16)))
    if experts._native is None:
        pytest.skip("the C functions are not for this machine, or were not built")
    for x, counts in (((4, COLUMNS - 2), [2, 1, 1]), ((4, COLUMNS), [2, 1]), ((4, COLUMNS), [5, 0, -1])):
        with pytest.raises(ValueError, match="experts take rows of 40"):
            experts.multiply(random(*x, dtype=torch.bfloat16), counts)
    routing, weights = experts.route(torch.zeros(2, 2, dtype=torch.int64)), torch.ones(2, 2)
    x = random(4, COLUMNS, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="2 of 33 numbers for each of 2 tokens"):
        experts.gather(x, routing, weights, [random(1, ROWS, dtype=torch.bfloat16)])
    with pytest.raises(ValueError, match="2 of 33 numbers for each of 2 tokens"):
        experts.gather(x, routing._replace(order=routing.order[:2]), weights)
