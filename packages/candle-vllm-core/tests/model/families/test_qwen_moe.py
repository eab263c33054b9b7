"""What parity cannot show of Qwen's mixtures: how published config.json files read, and what is refused."""

from typing import Any

import pytest
from real_checkpoints import real_checkpoint

from candle_vllm_core import spec as s
from candle_vllm_core.errors import ModelLoadError
from candle_vllm_core.model.build import expected_shapes
from candle_vllm_core.model.families import decoder_spec

QWEN2: dict[str, Any] = dict(real_checkpoint("qwen1.5-moe-a2.7b").config)
QWEN3: dict[str, Any] = dict(real_checkpoint("qwen3-30b-a3b").config)
BOTH = pytest.mark.parametrize("config", [QWEN2, QWEN3], ids=["qwen2", "qwen3"])


def without(config: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in names}


def sparse_layers(config: dict[str, Any]) -> list[int]:
    layers = enumerate(decoder_spec(config).layers)
    return [index for index, layer in layers if isinstance(layer.feed_forward, s.Sparse)]


def windows(config: dict[str, Any]) -> list[int | None]:
    return [layer.attention.window for layer in decoder_spec(config).layers]


def test_qwen1_5_moe() -> None:
    spec = decoder_spec(QWEN2)
    rope = s.Rope(theta=1e6, dim=128)
    attention = s.Attention(heads=16, kv_heads=16, head_dim=128, rope=rope, scale=128**-0.5, qkv_bias=True)
    router = s.Router(experts=60, top_k=4)
    experts = s.Sparse(router=router, width=1408, shared=s.Dense(width=5632), shared_gate=True)
    assert set(spec.layers) == {s.Layer(attention=attention, feed_forward=experts)}
    assert (spec.norm, spec.tied, spec.max_position) == (s.Norm(eps=1e-6), False, 32768)
    shapes = expected_shapes(spec)
    assert shapes["model.layers.3.mlp.shared_expert.up_proj.weight"] == (5632, 2048)
    assert shapes["model.layers.3.mlp.shared_expert_gate.weight"] == (1, 2048)


def test_qwen3_30b_a3b() -> None:
    spec = decoder_spec(QWEN3)
    rope, head_norm = s.Rope(theta=1e6, dim=128), s.HeadNorm(norm=s.Norm(eps=1e-6))
    attention = s.Attention(heads=32, kv_heads=4, head_dim=128, rope=rope, scale=128**-0.5, qk_norm=head_norm)
    experts = s.Sparse(router=s.Router(experts=128, top_k=8, renormalize=True), width=768)
    assert set(spec.layers) == {s.Layer(attention=attention, feed_forward=experts)}
    assert (spec.norm, spec.tied, spec.max_position) == (s.Norm(eps=1e-6), False, 40960)


def test_qwen3_coder_says_of_itself_what_every_qwen3_does() -> None:
    coder = dict(real_checkpoint("qwen3-coder-30b-a3b").config)
    assert (coder["use_qk_norm"], coder["qkv_bias"], coder["shared_expert_intermediate_size"]) == (True, False, 0)
    same = QWEN3 | {"intermediate_size": 5472, "max_position_embeddings": 262144, "rope_theta": 1e7}
    assert decoder_spec(coder) == decoder_spec(same)


@pytest.mark.parametrize(("config", "value"), [(QWEN3, False), (QWEN2, True)], ids=["qwen3", "qwen2"])
def test_whether_heads_are_normalised_is_no_choice(config: dict[str, Any], value: bool) -> None:
    with pytest.raises(ModelLoadError, match="use_qk_norm"):
        decoder_spec(config | {"use_qk_norm": value})


def test_silence_means_what_transformers_takes_it_for() -> None:
    sizes = ("num_experts_per_tok", "num_experts", "moe_intermediate_size", "num_key_value_heads")
    also = ("shared_expert_intermediate_size", "norm_topk_prob", "decoder_sparse_step")
    assert decoder_spec(without(QWEN2, *sizes, *also)) == decoder_spec(QWEN2)
    assert decoder_spec(without(QWEN3, *sizes, "decoder_sparse_step", "mlp_only_layers")) == decoder_spec(QWEN3)
    assert decoder_spec(without(QWEN3, "norm_topk_prob")) == decoder_spec(QWEN3 | {"norm_topk_prob": False})
    assert decoder_spec(without(QWEN3, "head_dim")).layers[0].attention.key_dim == 64


@BOTH
def test_which_layers_have_experts(config: dict[str, Any]) -> None:
    count = config["num_hidden_layers"]
    assert sparse_layers(config) == list(range(count))
    assert sparse_layers(config | {"decoder_sparse_step": 5}) == list(range(4, count, 5))
    assert sparse_layers(config | {"decoder_sparse_step": 5, "mlp_only_layers": [0, 9]}) == [4, *range(14, count, 5)]
    plain = decoder_spec(config | {"mlp_only_layers": [2]}).layers[2]
    assert plain.feed_forward == s.Dense(width=config["intermediate_size"])


def test_windows_of_qwen2_slide_on_every_other_layer_below_a_number() -> None:
    used = QWEN2 | {"use_sliding_window": True, "sliding_window": 99, "num_hidden_layers": 6}
    assert windows(QWEN2) == [None] * 24
    assert windows(used | {"max_window_layers": 4}) == [99, None, 99, None, None, None]
    types = ["full_attention"] * 5 + ["sliding_attention"]
    assert windows(used | {"layer_types": types}) == [None] * 5 + [99]
    assert windows(QWEN2 | {"sliding_window": 0}) == [None] * 24  # as transformers writes it back


def test_windows_of_qwen3_slide_on_every_layer() -> None:
    used = QWEN3 | {"use_sliding_window": True, "sliding_window": 99}
    assert windows(without(used, "max_window_layers")) == windows(used | {"max_window_layers": 0}) == [99] * 48
    with pytest.raises(ModelLoadError, match="max_window_layers"):
        decoder_spec(used)


@BOTH
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_experts", 0),
        ("num_experts", 3),  # fewer than those for each token
        ("num_experts_per_tok", 129),
        ("moe_intermediate_size", 0),
        ("decoder_sparse_step", 0),
        ("mlp_only_layers", [-1]),
        ("mlp_only_layers", 3),
        ("norm_topk_prob", 1),
        ("routed_scaling_factor", 2.5),
        ("num_local_experts", 7),
        ("quantization_config", {"quant_method": "gptq", "bits": 4}),
    ],
)
def test_what_would_compute_something_else_is_refused_by_name(
    config: dict[str, Any], field: str, value: object
) -> None:
    with pytest.raises(ModelLoadError, match="num_experts_per_tok" if value == 3 and field == "num_experts" else field):
        decoder_spec(config | {field: value})


def test_a_window_of_no_tokens_is_refused_where_it_would_be_used() -> None:
    with pytest.raises(ModelLoadError, match="`sliding_window` is 0"):
        decoder_spec(QWEN2 | {"sliding_window": 0, "use_sliding_window": True})
