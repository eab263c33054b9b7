"""Qwen3-Next: most layers are gated delta-nets, whose memory of a sequence does not grow with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...spec import Attention, Decoder, DeltaNet, Dense, HeadNorm, Layer, Names, Sparse
from ..fields import LAYER_TYPES, MAX_HEAD_DIM, MAX_HEADS, MAX_LAYERS, MAX_POSITION, MAX_WIDTH, Fields
from ..positions import rope
from .common import Family, attention, decoder, dense, head_dimension, norm, num_layers, router, sparse_at_times

FULL, LINEAR = LAYER_TYPES[0], LAYER_TYPES[2]
MAX_KERNEL = 64


def qwen3_next(c: Fields) -> Decoder:
    """Qwen3-Next: three gated delta-nets to one gated attention, and many small experts."""
    mixers: Mapping[str, Attention | DeltaNet] = {LINEAR: _delta_net(c), FULL: _attention(c)}
    each = zip(_layer_types(c), sparse_at_times(c, _experts(c), dense(c)), strict=True)
    layers = [Layer(attention=mixers[kind], feed_forward=network) for kind, network in each]
    names = Names(renames=(("shared_experts", "shared_expert"),), ignored=("mtp.",))
    wide = replace(norm(c), offset=True, wide=True)
    return decoder(c, layers, max_position=32768, norm=wide, names=names)


def _layer_types(c: Fields) -> Sequence[str]:
    every, count = c.integer("full_attention_interval", 1, MAX_LAYERS, 4), num_layers(c)
    usual = [LINEAR if (index + 1) % every else FULL for index in range(count)]
    return c.words("layer_types", (FULL, LINEAR), count) or usual


def _attention(c: Fields) -> Attention:
    length = c.integer("max_position_embeddings", 1, MAX_POSITION, 32768)
    positions = rope(c, head_dimension(c, 1, 256), length, partial=0.25)
    attend = attention(c, kv_heads=2, max_position=32768, head_dim=256, positions=positions)
    bias, wide = c.flag("attention_bias"), replace(norm(c), offset=True, wide=True)
    return replace(attend, gate=True, qk_norm=HeadNorm(norm=wide), qkv_bias=bias, out_bias=bias)


def _delta_net(c: Fields) -> DeltaNet:
    c.refuse("hidden_act", ("silu", "swish"), "the convolution's activation is silu")
    key_heads = c.integer("linear_num_key_heads", 1, MAX_HEADS, 16)
    value_heads = c.integer("linear_num_value_heads", 1, MAX_HEADS, 32)
    if value_heads % key_heads:
        raise c.wrong("linear_num_value_heads", f"a multiple of linear_num_key_heads, which is {key_heads}")
    return DeltaNet(
        key_heads=key_heads,
        value_heads=value_heads,
        key_dim=c.integer("linear_key_head_dim", 1, MAX_HEAD_DIM, 128),
        value_dim=c.integer("linear_value_head_dim", 1, MAX_HEAD_DIM, 128),
        kernel=c.integer("linear_conv_kernel_dim", 2, MAX_KERNEL, 4),
        norm=norm(c),
    )


def _experts(c: Fields) -> Sparse:
    return Sparse(
        router=router(c, experts=512, top_k=10, renormalize=c.flag("norm_topk_prob", True)),
        width=c.integer("moe_intermediate_size", 1, MAX_WIDTH, 512),
        shared=Dense(width=c.integer("shared_expert_intermediate_size", 1, MAX_WIDTH, 512)),
        shared_gate=True,
    )


FAMILIES = {
    "Qwen3NextForCausalLM": Family(
        read=qwen3_next,
        model_type="qwen3_next",
        examples=("Qwen/Qwen3-Next-80B-A3B-Instruct", "Qwen/Qwen3-Next-80B-A3B-Thinking", "Qwen/Qwen3-Coder-Next"),
    ),
}
