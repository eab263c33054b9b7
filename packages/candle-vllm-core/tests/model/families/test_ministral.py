"""What parity cannot show of Mistral 3 and Ministral: published config.json files, names of tensors, refusals."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import save_model
from paged import CPU, in_chunks
from real_checkpoints import real_checkpoint
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Mistral3Config

from candle_vllm_core import spec as s
from candle_vllm_core.errors import ModelLoadError
from candle_vllm_core.model.build import build_decoder, expected_shapes
from candle_vllm_core.model.decoder import Decoder
from candle_vllm_core.model.families import decoder_spec
from candle_vllm_core.weights.source import open_source

Config = dict[str, Any]
LENGTH = 41
IDS = torch.randint(0, 97, (LENGTH,), generator=torch.Generator().manual_seed(1))
MINISTRAL_3 = dict(real_checkpoint("ministral-3-3b").config)
# Mistral Small 3.1, whose language model is a Mistral; its config.json says nothing of the head.
MISTRAL_SMALL_3_1: Config = {
    "architectures": ["Mistral3ForConditionalGeneration"],
    "image_token_index": 10,
    "model_type": "mistral3",
    "multimodal_projector_bias": False,
    "projector_hidden_act": "gelu",
    "spatial_merge_size": 2,
    "text_config": {
        "attention_dropout": 0.0,
        "head_dim": 128,
        "hidden_act": "silu",
        "hidden_size": 5120,
        "initializer_range": 0.02,
        "intermediate_size": 32768,
        "max_position_embeddings": 131072,
        "model_type": "mistral",
        "num_attention_heads": 32,
        "num_hidden_layers": 40,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-05,
        "rope_theta": 1000000000.0,
        "sliding_window": None,
        "use_cache": True,
        "vocab_size": 131072,
    },
    "torch_dtype": "bfloat16",
    "transformers_version": "4.50.0.dev0",
    "vision_config": {"hidden_size": 1024, "model_type": "pixtral", "num_hidden_layers": 24, "rope_theta": 10000.0},
    "vision_feature_layer": -1,
}


def attentions(spec: s.Decoder) -> list[s.Attention]:
    return [layer.attention for layer in spec.layers if isinstance(layer.attention, s.Attention)]


def with_text(config: Config, **changes: object) -> Config:
    return config | {"text_config": config["text_config"] | changes}


def load(path: Path) -> Decoder:
    source = open_source(path)
    return build_decoder(decoder_spec(source.config), source, device=CPU, dtype=torch.float32)


def answer(decoder: Decoder) -> Tensor:
    return in_chunks(decoder, IDS, [20, 1, LENGTH - 21])


def test_ministral_3() -> None:
    spec = decoder_spec(MINISTRAL_3)
    attention = attentions(spec)[25]
    assert (spec.tied, spec.dim, spec.norm.eps, spec.max_position) == (True, 3072, 1e-5, 262144)
    assert (attention.heads, attention.kv_heads, attention.head_dim, attention.window) == (32, 8, 128, None)
    assert attention.query_growth == s.QueryGrowth(beta=0.1, length=16384)
    assert attention.rope is not None
    assert attention.rope.theta == 1e6
    assert dict(attention.rope.scaling).items() >= {"rope_type": "yarn", "factor": 16.0, "mscale": 1.0}.items()


def test_mistral_small_3_1() -> None:
    spec = decoder_spec(MISTRAL_SMALL_3_1)
    shapes = expected_shapes(spec)
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == 23_572_403_200
    assert shapes["language_model.lm_head.weight"] == (131072, 5120)
    assert {(attention.window, attention.query_growth) for attention in attentions(spec)} == {(None, None)}
    assert attentions(spec)[0].rope == s.Rope(theta=1e9, dim=128)


@pytest.mark.parametrize("config", [MINISTRAL_3, MISTRAL_SMALL_3_1], ids=["ministral", "small"])
def test_a_published_config_is_what_transformers_makes_of_it(config: Config) -> None:
    written = json.loads(Mistral3Config(**json.loads(json.dumps(config))).to_json_string(use_diff=False))
    found, right = decoder_spec(config), decoder_spec(written | {"architectures": config["architectures"]})
    # For transformers the head is tied unless the checkpoint stores another one.
    assert right.tied
    assert replace(found, tied=True) == right


def test_a_model_without_its_vision_tower_reads_the_same_text() -> None:
    text = MINISTRAL_3["text_config"]
    for config in (text, text | {"architectures": ["Ministral3ForCausalLM"]}):
        spec = decoder_spec(config)
        assert replace(spec, names=decoder_spec(MINISTRAL_3).names) == decoder_spec(MINISTRAL_3)
        assert "model.embed_tokens.weight" in expected_shapes(spec)


PUBLISHED = ("language_model.", "language_model.lm_head.", "")
LATER = ("model.language_model.", "lm_head.", "model.")


@pytest.mark.parametrize("name", ["mistral3, vision", "mistral3, vision, growing, tied"])
@pytest.mark.parametrize("roots", [PUBLISHED, LATER], ids=["as published", "as transformers has them"])
def test_tensors_are_found_under_both_names(name: str, roots: tuple[str, str, str], tmp_path: Path) -> None:
    save_model(tmp_path, name)
    right = answer(load(tmp_path))
    model, head, beside = roots
    renamed = {}
    for name, tensor in load_file(tmp_path / "model.safetensors").items():
        match name.split(".", 2):
            case ["language_model", "lm_head", rest]:
                renamed[head + rest] = tensor
            case ["language_model", "model", rest]:
                renamed[("language_model.model." if roots == PUBLISHED else model) + rest] = tensor
            case _:
                renamed[beside + name] = tensor
    assert {name.split(".")[0] for name in renamed} & {"model", "language_model"} == {model.split(".")[0]}
    assert any("vision_tower." in name for name in renamed)
    save_file(renamed, tmp_path / "model.safetensors")
    assert torch.equal(answer(load(tmp_path)), right)


def test_queries_grow_from_the_original_length_on(tmp_path: Path) -> None:
    save_model(tmp_path, "ministral3")
    source = open_source(tmp_path)
    spec = decoder_spec(source.config)
    assert {attention.query_growth for attention in attentions(spec)} == {s.QueryGrowth(beta=0.5, length=16)}
    layers = [
        replace(layer, attention=replace(attention, query_growth=None))
        for layer, attention in zip(spec.layers, attentions(spec), strict=True)
    ]
    plain = build_decoder(replace(spec, layers=tuple(layers)), source, device=CPU, dtype=torch.float32)
    found, without = answer(load(tmp_path)), answer(plain)
    assert torch.equal(found[:16], without[:16])
    assert ((found - without).abs().amax(1) > 1e-3)[16:].all()


def test_positions_that_are_not_said_are_stretched_and_queries_grow() -> None:
    silent = {name: value for name, value in MINISTRAL_3["text_config"].items() if name != "rope_parameters"}
    assert decoder_spec(silent) == decoder_spec(MINISTRAL_3["text_config"])
    plain = decoder_spec(silent | {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}})
    assert {(attention.rope, attention.query_growth) for attention in attentions(plain)} == {
        (s.Rope(theta=500.0, dim=128), None)
    }


def test_every_layer_of_ministral_has_a_window_unless_the_types_say_otherwise() -> None:
    said = {"architectures": ["MinistralForCausalLM"], "model_type": "ministral"}
    config = dict(real_checkpoint("ministral-8b-2410").config) | said
    types = ["full_attention", "sliding_attention", "sliding_attention", "sliding_attention"] * 9
    windows = [
        [attention.window for attention in attentions(decoder_spec(config | change))]
        for change in ({}, {"layer_types": types}, {"sliding_window": None})
    ]
    assert windows == [[32768] * 36, [None, 32768, 32768, 32768] * 9, [None] * 36]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (with_text(MINISTRAL_3, attention_sinks=True), "text_config: this version does not know `attention_sinks`"),
        (with_text(MINISTRAL_3, layer_types=["sliding_attention"] * 26), "text_config: .*`layer_types`"),
        (with_text(MINISTRAL_3, quantization_config={"quant_method": "fp8"}), "text_config: .*`quantization_config`"),
        (with_text(MINISTRAL_3, hidden_size="3072"), "text_config: `hidden_size` is '3072'"),
        (with_text(MINISTRAL_3, model_type="llama"), "text_config: `model_type` is 'llama'"),
        (with_text(MINISTRAL_3, rope_parameters={"llama_5": 1}), "rope_parameters: .*`llama_5`"),
        (MINISTRAL_3 | {"text_config": None}, "text_config has no `num_attention_heads`"),
        (MINISTRAL_3 | {"text_config": [1]}, "`text_config` is .*a table"),
        (MINISTRAL_3 | {"audio_config": {"layers": 2}}, "does not know `audio_config`"),
        (MINISTRAL_3 | {"quantization_config": {"quant_method": "fp8"}}, "quantization_config.*fp8"),
        (MINISTRAL_3 | {"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_known_is_refused_by_name(config: Config, said: str) -> None:
    with pytest.raises(ModelLoadError, match=said):
        decoder_spec(config)


@pytest.mark.parametrize("kind", ["mistral", "ministral"])
def test_a_mistral_whose_queries_would_have_to_grow_is_refused(kind: str) -> None:
    config = MINISTRAL_3["text_config"] | {"model_type": kind}
    with pytest.raises(ModelLoadError, match="llama_4_scaling_beta"):
        decoder_spec(config)


@pytest.mark.parametrize("change", [{"llama_4_scaling_beta": -1.0}, {"original_max_position_embeddings": None}])
def test_a_growth_that_is_impossible_is_refused_by_name(change: dict[str, object]) -> None:
    (field,) = change
    table = MINISTRAL_3["text_config"]["rope_parameters"] | change
    with pytest.raises(ModelLoadError, match=field):
        decoder_spec(with_text(MINISTRAL_3, rope_parameters=table))
