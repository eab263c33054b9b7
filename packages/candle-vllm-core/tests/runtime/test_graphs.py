"""Recorded steps of answers give what steps give that are launched singly, and write nowhere else."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from allocated import allocations
from checkpoints import save_model
from null_runner import make_request
from recorded import Recorder, RefillableReference, RefilledPass, Tape, record_on_a_cpu
from tiny_models import open_engine, save_tokenizer

from candle_vllm_core import EngineConfig, GenerationOutput, GenerationParams, GenerationStats, InferenceEngine
from candle_vllm_core.runtime.batch import layout_of, sampling_rows
from candle_vllm_core.runtime.graphs import MOST, DecodeGraphs, capture_on, sizes
from candle_vllm_core.runtime.kv import KVBlocks
from candle_vllm_core.runtime.recording import Recording
from candle_vllm_core.runtime.runner import ModelRunner
from candle_vllm_core.runtime.scheduler import Scheduler, Step

CPU = torch.device("cpu")
NOTHING = GenerationStats(prompt_tokens=0)


@pytest.mark.parametrize(
    ("sequences", "expected"),
    [(1, [1]), (3, [1, 2, 3]), (4, [1, 2, 4]), (16, [1, 2, 4, 8, 16]), (30, [1, 2, 4, 8, 16, 24, 30])],
)
def test_sizes_grow_to_the_most_that_run(sequences: int, expected: list[int]) -> None:
    assert sizes(sequences) == expected


def test_sizes_have_an_end() -> None:
    assert sizes(4096)[-1] == MOST and len(sizes(4096)) < 70


def test_a_cpu_records_nothing() -> None:
    assert capture_on(CPU) is None


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for name in ("llama", "gemma3", "mistral, window 7", "deepseek-v2", "qwen3-next"):
        found[name] = tmp_path_factory.mktemp("models")
        save_model(found[name], name)
        save_tokenizer(found[name])
    return found


def answers(engine: InferenceEngine, count: int = 14) -> list[GenerationOutput]:
    draw = random.Random(3)
    prompts = [[draw.randrange(97) for _ in range(draw.choice([1, 5, 16, 33]))] for _ in range(count)]
    params = [
        GenerationParams(
            max_tokens=draw.randrange(1, 30),
            temperature=draw.choice([0, 1.0]),
            seed=number,
            ignore_eos=True,
            logprobs=number % 3 == 0,
            prompt_logprobs=1 if number % 5 == 0 else None,
        )
        for number in range(count)
    ]
    return [replace(output, stats=NOTHING) for output in engine.generate_batch(prompts, params)]


def when_recorded(engine: InferenceEngine) -> InferenceEngine:
    """An engine that has recorded all that it will."""
    while engine._loop.call(lambda: engine._loop._recording.go_on(busy=False)):
        pass
    return engine


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("name", ["llama", "gemma3", "mistral, window 7", "deepseek-v2", "qwen3-next"])
def test_recorded_steps_give_the_same_answers(
    paths: dict[str, Path], name: str, ahead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = name != "qwen3-next"  # where a prompt is cut changes the last bits of a recurrent state
    with open_engine(paths[name], max_batch_size=6, enable_chunked_prefill=cut) as engine:
        expected = answers(engine)
    recorder = record_on_a_cpu(monkeypatch, ahead=ahead)
    with open_engine(paths[name], max_batch_size=6, enable_chunked_prefill=cut) as engine:
        assert answers(when_recorded(engine)) == expected
        assert engine.stats().kv_blocks_used == 0
    assert recorder.recorded == len(sizes(6)) and recorder.played > 20


def test_what_is_not_recorded_yet_is_computed_all_the_same(
    paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_engine(paths["llama"], max_batch_size=6) as engine:
        expected = answers(engine)
    recorder = record_on_a_cpu(monkeypatch)
    with open_engine(paths["llama"], max_batch_size=6) as engine:
        assert answers(engine) == expected == answers(engine)
    assert recorder.recorded > 0


def test_without_the_setting_nothing_is_recorded(paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = record_on_a_cpu(monkeypatch)
    with open_engine(paths["llama"], enable_cuda_graph=False) as engine:
        when_recorded(engine)
        answers(engine, 5)
    assert recorder.recorded == 0


def test_no_place_of_a_recurrent_state_is_in_what_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only operations on tensors are done again, as a GPU does them: numbers of the host stay what they were."""
    layers = {"layer_types": ["linear_attention"] * 2, "num_hidden_layers": 2, "mlp_only_layers": [0, 1]}
    save_model(tmp_path, "qwen3-next", **layers)
    save_tokenizer(tmp_path)
    settings = {"max_batch_size": 6, "enable_chunked_prefill": False}
    with open_engine(tmp_path, **settings) as engine:
        expected = answers(engine)
    recorder = record_on_a_cpu(monkeypatch, recorder=Tape())
    with open_engine(tmp_path, **settings) as engine:
        assert answers(when_recorded(engine)) == expected
    assert recorder.recorded == len(sizes(6)) and recorder.played > 20


