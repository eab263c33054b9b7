from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sampling_rows import EOS, GREEDY, VOCAB, Row, draws, random_logits, sample, words
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from candle_vllm_core.runtime import drawing
from candle_vllm_core.runtime.sampling import RowLogprobs, Sampled, Sampler, uniform
from candle_vllm_core.types import GenerationParams


def assert_distributed(counts: Counter[int], probs: Sequence[float]) -> None:
    """Pearson's chi-square within five deviations of its mean; what has no chance never comes."""
    total = counts.total()
    assert all(probs[token] > 0 for token in counts)
    likely = [token for token, prob in enumerate(probs) if prob * total >= 5]
    rest = 1.0 - sum(probs[token] for token in likely)
    pairs = [(counts[token], probs[token] * total) for token in likely]
    if rest * total >= 5:
        pairs.append((total - sum(count for count, _ in pairs), rest * total))
    statistic = sum((count - expected) ** 2 / expected for count, expected in pairs)
    freedom = len(pairs) - 1
    assert abs(statistic - freedom) < 5 * math.sqrt(2 * freedom)


PARAMS = st.builds(
    GenerationParams,
    temperature=st.sampled_from([0.0, 0.01, 0.7, 1.0, 3.0]),
    top_p=st.sampled_from([0.05, 0.5, 0.95, 1.0]),
    top_k=st.sampled_from([None, 1, 5, 300]),
    min_p=st.sampled_from([0.0, 0.1, 1e-9]),
    repetition_penalty=st.sampled_from([1.0, 1.3]),
    frequency_penalty=st.sampled_from([0.0, 0.7]),
    presence_penalty=st.sampled_from([0.0, -0.5]),
    min_tokens=st.sampled_from([0, 4]),
    stop_token_ids=st.sampled_from([(), (3, 4)]),
    logprobs=st.just(True),
    top_logprobs=st.sampled_from([0, 3]),
    logit_bias=st.sampled_from([None, {2: 4.0, 9: -100.0}]),
)
TOKENS = st.lists(st.integers(0, VOCAB - 1), max_size=8)
BAD_WORDS = st.sampled_from([(), [[5]], [[5], [1, 2], [3, 3, 6]]])
MASKS = st.sampled_from([None, None, "some", "none"])


@st.composite
def requests(draw: st.DrawFn, vocab: int) -> Row:
    row = draw(st.builds(Row, PARAMS, prompt=TOKENS, generated=TOKENS, seed=st.integers(0, 2**64 - 1)))
    row.bad_words, mask = draw(BAD_WORDS), draw(MASKS)
    if mask is not None:
        row.allowed = words(*(range(0, vocab, 3) if mask == "some" else ()), vocab=vocab)
    return row


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from([40, 41, 1300]), st.sampled_from([0.1, 2.0, 6.0]), st.integers(0, 100))
def test_a_row_alone_is_the_row_in_any_batch(data: st.DataObject, vocab: int, scale: float, seed: int) -> None:
    rows = data.draw(st.lists(requests(vocab), min_size=1, max_size=20))
    for number, row in enumerate(rows):
        row.id = number
    logits = random_logits(len(rows), vocab, seed, scale)
    if data.draw(st.booleans()):
        logits[seed % len(rows), 11] = math.nan
    together = sample(logits, *rows)
    alone = [sample(logits[i : i + 1].clone(), row) for i, row in enumerate(rows)]
    assert together == Sampled(
        [sampled.tokens[0] for sampled in alone],
        [sampled.logprobs[0] for sampled in alone],
        [sampled.errors[0] for sampled in alone],
    )
    backwards = sample(logits.flip(0), *reversed(rows))
    assert backwards.tokens == together.tokens[::-1]
    assert backwards.logprobs == together.logprobs[::-1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([GREEDY, GenerationParams(top_p=0.9), replace(GREEDY, logprobs=True)]), min_size=1))
