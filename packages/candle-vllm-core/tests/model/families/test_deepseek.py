"""DeepSeek where its authors' code and transformers part, what config.json files say, and what is refused.

The authors' code is modeling_deepseek.py, which the checkpoints of V2 and V3 bring along, and inference/model.py of the
DeepSeek-V3 repository. Where transformers 5.23 computes something else, it is corrected here and compared then.
"""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import random_model, save_model
from paged import CPU, in_chunks
from real_checkpoints import real_checkpoint
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2MLP
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3MLP
from variants.common import YARN

from candle_vllm_core import spec as s
from candle_vllm_core.errors import ModelLoadError
from candle_vllm_core.model.build import build_decoder
from candle_vllm_core.model.decoder import Decoder
from candle_vllm_core.model.families import decoder_spec
from candle_vllm_core.model.feed_forward import Sparse
from candle_vllm_core.weights.source import open_source

Config = dict[str, Any]
LENGTH = 41
IDS = torch.randint(0, 97, (LENGTH,), generator=torch.Generator().manual_seed(1))
BOTH = pytest.mark.parametrize("name", ["deepseek-v2", "deepseek-v3"])


def published(name: str) -> Config:
    return dict(real_checkpoint(name).config)


def attentions(spec: s.Decoder) -> list[s.LatentAttention]:
    return [layer.attention for layer in spec.layers if isinstance(layer.attention, s.LatentAttention)]


def mixtures(spec: s.Decoder) -> dict[int, s.Sparse]:
    each = enumerate(layer.feed_forward for layer in spec.layers)
    return {index: network for index, network in each if isinstance(network, s.Sparse)}


def save(path: Path, model: PreTrainedModel, **changes: Any) -> None:
    """Write a checkpoint whose config.json says something that transformers does not know or obey."""
    model.save_pretrained(path)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | changes))


def load(path: Path, change: Callable[[s.Decoder], s.Decoder] = lambda spec: spec, **settings: Any) -> Decoder:
    source = open_source(path)
    spec = change(decoder_spec(source.config))
    return build_decoder(spec, source, device=CPU, **{"dtype": torch.float32} | settings)


def answer(decoder: Decoder) -> Tensor:
    return in_chunks(decoder, IDS, [20, 1, LENGTH - 21])


def expected(model: PreTrainedModel) -> Tensor:
    with torch.inference_mode():
        return model(IDS[None]).logits[0]


def error(found: Tensor, right: Tensor) -> float:
    return ((found - right).abs().max() / right.abs().max()).item()


def routers(model: PreTrainedModel) -> list[nn.Module]:
    return [layer.mlp.gate for layer in model.model.layers if hasattr(layer.mlp, "gate")]


def test_deepseek_v2_lite() -> None:
    spec = decoder_spec(published("deepseek-v2-lite"))
    attention = attentions(spec)[26]
    assert (attention.q_rank, attention.kv_rank, attention.key_dim, attention.heads) == (None, 512, 576, 16)
    assert attention.scale == pytest.approx(192**-0.5 * (0.0707 * math.log(40) + 1) ** 2)
    assert dict(attention.rope.scaling)["attention_factor"] == 1.0
    assert spec.kv_numbers_per_token() == 27 * 576
    router = s.Router(experts=64, top_k=6)
    shared = s.Dense(width=2816)
    assert mixtures(spec) == dict.fromkeys(range(1, 27), s.Sparse(router=router, width=1408, shared=shared))


def test_deepseek_v2() -> None:
    spec = decoder_spec(published("deepseek-v2"))
    assert {attention.q_rank for attention in attentions(spec)} == {1536}
    router = s.Router(experts=160, top_k=6, groups=8, top_groups=3, scale=16.0)
    assert {index: mixture.router for index, mixture in mixtures(spec).items()} == dict.fromkeys(range(1, 60), router)


