"""Steps of answers over the attention kernels, recorded for more sequences than there are and filled anew in place."""

from pathlib import Path

import pytest
import torch
from checkpoints import save_model
from recorded import Recorder, record_on_a_cpu
from tiny_models import open_engine, save_tokenizer

from candle_vllm_core import GenerationParams
from candle_vllm_core.attention.cache import KVCache
from candle_vllm_core.attention.triton import TritonBackend
from candle_vllm_core.runtime import graphs, runner
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
    num_states: int,
    fp8: bool,
) -> TritonBackend:
    cache = KVCache(
        spec, num_blocks=num_blocks, block_size=block_size, dtype=dtype, device=device, num_states=num_states, fp8=fp8
    )
    for tensor in cache.layers.values():
        tensor.fill_(torch.nan)
    return TritonBackend(spec, cache)


@pytest.mark.skipif(torch.cuda.is_available(), reason="steps are computed on a CPU here")
@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_recorded_steps_over_kernels_give_the_same_tokens(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(tmp_path, name)
    save_tokenizer(tmp_path)
    settings = {"max_batch_size": 4, "max_sequence_length": 40}
    with open_engine(tmp_path, **settings) as engine:
        right = engine.generate_batch(PROMPTS, GREEDY)
    monkeypatch.setattr(runner, "choose_backend", triton_backend)
    refillable = graphs.refillable
    recorder: Recorder = record_on_a_cpu(monkeypatch, ahead=True)
    monkeypatch.setattr(runner, "refillable", refillable)
    with open_engine(tmp_path, **settings) as engine:
        while engine._loop.call(lambda: engine._loop._recording.go_on(busy=False)):
            pass
        found = engine.generate_batch(PROMPTS, GREEDY)
    assert [output.tokens for output in found] == [output.tokens for output in right]
    assert recorder.recorded == 3 and recorder.played >= 4
