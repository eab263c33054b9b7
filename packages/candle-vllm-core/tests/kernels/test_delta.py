import math
from typing import Any

import pytest
import torch
from kernel_errors import close
from kernel_numbers import DTYPES, random, tolerance
from torch import Tensor

from candle_vllm_core.kernels import delta, reference_delta
from candle_vllm_core.kernels.delta import Heads, Learned

SLOTS, EPS = 6, 1e-6
PLACES, ROWS = [4, 0, 3], [5, 1, 2]
SHAPES = [Heads(1, 1, 16, 16, 4), Heads(2, 4, 24, 10, 4), Heads(3, 9, 8, 20, 3), Heads(2, 2, 5, 33, 2)]


def values(heads: Heads) -> int:
    return heads.value_heads * heads.value_dim


def channels(heads: Heads) -> int:
    return 2 * heads.key_heads * heads.key_dim + values(heads)


def learned_of(heads: Heads, dtype: torch.dtype, device: torch.device) -> Learned:
    def numbers(*shape: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return random(*shape, dtype=dtype, device=device, seed=seed)

    return Learned(
        taps=numbers(heads.kernel, channels(heads), seed=1),
        rate=-numbers(heads.value_heads, seed=2).exp(),
        dt_bias=numbers(heads.value_heads, seed=3),
        weight=numbers(heads.value_dim, seed=4, dtype=dtype),
    )


def states_of(heads: Heads, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Full of NaN but where the sequences have theirs."""
    conv = random(SLOTS, channels(heads), heads.kernel - 1, dtype=dtype, device=device, seed=5)
    shape = (SLOTS, heads.value_heads, heads.key_dim, heads.value_dim)
    memory = random(*shape, dtype=torch.float32, device=device, seed=6)
    for slot in set(range(SLOTS)) - set(PLACES):
        conv[slot], memory[slot] = torch.nan, torch.nan
    return conv, memory


def tokens_of(heads: Heads, count: int, dtype: torch.dtype, device: torch.device, seed: int = 0) -> Tensor:
    """With a wider row than they take."""
    columns = channels(heads) + values(heads) + 2 * heads.value_heads
    return random(count, columns + 3, dtype=dtype, device=device, seed=seed)[:, :columns]


def both(heads: Heads, dtype: torch.dtype, device: torch.device, steps: int = 1, **named: Any) -> list[list[Tensor]]:
    """What the kernel and what the reference give in some steps, and their states after them."""
    learned, count = learned_of(heads, dtype, device), 7
    found = []
    for step in (delta.step, reference_delta.step):
        states, given = states_of(heads, dtype, device), []
        for number in range(steps):
            inner = tokens_of(heads, count, dtype, device, seed=10 * number)
            out = torch.full((count, values(heads)), torch.nan, dtype=dtype, device=device)
            step(out, inner, states, torch.tensor(PLACES, device=device), heads, learned, EPS, **named)
            given.append(out)
        found.append([torch.stack(given), *states])
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("heads", SHAPES, ids=str)
def test_tokens_of_some_sequences_are_given_and_their_states_go_on(
    heads: Heads, dtype: torch.dtype, device: torch.device
) -> None:
    rows = torch.tensor(ROWS, device=device)
    (found, conv, memory), (right, right_conv, right_memory) = both(heads, dtype, device, steps=3, rows=rows)
    written = found[:, ROWS]
    # What is normalised is rounded, and the interpreter cuts off where a GPU rounds to the nearest bfloat16.
    bound = tolerance(dtype, 4) * float(right[:, ROWS].abs().max())
    close(written, right[:, ROWS], atol=bound, rtol=0)
    assert found.isnan().all(2).sum(1).tolist() == [7 - len(ROWS)] * 3, "nothing else is written"
    close(memory[PLACES], right_memory[PLACES], atol=2e-6 * float(right_memory[PLACES].abs().max()), rtol=2e-6)
    assert torch.equal(conv[PLACES], right_conv[PLACES])
    for state in (conv, memory):
        assert state.flatten(1).isnan().all(1).nonzero().flatten().tolist() == [1, 2, 5]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_real_size(dtype: torch.dtype, device: torch.device) -> None:
    (found, *states), (right, *right_states) = both(Heads(2, 4, 128, 128, 4), dtype, device)
    close(found[:, :3], right[:, :3], atol=tolerance(dtype, 4) * float(right[:, :3].abs().max()), rtol=0)
    close(states[1][PLACES], right_states[1][PLACES], atol=4e-6 * float(right_states[1][PLACES].abs().max()), rtol=0)
    assert torch.equal(states[0][PLACES], right_states[0][PLACES])


def test_decays_are_exact_where_they_are_next_to_nothing(device: torch.device) -> None:
    heads = Heads(1, 1, 4, 4, 2)
    learned = learned_of(heads, torch.float32, device)._replace(rate=torch.tensor([-16.0], device=device))
    for bias in (-30.0, -16.0, -14.0, -13.0, -12.0, -11.0, -10.0, -8.0, -1.0, 0.0, 19.9, 20.1, 80.0):
        own = learned._replace(dt_bias=torch.tensor([bias], device=device))
        memory = torch.ones(1, 1, 4, 4, device=device)
        inner = torch.zeros(1, 3 * 4 + 4 + 2, device=device)
        place = torch.zeros(1, dtype=torch.int64, device=device)
        states = torch.zeros(1, 12, 1, device=device), memory
        delta.step(torch.empty(1, 4, device=device), inner, states, place, heads, own, EPS)
        exponent = 16 * float(torch.nn.functional.softplus(torch.tensor(bias).double()))
        right = torch.full_like(memory, math.exp(-exponent))
        close(memory, right, atol=0, rtol=4e-7 * max(1.0, exponent))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_sequence_has_the_same_bits_whatever_stands_beside_it(dtype: torch.dtype, device: torch.device) -> None:
    heads = Heads(2, 4, 24, 10, 4)
    learned, inner = learned_of(heads, dtype, device), tokens_of(heads, 3, dtype, device)
    together, states = inner.new_empty(3, values(heads)), states_of(heads, dtype, device)
    delta.step(together, inner, states, torch.tensor(PLACES, device=device), heads, learned, EPS)
    own_states = states_of(heads, dtype, device)
    for index, place in enumerate(PLACES):
        alone, where = inner.new_empty(1, values(heads)), torch.tensor([place], device=device)
        delta.step(alone, inner[index : index + 1], own_states, where, heads, learned, EPS)
        assert torch.equal(alone[0], together[index])
    for one, other in zip(own_states, states, strict=True):
        assert torch.equal(one[PLACES], other[PLACES])


def test_no_sequences_are_given_nothing(device: torch.device) -> None:
    heads = SHAPES[1]
    inner, states = tokens_of(heads, 2, torch.float32, device), states_of(heads, torch.float32, device)
    out, nobody = torch.full((2, values(heads)), torch.nan, device=device), torch.empty(0, dtype=torch.int64)
    delta.step(out, inner, states, nobody.to(device), heads, learned_of(heads, torch.float32, device), EPS)
    assert out.isnan().all()


def test_what_the_kernel_does_not_take_is_named(device: torch.device) -> None:
    heads, dtype = SHAPES[1], torch.float32
    fitting: dict[str, Any] = {
        "out": torch.empty(3, values(heads), device=device),
        "inner": tokens_of(heads, 3, dtype, device),
        "states": states_of(heads, dtype, device),
        "places": torch.tensor(PLACES, device=device),
        "heads": heads,
        "learned": learned_of(heads, dtype, device),
        "eps": EPS,
    }
    conv, memory = fitting["states"]
    for change, why in (
        ({"inner": fitting["inner"][:, :-1]}, "are not Heads"),
        ({"out": fitting["out"][:, :-1]}, "are not Heads"),
        ({"states": (conv[..., :-1], memory)}, "are not Heads"),
        ({"states": (conv[:-1], memory)}, "are not Heads"),
        ({"states": (conv, memory.half())}, "the memory in torch.float16"),
        ({"states": (conv.half(), memory)}, "their states in torch.float16"),
        ({"states": (conv, memory.transpose(2, 3).contiguous().transpose(2, 3))}, "side by side"),
        ({"inner": fitting["inner"].t().contiguous().t()}, "side by side"),
        ({"places": fitting["places"].int()}, "int64"),
        ({"rows": fitting["places"][:2]}, "int64"),
        ({"inner": fitting["inner"][:2], "out": fitting["out"][:2]}, "do not have 2 tokens"),
        ({"heads": heads._replace(value_heads=3)}, "shared out"),
        ({"heads": heads._replace(key_dim=2048)}, "at most"),
    ):
        with pytest.raises(ValueError, match=why):
            delta.step(**fitting | change)
