"""DeepSeek from the second generation on: attention over one latent per token, and experts that stand in groups."""

from __future__ import annotations

import math
from dataclasses import replace

from ...spec import Decoder, Dense, LatentAttention, Layer, Names, Norm, Rope, Router, Sparse, as_pairs
from ..fields import MAX_EXPERTS, MAX_HEAD_DIM, MAX_HEADS, MAX_LAYERS, MAX_WIDTH, Fields
from ..positions import rope, rope_table
from .common import Family, activation, decoder, dense, norm, num_layers

MAX_FACTOR = 1e6


def deepseek_v2(c: Fields) -> Decoder:
    """DeepSeek V2 and V2-Lite: softmax over the experts of the groups that hold the best ones."""
    c.refuse("rope_interleave", (True,), "DeepSeek V2 rotates neighbouring pairs")
    c.word("scoring_func", ("softmax",), "softmax")
    grouped = c.word("topk_method", ("greedy", "group_limited_greedy"), "greedy") != "greedy"
    c.leave("n_group", "topk_group")
    router = _router(c, experts=64, top_k=None, renormalize=False, scale=1.0)
    router = _grouped(c, router, None, None) if grouped else router
    # Its own code either divides the weights by their sum or scales them.
    router = replace(router, scale=1.0 if router.renormalize else router.scale)
    return _decoder(c, router, width=1407, shared=2, first=0, max_position=2048, bias=c.flag("mlp_bias"))


def deepseek_v3(c: Fields) -> Decoder:
    """DeepSeek V3 and R1: sigmoids over the experts of the best groups, and a correction of the choice."""
    c.word("scoring_func", ("sigmoid",), "sigmoid")
    c.word("topk_method", ("noaux_tc",), "noaux_tc")
    router = _router(c, experts=256, top_k=8, renormalize=True, scale=2.5)
    router = replace(_grouped(c, router, 8, 4), score="sigmoid", group_score="best_two", correction=True)
    spec = _decoder(c, router, width=2048, shared=1, first=3, max_position=4096, bias=False)
    further = range(len(spec.layers), len(spec.layers) + c.integer("num_nextn_predict_layers", 0, MAX_LAYERS, 1))
    return replace(spec, names=Names(ignored=tuple(f"model.layers.{index}." for index in further)))


def _decoder(
    c: Fields, router: Router, *, width: int, shared: int, first: int, max_position: int, bias: bool
) -> Decoder:
    """The whole model; `width`, `shared`, `first` and `max_position` are what silence means in config.json."""
    c.leave("ep_size")
    attend = _attention(c, max_position)
    plain, width = dense(c, bias=bias), c.integer("moe_intermediate_size", 1, MAX_WIDTH, width)
    beside = c.integer_or_none("n_shared_experts", 0, MAX_EXPERTS, absent=shared)
    sparse = Sparse(
        router=router,
        width=width,
        act=activation(c),
        shared=Dense(width=width * beside, act=activation(c), bias=bias) if beside else None,
    )
    first = c.integer("first_k_dense_replace", 0, MAX_LAYERS, first)
    every = c.integer("moe_layer_freq", 1, MAX_LAYERS, 1)
    networks = [sparse if index >= first and index % every == 0 else plain for index in range(num_layers(c))]
    layers = [Layer(attention=attend, feed_forward=network) for network in networks]
    return decoder(c, layers, max_position=max_position, norm=norm(c))


def _attention(c: Fields, max_position: int) -> LatentAttention:
    heads = c.integer("num_attention_heads", 1, MAX_HEADS)
    c.refuse("num_key_value_heads", (heads,), f"the latent is one for all of the {heads} num_attention_heads")
    nope = c.integer("qk_nope_head_dim", 1, MAX_HEAD_DIM, 128)
    turning = c.integer("qk_rope_head_dim", 2, MAX_HEAD_DIM, 64)
    if turning % 2:
        raise c.wrong("qk_rope_head_dim", "even")
    turn, sharpness = _rope(c, turning, max_position)
    c.refuse("qk_head_dim", (nope + turning,), f"qk_nope_head_dim and qk_rope_head_dim are {nope} and {turning}")
    # Tools write one part of a head or the other, and nobody reads it.
    c.leave("head_dim")
    return LatentAttention(
        heads=heads,
        q_rank=c.integer_or_none("q_lora_rank", 1, MAX_WIDTH, absent=1536),
        kv_rank=c.integer("kv_lora_rank", 1, MAX_WIDTH, 512),
        nope_dim=nope,
        value_head_dim=c.integer("v_head_dim", 1, MAX_HEAD_DIM, 128),
        rope=turn,
        scale=sharpness * (nope + turning) ** -0.5,
        # The latents' norms have an epsilon of their own, whatever rms_norm_eps says.
        norm=Norm(eps=1e-6),
        bias=c.flag("attention_bias"),
    )


def _rope(c: Fields, dim: int, max_position: int) -> tuple[Rope, float]:
    """The rotation, and what YaRN multiplies all scores by; magnitudes that config.json leaves out are 1 and 0."""
    turn = rope(c, dim, max_position, original=4096, interleaved=c.flag("rope_interleave", True))
    table, entries = dict(turn.scaling), rope_table(c)
    if table.get("rope_type") != "yarn":
        return turn, 1.0
    log = 0.1 * math.log(max(entries.number("factor", 0.0, MAX_FACTOR), 1.0))
    above = 1 + log * entries.number("mscale", 0.0, MAX_FACTOR, 1.0)
    below = 1 + log * entries.number("mscale_all_dim", 0.0, MAX_FACTOR, 0.0)
    given = entries.number("attention_factor", 0.0, MAX_FACTOR, above / below)
    kept = {name: value for name, value in table.items() if not name.startswith("mscale")}
    return replace(turn, scaling=as_pairs(kept | {"attention_factor": given})), below**2


def _router(c: Fields, *, experts: int, top_k: int | None, renormalize: bool, scale: float) -> Router:
    """The choice of experts without groups; the arguments are what silence means in config.json."""
    experts = c.integer("n_routed_experts", 1, MAX_EXPERTS, experts)
    top_k = c.integer("num_experts_per_tok", 1, experts, top_k)
    return Router(
        experts=experts,
        top_k=top_k,
        renormalize=c.flag("norm_topk_prob", renormalize) and top_k > 1,
        scale=c.number("routed_scaling_factor", 0.0, MAX_FACTOR, scale),
    )


def _grouped(c: Fields, router: Router, groups: int | None, top_groups: int | None) -> Router:
    """The same choice among the best groups."""
    groups = c.integer("n_group", 1, router.experts, groups)
    if router.experts % groups or 1 < groups == router.experts:
        raise c.wrong("n_group", f"such that each group has as many, and several, of {router.experts} n_routed_experts")
    top_groups = c.integer("topk_group", 1, groups, top_groups)
    if router.top_k > top_groups * router.experts // groups:
        raise c.wrong("topk_group", f"such that so many groups hold num_experts_per_tok, which is {router.top_k}")
    return replace(router, groups=groups, top_groups=top_groups)


FAMILIES = {
    "DeepseekV2ForCausalLM": Family(
        read=deepseek_v2,
        model_type="deepseek_v2",
        examples=("deepseek-ai/DeepSeek-V2-Lite-Chat", "deepseek-ai/DeepSeek-V2.5"),
    ),
    "DeepseekV3ForCausalLM": Family(
        read=deepseek_v3,
        model_type="deepseek_v3",
        examples=("deepseek-ai/DeepSeek-V3", "deepseek-ai/DeepSeek-R1", "moonshotai/Moonlight-16B-A3B-Instruct"),
    ),
}
