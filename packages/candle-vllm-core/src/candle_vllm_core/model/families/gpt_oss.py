"""gpt-oss."""

from __future__ import annotations

from dataclasses import replace

from ...spec import Attention, Decoder, Layer, Names, Sparse
from ..fields import MAX_HEAD_DIM, MAX_WIDTH, Fields
from .common import Family, attention, decoder, layer_types, norm, router, window, windowed

NAMES = Names(
    renames=(("gate", "router"),),
    fused=((("gate_proj", "up_proj"), "gate_up_proj"), (("down_proj",), "down_proj")),
    experts="interleaved",
)
YARN = {
    "rope_type": "yarn",
    "factor": 32.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "truncate": False,
    "original_max_position_embeddings": 4096,
}
"""How positions are stretched where nothing is said."""
ONE_ACTIVATION = "this version computes the activation of the released models"


def gpt_oss(c: Fields) -> Decoder:
    """gpt-oss in bfloat16: every other layer has a window, heads have sinks, and everything but the norms a bias."""
    if not (c.table("rope_scaling") or c.table("rope_parameters")):
        c = c.filled({"rope_parameters": YARN})
    full = Layer(attention=_attention(c), feed_forward=_experts(c))
    width = window(c, absent=128)
    slides = layer_types(c, lambda index: index % 2 == 0)
    layers = [windowed(full, width) if slide else full for slide in slides]
    wide = replace(norm(c, default=1e-5), wide=True)
    return decoder(c, layers, max_position=131072, norm=wide, names=NAMES)


def _attention(c: Fields) -> Attention:
    head_dim = c.integer_or_none("head_dim", 2, MAX_HEAD_DIM, absent=64)
    attend = attention(c, kv_heads=8, max_position=131072, head_dim=head_dim, theta=150000.0)
    if attend.rope is not None:
        trained = dict(attend.rope.scaling).get("original_max_position_embeddings")
        c.refuse("initial_context_length", (trained,), f"the table of positions says {trained}")
    bias = c.flag("attention_bias", True)
    return replace(attend, sinks=True, qkv_bias=bias, out_bias=bias)


def _experts(c: Fields) -> Sparse:
    c.refuse("hidden_act", ("silu", "swish"), ONE_ACTIVATION)
    c.refuse("swiglu_alpha", (1.702,), ONE_ACTIVATION)
    c.refuse("swiglu_limit", (7.0,), ONE_ACTIVATION)
    choose = router(c, experts=128, top_k=4, renormalize=True)
    c.refuse("experts_per_token", (choose.top_k,), f"`num_experts_per_tok` says {choose.top_k}")
    width = c.integer("intermediate_size", 1, MAX_WIDTH)
    return Sparse(router=replace(choose, bias=True), width=width, act="clamped_swish", bias=True)


FAMILIES = {
    "GptOssForCausalLM": Family(
        read=gpt_oss, model_type="gpt_oss", examples=("unsloth/gpt-oss-20b-BF16", "unsloth/gpt-oss-120b-BF16")
    ),
}
