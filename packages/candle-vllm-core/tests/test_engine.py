import asyncio
import gc
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from candle_vllm_core import (
    CapacityError,
    ConfigError,
    ContextLengthError,
    DeviceError,
    EngineClosedError,
    EngineConfig,
    FinishReason,
    GenerationError,
    GenerationOutput,
    GenerationParams,
    InferenceEngine,
    InferenceRequest,
    ParameterError,
    RequestHandle,
    TokenizationError,
)

VOCAB = 280
GREEDY = GenerationParams(temperature=0, max_tokens=20, ignore_eos=True)


def config(path: Path, **settings: object) -> EngineConfig:
    return EngineConfig(**{"model_path": path, "device": "cpu", "dtype": "fp32", "block_size": 4} | settings)


def mixed_requests(count: int, vocab: int) -> list[tuple[list[int], GenerationParams]]:
    draw = random.Random(3)
    requests = []
    for number in range(count):
        prompt = [draw.randrange(2, vocab) for _ in range(draw.choice([1, 2, 7, 16, 33, 60]))]
        choices = {
            "max_tokens": draw.randrange(1, 25),
            "temperature": draw.choice([0.0, 0.7, 1.5]),
            "seed": number,
            "top_p": draw.choice([1.0, 0.9]),
            "top_k": draw.choice([None, 5, 40]),
            "min_p": draw.choice([0.0, 0.05]),
            "repetition_penalty": draw.choice([1.0, 1.3]),
            "frequency_penalty": draw.choice([0.0, 0.5]),
            "presence_penalty": draw.choice([0.0, 0.5]),
            "logprobs": draw.choice([True, False]),
            "logit_bias": draw.choice([None, {5: 10.0}]),
            "ignore_eos": draw.choice([True, False]),
        }
        requests.append((prompt, GenerationParams(**choices)))
    return requests


def test_greedy_tokens_are_those_of_transformers(engine: InferenceEngine, tiny_llama: Path) -> None:
    reference = LlamaForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    prompt = engine.tokenize("the engine answers")
    expected = reference.generate(
        torch.tensor([prompt]), max_new_tokens=20, min_new_tokens=20, do_sample=False, pad_token_id=0
    )
    output = engine.generate_sync(prompt, GenerationParams(temperature=0, max_tokens=20, min_tokens=20))
    assert list(output.tokens) == expected[0, len(prompt) :].tolist()


def test_logprobs_are_those_of_the_raw_distribution(engine: InferenceEngine, tiny_llama: Path) -> None:
    reference = LlamaForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    prompt = engine.tokenize("ask")
    params = GenerationParams(max_tokens=6, seed=1, temperature=0.5, top_k=3, logprobs=True, top_logprobs=4)
    output = engine.generate_sync(prompt, params)
    with torch.no_grad():
        logits = reference(torch.tensor([[*prompt, *output.tokens]])).logits[0]
    expected = logits.log_softmax(-1)[len(prompt) - 1 : -1]
    assert output.logprobs is not None and len(output.logprobs) == len(output.tokens)
    for row, entry in zip(expected, output.logprobs, strict=True):
        assert entry.logprob == pytest.approx(row[entry.token_id].item(), abs=1e-4)
        assert [top.token_id for top in entry.top] == row.topk(4).indices.tolist()
        assert entry.token_bytes.decode(errors="replace") == entry.token


async def test_all_ways_of_asking_give_one_answer(engine: InferenceEngine) -> None:
    prompt = engine.tokenize("what")
    whole = await engine.generate(prompt, GREEDY)
    chunks = [chunk async for chunk in engine.generate_stream(prompt, GREEDY)]
    sync = await asyncio.to_thread(engine.generate_sync, prompt, GREEDY)
    [batched] = await asyncio.to_thread(engine.generate_batch, [prompt], GREEDY)
    assert whole.tokens == sync.tokens == batched.tokens == sum((chunk.tokens for chunk in chunks), ())
    assert whole.text == sync.text == batched.text == "".join(chunk.text for chunk in chunks)
    assert [chunk.finish_reason for chunk in chunks][-2:] == [None, FinishReason.LENGTH]
    assert whole.text == engine.detokenize(whole.tokens, skip_special_tokens=False)


def test_sixty_four_mixed_requests_at_once_answer_as_each_does_alone(tiny_llama: Path) -> None:
    with InferenceEngine(config(tiny_llama, prefill_chunk_size=48, enable_prefix_cache=False)) as engine:
        requests = mixed_requests(64, engine.model_info().vocab_size)
        alone = [engine.generate_sync(prompt, params) for prompt, params in requests]
        together = engine.generate_batch([prompt for prompt, _ in requests], [params for _, params in requests])
    assert [output.tokens for output in together] == [output.tokens for output in alone]
    assert [output.text for output in together] == [output.text for output in alone]
    assert len({output.tokens for output in alone}) > 40, "the requests must differ for this to show anything"


