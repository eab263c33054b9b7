"""What parity cannot show of Mixtral: how its published config.json reads, and what is refused."""

from typing import Any

import pytest
from real_checkpoints import real_checkpoint

from candle_vllm_core import spec as s
from candle_vllm_core.errors import ModelLoadError
from candle_vllm_core.model.build import expected_shapes
from candle_vllm_core.model.families import decoder_spec

CONFIG: dict[str, Any] = dict(real_checkpoint("mixtral-8x7b").config)


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in CONFIG.items() if name not in names}


def test_mixtral_8x7b() -> None:
    spec = decoder_spec(CONFIG)
    attention = s.Attention(heads=32, kv_heads=8, head_dim=128, rope=s.Rope(theta=1e6, dim=128), scale=128**-0.5)
    router = s.Router(experts=8, top_k=2, renormalize=True)
    assert set(spec.layers) == {s.Layer(attention=attention, feed_forward=s.Sparse(router=router, width=14336))}
    assert (spec.norm, spec.tied, spec.max_position, len(spec.layers)) == (s.Norm(eps=1e-5), False, 32768, 32)


def test_experts_have_the_names_that_mistral_gave_them() -> None:
    shapes = expected_shapes(decoder_spec(CONFIG))
    expert = "model.layers.31.block_sparse_moe.experts.7"
    assert [shapes[f"{expert}.{name}.weight"] for name in ("w1", "w2", "w3")] == [
        (14336, 4096),
        (4096, 14336),
        (14336, 4096),
    ]
    assert shapes["model.layers.0.block_sparse_moe.gate.weight"] == (8, 4096)
    assert not [name for name in shapes if ".mlp." in name]


def test_silence_means_what_the_released_model_is() -> None:
    silent = without(
        "num_local_experts", "num_experts_per_tok", "rope_theta", "rms_norm_eps", "sliding_window", "hidden_act"
    )
    assert decoder_spec(silent) == decoder_spec(CONFIG)
    assert decoder_spec(without("max_position_embeddings")).max_position == 131072


def test_the_number_of_experts_has_two_names() -> None:
    renamed = without("num_local_experts") | {"num_experts": 16}
    assert decoder_spec(renamed).layers[0].feed_forward.router.experts == 16
    assert decoder_spec(renamed | {"num_local_experts": 16}) == decoder_spec(renamed)
    with pytest.raises(ModelLoadError, match="`num_local_experts` is 8; it must be 16 as num_experts says"):
        decoder_spec(CONFIG | {"num_experts": 16})


def test_a_window_that_is_said_is_kept() -> None:
    assert {layer.attention.window for layer in decoder_spec(CONFIG | {"sliding_window": 4096}).layers} == {4096}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_local_experts", 0),
        ("num_local_experts", 1),  # fewer than the two for each token
        ("num_local_experts", 10**6),
        ("num_local_experts", "8"),
        ("num_experts_per_tok", 0),
        ("num_experts_per_tok", 9),
        ("num_experts_per_tok", True),
        ("intermediate_size", None),
        ("hidden_act", "relu"),
        ("n_shared_experts", 1),
        ("quantization_config", {"quant_method": "awq", "bits": 4}),
    ],
)
def test_what_would_compute_something_else_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ModelLoadError, match="num_experts_per_tok" if value == 1 and "local" in field else field):
        decoder_spec(CONFIG | {field: value})