@pytest.mark.parametrize("name", ["deepseek-v3", "deepseek-r1"])
def test_deepseek_v3_and_r1(name: str) -> None:
    spec = decoder_spec(published(name))
    attention = attentions(spec)[60]
    assert attention.scale == pytest.approx(0.1352337788608801)
    assert (attention.rope.interleaved, attention.norm, spec.max_position) == (True, s.Norm(eps=1e-6), 163840)
    assert spec.kv_numbers_per_token() == 61 * 576
    mixture = mixtures(spec)[3]
    assert min(mixtures(spec)) == 3
    assert (mixture.shared, mixture.width) == (s.Dense(width=2048), 2048)
    assert mixture.router == s.Router(
        experts=256,
        top_k=8,
        score="sigmoid",
        renormalize=True,
        groups=8,
        top_groups=4,
        group_score="best_two",
        correction=True,
        scale=2.5,
    )


@pytest.mark.parametrize("name", ["deepseek-v3", "deepseek-r1"])
def test_the_published_fp8_checkpoints_are_refused_by_name(name: str) -> None:
    table = {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8", "weight_block_size": [128, 128]}
    with pytest.raises(ModelLoadError, match=r"quantization_config.*fp8") as raised:
        decoder_spec(published(name) | {"quantization_config": table})
    assert list(raised.value.names) == ["quantization_config"]


@BOTH
@pytest.mark.parametrize(
    ("said", "magnitude"),
    [
        ({"mscale": 0.7}, lambda log: 0.7 * log + 1),
        ({"mscale_all_dim": 0.4}, lambda log: (log + 1) / (0.4 * log + 1)),
        ({"mscale": 0.0, "mscale_all_dim": 0.4}, lambda log: 1 / (0.4 * log + 1)),
    ],
    ids=["mscale", "mscale_all_dim", "both, one zero"],
)
def test_a_magnitude_of_yarn_that_is_not_said_is_that_of_the_authors(
    name: str, said: dict[str, float], magnitude: Callable[[float], float], tmp_path: Path
) -> None:
    """`mscale` is 1 and `mscale_all_dim` 0 for DeepseekV3YarnRotaryEmbedding; transformers drops one without the other.

    What scores are multiplied by, DeepseekV3Attention.softmax_scale, is the same in both.
    """
    model = save_model(tmp_path, name, rope_parameters=YARN | said)
    found = answer(load(tmp_path))
    right = YARN | said | {"attention_factor": magnitude(0.1 * math.log(4.0))}
    assert error(found, expected(random_model(name, rope_parameters=right))) <= 1e-5
    assert error(found, expected(model)) > 1e-3


def test_magnitudes_that_are_both_said_are_those_of_transformers_too() -> None:
    """So nothing parts the two for the published checkpoints, which say both and the same."""
    said = {"mscale": 1.4, "mscale_all_dim": 0.6}
    spec = decoder_spec(published("deepseek-v3") | {"rope_scaling": published("deepseek-v3")["rope_scaling"] | said})
    log = 0.1 * math.log(40)
    magnitude = dict(attentions(spec)[0].rope.scaling)["attention_factor"]
    assert magnitude == pytest.approx((1.4 * log + 1) / (0.6 * log + 1))


@pytest.mark.parametrize(("name", "mlp"), [("deepseek-v2", DeepseekV2MLP), ("deepseek-v3", DeepseekV3MLP)])
def test_experts_stand_on_every_so_manieth_layer(name: str, mlp: type[nn.Module], tmp_path: Path) -> None:
    """DeepseekV2DecoderLayer and DeepseekV3DecoderLayer obey `moe_layer_freq`; transformers passes it over."""
    model = random_model(name, num_hidden_layers=6)
    for index in (1, 3, 5):
        model.model.layers[index].mlp = mlp(model.config)
    save(tmp_path, model, moe_layer_freq=2)
    decoder = load(tmp_path)
    assert sorted(mixtures(decoder.spec)) == [2, 4]
    assert error(answer(decoder), expected(model)) <= 1e-5


def test_weights_that_v2_divides_by_their_sum_are_not_scaled(tmp_path: Path) -> None:
    """MoEGate of V2 does the one or the other; transformers passes `norm_topk_prob` over and always scales."""
    model = random_model("deepseek-v2")
    save(tmp_path, model, norm_topk_prob=True)
    theirs = expected(model)
    for router in routers(model):
        router.register_forward_hook(lambda _, x, out: (out[0], out[1] / out[1].sum(-1, keepdim=True), out[2]))
    assert error(answer(load(tmp_path)), expected(model)) <= 1e-5
    assert error(theirs, expected(model)) > 1e-3


def test_the_weight_of_a_lone_expert_of_v3_is_not_divided_by_itself(tmp_path: Path) -> None:
    """MoEGate of V3 divides if `top_k > 1`; transformers always does, and the weight is 1."""
    model = random_model("deepseek-v3", num_experts_per_tok=1)
    save(tmp_path, model)
    theirs = expected(model)
    for router in routers(model):
        router.register_forward_hook(lambda _, x, out: (out[0], out[0].sigmoid().gather(1, out[2]) * 1.7, out[2]))
    assert error(answer(load(tmp_path)), expected(model)) <= 1e-5
    assert error(theirs, expected(model)) > 1e-3


class Nothing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


@BOTH
@pytest.mark.parametrize("said", [None, 0])
def test_a_model_may_have_no_shared_experts(name: str, said: int | None, tmp_path: Path) -> None:
    """As for the authors, where `n_shared_experts` is null; transformers cannot build it."""
    model = random_model(name)
    for layer in model.model.layers[1:]:
        layer.mlp.shared_experts = Nothing()
    save(tmp_path, model, n_shared_experts=said)
    assert error(answer(load(tmp_path)), expected(model)) <= 1e-5


def without_groups(spec: s.Decoder) -> s.Decoder:
    return with_router(spec, groups=1, top_groups=1)


def with_router(spec: s.Decoder, **changes: Any) -> s.Decoder:
    layers = list(spec.layers)
    for index, mixture in mixtures(spec).items():
        changed = replace(mixture, router=replace(mixture.router, **changes))
        layers[index] = replace(layers[index], feed_forward=changed)
    return replace(spec, layers=tuple(layers))


@BOTH
def test_groups_keep_some_of_the_best_experts_from_being_chosen(name: str, tmp_path: Path) -> None:
    """Five of twelve experts, but of two groups of three: without groups other experts are chosen for nearly all."""
    model = save_model(tmp_path, name)
    found, free = load(tmp_path), load(tmp_path, without_groups)
    assert error(answer(found), expected(model)) <= 1e-5
    assert error(answer(free), expected(model)) > 0.05
    x = torch.randn(200, 48, generator=torch.Generator().manual_seed(0))
    for block in range(1, 3):
        grouped, ungrouped = (sorted_experts(decoder, block, x) for decoder in (found, free))
        assert (grouped != ungrouped).any(1).float().mean() > 0.5
        assert all(len(set(row)) == 2 for row in (grouped // 3).tolist())


def sorted_experts(decoder: Decoder, block: int, x: Tensor) -> Tensor:
    network = decoder.blocks[block].feed_forward
    assert isinstance(network, Sparse)
    experts: Tensor = network.router(x)[0]
    return experts.sort(1).values


def test_experts_of_other_groups_stay_out_though_all_corrected_scores_are_below_zero(tmp_path: Path) -> None:
    """They are masked with minus infinity, as in inference/model.py and transformers.

    The first modeling_deepseek.py masked them with 0.0, which is above every score that a negative correction brings
    below zero, so that experts were chosen from the groups that had just been ruled out.
    """
    model = random_model("deepseek-v3")
    for router in routers(model):
        router.e_score_correction_bias.sub_(10.0)
    save(tmp_path, model)
    decoder = load(tmp_path)
    assert error(answer(decoder), expected(model)) <= 1e-5
    x = torch.randn(200, 48, generator=torch.Generator().manual_seed(0))
    assert all(len(set(row)) == 2 for row in (sorted_experts(decoder, 1, x) // 3).tolist())


def test_the_correction_stays_float32_whatever_the_type_of_the_model(tmp_path: Path) -> None:
    """It is stored so in bf16 checkpoints; rounded, it would choose other experts."""
    model = save_model(tmp_path, "deepseek-v3")
    network = load(tmp_path, dtype=torch.bfloat16).blocks[1].feed_forward
    assert isinstance(network, Sparse)
    stored = model.model.layers[1].mlp.gate.e_score_correction_bias
    assert not torch.equal(stored.bfloat16().float(), stored)
    assert torch.equal(network.router.correction, stored)


@pytest.mark.parametrize(("said", "layers"), [(None, [3]), (1, [3]), (2, [3, 4]), (0, [])])
def test_layers_that_predict_further_tokens_are_left_out(said: int | None, layers: list[int], tmp_path: Path) -> None:
    model = random_model("deepseek-v3")
    save(tmp_path, model, num_nextn_predict_layers=said)
    before = answer(load(tmp_path))
    tensors = load_file(tmp_path / "model.safetensors")
    more = {
        f"model.layers.{layer}.{name}": torch.ones(2) for layer in layers for name in ("eh_proj.weight", "enorm.weight")
    }
    save_file(tensors | more, tmp_path / "model.safetensors")
    assert torch.equal(answer(load(tmp_path)), before)
    beyond = f"model.layers.{3 + len(layers)}.enorm.weight"
    save_file(tensors | more | {beyond: torch.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelLoadError, match=f"1 not part of this architecture: {beyond}"):
        load(tmp_path)


@BOTH
def test_one_latent_for_each_token_is_all_that_the_cache_holds(name: str, tmp_path: Path) -> None:
    save_model(tmp_path, name)
    decoder = load(tmp_path)
    assert decoder.spec.kv_numbers_per_token() == 3 * (20 + 8)


V2, V3 = published("deepseek-v2"), published("deepseek-v3")
REFUSED: list[tuple[Config, str, object]] = [
    (V2, "scoring_func", "sigmoid"),
    (V3, "scoring_func", "softmax"),
    (V2, "topk_method", "noaux_tc"),
    (V3, "topk_method", "greedy"),
    (V2, "rope_interleave", False),
    (V3, "rope_interleave", "no"),
    (V2, "n_group", 7),
    (V3, "n_group", 256),
    (V2, "n_group", None),
    (V2, "topk_group", None),
    (V3, "topk_group", 9),
    (V3 | {"num_experts_per_tok": 129}, "topk_group", 4),
    (V3, "num_experts_per_tok", 257),
    (V2, "num_experts_per_tok", None),
    (V3, "num_key_value_heads", 8),
    (V3, "qk_head_dim", 128),
    (V3, "qk_rope_head_dim", 63),
    (V3, "kv_lora_rank", 0),
    (V3, "q_lora_rank", 0),
    (V3, "moe_layer_freq", [0, 1, 1]),
    (V3, "moe_layer_freq", 0),
    (V3, "first_k_dense_replace", -1),
    (V3, "num_nextn_predict_layers", 10**9),
    (V3, "routed_scaling_factor", -1.0),
    (V3, "hidden_act", "relu"),
    (V3, "norm_topk_prob", 1),
    (V3, "partial_rotary_factor", 0.5),
]


@pytest.mark.parametrize(("config", "field", "value"), REFUSED)
def test_what_is_not_known_or_impossible_is_refused_by_name(config: Config, field: str, value: object) -> None:
    with pytest.raises(ModelLoadError) as raised:
        decoder_spec(config | {field: value})
    assert field in str(raised.value)


@pytest.mark.parametrize("field", ["mlp_bias", "index_topk", "use_qk_norm"])
def test_a_field_that_v3_does_not_have_is_refused(field: str) -> None:
    with pytest.raises(ModelLoadError, match=f"does not know `{field}`"):
        decoder_spec(V3 | {field: True})
