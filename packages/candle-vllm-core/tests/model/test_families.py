import json
import math
from pathlib import Path
from typing import Any

import pytest
from checkpoints import save_model
from hypothesis import given
from hypothesis import strategies as st
from variants import MODELS

from candle_vllm_core import spec as s
from candle_vllm_core.errors import ModelLoadError
from candle_vllm_core.model import families
from candle_vllm_core.model.build import expected_shapes
from candle_vllm_core.model.families import FAMILIES, decoder_spec

# What the config.json files of released models say of their architecture.
LLAMA_3_2_1B = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 128000,
    "eos_token_id": 128001,
    "head_dim": 64,
    "hidden_act": "silu",
    "hidden_size": 2048,
    "initializer_range": 0.02,
    "intermediate_size": 8192,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 16,
    "num_key_value_heads": 8,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "factor": 32.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "rope_theta": 500000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "vocab_size": 128256,
}
MISTRAL_7B_V0_3 = {
    "architectures": ["MistralForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 14336,
    "max_position_embeddings": 32768,
    "model_type": "mistral",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "vocab_size": 32768,
}
QWEN2_5_0_5B = {
    "architectures": ["Qwen2ForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151643,
    "hidden_act": "silu",
    "hidden_size": 896,
    "initializer_range": 0.02,
    "intermediate_size": 4864,
    "max_position_embeddings": 32768,
    "max_window_layers": 24,
    "model_type": "qwen2",
    "num_attention_heads": 14,
    "num_hidden_layers": 24,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 32768,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "use_mrope": False,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
QWEN3_0_6B = {
    "architectures": ["Qwen3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 1024,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "max_position_embeddings": 40960,
    "max_window_layers": 28,
    "model_type": "qwen3",
    "num_attention_heads": 16,
    "num_hidden_layers": 28,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
RELEASED = [
    (LLAMA_3_2_1B, 1_235_814_400),
    (MISTRAL_7B_V0_3, 7_248_023_552),
    (QWEN2_5_0_5B, 494_032_768),
    (QWEN3_0_6B, 596_049_920),
]


@pytest.mark.parametrize(("config", "parameters"), RELEASED, ids=lambda value: str(value)[:30])
def test_released_models_have_as_many_parameters_as_published(config: dict[str, Any], parameters: int) -> None:
    assert sum(math.prod(shape) for shape in expected_shapes(decoder_spec(config)).values()) == parameters


def test_the_names_asked_for_are_those_of_the_checkpoint() -> None:
    shapes = expected_shapes(decoder_spec(QWEN2_5_0_5B))
    assert len(shapes) == 290  # as in the released file
    assert shapes["model.layers.23.self_attn.k_proj.bias"] == (128,)
    assert "lm_head.weight" not in shapes
    assert expected_shapes(decoder_spec(MISTRAL_7B_V0_3))["lm_head.weight"] == (32768, 4096)


def test_llama_3_2() -> None:
    spec = decoder_spec(LLAMA_3_2_1B)
    attention = spec.layers[15].attention
    assert (spec.max_position, spec.tied, len(spec.layers), spec.norm.eps) == (131072, True, 16, 1e-5)
    assert (attention.rope.theta, attention.rope.dim, attention.scale) == (500000.0, 64, 0.125)
    assert dict(attention.rope.scaling) == LLAMA_3_2_1B["rope_scaling"]


def test_qwen3() -> None:
    attention = decoder_spec(QWEN3_0_6B).layers[0].attention
    assert attention.qk_norm == s.HeadNorm(norm=s.Norm(eps=1e-6))
    assert (attention.heads, attention.head_dim, attention.qkv_bias, attention.out_bias) == (16, 128, False, False)


@pytest.mark.parametrize("name", MODELS)
def test_absent_fields_are_what_transformers_takes_them_for(name: str, tmp_path: Path) -> None:
    """What transformers writes to config.json, and what it fills in when it is left out, give one spec."""
    model = save_model(tmp_path, name)
    written = json.loads((tmp_path / "config.json").read_text())
    defaults = type(model.config)()
    filled = model.config.to_dict() | {"architectures": written["architectures"]}
    assert decoder_spec(written) == decoder_spec(filled)
    for field in list(written):
        if field not in SIZES and field != "architectures" and getattr(defaults, field, None) == written[field]:
            del written[field]
    assert decoder_spec(written) == decoder_spec(filled)


SIZES = {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"}


def test_the_window_of_mistral_is_4096_where_nothing_is_said() -> None:
    silent = {key: value for key, value in MISTRAL_7B_V0_3.items() if key != "sliding_window"}
    assert [decoder_spec(config).layers[0].attention.window for config in (silent, MISTRAL_7B_V0_3)] == [4096, None]


def test_old_and_new_ways_of_saying_rope_are_one() -> None:
    scaling: dict[str, Any] = LLAMA_3_2_1B["rope_scaling"]  # type: ignore[assignment]
    older = LLAMA_3_2_1B | {"rope_scaling": {"type" if key == "rope_type" else key: scaling[key] for key in scaling}}
    newer = {key: value for key, value in LLAMA_3_2_1B.items() if key not in ("rope_theta", "rope_scaling")}
    newer["rope_parameters"] = scaling | {"rope_theta": 500000.0}
    assert decoder_spec(older) == decoder_spec(newer) == decoder_spec(LLAMA_3_2_1B)


def test_the_original_length_beside_the_table_counts_more() -> None:
    scaling = {"rope_type": "yarn", "factor": 4.0}
    qwen = QWEN2_5_0_5B | {"rope_scaling": scaling}
    inside = qwen | {"rope_scaling": scaling | {"original_max_position_embeddings": 4096}}
    beside = inside | {"original_max_position_embeddings": 2048}
    found = [dict(decoder_spec(config).layers[0].attention.rope.scaling) for config in (qwen, inside, beside)]
    assert [table["original_max_position_embeddings"] for table in found] == [32768, 4096, 2048]


def test_a_checkpoint_without_architectures_goes_by_its_model_type() -> None:
    for config, _ in RELEASED:
        silent = {key: value for key, value in config.items() if key != "architectures"}
        assert decoder_spec(silent) == decoder_spec(config)


@pytest.mark.parametrize(
    "named", [["GPT2LMHeadModel"], [], None, "LlamaForCausalLM", [["LlamaForCausalLM"]], [None], ["x" * 10**6]]
)
def test_an_unknown_architecture_is_refused_with_those_known(named: object) -> None:
    with pytest.raises(ModelLoadError) as raised:
        decoder_spec({"architectures": named, "model_type": "gpt2", "auto_map": {"AutoModel": "evil.py"}})
    assert all(name in str(raised.value) for name in FAMILIES)
    assert "never run" in str(raised.value)
    assert len(str(raised.value)) < 1000


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
    ("hidden_act", "gelu"),
    ("hidden_act", 3),
    ("rope_scaling", "llama3"),
    ("partial_rotary_factor", 0.5),
    ("quantization_config", {"quant_method": "gptq", "bits": 4}),
    ("quantization_config", {}),
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
        ({"rope_type": "longrope"}, "longrope"),
        ({"rope_type": "dynamic"}, "dynamic"),
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
    scaling: dict[str, Any] = LLAMA_3_2_1B["rope_scaling"]  # type: ignore[assignment]
    with pytest.raises(ModelLoadError, match=said):
        decoder_spec(LLAMA_3_2_1B | {"rope_scaling": scaling | change})


@pytest.mark.parametrize("types", [["full_attention"], ["chunked_attention"] * 24, "full_attention", [None] * 24])
def test_layer_types_that_are_not_known_are_refused(types: object) -> None:
    with pytest.raises(ModelLoadError, match="layer_types"):
        decoder_spec(QWEN2_5_0_5B | {"layer_types": types})


def test_windows_of_qwen() -> None:
    windows = [
        [layer.attention.window for layer in decoder_spec(QWEN2_5_0_5B | change).layers]
        for change in (
            {"max_window_layers": 2},
            {"max_window_layers": 22, "use_sliding_window": True},
            {"use_sliding_window": True, "layer_types": ["sliding_attention"] + ["full_attention"] * 23},
            {"use_sliding_window": True, "sliding_window": None, "max_window_layers": 0},
        )
    ]
    assert windows == [[None] * 24, [None] * 22 + [32768] * 2, [32768] + [None] * 23, [None] * 24]


@pytest.mark.parametrize("module", ["decoder", "attention", "delta", "feed_forward", "layers", "loader", "names", "build"])
def test_families_are_named_nowhere_else(module: str) -> None:
    source = (Path(families.__file__).parent.parent / f"{module}.py").read_text().lower()
    assert not [name for name in FAMILIES if name.removesuffix("ForCausalLM").lower() in source]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from([config for config, _ in RELEASED]), st.data())
def test_whatever_a_field_holds_the_answer_is_a_spec_or_a_named_error(
    config: dict[str, Any], data: st.DataObject
) -> None:
    field = data.draw(st.sampled_from([*config, "layer_types", "rope_parameters", "quantization_config"]))
    try:
        decoder_spec(config | {field: data.draw(json_values)})
    except ModelLoadError as error:
        assert len(str(error)) < 1000
