"""What parity cannot show of Gemma: how published config.json files read, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import save_model
from hypothesis import given
from hypothesis import strategies as st
from paged import CPU, in_chunks
from real_checkpoints import real_checkpoint
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Gemma2Config, Gemma3Config, Gemma3TextConfig, GemmaConfig, PreTrainedConfig

from candle_vllm_core import spec as s
from candle_vllm_core.errors import ModelLoadError
from candle_vllm_core.model.build import build_decoder, expected_shapes
from candle_vllm_core.model.families import decoder_spec
from candle_vllm_core.weights.source import open_source

Config = dict[str, Any]
SIZES = {"architectures", "hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size"}
NORM = s.Norm(eps=1e-6, offset=True, wide=True)
GEMMA_3_27B_TEXT = {
    "head_dim": 128,
    "hidden_size": 5376,
    "intermediate_size": 21504,
    "model_type": "gemma3_text",
    "num_attention_heads": 32,
    "num_hidden_layers": 62,
    "num_key_value_heads": 16,
    "query_pre_attn_scalar": 168,
    "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
    "sliding_window": 1024,
}
# What later releases of transformers write for Gemma 3, 270M: every default, and the pattern under a private name.
GEMMA_3_270M = {
    "_sliding_window_pattern": 6,
    "architectures": ["Gemma3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "attn_logit_softcapping": None,
    "final_logit_softcapping": None,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": 640,
    "intermediate_size": 2048,
    "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 3,
    "max_position_embeddings": 32768,
    "model_type": "gemma3_text",
    "num_attention_heads": 4,
    "num_hidden_layers": 18,
    "num_key_value_heads": 1,
    "query_pre_attn_scalar": 256,
    "rms_norm_eps": 1e-06,
    "rope_local_base_freq": 10000.0,
    "rope_scaling": None,
    "rope_theta": 1000000.0,
    "sliding_window": 512,
    "use_bidirectional_attention": False,
    "vocab_size": 262144,
}


def published(name: str) -> Config:
    return dict(real_checkpoint(name).config)


def with_text(config: Config, **changes: object) -> Config:
    return config | {"text_config": config["text_config"] | changes}


def attentions(config: Config) -> list[s.Attention]:
    return [layer.attention for layer in decoder_spec(config).layers if isinstance(layer.attention, s.Attention)]


@pytest.mark.parametrize(
    ("config", "family"),
    [
        (published("gemma-2b"), GemmaConfig),
        (published("gemma-7b"), GemmaConfig),
        (published("gemma-2-9b"), Gemma2Config),
        (published("gemma-2-27b"), Gemma2Config),
        (published("gemma-3-1b"), Gemma3TextConfig),
        (GEMMA_3_270M, Gemma3TextConfig),
        (published("gemma-3-4b"), Gemma3Config),
        (with_text(published("gemma-3-4b"), **GEMMA_3_27B_TEXT), Gemma3Config),
    ],
    ids=lambda value: value["architectures"][0] if isinstance(value, dict) else "",
)
def test_a_published_config_is_what_transformers_makes_of_it(config: Config, family: type[PreTrainedConfig]) -> None:
    written = json.loads(family(**json.loads(json.dumps(config))).to_json_string(use_diff=False))
    assert decoder_spec(config) == decoder_spec(written | {"architectures": config["architectures"]})


@pytest.mark.parametrize(
    ("name", "family"), [("gemma-7b", GemmaConfig), ("gemma-2-9b", Gemma2Config), ("gemma-3-1b", Gemma3TextConfig)]
)
def test_a_config_of_sizes_alone_is_what_transformers_makes_of_it(name: str, family: type[PreTrainedConfig]) -> None:
    # As many heads as any number of KV heads that silence may mean divides.
    config = {key: value for key, value in published(name).items() if key in SIZES} | {"num_attention_heads": 16}
    written = json.loads(family(**config).to_json_string(use_diff=False))
    assert decoder_spec(config) == decoder_spec(written | {"architectures": config["architectures"]})


def test_gemma_2b() -> None:
    spec = decoder_spec(published("gemma-2b"))
    layer, rope = spec.layers[17], s.Rope(theta=10000.0, dim=256)
    attention = s.Attention(heads=8, kv_heads=1, head_dim=256, rope=rope, scale=0.0625)
    assert layer == s.Layer(attention=attention, feed_forward=s.Dense(width=16384, act="gelu_tanh"))
    assert (spec.norm, spec.embed_scale, spec.tied, spec.max_position) == (NORM, 2048**0.5, True, 8192)
    assert len(expected_shapes(spec)) == 164


@pytest.mark.parametrize("said", ["gelu", "gelu_pytorch_tanh", "gelu_new", None])
def test_the_first_gemma_means_the_approximation_by_gelu(said: str | None) -> None:
    for second in (None, "gelu_pytorch_tanh"):
        spec = decoder_spec(published("gemma-2b") | {"hidden_act": said, "hidden_activation": second})
        assert spec == decoder_spec(published("gemma-2b"))


def test_gemma_2_9b() -> None:
    spec = decoder_spec(published("gemma-2-9b"))
    assert [attention.window for attention in attentions(published("gemma-2-9b"))] == [4096, None] * 21
    assert {layer.residual for layer in spec.layers} == {"sandwich"}
    assert (spec.logit_softcap, spec.norm, spec.tied) == (30.0, NORM, True)
    assert {(attention.softcap, attention.scale) for attention in attentions(published("gemma-2-9b"))} == {
        (50.0, 0.0625)
    }


def test_the_queries_of_gemma_2_27b_are_scaled_by_another_number_than_the_size_of_heads() -> None:
    assert {(a.head_dim, a.scale) for a in attentions(published("gemma-2-27b"))} == {(128, 1 / 12)}


def test_no_cap_is_not_the_cap_that_silence_means() -> None:
    caps = ("attn_logit_softcapping", "final_logit_softcapping")
    none = decoder_spec(published("gemma-2-9b") | dict.fromkeys(caps))
    silent = decoder_spec({name: value for name, value in published("gemma-2-9b").items() if name not in caps})
    assert silent == decoder_spec(published("gemma-2-9b"))
    assert {layer.attention.softcap for layer in none.layers if isinstance(layer.attention, s.Attention)} == {None}
    assert none.logit_softcap is None


def test_gemma_3_1b() -> None:
    far, near = s.Rope(theta=1000000.0, dim=256), s.Rope(theta=10000.0, dim=256)
    found = attentions(published("gemma-3-1b"))
    assert [(a.window, a.rope) for a in found] == ([(512, near)] * 5 + [(None, far)]) * 4 + [(512, near)] * 2
    assert {(a.qk_norm, a.scale, a.softcap) for a in found} == {(s.HeadNorm(norm=NORM), 0.0625, None)}


def test_old_and_new_ways_of_saying_two_ropes_are_one() -> None:
    old = published("gemma-3-1b") | {"rope_scaling": {"type": "linear", "factor": 4.0}, "sliding_window_pattern": 3}
    names = ("rope_scaling", "rope_theta", "rope_local_base_freq", "sliding_window_pattern")
    new = {name: value for name, value in old.items() if name not in names} | {
        "layer_types": (["sliding_attention"] * 2 + ["full_attention"]) * 8 + ["sliding_attention"] * 2,
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        },
    }
    assert decoder_spec(old) == decoder_spec(new)
    assert decoder_spec(old | {"rope_local_base_freq": 5e4}) != decoder_spec(new)


def test_a_table_for_one_type_of_layer_leaves_the_other_to_silence() -> None:
    tables = {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 500.0}}
    found = attentions(published("gemma-3-1b") | {"rope_parameters": tables, "rope_local_base_freq": 70.0})
    scaling = (("factor", 8.0), ("rope_type", "linear"))
    assert found[5].rope == s.Rope(theta=500.0, dim=256, scaling=scaling)
    assert found[0].rope == s.Rope(theta=70.0, dim=256)


@pytest.mark.parametrize("name", ["sliding_window_pattern", "_sliding_window_pattern"])
def test_the_pattern_counts_where_layers_are_not_listed(name: str) -> None:
    silent = {
        key: value for key, value in GEMMA_3_270M.items() if key not in ("layer_types", "_sliding_window_pattern")
    }
    assert [a.window for a in attentions(silent | {name: 3})] == [512, 512, None] * 6
    assert decoder_spec(silent) == decoder_spec(GEMMA_3_270M) == decoder_spec(GEMMA_3_270M | {name: 3})


def test_what_the_text_part_of_gemma_3_leaves_out() -> None:
    config = published("gemma-3-4b")
    spec, found = decoder_spec(config), attentions(config)
    assert (spec.vocab, spec.dim, spec.max_position, spec.tied, spec.logit_softcap) == (
        262208,
        2560,
        131072,
        True,
        None,
    )
    assert {(a.heads, a.kv_heads, a.head_dim, a.scale) for a in found} == {(8, 4, 256, 0.0625)}
    scaled = s.Rope(theta=1000000.0, dim=256, scaling=(("factor", 8.0), ("rope_type", "linear")))
    local = s.Rope(theta=10000.0, dim=256)
    assert [(a.window, a.rope) for a in found[4:7]] == [(1024, local), (None, scaled), (1024, local)]
    larger = attentions(with_text(config, **GEMMA_3_27B_TEXT))
    assert {(a.heads, a.kv_heads, a.head_dim, a.scale) for a in larger} == {(32, 16, 128, 168**-0.5)}


def test_what_an_image_is_made_of_is_not_read() -> None:
    config = published("gemma-3-4b")
    other = config | {"vision_config": {"model_type": "another"}, "mm_tokens_per_image": "many"}
    assert decoder_spec(other) == decoder_spec(config)


def test_the_outer_word_on_a_tied_head_counts_more() -> None:
    def tied(outer: bool | None, inner: bool | None) -> bool:
        text = with_text(published("gemma-3-4b"), tie_word_embeddings=inner)
        return decoder_spec(text | {"tie_word_embeddings": outer}).tied

    assert [tied(None, None), tied(False, True), tied(True, False), tied(None, False)] == [True, False, True, False]


CAUSAL = ("gemma-2b", "gemma-2-9b", "gemma-3-1b")


@pytest.mark.parametrize("name", [*CAUSAL, "gemma-3-4b"])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("use_bidirectional_attention", True),
        ("partial_rotary_factor", 0.5),
        ("hidden_act", "relu"),
        ("hidden_activation", "relu"),
        ("head_dim", 7),
        ("rope_parameters", {"global": {"rope_type": "default"}}),
        ("num_kv_shared_layers", 4),
        ("quantization_config", {"quant_method": "awq"}),
    ],
)
def test_what_would_be_ignored_is_refused_by_name(name: str, field: str, value: object) -> None:
    config = published(name)
    with pytest.raises(ModelLoadError, match=f"{field}|\\bglobal\\b"):
        decoder_spec(with_text(config, **{field: value}) if "text_config" in config else config | {field: value})


@pytest.mark.parametrize("name", CAUSAL)
def test_attention_to_later_tokens_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(ModelLoadError, match="`use_bidirectional_attention` is True; .* see those before them"):
        decoder_spec(published(name) | {"use_bidirectional_attention": True})


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("gemma-2b", {"hidden_act": "silu", "hidden_activation": "gelu_pytorch_tanh"}, "hidden_activation"),
        ("gemma-2b", {"hidden_activation": "gelu"}, "hidden_activation"),
        ("gemma-2-9b", {"hidden_act": "gelu"}, "hidden_act"),
        ("gemma-2-9b", {"sliding_window_size": 2048}, "sliding_window_size"),
        ("gemma-2-9b", {"sliding_window": None}, "sliding_window_size"),
        ("gemma-2-9b", {"attn_logit_softcapping": 0}, "attn_logit_softcapping"),
        ("gemma-2-9b", {"final_logit_softcapping": "30"}, "final_logit_softcapping"),
        ("gemma-2-9b", {"query_pre_attn_scalar": -1}, "query_pre_attn_scalar"),
        ("gemma-2-9b", {"layer_types": ["chunked_attention"] * 42}, "layer_types"),
        ("gemma-3-1b", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        ("gemma-3-1b", {"sliding_window_pattern": 0}, "sliding_window_pattern"),
        ("gemma-3-1b", {"rope_local_base_freq": 0}, "rope_local_base_freq"),
        ("gemma-3-1b", {"rope_parameters": {"rope_type": "linear", "factor": 8.0}}, "rope_parameters"),
        ("gemma-3-1b", {"rope_parameters": {"sliding_attention": 3}}, "sliding_attention"),
        ("gemma-3-1b", {"rope_scaling": {"sliding_attention": {"rope_type": "default"}}}, "rope_scaling"),
    ],
)
def test_a_contradiction_is_refused_by_name(name: str, change: Config, said: str) -> None:
    with pytest.raises(ModelLoadError) as raised:
        decoder_spec(published(name) | change)
    assert said in raised.value.names
    assert f"`{said}`" in str(raised.value)


def test_a_rope_in_both_spellings_at_once_is_refused() -> None:
    both = {
        "rope_scaling": {"type": "linear", "factor": 8.0},
        "rope_parameters": {"full_attention": {"rope_theta": 5.0}},
    }
    with pytest.raises(ModelLoadError, match="without `rope_scaling` beside it"):
        decoder_spec(published("gemma-3-1b") | both)


@pytest.mark.parametrize("text", [None, {}, "gemma", [1]])
def test_a_conditional_model_without_a_text_part_is_refused(text: object) -> None:
    with pytest.raises(ModelLoadError, match="text_config"):
        decoder_spec(published("gemma-3-4b") | {"text_config": text})


def test_what_is_not_known_of_the_text_part_or_beside_it_is_named() -> None:
    config = published("gemma-3-4b")
    with pytest.raises(ModelLoadError, match=r"config\.json, text_config: .*laurel_rank"):
        decoder_spec(with_text(config, laurel_rank=64))
    with pytest.raises(ModelLoadError, match=r"config\.json, text_config: `final_logit_softcapping` is 30\.0"):
        decoder_spec(with_text(config, final_logit_softcapping=30.0))
    with pytest.raises(ModelLoadError, match=r"config\.json: .*audio_config"):
        decoder_spec(config | {"audio_config": {"model_type": "audio"}})


def logits(path: Path, ids: Tensor) -> Tensor:
    source = open_source(path)
    return in_chunks(build_decoder(decoder_spec(source.config), source, device=CPU, dtype=torch.float32), ids, [20, 5])


@pytest.mark.parametrize("name", ["gemma3, vision", "gemma3, vision, untied"])
def test_tensors_load_under_the_names_published_and_under_those_of_transformers_5(name: str, tmp_path: Path) -> None:
    ids = torch.randint(0, 97, (25,), generator=torch.Generator().manual_seed(1))
    model = save_model(tmp_path, name)
    as_published = load_file(tmp_path / "model.safetensors")
    assert "language_model.model.norm.weight" in as_published
    right = logits(tmp_path, ids)
    as_in_memory = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del as_in_memory["lm_head.weight"]
    assert "model.language_model.norm.weight" in as_in_memory
    assert len(as_in_memory) == len(as_published)
    save_file(as_in_memory, tmp_path / "model.safetensors")
    assert torch.equal(logits(tmp_path, ids), right)


def test_a_tensor_of_another_tower_is_named(tmp_path: Path) -> None:
    save_model(tmp_path, "gemma3, vision")
    tensors = load_file(tmp_path / "model.safetensors") | {"audio_tower.weight": torch.zeros(3)}
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ModelLoadError, match=r"1 not part of this architecture: audio_tower\.weight"):
        logits(tmp_path, torch.arange(25))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = sorted({*GEMMA_3_270M, "rope_parameters", "sliding_window_pattern", "tie_word_embeddings"} - {"architectures"})


@given(st.sampled_from(FIELDS), json_values)
def test_whatever_the_text_part_holds_the_answer_is_a_spec_or_a_named_error(field: str, value: object) -> None:
    try:
        decoder_spec(with_text(published("gemma-3-4b"), **{field: value}))
    except ModelLoadError as error:
        assert len(str(error)) < 1000
