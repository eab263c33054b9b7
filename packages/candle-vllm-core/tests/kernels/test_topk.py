"""Tokens that kernels draw after a top-k of any size, beside those of the sampler on a CPU and of the reference."""

import math
from collections.abc import Sequence

import pytest
import torch
from device_rows import check, rows_of
from sampling_rows import EOS, Row, random_logits, words
from torch import Tensor

from candle_vllm_core.kernels import reference_sampling as reference
from candle_vllm_core.kernels import topk
from candle_vllm_core.kernels.adjust import adjust
from candle_vllm_core.runtime.device_sampling import DeviceSampler
from candle_vllm_core.runtime.sampling import Sampler
from candle_vllm_core.types import GenerationParams

# What lanes compute that are not looked at: a GPU says nothing of it.
pytestmark = [pytest.mark.filterwarnings("ignore::RuntimeWarning"), pytest.mark.usefixtures("poisoned")]
WAYS: list[dict[str, float]] = [
    {},
    {},
    {"top_p": 0.7},
    {"top_p": 0.99, "temperature": 1.7},
    {"min_p": 0.05},
    {"min_p": 1e-6, "temperature": 0.4},
    {"top_p": 0.9, "min_p": 0.02, "temperature": 3.0},
    {"top_p": 0.9, "min_p": 0.3},
    {"top_p": 1e-9},
    {"min_p": 1.0},
    {"temperature": 1e-300},
]


def with_top_k(top_ks: Sequence[int], ways: Sequence[dict[str, float]] = WAYS) -> list[dict[str, float]]:
    """Each way with one of the numbers in turn."""
    return [way | {"top_k": top_ks[place % len(top_ks)]} for place, way in enumerate(ways)]


@pytest.mark.parametrize(
    ("vocab", "scale", "top_ks"),
    [(130, 2.0, [65, 100, 129]), (700, 0.1, [129, 699, 64]), (5003, 3.0, [129, 70, 3001]), (5003, 0.5, [5002, 500])],
)
def test_any_top_k_draws_the_tokens_that_a_cpu_draws(
    vocab: int, scale: float, top_ks: list[int], device: torch.device
) -> None:
    rows = rows_of(with_top_k(top_ks), vocab)
    check(random_logits(len(rows), vocab, seed=vocab, scale=scale), rows, device)


def test_of_equal_logits_the_first_are_likelier(device: torch.device) -> None:
    rows = rows_of(with_top_k([65, 129, 299]), 300)
    check(random_logits(len(rows), 300, scale=1.0).round(decimals=1), rows, device)
    check(random_logits(len(rows), 300, scale=1.0).round(decimals=0) - 3.0, rows, device)


def test_zeros_of_both_signs_are_equal(device: torch.device) -> None:
    logits = torch.zeros(6, 300)
    logits[:, ::2] = -0.0
    logits[3:, 200:] = 1.0
    params = [GenerationParams(top_k=150), GenerationParams(top_k=150, top_p=0.5, min_p=1.0)]
    rows = [Row(params[number % 2], id=number, seed=7 * number) for number in range(6)]
    check(logits, rows, device)


@pytest.mark.parametrize(("places", "top_k"), [([0, 1, 63, 127], 128), ([0, 5, 2000, 4095], 4096)])
def test_a_number_on_a_border_draws_the_token_after_it(places: list[int], top_k: int, device: torch.device) -> None:
    vocab, rows = 4200, [Row(GenerationParams(top_k=top_k), id=number) for number in range(4)]
    sampler = DeviceSampler(vocab, [EOS], device)
    prepared = sampler.prepare(rows)
    prepared.requests.numbers[:, 4] = torch.tensor(places, dtype=torch.float64, device=device) / top_k
    logits = torch.full((4, vocab), -2.5)
    logits[:, :50] = -1e4
    found = sampler.draw(logits.to(device), prepared)
    assert found.tokens.tolist() == [50 + place for place in places]
    prepared = sampler.prepare(rows)
    prepared.requests.numbers[:, 4] = 1 - 2.0**-53
    assert sampler.draw(logits.to(device), prepared).tokens.tolist() == [50 + top_k - 1] * 4