def test_logits_in_bfloat16_are_drawn_from_as_the_same_numbers_in_float32(ways: list[GenerationParams]) -> None:
    rows = [Row(params, id=number, seed=number) for number, params in enumerate(ways)]
    logits = random_logits(len(rows), 1300, len(rows), 1.0).to(torch.bfloat16)
    for number in range(0, len(rows), 3):
        logits[number, 640 + number * 7 % 64] = math.nan
    assert sample(logits, *rows) == sample(logits.float(), *rows)


@pytest.mark.parametrize("vocab", [64, 1300, 151_936])
def test_the_likeliest_of_bfloat16_logits_is_the_lowest_id_of_equals(vocab: int) -> None:
    logits = random_logits(5, vocab, 3, 0.5).to(torch.bfloat16)
    logits[1, 1:] = -math.inf
    logits[2, [vocab // 2, vocab - 1]] = 40.0
    logits[3] = 1.0
    logits[4, vocab - 1] = math.inf
    right = [*(row.tolist().index(max(row.tolist())) for row in logits[:4]), -1]
    assert sample(logits, *(Row(GREEDY, id=number) for number in range(5))).tokens == right


@pytest.mark.parametrize("scale", [0.5, 8.0])
def test_a_large_batch_of_a_large_vocabulary_is_drawn_as_each_row_alone(scale: float) -> None:
    ways = [{}, {"top_p": 0.9}, {"min_p": 0.1}, {"min_p": 1e-5}, {"top_k": 20}, {"top_k": 300, "top_p": 0.8}]
    ways += [way | {"temperature": 0.7} for way in ways] + [{"temperature": 0.0}, {"top_p": 0.99, "min_p": 1e-4}]
    rows = [
        Row(GenerationParams(**way, logprobs=True, top_logprobs=2, presence_penalty=penalty), id=number, seed=number)
        for number, (way, penalty) in enumerate((way, penalty) for way in ways for penalty in (0.0, 0.5))
    ]
    logits = random_logits(len(rows), 40_000, scale=scale)
    for row, likeliest in zip(rows, logits.argmax(-1).tolist(), strict=True):
        row.generated = [likeliest] * 2
    together = sample(logits, *rows)
    assert together.errors == [None] * len(rows)
    for number, row in enumerate(rows):
        alone = sample(logits[number, None].clone(), row)
        assert (alone.tokens[0], alone.logprobs[0]) == (together.tokens[number], together.logprobs[number])


@pytest.mark.parametrize("scale", [2.0, 5.0, 12.0])
@pytest.mark.parametrize("cut", [{"top_p": 0.5}, {"top_p": 0.95}, {"min_p": 0.02}, {"top_p": 0.9, "min_p": 1e-4}])
def test_a_bound_of_what_tokens_weigh_draws_as_their_weights_do(
    scale: float, cut: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [Row(GenerationParams(**cut), id=seed, seed=seed) for seed in range(60)]
    logits = random_logits(60, 5000, scale=scale)
    bounded = sample(logits, *rows)
    monkeypatch.setattr(drawing, "most_beyond", lambda *_: math.inf)
    assert sample(logits, *rows) == bounded


def test_no_logits_are_changed() -> None:
    logits = random_logits(3, 64)
    before = logits.clone()
    params = GenerationParams(logit_bias={5: 9.0}, repetition_penalty=2.0, min_tokens=1, temperature=0.5)
    sample(logits, *(Row(params, id=number, bad_words=[[4]], allowed=words(5, vocab=64)) for number in range(3)))
    assert torch.equal(logits, before)


@given(PARAMS, TOKENS, TOKENS)
def test_a_sampler_that_kept_count_draws_as_a_new_one(
    params: GenerationParams, prompt: list[int], steps: list[int]
) -> None:
    kept, row = Sampler(VOCAB, frozenset([EOS])), Row(params, prompt=prompt)
    for number, token in enumerate([*steps, 0]):
        logits = random_logits(seed=number)
        assert kept.sample(logits, [row]) == sample(logits, row)
        row.generated.append(token)


@pytest.mark.parametrize(
    "params",
    [
        GenerationParams(),
        GenerationParams(temperature=0.5),
        GenerationParams(top_k=7),
        GenerationParams(top_p=0.7),
        GenerationParams(min_p=0.1),
        GenerationParams(temperature=1.7, top_k=20, top_p=0.8, min_p=0.05, repetition_penalty=1.5),
        GenerationParams(repetition_penalty=0.6, top_p=0.9),
    ],
)
def test_the_distribution_is_that_of_transformers(params: GenerationParams) -> None:
    logits = random_logits()[0]
    processors = LogitsProcessorList(
        [
            RepetitionPenaltyLogitsProcessor(params.repetition_penalty),
            TemperatureLogitsWarper(params.temperature),
            TopKLogitsWarper(params.top_k or VOCAB),
            TopPLogitsWarper(params.top_p),
            *([MinPLogitsWarper(params.min_p)] if params.min_p else []),
        ]
    )
    probs = processors(torch.tensor([[1, 2, 3]]), logits[None])[0].softmax(0).tolist()
    assert_distributed(Counter(draws(logits, params, 4000)), probs)


def test_the_distribution_over_positions_of_a_large_vocabulary() -> None:
    logits = random_logits(vocab=5003, scale=3.0)[0]
    sampler, row, counts = Sampler(5003), Row(GenerationParams(max_tokens=4000), seed=5), Counter[int]()
    for _ in range(4000):
        row.generated.append(sampler.sample(logits[None], [row]).tokens[0])
        counts[row.generated[-1]] += 1
    assert_distributed(counts, logits.softmax(0).tolist())


def test_hashed_numbers_are_uniform() -> None:
    for numbers in (
        [uniform(1234, position) for position in range(20_000)],
        [uniform(seed, 0) for seed in range(20_000)],
        [uniform(2**64 - 1 - seed, seed) for seed in range(20_000)],
    ):
        assert all(0.0 <= number < 1.0 for number in numbers)
        assert_distributed(Counter(int(number * 64) for number in numbers), [1 / 64] * 64)
        pairs = Counter(int(first * 8) * 8 + int(second * 8) for first, second in pairwise(numbers))
        assert_distributed(pairs, [1 / 64] * 64)


def test_hashed_numbers_stay_what_they_are() -> None:
    assert [uniform(0, 0), uniform(0, 1), uniform(-1, 0)] == [
        0.0564663990004608,
        0.44008326622012284,
        0.5687207756392662,
    ]
    assert uniform(-1, 0) == uniform(2**64 - 1, 0)


def test_the_same_seed_gives_the_same_tokens_and_another_others() -> None:
    logits = random_logits(30, scale=0.5)

    def answer(seed: int, request_id: int) -> list[int]:
        sampler, row = Sampler(VOCAB), Row(GenerationParams(), id=request_id, seed=seed)
        for step in logits:
            row.generated += sampler.sample(step[None], [row]).tokens
        return row.generated

    assert answer(3, 1) == answer(3, 2)
    assert len({tuple(answer(seed, 1)) for seed in (3, 4, 2**63, 2**64 - 1)}) == 4


def test_greedy_takes_the_likeliest_and_of_equals_the_first() -> None:
    logits = random_logits(9).clamp(max=1.0)
    rows = [Row(GREEDY, id=number, seed=number) for number in range(9)]
    expected = [row.index(max(row)) for row in logits.tolist()]
    assert sample(logits, *rows).tokens == expected
    with_drawn = sample(logits, *rows[:-1], Row(GenerationParams(), id=8))
    assert with_drawn.tokens[:-1] == expected[:-1]


@pytest.mark.parametrize("params", [{"top_k": 1}, {"top_p": 1e-9}, {"temperature": 1e-300}, {"min_p": 1.0}])
@pytest.mark.parametrize("vocab", [40, 5003])
def test_the_narrowest_draw_is_greedy(params: dict[str, Any], vocab: int) -> None:
    logits = random_logits(20, vocab)
    rows = [Row(GenerationParams(**{"temperature": 2.0} | params), id=number, seed=number) for number in range(20)]
    assert sample(logits, *rows).tokens == logits.argmax(-1).tolist()


@pytest.mark.parametrize("params", [{"top_k": 1}, {"top_p": 1e-9}])
def test_the_narrowest_draw_takes_the_first_of_equals(params: dict[str, Any]) -> None:
    assert set(draws(torch.zeros(VOCAB), GenerationParams(**params), 20)) == {0}


@pytest.mark.parametrize("top_k", [None, 0, -1, VOCAB, 10**6])
def test_top_k_may_be_off(top_k: int | None) -> None:
    logits = random_logits()[0]
    assert draws(logits, GenerationParams(top_k=top_k), 50) == draws(logits, GenerationParams(), 50)


def test_logprobs_are_of_the_raw_logits() -> None:
    logits = random_logits(5, 5003)
    plain = GenerationParams(logprobs=True, top_logprobs=3)
    bent = replace(plain, temperature=0.3, top_k=2, logit_bias={5: 9.0}, repetition_penalty=2.0, frequency_penalty=1.0)
    greedy = replace(plain, temperature=0.0, top_logprobs=0)
    sampled = sample(
        logits, *(Row(each, id=i) for i, each in enumerate([plain, bent, greedy, GenerationParams(), GREEDY]))
    )
    expected = logits.log_softmax(-1)
    for i, logprobs in enumerate(sampled.logprobs[:3]):
        assert logprobs is not None
        assert logprobs.token == sampled.tokens[i]
        assert logprobs.logprob == expected[i, logprobs.token]
        best = expected[i].topk(3) if i < 2 else expected[i].topk(0)
        assert logprobs.top == tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
    assert sampled.logprobs[3:] == [None, None]


def test_equally_likely_tokens_are_listed_by_id() -> None:
    params = GenerationParams(temperature=0.0, logprobs=True, top_logprobs=4)
    sampled = sample(torch.tensor([[0.0, 1.0, 0.0, 1.0, 0.0]]), Row(params))
    assert isinstance(sampled.logprobs[0], RowLogprobs)
    assert [token for token, _ in sampled.logprobs[0].top] == [1, 3, 0, 2]


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("params", [GREEDY, GenerationParams(logprobs=True, top_k=5, top_p=0.5), GenerationParams()])
def test_logits_that_are_not_finite_fail_their_row_alone(value: float, params: GenerationParams) -> None:
    logits = random_logits(3)
    rows = [Row(params, id=number, seed=number) for number in range(3)]
    healthy = sample(logits, *rows)
    logits[1, 13] = value
    broken = sample(logits, *rows)
    assert broken.errors[1] is not None
    assert "not finite" in broken.errors[1]
    assert (broken.tokens[1], broken.logprobs[1]) == (-1, None)
    for i in (0, 2):
        assert (broken.tokens[i], broken.logprobs[i], broken.errors[i]) == (
            healthy.tokens[i],
            healthy.logprobs[i],
            None,
        )


@pytest.mark.parametrize("params", [GREEDY, GenerationParams(), GenerationParams(top_p=0.5)])
def test_rows_without_any_chance_fail_alone(params: GenerationParams) -> None:
    logits = random_logits(2)
    logits[0] = -math.inf
    sampled = sample(logits, Row(params, id=0), Row(params, id=1))
    assert [error is None for error in sampled.errors] == [False, True]


def test_minus_infinity_is_only_no_chance() -> None:
    logits = random_logits()[0]
    logits[::2] = -math.inf
    params = GenerationParams(logit_bias={0: 100.0}, repetition_penalty=1.5, temperature=1.5, top_p=0.99, min_p=0.001)
    assert all(token % 2 for token in draws(logits, params, 200))


def test_half_precision_logits_are_taken() -> None:
    logits = random_logits(4).bfloat16()
    rows = [Row(GenerationParams(logprobs=True), id=number) for number in range(4)]
    assert sample(logits, *rows) == sample(logits.float(), *rows)


def test_logits_of_another_shape_are_refused() -> None:
    for shape in ((2, VOCAB), (1, VOCAB + 1)):
        with pytest.raises(ValueError, match="are needed"):
            Sampler(VOCAB).sample(torch.zeros(shape), [Row(GREEDY)])
