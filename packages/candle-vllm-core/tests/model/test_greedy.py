"""Whole answers of the engine beside those of transformers' `generate`, for every family."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoints import save_model
from tiny_models import save_tokenizer
from transformers import PreTrainedModel
from variants import MODELS

from candle_vllm_core import EngineConfig, GenerationParams, InferenceEngine

Record = Callable[[str, object], None]
NEW_TOKENS = 64
PROMPT_LENGTHS = (37, 5, 22)


@pytest.mark.parametrize("name", MODELS)
def test_64_greedy_tokens_are_those_of_generate(name: str, tmp_path: Path, record_property: Record) -> None:
    """Three prompts at once, prefilled in chunks beside answers that go on."""
    model = save_model(tmp_path, name)
    save_tokenizer(tmp_path)
    generator = torch.Generator().manual_seed(2)
    prompts = [torch.randint(0, 97, (length,), generator=generator).tolist() for length in PROMPT_LENGTHS]
    config = EngineConfig(
        model_path=tmp_path,
        device="cpu",
        dtype="fp32",
        block_size=4,
        prefill_chunk_size=16,
        kv_cache_memory=2**22,
        max_sequence_length=MODELS[name].length,
    )
    with InferenceEngine(config) as engine:
        params = GenerationParams(max_tokens=NEW_TOKENS, temperature=0.0, ignore_eos=True)
        found = [list(output.tokens) for output in engine.generate_batch(prompts, params)]
    right = [generated(model, prompt) for prompt in prompts]
    same = [sum(ours == theirs for ours, theirs in zip(*pair, strict=True)) for pair in zip(found, right, strict=True)]
    record_property(
        "greedy tokens that are those of generate", {"model": name, "tokens": f"{min(same)} of {NEW_TOKENS}"}
    )
    assert found == right


def generated(model: PreTrainedModel, prompt: list[int]) -> list[int]:
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    ids = torch.tensor([prompt])
    with torch.inference_mode():
        whole = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, do_sample=False)
    return whole[0, len(prompt) :].tolist()
