"""What is refused of a config.json, by name, and what is let through because it says nothing."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from paged import CPU
from real_checkpoints import checkpoint_names, real_checkpoint
from transformers import PreTrainedConfig
from variants import MODELS

from candle_vllm_core import EngineConfig, InferenceEngine
from candle_vllm_core.errors import ModelLoadError
from candle_vllm_core.model.families import FAMILIES, decoder_spec
from candle_vllm_core.model.rope import Rotary
from candle_vllm_core.spec import DeltaNet, Rope

Config = dict[str, Any]
LLAMA_3_2_1B: Config = dict(real_checkpoint("llama-3.2-1b").config)
QWEN2_5_0_5B: Config = dict(real_checkpoint("qwen2.5-0.5b").config)


@pytest.mark.parametrize(
    "named", [["GPT2LMHeadModel"], [], None, "LlamaForCausalLM", [["LlamaForCausalLM"]], [None], ["x" * 10**6]]
)
def test_an_unknown_architecture_is_refused_with_those_known(named: object) -> None:
    with pytest.raises(ModelLoadError) as raised:
        decoder_spec({"architectures": named, "model_type": "gpt2", "auto_map": {"AutoModel": "evil.py"}})
    assert all(name in str(raised.value) for name in FAMILIES)
    assert "never run" in str(raised.value)
    assert len(str(raised.value)) < 1000


def test_a_model_type_of_another_architecture_is_a_contradiction() -> None:
    with pytest.raises(ModelLoadError, match="MistralForCausalLM") as raised:
        decoder_spec(LLAMA_3_2_1B | {"model_type": "mistral"})
    assert raised.value.names == ("architectures", "model_type")


BAD = [
    ("hidden_size", -1),
    ("hidden_size", 2**60),
    ("hidden_size", "2048"),
    ("hidden_size", 2048.0),
    ("hidden_size", True),
    ("hidden_size", None),
    ("num_hidden_layers", 0),
    ("num_hidden_layers", 10**9),
    ("num_attention_heads", 0),
    ("num_key_value_heads", 5),
    ("num_key_value_heads", -8),
    ("head_dim", 63),
    ("head_dim", 10**6),
    ("vocab_size", 0),
    ("vocab_size", [1]),
    ("intermediate_size", -5),
    ("max_position_embeddings", 0),
    ("max_position_embeddings", 10**12),
    ("rms_norm_eps", float("nan")),
    ("rms_norm_eps", -1e-5),
    ("rms_norm_eps", "1e-5"),
    ("rope_theta", 0),
    ("rope_theta", float("inf")),
    ("rope_theta", "big"),
    ("attention_bias", 1),
    ("tie_word_embeddings", "yes"),
    ("hidden_act", "relu2"),
    ("hidden_act", 3),
    ("rope_scaling", "llama3"),
    ("partial_rotary_factor", 0.5),
    ("quantization_config", {"quant_method": "gptq", "bits": 4}),
    ("quantization_config", {}),
    ("quantization", {"group_size": 64, "bits": 4}),
    ("is_causal", False),
    ("is_encoder_decoder", True),
    ("add_cross_attention", True),
    ("pruned_heads", {"1": [0, 2]}),
    ("per_layer_config", {"3": {"head_dim": 32}}),
    ("sliding_window", 4096),
    ("rope_interleaved", True),
]


@pytest.mark.parametrize(("field", "value"), BAD)
def test_an_impossible_field_is_named(field: str, value: object) -> None:
    with pytest.raises(ModelLoadError) as raised:
        decoder_spec(LLAMA_3_2_1B | {field: value})
    assert field in raised.value.names
    assert f"`{field}`" in str(raised.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rope_type": "longrope"}, "short_factor"),
        ({"rope_type": "dynamic"}, "does not know `high_freq_factor`, `low_freq_factor`"),
        ({"rope_type": ["llama3"]}, "rope_type"),
        ({"factor": 0}, "factor"),
        ({"factor": None}, "factor"),
        ({"factor": "32"}, "factor"),
        ({"high_freq_factor": 1.0}, "high_freq_factor"),
        ({"original_max_position_embeddings": -1}, "original_max_position_embeddings"),
        ({"partial_rotary_factor": 0.25}, "partial_rotary_factor"),
        ({"mrope_section": [16, 24, 24]}, "mrope_section"),
        ({"rope_theta": "x"}, "rope_theta"),
    ],
)
def test_a_rope_that_is_not_known_is_refused_by_name(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelLoadError, match=said):
        decoder_spec(LLAMA_3_2_1B | {"rope_scaling": LLAMA_3_2_1B["rope_scaling"] | change})


@pytest.mark.parametrize(
    "types", [["full_attention"], ["chunked_attention"] * 24, "full_attention", [None] * 24, [[]] * 24]
)
def test_layer_types_that_are_not_known_are_refused(types: object) -> None:
    with pytest.raises(ModelLoadError, match="layer_types"):
        decoder_spec(QWEN2_5_0_5B | {"layer_types": types})


def test_fields_that_nobody_knows_are_named() -> None:
    unknown = {"clip_qkv": 8.0, "alibi": True, "nothing": None, "off": False, "none": 0, "empty": {}}
    with pytest.raises(ModelLoadError, match="does not know `alibi`, `clip_qkv`; ") as raised:
        decoder_spec(LLAMA_3_2_1B | unknown)
    assert raised.value.names == ("alibi", "clip_qkv")


def test_however_many_fields_are_unknown_the_error_can_be_read() -> None:
    with pytest.raises(ModelLoadError, match="and 9992 more") as raised:
        decoder_spec(LLAMA_3_2_1B | {f"field {'x' * 1000} {index}": 1 for index in range(10000)})
    assert len(str(raised.value)) < 1000


# What older versions of transformers wrote of every model, in the files that hold everything.
OLDER = {
    "bad_words_ids": None,
    "chunk_size_feed_forward": 0,
    "decoder_start_token_id": 3,
    "diversity_penalty": 0.0,
    "early_stopping": False,
    "finetuning_task": None,
    "id2label": {"0": "LABEL_0", "1": "LABEL_1"},
    "is_decoder": True,
    "is_encoder_decoder": False,
    "label2id": {"LABEL_0": 0, "LABEL_1": 1},
    "length_penalty": 1.0,
    "max_length": 20,
    "num_beams": 1,
    "num_return_sequences": 1,
    "prefix": "x",
    "problem_type": "single_label_classification",
    "pruned_heads": {},
    "return_dict": True,
    "sep_token_id": 5,
    "task_specific_params": {"translation": {"prefix": "x"}},
    "temperature": 1.0,
    "tf_legacy_loss": False,
    "tie_encoder_decoder": False,
    "tokenizer_class": "LlamaTokenizer",
    "top_k": 50,
    "top_p": 1.0,
    "torch_dtype": "bfloat16",
    "torchscript": False,
    "typical_p": 1.0,
    "use_bfloat16": False,
}
BY_TOOLS = {
    "_name_or_path": "./checkpoint",
    "_flash_attn_2_enabled": True,
    "is_llama_config": True,
    "transformers.js_config": {"dtype": "q4"},
    "unsloth_fixed": True,
    "unsloth_version": "2025.1.1",
}


@pytest.mark.parametrize("written", [OLDER, BY_TOOLS], ids=["older versions", "tools"])
def test_what_says_nothing_of_the_computation_changes_nothing(written: Config) -> None:
    assert decoder_spec(LLAMA_3_2_1B | written) == decoder_spec(LLAMA_3_2_1B)


def test_what_transformers_writes_of_every_model_changes_nothing() -> None:
    says_something = {"architectures", "model_type", "is_encoder_decoder"}
    written = dict.fromkeys(PreTrainedConfig().to_dict().keys() - says_something, 1)
    assert decoder_spec(LLAMA_3_2_1B | written) == decoder_spec(LLAMA_3_2_1B)


def test_code_that_a_checkpoint_brings_along_is_never_run(tiny_llama: Path, tmp_path: Path) -> None:
    for file in tiny_llama.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w').close()")
    remote = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model", "AutoTokenizer": ["evil.T", None]}
    for name in ("config.json", "tokenizer_config.json"):
        table = json.loads((tmp_path / name).read_text()) if (tmp_path / name).exists() else {}
        (tmp_path / name).write_text(json.dumps(table | {"auto_map": remote, "trust_remote_code": True}))
    with InferenceEngine(EngineConfig(model_path=tmp_path, device="cpu", dtype="fp32")) as engine:
        assert engine.model_info().architecture == "LlamaForCausalLM"
    assert not (tmp_path / "was_run").exists()
    assert "evil" not in sys.modules


SMALL = {variant.model.__name__: variant for variant in reversed(MODELS.values())}
EVERY_FAMILY = [SMALL[architecture].written() for architecture in FAMILIES]
EVERY_CONFIG = EVERY_FAMILY + [dict(real_checkpoint(name).config) for name in checkpoint_names()]
ELSEWHERE = ("layer_types", "rope_parameters", "rope_scaling", "quantization_config", "architectures", "text_config")
NUMBERS = (0, 1, 2, 3, 5, 8, 48, 4096, 2**31 - 1, 10**400, -1, 0.5, 1.0, 1e-9, 1e9, 1e300)
WORDS = ("default", "linear", "dynamic", "llama3", "longrope", "yarn", "silu", "sliding_attention", "mistral")
json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.sampled_from(NUMBERS + WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(EVERY_CONFIG), st.data())
def test_whatever_a_field_holds_the_answer_is_a_spec_or_a_named_error(config: Config, data: st.DataObject) -> None:
    field = data.draw(st.sampled_from([*config, *ELSEWHERE]))
    value = data.draw(json_values)
    if isinstance(table := config.get(field), dict) and table and data.draw(st.booleans()):
        value = table | {data.draw(st.sampled_from([*table])): value}
    try:
        spec = decoder_spec(config | {field: value})
    except ModelLoadError as error:
        assert error.names
        assert len(str(error)) < 1500
    else:
        assert all(map(turns, {a.rope for a in spec.attentions() if not isinstance(a, DeltaNet)}))


def turns(rope: Rope | None) -> bool:
    """Whether a rotation is one: its cosines and sines are numbers."""
    positions = torch.tensor([0, 1, 4095])
    return rope is None or all(bool(part.isfinite().all()) for part in Rotary(rope, CPU).angles(positions))


@given(st.sampled_from(EVERY_CONFIG), st.data())
def test_a_field_that_is_missing_is_filled_in_or_named(config: Config, data: st.DataObject) -> None:
    field = data.draw(st.sampled_from([*config]))
    try:
        decoder_spec({name: value for name, value in config.items() if name != field})
    except ModelLoadError as error:
        assert error.names
