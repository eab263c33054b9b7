"""Steps over the kernels: recorded for more sequences than there are, and drawn for while the next one is made."""

from pathlib import Path

import pytest
import torch
from allocated import allocations
from attending import grouped, latent, of, recurrent
from checkpoints import save_model
from paged import layout
from recorded import Recorder, record_on_a_cpu
from tiny_models import open_engine, save_tokenizer

from candle_vllm_core import GenerationParams
from candle_vllm_core.attention.cache import KVCache
from candle_vllm_core.attention.triton import TritonBackend, TritonPass
from candle_vllm_core.model import delta
from candle_vllm_core.model.triton_ops import TritonOps
from candle_vllm_core.runtime import graphs, loop, plan, runner, sampling
from candle_vllm_core.runtime.device_sampling import DeviceSampler
from candle_vllm_core.runtime.graphs import sizes
from candle_vllm_core.spec import Decoder

PROMPTS = [[5, 6, 7], [9] * 23, [30, 4]]
GREEDY = GenerationParams(temperature=0, max_tokens=5, ignore_eos=True)


def triton_backend(
    device: torch.device,
    spec: Decoder,
    *,
    num_blocks: tuple[int, ...],
    block_size: int,
    dtype: torch.dtype,
    num_states: int = 0,
    fp8: bool = False,
) -> TritonBackend:
    cache = KVCache(
        spec, num_blocks=num_blocks, block_size=block_size, dtype=dtype, device=device, num_states=num_states, fp8=fp8
    )
    for tensor in cache.layers.values():
        tensor.fill_(torch.nan)
    return TritonBackend(spec, cache)


@pytest.mark.skipif(torch.cuda.is_available(), reason="steps are computed on a CPU here")
@pytest.mark.filterwarnings("ignore:overflow encountered in exp")
@pytest.mark.parametrize(
    ("name", "ops"),
    [("llama", None), ("gemma3", None), ("qwen3-next", None), ("qwen3-next", TritonOps())],
    ids=["llama", "gemma3", "qwen3-next", "qwen3-next, its layers too"],
)
def test_recorded_steps_over_kernels_give_the_same_tokens(
    tmp_path: Path, name: str, ops: TritonOps | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(tmp_path, name)
    save_tokenizer(tmp_path)
    settings = {"max_batch_size": 4, "max_sequence_length": 40}
    with open_engine(tmp_path, **settings) as engine:
        right = engine.generate_batch(PROMPTS, GREEDY)
    for module in (plan, runner):
        monkeypatch.setattr(module, "choose_backend", triton_backend)
    if ops is not None:
        monkeypatch.setattr(runner, "choose_ops", lambda device: ops)
        monkeypatch.setattr(delta, "recurrent", one_by_one)
    refillable = graphs.refillable
    recorder: Recorder = record_on_a_cpu(monkeypatch, ahead=True)
    for module in (plan, runner):
        monkeypatch.setattr(module, "refillable", refillable)
    with open_engine(tmp_path, **settings) as engine:
        while engine._loop.call(lambda: engine._loop._recording.go_on(busy=False)):
            pass
        found = engine.generate_batch(PROMPTS, GREEDY)
    assert [output.tokens for output in found] == [output.tokens for output in right]
    assert recorder.recorded == 3 and recorder.played >= 4


def one_by_one(*given: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("a sequence goes on by itself")


@pytest.mark.skipif(torch.cuda.is_available(), reason="what is allocated on a CPU is counted here")
@pytest.mark.parametrize("longest", [40, 700, 5000])
@pytest.mark.parametrize(
    "spec",
    [
        of(grouped(4, 2, 16)),
        of(grouped(4, 2, 16), grouped(8, 2, 32, 300), grouped(4, 4, 16)),
        of(latent(16, 24, 8)),
        of(recurrent(), grouped(4, 2, 16), recurrent()),
    ],
    ids=["one kind", "three kinds", "latent", "recurrent"],
)
def test_what_recorded_passes_keep_is_counted(spec: Decoder, longest: int) -> None:
    cpu, counts = torch.device("cpu"), sizes(13)[::-1]
    backend = triton_backend(
        cpu, spec, num_blocks=(1,) * len(spec.groups()), block_size=16, dtype=torch.bfloat16, num_states=1
    )
    one = [torch.tensor([0])]
    layouts = [
        layout([one * count] * len(spec.groups()), [0] * count, [1] * count, 16, None, [0] * count) for count in counts
    ]
    kept: list[TritonPass] = []
    held = allocations(lambda: kept.extend(backend.plan(step, longest) for step in layouts))[-1]
    assert held == backend.pass_bytes(counts, longest) > 0
    assert all(its.refill(step) for its, step in zip(kept, layouts, strict=True))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.skipif(torch.cuda.is_available(), reason="steps are computed on a CPU here")
def test_what_kernels_draw_feeds_the_step_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(tmp_path, "llama")
    save_tokenizer(tmp_path)
    params = [
        GenerationParams(temperature=0, max_tokens=5, ignore_eos=True, logprobs=True),
        GenerationParams(seed=3, max_tokens=6, top_p=0.9, repetition_penalty=1.2, min_tokens=6),
        GenerationParams(seed=4, max_tokens=4, logprobs=True, top_logprobs=2, bad_words=("a",)),
    ]
    with open_engine(tmp_path) as engine:
        right = engine.generate_batch(PROMPTS, params)
    begun: list[int] = []
    begin = DeviceSampler.begin

    def counted(sampler: DeviceSampler, logits: torch.Tensor, rows: list[object]) -> object:
        begun.append(len(rows))
        return begin(sampler, logits, rows)

    monkeypatch.setattr(DeviceSampler, "begin", counted)
    monkeypatch.setattr(sampling, "available", lambda device: True)
    monkeypatch.setattr(loop, "computes_beside", lambda device: True)
    with open_engine(tmp_path) as engine:
        found = engine.generate_batch(PROMPTS, params)
    assert [output.tokens for output in found] == [output.tokens for output in right]
    for one, other in zip(found, right, strict=True):
        assert [its.logprob for its in one.logprobs or ()] == pytest.approx([i.logprob for i in other.logprobs or ()])
        assert [len(its.top) for its in one.logprobs or ()] == [len(its.top) for its in other.logprobs or ()]
    assert begun