def test_little_memory_changes_no_answer(tiny_llama: Path) -> None:
    requests = mixed_requests(24, VOCAB)
    prompts, params = [prompt for prompt, _ in requests], [params for _, params in requests]
    with InferenceEngine(config(tiny_llama)) as engine:
        expected = engine.generate_batch(prompts, params)
        token_bytes = engine.model_info().kv_bytes_per_token
    with InferenceEngine(config(tiny_llama, kv_cache_memory=token_bytes * 128, prefill_chunk_size=16)) as small:
        outputs = small.generate_batch(prompts, params)
        assert small.stats().preemptions > 0 and small.stats().kv_blocks_used == 0
    assert [output.tokens for output in outputs] == [output.tokens for output in expected]


async def test_two_thousand_requests_with_random_cancels_leave_nothing_behind(tiny_llama: Path) -> None:
    draw = random.Random(5)

    async def one(engine: InferenceEngine, number: int) -> bool:
        prompt = [draw.randrange(2, VOCAB) for _ in range(draw.randrange(1, 30))]
        patience = draw.choice([0, 1, 2, 100])
        stream = engine.generate_stream(prompt, GenerationParams(max_tokens=6, seed=number))
        async for chunk in stream:
            patience -= 1
            if patience < 0:
                await stream.aclose()
                return chunk.output is None
        return False

    async with InferenceEngine(config(tiny_llama, kv_cache_memory=1 << 18)) as engine:
        cancelled = 0
        for _ in range(20):
            cancelled += sum(await asyncio.gather(*(one(engine, number) for number in range(100))))
        expected = await engine.generate([5, 6, 7], GREEDY)
        assert len(expected.tokens) == 20, "the loop is alive"
        stats = engine.stats()
    assert cancelled > 500
    assert (stats.running, stats.waiting, stats.kv_blocks_used) == (0, 0, 0)


def test_many_threads_may_ask_at_once(engine: InferenceEngine) -> None:
    prompts = [engine.tokenize(text) for text in ("the", "engine", "answers", "what") * 4]
    expected = [engine.generate_sync(prompt, GREEDY).tokens for prompt in prompts]
    with ThreadPoolExecutor(8) as pool:
        outputs = list(pool.map(lambda prompt: engine.generate_sync(prompt, GREEDY), prompts))
    assert [output.tokens for output in outputs] == expected


def test_several_event_loops_may_use_one_engine(engine: InferenceEngine) -> None:
    prompt = engine.tokenize("loops")

    async def ask() -> GenerationOutput:
        return await engine.generate(prompt, GREEDY)

    with ThreadPoolExecutor(3) as pool:
        outputs = list(pool.map(lambda _: asyncio.run(ask()), range(6)))
    assert len({output.tokens for output in outputs}) == 1


def test_two_engines_in_one_process_do_not_mix(tiny_llama: Path, engine: InferenceEngine) -> None:
    prompt = engine.tokenize("two")
    expected = engine.generate_sync(prompt, GREEDY).tokens
    with InferenceEngine(config(tiny_llama)) as other, ThreadPoolExecutor(4) as pool:
        both = list(pool.map(lambda chosen: chosen.generate_sync(prompt, GREEDY).tokens, [engine, other] * 4))
    assert set(both) == {expected}
    assert engine.generate_sync(prompt, GREEDY).tokens == expected, "closing one leaves the other alone"


def test_a_batch_keeps_its_order_and_a_bad_prompt_its_place(engine: InferenceEngine) -> None:
    good = engine.tokenize("good")
    outputs = engine.generate_batch([good, [], good, [10**6]], GREEDY)
    assert [output.finish_reason for output in outputs] == [
        FinishReason.LENGTH,
        FinishReason.ERROR,
        FinishReason.LENGTH,
        FinishReason.ERROR,
    ]
    assert "empty" in str(outputs[1].error) and "1000000" in str(outputs[3].error)
    with pytest.raises(GenerationError, match="2 prompts came with 1 params"):
        engine.generate_batch([good, good], [GREEDY])
    assert engine.generate_batch([]) == []


def test_a_batch_shows_one_progress_bar(engine: InferenceEngine, capfd: pytest.CaptureFixture[str]) -> None:
    engine.generate_batch([engine.tokenize("bar")] * 3, GREEDY, progress=True)
    assert "3/3" in capfd.readouterr().err
    engine.generate_batch([engine.tokenize("bar")] * 3, GREEDY)
    assert capfd.readouterr().err == ""


