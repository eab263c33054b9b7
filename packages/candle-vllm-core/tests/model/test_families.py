import json
from pathlib import Path
from typing import Any

import pytest
from checkpoints import save_model
from real_checkpoints import checkpoint_names, real_checkpoint
from transformers import PreTrainedConfig
from variants import MODELS

from candle_vllm_core import spec as s
from candle_vllm_core.model import families
from candle_vllm_core.model.families import FAMILIES, decoder_spec

LLAMA_3_2_1B = dict(real_checkpoint("llama-3.2-1b").config)
MISTRAL_7B_V0_3 = dict(real_checkpoint("mistral-7b-v0.3").config)
QWEN2_5_0_5B = dict(real_checkpoint("qwen2.5-0.5b").config)
QWEN3_0_6B = dict(real_checkpoint("qwen3-0.6b").config)
RELEASED = [dict(real_checkpoint(name).config) for name in checkpoint_names()]


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
# Released checkpoints of Mistral 3 that say nothing of their head have one of their own.
LEFT_OPEN = {
    "DeepseekV2ForCausalLM": {"num_experts_per_tok": 6},
    "Mistral3ForConditionalGeneration": {"tie_word_embeddings": False},
}
BY_ARCHITECTURE = {variant.model.__name__: variant for variant in reversed(MODELS.values())}


@pytest.mark.parametrize("architecture", FAMILIES)
def test_a_config_of_sizes_alone_is_what_transformers_takes_it_for(architecture: str) -> None:
    kind = BY_ARCHITECTURE[architecture].config
    said = sizes(as_written(kind())) | LEFT_OPEN.get(architecture, {})
    named = {"architectures": [architecture]}
    assert decoder_spec(said | named) == decoder_spec(as_written(kind(**said)) | named)


def as_written(config: PreTrainedConfig) -> dict[str, Any]:
    written: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    return written


def sizes(config: dict[str, Any]) -> dict[str, Any]:
    inner = {"text_config": sizes(config["text_config"])} if "text_config" in config else {}
    return inner | {field: value for field, value in config.items() if field in SIZES}


def test_the_window_of_mistral_is_4096_where_nothing_is_said() -> None:
    silent = {key: value for key, value in MISTRAL_7B_V0_3.items() if key != "sliding_window"}
    assert [decoder_spec(config).layers[0].attention.window for config in (silent, MISTRAL_7B_V0_3)] == [4096, None]


def test_old_and_new_ways_of_saying_rope_are_one() -> None:
    scaling = LLAMA_3_2_1B["rope_scaling"]
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
    for config in RELEASED:
        silent = {key: value for key, value in config.items() if key != "architectures"}
        assert decoder_spec(silent) == decoder_spec(config)


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


NAMED_FOR_A_FAMILY = ("rope", "positions")  # one way of scaling is called llama3
MODULES = sorted(p for p in Path(families.__file__).parent.parent.glob("*.py") if p.stem not in NAMED_FOR_A_FAMILY)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_families_are_named_nowhere_else(module: Path) -> None:
    source = module.read_text(encoding="utf-8").lower()
    assert [name for name in FAMILIES if name.lower().partition("for")[0] in source] == []
