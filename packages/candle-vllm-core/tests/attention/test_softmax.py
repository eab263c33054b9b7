"""The bits of attention, where nothing else in a step could hide a difference."""

import pytest
import torch

from candle_vllm_core.attention.softmax import KEYS_AT_ONCE, attention, padded

SEEN = 13
MOST_QUERIES = 32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dim", [28, 64, 96])
@pytest.mark.parametrize("heads", [1, 3])
def test_a_query_has_the_same_bits_beside_any_number_of_others_and_of_hidden_keys(
    heads: int, dim: int, dtype: torch.dtype
) -> None:
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        q, k, v = (
            torch.randn((1, heads, rows, dim), generator=generator).to(dtype)
            for rows in (MOST_QUERIES, KEYS_AT_ONCE, KEYS_AT_ONCE)
        )
        mask = torch.zeros(1, KEYS_AT_ONCE, dtype=dtype)
        mask[:, SEEN:] = -torch.inf
        every = attention(q, k, v, mask, scale=0.1)
        for rows in range(1, MOST_QUERIES + 1):
            few = padded(SEEN)
            found = attention(q[:, :, :rows], k[:, :, :few], v[:, :, :few], mask[:, :few], scale=0.1)
            assert torch.equal(found, every[:, :, :rows]), (seed, rows)