def test_a_bad_request_is_refused_and_the_engine_goes_on(engine: InferenceEngine) -> None:
    info = engine.model_info()
    with pytest.raises(TokenizationError, match="empty"):
        engine.generate_sync([])
    with pytest.raises(TokenizationError, match=str(info.vocab_size)):
        engine.generate_sync([info.vocab_size])
    with pytest.raises(ContextLengthError) as raised:
        engine.generate_sync([1] * info.max_sequence_length)
    assert (raised.value.prompt_tokens, raised.value.limit) == (256, 256)
    with pytest.raises(ParameterError, match="logit_bias"):
        engine.generate_sync([1], GenerationParams(logit_bias={info.vocab_size: 1.0}))
    with pytest.raises(TokenizationError):
        engine.detokenize([info.vocab_size])
    assert len(engine.generate_sync([5], GREEDY).tokens) == 20


def test_an_answer_ends_at_the_longest_sequence(engine: InferenceEngine) -> None:
    output = engine.generate_sync([5] * 250, GenerationParams(max_tokens=50, temperature=0, ignore_eos=True))
    assert (len(output.tokens), output.finish_reason) == (6, FinishReason.LENGTH)


def test_eos_ends_an_answer_and_is_hidden_unless_it_is_ignored(engine: InferenceEngine) -> None:
    eos = GenerationParams(logit_bias={1: 100.0}, max_tokens=3, temperature=0)
    output = engine.generate_sync([5], eos)
    assert (output.tokens, output.text, output.finish_reason) == ((1,), "", FinishReason.STOP)
    ignored = engine.generate_sync([5], GenerationParams(logit_bias={1: 100.0}, max_tokens=3, ignore_eos=True))
    assert (ignored.tokens, ignored.text) == ((1, 1, 1), "<|im_end|>" * 3)
    later = engine.generate_sync(
        [5], GenerationParams(logit_bias={1: 100.0}, max_tokens=9, min_tokens=2, temperature=0)
    )
    assert (len(later.tokens), later.tokens[-1]) == (3, 1) and 1 not in later.tokens[:2]


def test_a_prompt_seen_before_is_not_computed_again(tiny_llama: Path) -> None:
    prompt = [5 + number % 40 for number in range(50)]
    with InferenceEngine(config(tiny_llama)) as engine:
        first, second = engine.generate_sync(prompt, GREEDY), engine.generate_sync(prompt, GREEDY)
        assert (first.stats.cached_tokens, second.stats.cached_tokens) == (0, 48)
        assert engine.stats().prefix_hit_tokens == 48 and engine.stats().kv_blocks_cached > 0
    assert first.tokens == second.tokens
    with InferenceEngine(config(tiny_llama, enable_prefix_cache=False)) as engine:
        assert [engine.generate_sync(prompt, GREEDY).stats.cached_tokens for _ in range(2)] == [0, 0]


def test_a_seed_repeats_an_answer_and_an_engine_seed_a_run(tiny_llama: Path) -> None:
    def run(seed: int | None) -> list[tuple[int, ...]]:
        with InferenceEngine(config(tiny_llama, seed=seed)) as engine:
            return [engine.generate_sync([5, 6], GenerationParams(max_tokens=12)).tokens for _ in range(3)]

    assert run(1) == run(1)
    assert run(1) != run(2) and run(None) != run(None)
    assert len(set(run(1))) == 3, "each request draws its own noise"


def drain(engine: InferenceEngine, count: int) -> dict[RequestHandle, GenerationOutput]:
    outputs: dict[RequestHandle, GenerationOutput] = {}
    while len(outputs) < count:
        for update in engine.step():
            if update.output is not None:
                outputs[update.handle] = update.output
    return outputs


def test_stepping_by_hand_gives_the_same_answers(engine: InferenceEngine) -> None:
    prompts = [engine.tokenize(text) for text in ("by", "hand", "we", "step")]
    expected = [engine.generate_sync(prompt, GREEDY).tokens for prompt in prompts]
    handles = [engine.add_request(InferenceRequest(prompt=prompt, params=GREEDY)) for prompt in prompts]
    outputs = drain(engine, 4)
    assert [outputs[handle].tokens for handle in handles] == expected
    assert engine.step() == []


async def test_hand_and_loop_exclude_each_other_and_change_over_when_idle(engine: InferenceEngine) -> None:
    handle = engine.add_request(InferenceRequest(prompt=[5], params=GREEDY))
    with pytest.raises(GenerationError, match="add_request"):
        await engine.generate([5], GREEDY)
    engine.cancel_request(handle)
    [update] = engine.step()
    assert update.handle == handle and update.output is not None
    assert update.output.finish_reason is FinishReason.CANCELLED
    stream = engine.generate_stream([5], GREEDY)
    await anext(stream)
    with pytest.raises(GenerationError, match="generate"):
        engine.step()
    with pytest.raises(GenerationError, match="generate"):
        engine.add_request(InferenceRequest(prompt=[5]))
    async for _ in stream:
        pass
    handle = engine.add_request(InferenceRequest(prompt=[5], params=GREEDY))
    assert len(drain(engine, 1)[handle].tokens) == 20


