"""Embeddings, against the hidden states of `transformers`, however they were computed and beside whatever else."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from checkpoints import save_model
from harness import Harness
from null_runner import alone
from tiny_models import open_engine, save_llama, save_tokenizer
from torch import Tensor
from transformers import PreTrainedModel
from variants import MODELS

from candle_vllm_core import (
    CancelledError,
    CapacityError,
    ContextLengthError,
    Embedding,
    EmbeddingParams,
    GenerationError,
    GenerationParams,
    ParameterError,
    Pooling,
    TokenizationError,
)
from candle_vllm_core.runtime.pool import Pool, declared_pooling
from candle_vllm_core.runtime.pooling import pool_rows, take
from candle_vllm_core.runtime.scheduler import Slice

WAYS: Sequence[Pooling] = ("mean", "last", "cls")
FAMILIES = [name for name in MODELS if "," not in name] + ["mistral, window 7", "qwen3-next, biases", "gemma3, vision"]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("llama"))


def prompt_of(length: int, seed: int = 0, vocab: int = 250) -> list[int]:
    draw = random.Random(seed)
    return [draw.randrange(2, vocab) for _ in range(length)]


def pooled(model: PreTrainedModel, prompt: Sequence[int], pooling: Pooling) -> Tensor:
    decoder = model.get_decoder()
    with torch.inference_mode():
        states = decoder(torch.tensor([list(prompt)])).last_hidden_state[0].double()
    vector = {"mean": states.mean(0), "last": states[-1], "cls": states[0]}[pooling]
    return vector / vector.norm()


@pytest.mark.parametrize("name", FAMILIES)
def test_they_are_those_of_transformers_in_every_family(name: str, tmp_path: Path) -> None:
    model = save_model(tmp_path, name)
    save_tokenizer(tmp_path)
    prompts = [prompt_of(length, length, 95) for length in (41, 16, 3)]
    with open_engine(tmp_path, max_sequence_length=MODELS[name].length) as engine:
        for pooling in WAYS:
            found = engine.embed_sync(prompts, EmbeddingParams(pooling=pooling))
            for prompt, embedding in zip(prompts, found, strict=True):
                assert embedding.prompt_tokens == len(prompt)
                right = pooled(model, prompt, pooling)
                torch.testing.assert_close(torch.tensor(embedding.values).double(), right, atol=2e-5, rtol=0)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
async def test_they_are_the_same_bits_in_any_chunks_and_beside_anything(path: Path, dtype: str) -> None:
    prompts = [prompt_of(length, length) for length in (1, 7, 60, 100, 33)]
    for pooling in WAYS:
        params = EmbeddingParams(pooling=pooling)
        with open_engine(path, dtype=dtype, enable_chunked_prefill=False) as engine:
            right = [engine.embed_sync([prompt], params)[0].values for prompt in prompts]
        with open_engine(path, dtype=dtype, prefill_chunk_size=7, max_batch_size=4) as engine:
            writing = asyncio.create_task(engine.generate(prompt_of(9), GenerationParams(max_tokens=60)))
            found = await engine.embed(prompts, params)
            await writing
        assert [embedding.values for embedding in found] == right


def test_preemption_changes_none(path: Path) -> None:
    prompts = [prompt_of(40, seed) for seed in range(6)]
    with open_engine(path) as engine:
        right = [embedding.values for embedding in engine.embed_sync(prompts)]
        memory = engine.model_info().kv_bytes_per_token * 140
    with open_engine(path, kv_cache_memory=memory, prefill_chunk_size=8) as engine:
        params = GenerationParams(max_tokens=90, ignore_eos=True, priority=-1)
        writing = [threading.Thread(target=engine.generate_sync, args=(prompt_of(4, n), params)) for n in range(2)]
        for thread in writing:
            thread.start()
        found = engine.embed_sync(prompts)
        for thread in writing:
            thread.join()
        assert engine.stats().preemptions > 0
    assert [embedding.values for embedding in found] == right


def test_only_what_needs_no_early_state_takes_from_the_prefix_cache(path: Path) -> None:
    prompt = prompt_of(60)
    with open_engine(path) as engine:
        first, again = (engine.embed_sync([prompt])[0] for _ in range(2))
        last = engine.embed_sync([prompt], EmbeddingParams(pooling="last"))[0]
        salted = engine.embed_sync([prompt], EmbeddingParams(pooling="last", cache_salt="mine"))[0]
        written = engine.generate_sync(prompt, GenerationParams(max_tokens=1))
    assert [each.cached_tokens for each in (first, again, last, salted)] == [0, 0, 56, 0]
    assert written.stats.cached_tokens == 56
    assert first == again and last.values == salted.values


def test_a_prompt_may_fill_the_context_and_no_more(path: Path) -> None:
    with open_engine(path) as engine:
        limit = engine.model_info().max_sequence_length
        (whole,) = engine.embed_sync([prompt_of(limit)])
        assert whole.prompt_tokens == limit == 256
        with pytest.raises(ContextLengthError) as caught:
            engine.embed_sync([[5], prompt_of(limit + 1)])
        assert (caught.value.prompt_tokens, caught.value.limit) == (limit + 1, limit)
        assert engine.embed_sync([[5]]) and engine.stats().running == 0
        memory = engine.model_info().kv_bytes_per_token * 64
    with open_engine(path, kv_cache_memory=memory) as engine:
        assert engine.embed_sync([prompt_of(64)])[0].prompt_tokens == 64
        with pytest.raises(CapacityError) as full:
            engine.embed_sync([prompt_of(65)])
        assert (full.value.tokens_needed, full.value.tokens_available) == (65, 64)


def test_what_is_wrong_is_refused_before_anything_runs(path: Path) -> None:
    with open_engine(path) as engine:
        for bad in ([], [-1], [10_000], [True]):
            with pytest.raises(TokenizationError):
                engine.embed_sync([[5], bad])
        with pytest.raises(ParameterError, match="from 1 to 64"):
            engine.embed_sync([[5]], EmbeddingParams(dimensions=65))
        assert engine.embed_sync([]) == []
        assert engine.stats().steps == 0
    for wrong in ({"pooling": "max"}, {"dimensions": 0}, {"dimensions": True}, {"priority": 2**31}, {"cache_salt": ""}):
        with pytest.raises(ParameterError):
            EmbeddingParams(**wrong)


def test_fewer_dimensions_are_the_first_ones_brought_to_length_1(path: Path) -> None:
    prompt = prompt_of(20)
    with open_engine(path) as engine:
        (whole,) = engine.embed_sync([prompt])
        (short,) = engine.embed_sync([prompt], EmbeddingParams(dimensions=10))
    first = torch.tensor(whole.values)[:10]
    torch.testing.assert_close(torch.tensor(short.values), first / first.norm())
    assert float(torch.tensor(short.values).norm()) == pytest.approx(1.0)


async def test_a_call_that_is_cancelled_gives_everything_back(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with open_engine(path, prefill_chunk_size=1) as engine:
        call = asyncio.create_task(engine.embed([prompt_of(200, seed) for seed in range(4)]))
        while engine.stats().running == 0:
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert len((await engine.embed([prompt_of(3)]))[0].values) == 64
        assert (engine.stats().running, engine.stats().waiting, engine.stats().kv_blocks_used) == (0, 0, 0)
        assert engine.stats().prompt_tokens < 4 * 200
    assert caplog.records == []


async def test_closing_the_engine_ends_a_call(path: Path) -> None:
    engine = open_engine(path, prefill_chunk_size=1)
    call = asyncio.create_task(engine.embed([prompt_of(200, seed) for seed in range(4)]))
    while engine.stats().running == 0:
        await asyncio.sleep(0)
    await asyncio.to_thread(engine.close)
    with pytest.raises(CancelledError):
        await call


def test_one_that_is_not_finite_fails_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoil(pool: Pool, hidden: Tensor) -> None:
        take(pool, hidden.clone().fill_(torch.inf) if len(pool.positions) == 7 else hidden)

    monkeypatch.setattr("candle_vllm_core.runtime.runner.take", spoil)
    with open_engine(path) as engine:
        found: list[Embedding] = []
        good = threading.Thread(target=lambda: found.extend(engine.embed_sync([prompt_of(9)])))
        good.start()
        with pytest.raises(GenerationError, match="not finite"):
            engine.embed_sync([prompt_of(7)])
        good.join()
        assert len(found) == 1 and engine.stats().kv_blocks_used == 0


def test_an_answer_goes_on_in_every_step_of_a_long_embedding() -> None:
    harness = Harness(num_blocks=64, chunk=8, batch=4)
    answer = harness.add([1, 2, 3], GenerationParams(max_tokens=20))
    harness.step()
    embedded = harness.add(range(40), pooling="mean")
    while harness.scheduler.find(embedded.id) is not None:
        assert harness.step() == {answer.id: 1, embedded.id: min(7, 40 - 7 * (len(answer.generated) - 2))}
        harness.check()
    harness.run()
    assert harness.tokens(answer) == alone([1, 2, 3], 20)
    assert harness.tokens(embedded) == [] and harness.runner.pooled[id(embedded.pool)] == list(range(40))


@pytest.mark.parametrize("pooling", WAYS)
@pytest.mark.parametrize("seed", range(20))
def test_a_crowded_cache_loses_no_state_and_takes_none_twice(pooling: Pooling, seed: int) -> None:
    draw = random.Random(seed)
    harness = Harness(num_blocks=8, block_size=4, chunk=6, batch=4)
    begin = [draw.randrange(50) for _ in range(8)]
    requests = []
    for _ in range(12):
        prompt = begin[: draw.randrange(9)] + [draw.randrange(50) for _ in range(draw.randrange(1, 24))]
        wanted = pooling if draw.random() < 0.7 else None
        params = GenerationParams(max_tokens=draw.randrange(1, 8), priority=draw.randrange(3))
        requests.append(harness.add(prompt, params, wanted))
        for _ in range(draw.randrange(3)):
            harness.step()
            harness.check()
    harness.run()
    for request in requests:
        if request.pool is not None:
            prompt = harness.prompts[request.id]
            assert harness.runner.pooled[id(request.pool)] == [prompt[place] for place in request.pool.positions]
    harness.check_answers()
    assert harness.kv.num_used == 0


def test_a_sum_is_the_same_bits_however_the_states_are_cut() -> None:
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(700, 48, generator=generator) * torch.logspace(-6, 6, 700)[:, None]
    totals = []
    for sizes in ([700], [1] * 700, [7] * 100, [255, 2, 443]):
        pool = Pool(range(701))
        for piece in torch.split(states, sizes):
            take(pool, piece)
        assert pool.total is not None and pool.num_taken == 700
        totals.append(pool.total)
    assert all(torch.equal(total, totals[0]) for total in totals)
    torch.testing.assert_close(totals[0], states.double().sum(0))


def test_a_slice_after_a_state_that_is_missing_is_a_defect() -> None:
    request = Harness().add(range(10), pooling="mean")
    with pytest.raises(RuntimeError, match="tokens 0 to 4"):
        list(pool_rows((Slice(request, 4, 8),)))


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode_lasttoken": True, "pooling_mode_mean_tokens": False}, "last"),
        ({"pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode": "lasttoken", "embedding_dimension": 64}, "last"),
        ({"pooling_mode_max_tokens": True}, "mean"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, "mean"),
        ({"pooling_mode": ["cls"]}, "mean"),
        ([], "mean"),
    ],
)
def test_the_files_of_a_model_say_how_to_pool(config: object, pooling: Pooling, tmp_path: Path) -> None:
    assert declared_pooling(tmp_path) == "mean"
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(config))
    assert declared_pooling(tmp_path) == pooling


def test_a_model_that_says_how_to_pool_is_believed(tmp_path: Path) -> None:
    save_llama(tmp_path)
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode_lasttoken": true}')
    prompt = prompt_of(20)
    with open_engine(tmp_path) as engine:
        assert engine.model_info().pooling == "last"
        last = engine.embed_sync([prompt], EmbeddingParams(pooling="last"))
        assert engine.embed_sync([prompt])[0].values == last[0].values
