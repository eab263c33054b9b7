from typing import Any

import pytest
import torch
from kernel_errors import close
from kernel_numbers import DTYPES, poison, random, tolerance
from torch import Tensor

from candle_vllm_core.kernels import reference_layers, rotary
from candle_vllm_core.kernels.cache import FP8, write

CPU = torch.device("cpu")
TOKENS, SLOTS = 5, 11
EPS = 1e-5


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not written stays NaN."""
    poison(monkeypatch)


def angles(turning: int, device: torch.device, *, interleaved: bool = False) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines [tokens, 1, turning] of positions far apart."""
    angle = torch.arange(TOKENS)[:, None, None] * 37.0 * 10.0 ** -(torch.arange(turning // 2) / turning)
    cos, sin = angle.cos(), angle.sin()
    if interleaved:
        return cos.repeat_interleave(2, -1).to(device), torch.stack((-sin, sin), -1).flatten(-2).to(device)
    return torch.cat((cos, cos), -1).to(device), torch.cat((-sin, sin), -1).to(device)


def cache_and_slots(*shape: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """A cache full of NaN; the third token is written nowhere."""
    cache = torch.full((SLOTS, *shape), torch.nan, dtype=dtype, device=device)
    return cache, torch.tensor([7, 0, -1, 10, 3], device=device)


def head_norm(heads: int, dim: int, device: torch.device, *, bias: bool) -> tuple[Tensor, Tensor | None, float]:
    weight, own = (random(heads, dim, dtype=torch.float32, device=device, seed=seed) for seed in (1, 2))
    return weight, own if bias else None, EPS


def both(projected: Tensor, heads: int, kv_heads: int, dim: int, **given: Any) -> list[tuple[Tensor, Tensor]]:
    """What the kernel and what the reference give: q, and the cache."""
    found = []
    for turn_heads in (rotary.turn_heads, reference_layers.turn_heads):
        destination = cache_and_slots(2, kv_heads, dim, dtype=projected.dtype, device=projected.device)
        found.append((turn_heads(projected, heads, destination, **given), destination[0]))
    return found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("interleaved", [False, True], ids=["halves", "interleaved"])
@pytest.mark.parametrize(
    ("dim", "turning", "normed"), [(16, 16, "plain"), (24, 24, "rms"), (80, 32, "layer"), (128, 64, "rms")]
)
def test_heads_are_normalised_rotated_and_written(
    dtype: torch.dtype, interleaved: bool, dim: int, turning: int, normed: str, device: torch.device
) -> None:
    heads, kv_heads = 7, 2
    projected = random(TOKENS, (heads + 2 * kv_heads) * dim, dtype=dtype, device=device)
    norm = None if normed == "plain" else head_norm(heads + kv_heads, dim, device, bias=normed == "layer")
    turned = angles(turning, device, interleaved=interleaved)
    (q, cache), (right_q, right_cache) = both(
        projected, heads, kv_heads, dim, angles=turned, interleaved=interleaved, norm=norm, centred=normed == "layer"
    )
    close(q, right_q, atol=tolerance(dtype), rtol=tolerance(dtype))
    torch.testing.assert_close(cache, right_cache, atol=tolerance(dtype), rtol=tolerance(dtype), equal_nan=True)
    assert cache.isnan().all((1, 2, 3)).sum() == SLOTS - TOKENS + 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("also", ["nothing", "gate", "growth", "gate, growth and rotation"])
def test_gates_are_passed_over_and_queries_grow(dtype: torch.dtype, also: str, device: torch.device) -> None:
    heads, kv_heads, dim = 5, 3, 24
    step = 2 * dim if "gate" in also else dim
    projected = random(TOKENS, heads * step + 2 * kv_heads * dim + 8, dtype=dtype, device=device)[:, :-8]
    positions = torch.tensor([0, 9, 10, 25, 1000], device=device)
    growth = (positions, 0.3, 10) if "growth" in also else None
    turned = angles(dim, device) if "rotation" in also else None
    (q, cache), (right_q, right_cache) = both(
        projected, heads, kv_heads, dim, q_step=step, angles=turned, growth=growth
    )
    close(q, right_q, atol=tolerance(dtype, 2), rtol=tolerance(dtype, 2))
    torch.testing.assert_close(cache, right_cache, atol=tolerance(dtype), rtol=tolerance(dtype), equal_nan=True)


def test_without_slots_each_token_has_its_own(device: torch.device) -> None:
    projected = random(TOKENS, 6 * 16, dtype=torch.float32, device=device)
    found, right = (projected.new_empty(TOKENS, 2, 1, 16) for _ in range(2))
    turned = angles(16, device)
    q = rotary.turn_heads(projected, 4, (found, None), angles=turned)
    right_q = reference_layers.turn_heads(projected, 4, (right, None), angles=turned)
    close(q, right_q, atol=4e-6, rtol=4e-6)
    close(found, right, atol=4e-6, rtol=4e-6)


@pytest.mark.parametrize("interleaved", [False, True])
def test_a_token_has_the_same_bits_whatever_stands_beside_it(interleaved: bool, device: torch.device) -> None:
    heads, kv_heads, dim = 5, 2, 32
    projected = random(TOKENS, (heads + 2 * kv_heads) * dim, dtype=torch.float32, device=device)
    cos, sin = angles(dim, device, interleaved=interleaved)
    norm = head_norm(heads + kv_heads, dim, device, bias=False)
    every = projected.new_empty(TOKENS, 2, kv_heads, dim)
    q = rotary.turn_heads(projected, heads, (every, None), angles=(cos, sin), interleaved=interleaved, norm=norm)
    for token in range(TOKENS):
        own, some = slice(token, token + 1), projected.new_empty(1, 2, kv_heads, dim)
        turned = cos[own], sin[own]
        alone = rotary.turn_heads(
            projected[own], heads, (some, None), angles=turned, interleaved=interleaved, norm=norm
        )
        assert torch.equal(alone, q[own]) and torch.equal(some, every[own])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("interleaved", [False, True], ids=["halves", "interleaved"])
@pytest.mark.parametrize(("rank", "nope", "turning", "wide"), [(24, 16, 8, True), (512, 128, 64, False)])
def test_the_latent_is_normalised_and_ends_are_rotated(
    dtype: torch.dtype, interleaved: bool, rank: int, nope: int, turning: int, wide: bool, device: torch.device
) -> None:
    heads = 21
    queries = random(TOKENS, heads, nope + turning, dtype=dtype, device=device)
    compressed = random(TOKENS, rank + turning, dtype=dtype, device=device)
    weight = random(rank, dtype=torch.float32 if wide else dtype, device=device)
    found = []
    for turn_latent in (rotary.turn_latent, reference_layers.turn_latent):
        cache, slots = cache_and_slots(1, 1, rank + turning, dtype=dtype, device=device)
        q = torch.zeros(TOKENS, heads, rank + turning, dtype=dtype, device=device)
        turned = angles(turning, device, interleaved=interleaved)
        turn_latent(q, queries, compressed, (cache, slots), weight, EPS, angles=turned, interleaved=interleaved)
        found.append((q, cache))
    (q, cache), (right_q, right_cache) = found
    assert not q[..., :rank].any()
    close(q, right_q, atol=tolerance(dtype), rtol=tolerance(dtype))
    torch.testing.assert_close(cache, right_cache, atol=tolerance(dtype, 3), rtol=tolerance(dtype, 3), equal_nan=True)


def fp8_cache(*shape: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """A cache full of NaN with its scales, and slots; the third token is written nowhere."""
    cache, slots = cache_and_slots(*shape, dtype=torch.float32, device=device)
    return cache.to(FP8), slots, torch.full((SLOTS, *shape[:2]), torch.nan, device=device)


def same_bits(cache: Tensor, scales: Tensor, right: Tensor, right_scales: Tensor) -> None:
    """What two caches in fp8 hold, and what neither was given."""
    assert torch.equal(cache.view(torch.uint8), right.view(torch.uint8))
    assert torch.equal(scales.view(torch.int32), right_scales.view(torch.int32))
    assert scales.isnan().all((1, 2)).sum() == SLOTS - TOKENS + 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("dim", "kv_heads", "normed"), [(24, 3, "plain"), (80, 1, "layer"), (128, 2, "rms")])
def test_a_cache_in_fp8_gets_the_bits_that_are_written_by_themselves(
    dtype: torch.dtype, dim: int, kv_heads: int, normed: str, device: torch.device
) -> None:
    heads, grown = 5, (torch.arange(TOKENS, device=device) * 9, 0.3, 10)
    projected = random(TOKENS, (heads + 2 * kv_heads) * dim, dtype=dtype, device=device)
    # Of very different sizes, and one that is nothing.
    projected.view(TOKENS, -1, dim)[:, heads:].mul_(torch.logspace(-6, 3, 2 * kv_heads, device=device)[:, None])
    projected[1, -dim:] = 0
    norm = None if normed == "plain" else head_norm(heads + kv_heads, dim, device, bias=normed == "layer")
    turned = angles(8, device)
    apart = projected.new_empty(TOKENS, 2, kv_heads, dim)
    q, (cache, slots, scales) = [], fp8_cache(2, kv_heads, dim, device=device)
    for destination, own in (((apart, None), None), ((cache, slots), scales)):
        q.append(
            rotary.turn_heads(
                projected,
                heads,
                destination,
                angles=turned,
                norm=norm,
                centred=normed == "layer",
                growth=grown,
                scales=own,
            )
        )
    assert torch.equal(*q)
    right, _, right_scales = fp8_cache(2, kv_heads, dim, device=device)
    write(right, slots, apart[:, 0], apart[:, 1], scales=right_scales)
    same_bits(cache, scales, right, right_scales)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rank", "nope", "turning"), [(24, 16, 8), (512, 128, 64), (33, 4, 10)])
def test_a_latent_in_fp8_gets_the_bits_that_are_written_by_themselves(
    dtype: torch.dtype, rank: int, nope: int, turning: int, device: torch.device
) -> None:
    queries = random(TOKENS, 3, nope + turning, dtype=dtype, device=device)
    compressed = random(TOKENS, rank + turning, dtype=dtype, device=device)
    # The largest number is one of the latent's, or of the end's.
    compressed[:2, rank:] *= 100
    compressed[3] = 0
    weight = random(rank, dtype=dtype, device=device)
    apart = compressed.new_empty(TOKENS, 1, 1, rank + turning)
    q, (cache, slots, scales) = [], fp8_cache(1, 1, rank + turning, device=device)
    for destination, own in (((apart, None), None), ((cache, slots), scales)):
        q.append(torch.zeros(TOKENS, 3, rank + turning, dtype=dtype, device=device))
        turned = angles(turning, device)
        rotary.turn_latent(q[-1], queries, compressed, destination, weight, EPS, angles=turned, scales=own)
    assert torch.equal(*q)
    right, _, right_scales = fp8_cache(1, 1, rank + turning, device=device)
    write(right, slots, apart[:, 0], scales=right_scales)
    same_bits(cache, scales, right, right_scales)


def test_no_tokens_give_no_heads(device: torch.device) -> None:
    empty, slots = torch.empty(0, 6 * 16, device=device), torch.empty(0, dtype=torch.int64, device=device)
    cache = torch.zeros(SLOTS, 2, 1, 16, device=device)
    assert rotary.turn_heads(empty, 4, (cache, slots)).shape == (0, 4, 16)
    assert not cache.any()


FITTING: dict[str, Any] = {
    "projected": torch.ones(5, 6 * 16),
    "heads": 4,
    "destination": (torch.ones(9, 2, 1, 16), torch.arange(5)),
    "angles": angles(16, CPU),
}


@pytest.mark.parametrize(
    "change",
    [
        {"heads": 3},
        {"q_step": 8},
        {"q_step": 0, "projected": torch.ones(5, 2 * 16)},
        {"projected": torch.ones(6 * 16, 5).t()},
        {"destination": (torch.ones(9, 1, 1, 16), torch.arange(5))},
        {"destination": (torch.ones(9, 2, 1, 16), torch.arange(4))},
        {"destination": (torch.ones(9, 2, 1, 16), torch.arange(5, dtype=torch.int32))},
        {"destination": (torch.ones(4, 2, 1, 16), None)},
        {"angles": angles(32, CPU)},
        {"angles": (torch.ones(5, 1, 15), torch.ones(5, 1, 15))},
        {"angles": (torch.ones(4, 1, 16), torch.ones(4, 1, 16))},
        {"norm": (torch.ones(6, 16), None, EPS)},
        {"scales": torch.ones(9, 2, 1)},
        {"destination": (torch.ones(9, 2, 1, 16).to(FP8), torch.arange(5))},
        {"destination": (torch.ones(9, 2, 1, 16).to(FP8), torch.arange(5)), "scales": torch.ones(9, 1, 1)},
        {"destination": (torch.ones(9, 2, 1, 16).to(FP8), torch.arange(5)), "scales": torch.ones(9, 2, 1).half()},
    ],
    ids=[*range(16)],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any]) -> None:
    given = FITTING | change
    with pytest.raises(ValueError):
        rotary.turn_heads(given.pop("projected"), given.pop("heads"), given.pop("destination"), **given)