async def test_closing_a_stream_frees_its_blocks(tiny_llama: Path) -> None:
    async with InferenceEngine(config(tiny_llama, enable_prefix_cache=False)) as engine:
        stream = engine.generate_stream([5], GenerationParams(max_tokens=250, ignore_eos=True))
        await anext(stream)
        await stream.aclose()
        await engine.generate([5], GREEDY)
        assert (engine.stats().running, engine.stats().kv_blocks_used) == (0, 0)


async def test_cancelling_a_call_cancels_its_request(tiny_llama: Path) -> None:
    async with InferenceEngine(config(tiny_llama)) as engine:
        call = asyncio.ensure_future(engine.generate([5], GenerationParams(max_tokens=250, ignore_eos=True)))
        await anext(engine.generate_stream([6], GREEDY))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await engine.generate([5], GREEDY)
        assert engine.stats().running <= 1, "only the stream that is still open may run"


async def test_close_ends_pending_requests_as_cancelled_and_refuses_later_calls(tiny_llama: Path) -> None:
    engine = await InferenceEngine.new(config(tiny_llama))
    stream = engine.generate_stream([5], GenerationParams(max_tokens=250, ignore_eos=True))
    await anext(stream)
    await asyncio.to_thread(engine.close)
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].finish_reason is FinishReason.CANCELLED
    engine.close()
    for call in (
        engine.stats,
        engine.model_info,
        engine.step,
        lambda: engine.tokenize("x"),
        lambda: engine.detokenize([1]),
    ):
        with pytest.raises(EngineClosedError):
            call()
    with pytest.raises(EngineClosedError):
        await engine.generate([5])


def test_an_engine_that_is_dropped_ends_its_thread(tiny_llama: Path) -> None:
    before = threading.active_count()
    engine = InferenceEngine(config(tiny_llama))
    assert threading.active_count() == before + 1
    del engine
    gc.collect()
    assert threading.active_count() == before


def test_a_fault_in_a_step_fails_its_requests_and_the_loop_goes_on(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from candle_vllm_core.runtime import runner

    with InferenceEngine(config(tiny_llama)) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(runner, "layout_of", lambda *arguments: 1 / 0)
            output = engine.generate_sync([5], GREEDY)
        assert (output.finish_reason, output.error) == (FinishReason.ERROR, "ZeroDivisionError: division by zero")
        assert len(engine.generate_sync([5], GREEDY).tokens) == 20
        assert engine.stats().kv_blocks_used == 0


def test_a_device_that_is_not_there_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(DeviceError, match="cpu"):
        InferenceEngine(EngineConfig(model_path="/nowhere", device="cuda:99"))


def test_more_than_the_model_takes_is_refused(tiny_llama: Path) -> None:
    with pytest.raises(ConfigError, match="256"):
        InferenceEngine(config(tiny_llama, max_sequence_length=257))
    with pytest.raises(ConfigError, match="kv_cache_memory"):
        InferenceEngine(config(tiny_llama, kv_cache_memory=10))
    with pytest.raises(ConfigError, match="in all; ask for less"):
        InferenceEngine(config(tiny_llama, kv_cache_memory=1 << 49))


def test_less_memory_than_one_sequence_opens_with_a_warning(tiny_llama: Path, caplog: pytest.LogCaptureFixture) -> None:
    with InferenceEngine(config(tiny_llama, kv_cache_memory=64 * 512)) as engine:
        assert "kv_cache_memory" in caplog.text
        limit = engine.model_info().max_sequence_length
        assert limit < 256
        output = engine.generate_sync([5] * 10, GenerationParams(max_tokens=250, ignore_eos=True))
        assert len(output.tokens) == limit - 10
        with pytest.raises(CapacityError) as raised:
            engine.generate_sync([5] * limit)
        assert (raised.value.tokens_needed, raised.value.tokens_available) == (limit + 1, limit)


def test_the_builder_opens_an_engine(tiny_llama: Path) -> None:
    builder = InferenceEngine.builder().model_path(tiny_llama).device("cpu").max_batch_size(2).dtype("fp32")
    with builder.build() as engine:
        info = engine.model_info()
    assert (info.model_id, info.architecture, info.dtype, info.device) == (
        "tiny-llama",
        "LlamaForCausalLM",
        "fp32",
        "cpu",
    )
    assert (info.max_sequence_length, info.kv_bytes_per_token) == (256, 2 * 2 * 2 * 16 * 4)
