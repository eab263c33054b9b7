from pathlib import Path

import pytest
import torch
from tiny_models import open_engine, save_llama

from candle_vllm_core import GenerationParams
from candle_vllm_core.attention.cache import KVCache
from candle_vllm_core.attention.triton import TritonBackend
from candle_vllm_core.runtime import runner
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


def test_a_whole_model_gives_the_reference_s_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_llama(tmp_path / "model")
    with open_engine(path) as engine:
        right = engine.generate_batch(PROMPTS, GREEDY)
    monkeypatch.setattr(runner, "choose_backend", triton_backend)
    with open_engine(path) as engine:
        found = engine.generate_batch(PROMPTS, GREEDY)
    assert [output.tokens for output in found] == [output.tokens for output in right]
    assert len({tuple(output.tokens) for output in right}) == len(PROMPTS), "the answers differ, so they say something"