def test_where_recording_fails_answers_come_without_it(
    paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with open_engine(paths["llama"]) as engine:
        expected = answers(engine, 6)
    recorder = record_on_a_cpu(monkeypatch)
    monkeypatch.setattr(Recorder, "__call__", lambda recorder, work: 1 / 0 if recorder.recorded else broken())
    with caplog.at_level(logging.WARNING, "candle_vllm_core"), open_engine(paths["llama"]) as engine:
        assert answers(when_recorded(engine), 6) == expected
    assert "could not be recorded" in caplog.text and recorder.played == 0


def broken() -> Callable[[], None]:
    raise RuntimeError("operation not permitted when stream is capturing")


@pytest.fixture
def runner(paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> ModelRunner:
    record_on_a_cpu(monkeypatch)
    config = EngineConfig(model_path=paths["gemma3"], device="cpu", dtype="fp32", block_size=4, max_batch_size=4)
    return ModelRunner(config)


def graphs_of(runner: ModelRunner) -> DecodeGraphs:
    assert runner._graphs is not None
    return runner._graphs


def decoding(runner: ModelRunner, count: int) -> tuple[Scheduler, Step]:
    """A step of so many answers."""
    scheduler = Scheduler(KVBlocks(runner.kv_sizes), max_batch_size=4, chunk_size=64)
    for number in range(count):
        scheduler.add(make_request(number, [number + 1] * (3 + number)))
    step = scheduler.schedule()
    for request, drawn in zip([part.request for part in step], runner.run(step), strict=True):
        request.num_computed = request.num_tokens
        request.accept(drawn.token, None)
    return scheduler, scheduler.schedule()


def test_rows_that_are_left_over_write_to_a_block_that_nobody_has(runner: ModelRunner) -> None:
    graphs = graphs_of(runner)
    while graphs.record_next():
        pass
    for slots in runner._backend.cache.layers.values():
        slots.fill_(7.0)
    _, step = decoding(runner, 3)
    layout = layout_of(step, runner.block_size, CPU)
    before = {layer: slots.clone() for layer, slots in runner._backend.cache.layers.items()}
    filled = graphs.fill(step, layout)
    assert filled is not None
    logits = filled.logits(sampling_rows(step, CPU))
    size = runner.block_size
    own = {slot // size for slot in torch.cat(list(layout.slot_mapping)).tolist()}
    for layer, slots in runner._backend.cache.layers.items():
        changed = (slots != before[layer]).flatten(1).any(1).nonzero()[:, 0].tolist()
        spare = len(slots) // size - 1
        assert spare not in own and {slot // size for slot in changed} <= own | {spare}, "nobody else's"
        assert spare * size in changed, "the fourth row writes there"
    assert torch.equal(logits, runner._model(layout.tokens, runner._backend.plan(layout))), "bit for bit"


@torch.inference_mode()
def test_rows_that_are_left_over_have_a_recurrent_state_that_nobody_has(
    paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    record_on_a_cpu(monkeypatch)
    path = paths["qwen3-next"]
    runner = ModelRunner(EngineConfig(model_path=path, device="cpu", dtype="fp32", block_size=4, max_batch_size=4))
    graphs, tensors = graphs_of(runner), sum(runner._backend.cache.states.values(), ())
    while graphs.record_next():
        pass
    for tensor in tensors:
        assert len(tensor) == 5 and tensor[4].isfinite().all(), "the last one is nobody's"
        tensor[:4].fill_(torch.nan)
    _, step = decoding(runner, 3)
    own = sorted(part.request.state_slot or 0 for part in step)
    kept, layout = [tensor.clone() for tensor in tensors], layout_of(step, runner.block_size, CPU)
    single = runner._model(layout.tokens, runner._backend.plan(layout))
    after = [tensor.clone() for tensor in tensors]
    for tensor, before in zip(tensors, kept, strict=True):
        tensor.copy_(before)
        tensor[4] = 0.25
    filled = graphs.fill(step, layout)
    assert filled is not None
    assert torch.equal(filled.logits(sampling_rows(step, CPU)), single), "bit for bit"
    for tensor, right, before in zip(tensors, after, kept, strict=True):
        assert torch.equal(tensor[own], right[own]) and not torch.equal(tensor[own], before[own])
        [other] = set(range(4)) - set(own)
        assert tensor[other].isnan().all() and tensor[4].isfinite().all(), "nobody else's is touched"
        assert tensor[4].ne(0.25).any(), "the fourth row writes there"


def test_rows_that_are_not_drawn_for_are_left_out(runner: ModelRunner) -> None:
    graphs = graphs_of(runner)
    while graphs.record_next():
        pass
    _, step = decoding(runner, 4)
    layout = layout_of(step, runner.block_size, CPU)
    filled = graphs.fill(step, layout)
    assert filled is not None
    whole = filled.logits(torch.arange(4)).clone()
    filled = graphs.fill(step, layout)
    assert filled is not None
    assert torch.equal(filled.logits(torch.tensor([1, 3])), whole[[1, 3]])


@pytest.mark.parametrize("sequences", [1, 4, 13])
def test_the_tensors_that_are_held_are_counted(runner: ModelRunner, sequences: int) -> None:
    made: list[DecodeGraphs] = []
    counts = allocations(
        lambda: made.append(
            DecodeGraphs(
                runner._model,
                RefillableReference(runner._backend),
                Recorder(),
                kv_sizes=runner.kv_sizes,
                has_states=False,
                sequences=sequences,
                longest=40,
                vocab=97,
                device=CPU,
            )
        )
    )
    assert counts[-1] == DecodeGraphs.static_bytes(sequences, len(runner.kv_sizes.num_blocks), 97)


def test_steps_with_prompts_or_too_many_sequences_are_not_for_recorded_ones(runner: ModelRunner) -> None:
    graphs = graphs_of(runner)
    assert graphs.left == [1, 2, 4]
    _, step = decoding(runner, 3)
    layout = layout_of(step, runner.block_size, CPU)
    assert graphs.fill(step, layout) is None, "none is recorded yet"
    graphs.record_next()
    assert graphs.left == [1, 2] and graphs.fill(step, layout) is not None, "the largest is the first"
    scheduler = Scheduler(KVBlocks(runner.kv_sizes), max_batch_size=4, chunk_size=64)
    scheduler.add(make_request(1, [5]))
    prompt = scheduler.schedule()
    assert graphs.fill(prompt, layout_of(prompt, runner.block_size, CPU)) is None


def test_attention_that_cannot_be_filled_anew_is_not_recorded(
    runner: ModelRunner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(RefilledPass, "refill", lambda refilled, layout: False)
    graphs = graphs_of(runner)
    with caplog.at_level(logging.WARNING, "candle_vllm_core"):
        assert not graphs.record_next() and not graphs.left
    _, step = decoding(runner, 2)
    assert graphs.fill(step, layout_of(step, runner.block_size, CPU)) is None


def test_a_step_that_is_too_long_is_launched_singly(runner: ModelRunner) -> None:
    graphs = DecodeGraphs(
        runner._model,
        RefillableReference(runner._backend),
        Recorder(),
        kv_sizes=runner.kv_sizes,
        has_states=False,
        sequences=4,
        longest=5,
        vocab=runner.limits.vocab_size,
        device=CPU,
    )
    graphs.record_next()
    _, short = decoding(runner, 2)
    _, long = decoding(runner, 4)
    assert graphs.fill(short, layout_of(short, runner.block_size, CPU)) is not None
    assert graphs.fill(long, layout_of(long, runner.block_size, CPU)) is None


def test_recording_takes_a_tenth_of_the_time_while_requests_run() -> None:
    now, left = [100.0], [5]

    def record() -> bool:
        now[0] += 2.0
        left[0] -= 1
        return left[0] > 0

    recording = Recording(record, lambda: now[0])
    assert recording.go_on(busy=True) and left == [4]
    assert recording.go_on(busy=True) and left == [4], "not so soon"
    now[0] += 17.9
    assert recording.go_on(busy=True) and left == [4]
    now[0] += 0.2
    assert recording.go_on(busy=True) and left == [3]
    while recording.go_on(busy=False):
        pass
    assert left == [0] and not recording.go_on(busy=True) and left == [0]
