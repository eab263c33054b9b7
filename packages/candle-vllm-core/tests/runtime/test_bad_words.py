from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import save_llama

from candle_vllm_core import EngineConfig, GenerationParams, InferenceEngine, ParameterError
from candle_vllm_core.runtime.bad_words import BadWords, bad_word_ids
from candle_vllm_core.tokenizer import Tokenizer

TOKENS = st.lists(st.integers(0, 3), max_size=6)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("llama"))


@given(st.lists(TOKENS.filter(bool), max_size=6), TOKENS, TOKENS)
def test_only_what_would_complete_a_sequence_is_banned(
    bad: list[list[int]], prompt: list[int], generated: list[int]
) -> None:
    before = prompt + generated
    expected = {
        seq[-1] for seq in bad if before[len(before) - len(seq) + 1 :] == seq[:-1] and len(seq) <= len(before) + 1
    }
    assert set(BadWords(bad).banned(prompt, generated)) == expected


def test_a_word_is_tokenized_as_it_is_and_with_and_without_a_leading_space(path: Path) -> None:
    tokenizer = Tokenizer.from_directory(path)
    encoded = {text: tuple(tokenizer.encode(text)) for text in ("engine", " engine", "\n", " \n")}
    assert len(set(encoded.values())) == 4
    for word in ("engine", " engine"):
        assert set(bad_word_ids([word], tokenizer, 1000)) == {encoded["engine"], encoded[" engine"]}
    assert set(bad_word_ids(["\n"], tokenizer, 1000)) == {encoded["\n"], encoded[" \n"]}
    assert bad_word_ids([], tokenizer, 1000) == []


def test_a_word_that_the_model_has_no_tokens_for_is_refused(path: Path) -> None:
    tokenizer = Tokenizer.from_directory(path)
    with pytest.raises(ParameterError, match="bad_words is 'engine'"):
        bad_word_ids(["engine"], tokenizer, 3)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("size", [1, 2])
def test_an_answer_has_no_bad_word(path: Path, temperature: float, size: int) -> None:
    params = GenerationParams(max_tokens=40, temperature=temperature, seed=3, ignore_eos=True)
    tokenizer = Tokenizer.from_directory(path)
    with InferenceEngine(EngineConfig(model_path=path, device="cpu", dtype="fp32")) as engine:
        free = engine.generate_sync([5, 6, 7], params).tokens
        drawn = [free[at : at + size] for at in range(len(free))]
        word = next(
            text for tokens in drawn if tokens in bad_word_ids([text := tokenizer.decode(tokens)], tokenizer, 999)
        )
        sequences = bad_word_ids([word], tokenizer, 999)
        bound = engine.generate_sync([5, 6, 7], replace(params, bad_words=[word])).tokens
    assert contains(free, sequences)
    assert not contains(bound, sequences)


def contains(tokens: tuple[int, ...], sequences: list[tuple[int, ...]]) -> bool:
    return any(tokens[at : at + len(seq)] == seq for seq in sequences for at in range(len(tokens)))
