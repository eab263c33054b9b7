"""Log probabilities of prompts, against those of `transformers`, however the prompt was computed."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checkpoints import save_model
from null_runner import make_request
from tiny_models import open_engine, save_llama, save_tokenizer
from torch import Tensor
from transformers import AutoModelForCausalLM

from candle_vllm_core import GenerationOutput, GenerationParams
from candle_vllm_core.runtime import runner
from candle_vllm_core.runtime.logprobs import prompt_targets
from candle_vllm_core.runtime.scheduler import Slice
from candle_vllm_core.types import TokenLogprob

ASKS = GenerationParams(temperature=0, max_tokens=4, ignore_eos=True, prompt_logprobs=3)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("llama"))


def prompt_of(length: int, seed: int = 0) -> list[int]:
    draw = random.Random(seed)
    return [draw.randrange(2, 250) for _ in range(length)]


def expected_logprobs(path: Path, prompts: Sequence[Sequence[int]]) -> list[Tensor]:
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    with torch.no_grad():
        return [model(torch.tensor([prompt])).logits[0].log_softmax(-1) for prompt in prompts]


def assert_right(output: GenerationOutput, prompt: Sequence[int], expected: Tensor, count: int = 3) -> None:
    found = output.prompt_logprobs
    assert found is not None and len(found) == len(prompt)
    assert found[0] is None
    for position, logprob in enumerate(found[1:]):
        assert logprob is not None
        assert logprob.token_id == prompt[position + 1]
        assert logprob.logprob == pytest.approx(float(expected[position, logprob.token_id]), abs=1e-4)
        best = expected[position].topk(count)
        assert [each.token_id for each in logprob.top] == best.indices.tolist()
        assert [each.logprob for each in logprob.top] == pytest.approx(best.values.tolist(), abs=1e-4)


@pytest.mark.parametrize("settings", [{}, {"enable_chunked_prefill": False}, {"prefill_chunk_size": 5}])
def test_they_are_those_of_transformers(
    path: Path, settings: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "PROMPT_PIECE", 7)
    prompts = [prompt_of(length, length) for length in (1, 2, 16, 17, 50, 100)]
    params = [ASKS, ASKS, replace(ASKS, prompt_logprobs=0), ASKS, GenerationParams(max_tokens=3), ASKS]
    with open_engine(path, **settings) as engine:
        outputs = engine.generate_batch(prompts, params)
    for prompt, its, output, expected in zip(prompts, params, outputs, expected_logprobs(path, prompts), strict=True):
        if its.prompt_logprobs is None:
            assert output.prompt_logprobs is None
        else:
            assert_right(output, prompt, expected, its.prompt_logprobs)


def test_asking_changes_no_answer_and_takes_nothing_from_the_prefix_cache(path: Path) -> None:
    prompt = prompt_of(60)
    plain = replace(ASKS, prompt_logprobs=None)
    with open_engine(path) as engine:
        first = engine.generate_sync(prompt, plain)
        asked = engine.generate_sync(prompt, ASKS)
        again = engine.generate_sync(prompt, plain)
    assert [each.stats.cached_tokens for each in (first, asked, again)] == [0, 0, 56]
    assert first.tokens == asked.tokens == again.tokens
    assert_right(asked, prompt, *expected_logprobs(path, [prompt]))


def test_preemption_changes_none_and_loses_none(path: Path) -> None:
    prompts = [prompt_of(40, seed) for seed in range(8)]
    params = replace(ASKS, max_tokens=60)
    with open_engine(path) as engine:
        expected = engine.generate_batch(prompts, params)
        memory = engine.model_info().kv_bytes_per_token * 140
    with open_engine(path, kv_cache_memory=memory) as engine:
        outputs = engine.generate_batch(prompts, params)
        assert engine.stats().preemptions > 0
    assert [output.tokens for output in outputs] == [output.tokens for output in expected]
    for prompt, output, logprobs in zip(prompts, outputs, expected_logprobs(path, prompts), strict=True):
        assert_right(output, prompt, logprobs)


def test_after_a_preemption_only_what_is_missing_is_computed_again() -> None:
    request = make_request(1, range(10), ASKS)
    other = make_request(2, range(5))
    assert request.num_reusable == 0
    targets = list(prompt_targets((Slice(other, 0, 3), Slice(request, 0, 4))))
    assert [(target.row, target.token) for target in targets] == [(3, 1), (4, 2), (5, 3), (6, 4)]
    request.prompt_logprobs += [TokenLogprob(token, "", 0.0) for token in range(1, 5)]
    assert request.num_reusable == 4
    assert [target.token for target in prompt_targets((Slice(request, 2, 8),))] == [5, 6, 7, 8]
    with pytest.raises(RuntimeError, match="tokens 4 to 5"):
        list(prompt_targets((Slice(request, 5, 8),)))
    request.prompt_logprobs += [TokenLogprob(token, "", 0.0) for token in range(5, 10)]
    request.generated += [1, 2]
    assert request.num_reusable == 11
    assert list(prompt_targets((Slice(request, 8, 12),))) == []


def test_a_model_with_states_and_a_window_gives_them_too(tmp_path: Path) -> None:
    for name in ("gemma3", "qwen3-next"):
        save_model(tmp_path / name, name)
        save_tokenizer(tmp_path / name)
        prompt = [1 + number * 7 % 90 for number in range(40)]
        with open_engine(tmp_path / name) as engine:
            output = engine.generate_sync(prompt, ASKS)
        assert_right(output, prompt, *expected_logprobs(tmp_path / name, [prompt]))
