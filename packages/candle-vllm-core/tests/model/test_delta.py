"""The gated delta-net: its rule beside transformers' and in two forms, and a model of it through the engine."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checkpoints import save_model
from hypothesis import given
from hypothesis import strategies as st
from paged import CPU, in_chunks
from tiny_models import save_tokenizer
from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.qwen3_next.modeling_qwen3_next import torch_recurrent_gated_delta_rule

from candle_vllm_core import EngineConfig, GenerationParams, InferenceEngine
from candle_vllm_core.model.build import build_decoder
from candle_vllm_core.model.decoder import Decoder
from candle_vllm_core.model.delta import CHUNK, chunked, recurrent
from candle_vllm_core.model.families import decoder_spec
from candle_vllm_core.weights.source import open_source

HEADS, KEY_DIM, VALUE_DIM = 3, 8, 12
LONG = 200
IDS = torch.randint(0, 97, (LONG,), generator=torch.Generator().manual_seed(1))
CUTS = {"whole": [LONG], "within and beyond chunks": [1, 63, 65, 1, 1, 69], "token by token": [1] * LONG}


def memory_and_tokens(count: int, decay: float = 1.0, seed: int = 0) -> tuple[Tensor, list[Tensor]]:
    """A memory, and q, k, v, log decay and beta of some tokens in float64; keys and queries have length 1."""
    torch.manual_seed(seed)
    memory, (q, k) = torch.randn(HEADS, KEY_DIM, VALUE_DIM), torch.randn(2, HEADS, count, KEY_DIM)
    q, k = (part / part.norm(dim=-1, keepdim=True) for part in (q, k))
    v, log_decay = torch.randn(HEADS, count, VALUE_DIM), -decay * torch.rand(HEADS, count) ** 4
    return memory.double(), [part.double() for part in (q, k, v, log_decay, torch.rand(HEADS, count))]


def one_by_one(memory: Tensor, tokens: list[Tensor]) -> Tensor:
    singles = zip(*(part.split(1, 1) for part in tokens), strict=True)
    return torch.cat([recurrent(memory, *single) for single in singles], 1)


def error(found: Tensor, right: Tensor) -> float:
    assert found.shape == right.shape
    return ((found - right).abs().max() / right.abs().max()).item()


@pytest.mark.parametrize("count", [1, 17, CHUNK, CHUNK + 1, 3 * CHUNK + 5])
def test_both_forms_are_the_rule_of_transformers(count: int) -> None:
    memory, tokens = memory_and_tokens(count)
    q, k, v, log_decay, beta = (part.transpose(0, 1)[None] for part in tokens)
    right, kept = torch_recurrent_gated_delta_rule(
        q * KEY_DIM**0.5, k, v, log_decay, beta, initial_state=memory[None], output_final_state=True
    )
    for form in (chunked, lambda memory, *tokens: one_by_one(memory, list(tokens))):
        own = memory.clone()
        assert error(form(own, *tokens), right[0].transpose(0, 1).double()) <= 1e-5
        assert error(own, kept[0].double()) <= 1e-5


@given(st.lists(st.integers(1, 2 * CHUNK + 3), min_size=1, max_size=4), st.sampled_from([0.0, 1.0, 50.0]), st.data())
def test_the_chunked_form_is_the_recurrent_form_wherever_it_is_cut(
    sizes: list[int], decay: float, data: st.DataObject
) -> None:
    """In float32, where a token may decay a memory to nothing that others before it have hardly touched."""
    memory, tokens = memory_and_tokens(sum(sizes), decay, seed=data.draw(st.integers(0, 1000)))
    found_memory = memory.float()
    parts = zip(*(part.float().split(sizes, 1) for part in tokens), strict=True)
    found = torch.cat([(recurrent if part[0].shape[1] == 1 else chunked)(found_memory, *part) for part in parts], 1)
    right = one_by_one(memory, tokens)
    assert error(found.double(), right) <= 2e-6
    assert error(found_memory.double(), memory) <= 2e-6


def test_later_tokens_do_not_reach_earlier_ones() -> None:
    memory, tokens = memory_and_tokens(2 * CHUNK)
    others = [part.clone() for part in tokens]
    for part in others:
        part[:, CHUNK + 7 :] *= 0.5
    found = [chunked(memory.clone(), *which)[:, : CHUNK + 7] for which in (tokens, others)]
    assert torch.equal(*found)


def opened(path: Path) -> Decoder:
    source = open_source(path)
    decoder = build_decoder(decoder_spec(source.config), source, device=CPU, dtype=torch.float32)
    source.close()
    return decoder


def logits_of(model: PreTrainedModel) -> Tensor:
    with torch.inference_mode():
        return model(IDS[None]).logits[0]


@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
def test_a_long_sequence_has_the_logits_of_transformers_wherever_it_is_cut(cuts: list[int], tmp_path: Path) -> None:
    model = save_model(tmp_path, "qwen3-next")
    assert error(in_chunks(opened(tmp_path), IDS, cuts), logits_of(model)) <= 1e-5


def test_keys_and_queries_that_are_nearly_nothing_are_made_as_long_as_in_transformers(tmp_path: Path) -> None:
    model = save_model(tmp_path, "qwen3-next", initializer_range=0.02)
    assert error(in_chunks(opened(tmp_path), IDS, [LONG]), logits_of(model)) <= 1e-5


def test_a_state_that_was_given_to_another_sequence_begins_anew(tmp_path: Path) -> None:
    """Preempted sequences are computed again, in whatever state is free; all answer as each does alone."""
    save_model(tmp_path, "qwen3-next")
    save_tokenizer(tmp_path)
    lengths = torch.randperm(90, generator=torch.Generator().manual_seed(1))[:8].add(1).tolist()
    prompts = [torch.randint(0, 97, (length,)).tolist() for length in lengths]
    params = GenerationParams(max_tokens=24, temperature=0.0, ignore_eos=True)
    config = EngineConfig(model_path=tmp_path, device="cpu", dtype="fp32", block_size=4, prefill_chunk_size=16)
    with InferenceEngine(config) as engine:
        info = engine.model_info()
        alone = [engine.generate_sync(prompt, params).tokens for prompt in prompts]
    memory = 4 * info.state_bytes_per_sequence + 128 * info.kv_bytes_per_token
    with InferenceEngine(replace(config, max_batch_size=4, kv_cache_memory=memory)) as small:
        together = [output.tokens for output in small.generate_batch(prompts, params)]
        assert small.stats().preemptions > 0 and small.stats().kv_blocks_used == 0
    assert together == alone
    assert len(set(alone)) == len(alone), "the answers must differ for this to show anything"


def test_a_model_may_have_no_cache_of_tokens_at_all(tmp_path: Path) -> None:
    model = save_model(tmp_path, "qwen3-next", layer_types=["linear_attention"] * 2, num_hidden_layers=2)
    save_tokenizer(tmp_path)
    config = EngineConfig(model_path=tmp_path, device="cpu", dtype="fp32", prefill_chunk_size=16, max_batch_size=2)
    with InferenceEngine(config) as engine:
        assert engine.model_info().kv_bytes_per_token == 0
        params = GenerationParams(max_tokens=20, temperature=0.0, ignore_eos=True)
        prompts = [list(range(3, 40)), list(range(50, 60)), list(range(20))]
        outputs = engine.generate_batch(prompts, params)
    for prompt, output in zip(prompts, outputs, strict=True):
        with torch.inference_mode():
            logits = model(torch.tensor([[*prompt, *output.tokens]]), use_cache=False).logits[0]
        assert logits[len(prompt) - 1 : -1].argmax(-1).tolist() == list(output.tokens)