def test_lists_are_the_likeliest_tokens_in_the_order_of_ids(device: torch.device) -> None:
    vocab, top_ks = 9001, [65, 200, 8999, 100, 77, 129, 100]
    rows = [Row(GenerationParams(top_k=top_k), id=number) for number, top_k in enumerate(top_ks)]
    logits = random_logits(len(rows), vocab).round(decimals=1)
    logits[1, ::3], logits[2], logits[3, 50:] = -math.inf, 0.5, -math.inf
    logits[4], logits[6] = math.nan, math.nan
    on_device = logits.to(device)
    requests = DeviceSampler(vocab, [EOS], device).prepare(rows).requests
    tokens, values = topk.lists(on_device, adjust(on_device, requests), requests, requests.wide)
    assert tokens.shape == (len(rows), 9024)
    for number in (0, 1, 2, 3, 5):
        top_k = top_ks[number]
        right = logits[number].sort(descending=True, stable=True).indices[:top_k].sort().values
        assert torch.equal(tokens[number, :top_k].cpu().long(), right)
        assert torch.equal(values[number, :top_k].cpu(), logits[number, right])
        assert values[number, top_k:].isnan().all()
    assert (tokens[4, 77:] == tokens[0, 65]).all()


def test_fewer_tokens_than_top_k_may_be_left(device: torch.device) -> None:
    rows = rows_of(with_top_k([200], WAYS[:8]), 900)
    for row in rows:
        row.allowed = words(3, 500, 899, vocab=900)
    found = check(random_logits(len(rows), 900), rows, device)
    assert set(found.tokens) <= {3, 500, 899}


def test_kernels_draw_as_the_reference_and_say_what_is_wrong_with_a_row(device: torch.device) -> None:
    vocab, rows = 1300, rows_of(with_top_k([129, 1299]), 1300)
    logits = random_logits(len(rows), vocab, scale=1.0)
    logits[1], logits[3, 7], logits[4, 1299], logits[5, ::2] = -math.inf, math.nan, math.inf, -math.inf
    logits[0, 7], logits[6] = math.nan, math.nan
    sampler = DeviceSampler(vocab, [EOS], device)
    right = reference.draw(logits, DeviceSampler(vocab, [EOS], torch.device("cpu")).prepare(rows).requests)
    found = sampler.draw(logits.to(device), sampler.prepare(rows))
    assert found.tokens.tolist() == right.tokens.tolist()
    assert found.statuses.tolist() == right.statuses.tolist()
    assert sorted(set(found.statuses.tolist())) == [0, 1]


def test_a_row_alone_is_the_row_in_any_batch(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of([*with_top_k([129, 650, 66], WAYS[:9]), {"top_p": 0.6}, {}], 1700)
    logits = random_logits(len(rows), 1700).to(device)

    def drawn(numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        sampler = DeviceSampler(1700, [EOS], device)
        found = sampler.draw(logits[list(numbers)], sampler.prepare([rows[number] for number in numbers]))
        return found.tokens, found.logprobs

    together = drawn(range(len(rows)))
    monkeypatch.setattr(topk, "LISTED", 1000)
    for numbers in ([1], [10, 4], [5, 0, 2, 8]):
        for alone, all_of_them in zip(drawn(numbers), together, strict=True):
            assert torch.equal(alone, all_of_them[list(numbers)])


def test_tokens_are_counted_where_they_are_drawn(device: torch.device) -> None:
    params = GenerationParams(top_k=129, temperature=0.5, frequency_penalty=2.0)
    row, sampler, right = Row(params, seed=1), DeviceSampler(300, [EOS], device), Sampler(300, [EOS])
    logits = random_logits(1, 300, scale=4.0)
    for _ in range(5):
        found = sampler.sample(logits.to(device), [row]).tokens
        assert found == right.sample(logits, [row]).tokens
        row.generated += found
