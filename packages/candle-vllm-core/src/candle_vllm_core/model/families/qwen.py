"""Qwen: from the second generation on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...spec import Attention, Decoder, Dense, HeadNorm, Layer, Names, Sparse
from ..fields import MAX_POSITION, MAX_WIDTH, Fields
from .common import (
    Family,
    activation,
    attention,
    decoder,
    dense,
    layer_types,
    norm,
    router,
    sparse_at_times,
    windowed,
)


def qwen2(c: Fields) -> Decoder:
    """Qwen2, Qwen2.5 and QwQ."""
    attend = replace(attention(c, kv_heads=32, max_position=32768), qkv_bias=True)
    layer = Layer(attention=attend, feed_forward=dense(c))
    return _windows(c, decoder(c, layer, max_position=32768, norm=norm(c)), _from(c))


def qwen2_moe(c: Fields) -> Decoder:
    """Qwen1.5-MoE and Qwen2-MoE: beside the experts a network that sees every token, with a gate of its own."""
    attend = replace(attention(c, kv_heads=16, max_position=32768), qkv_bias=c.flag("qkv_bias", True))
    shared = Dense(width=c.integer("shared_expert_intermediate_size", 1, MAX_WIDTH, 5632), act=activation(c))
    experts = replace(_experts(c, count=60, top_k=4, width=1408), shared=shared, shared_gate=True)
    names = Names(renames=(("shared_experts", "shared_expert"),))
    last = c.integer("max_window_layers", 0, MAX_POSITION, 28)
    slides = layer_types(c, lambda index: index % 2 == 0 and index < last)
    return _windows(c, _sparse(c, attend, experts, names), slides)


def qwen3(c: Fields) -> Decoder:
    """Qwen3: heads are normalised before the rotation."""
    attend = _normalised(c, attention(c, kv_heads=32, max_position=32768, head_dim=128))
    layer = Layer(attention=attend, feed_forward=dense(c))
    return _windows(c, decoder(c, layer, max_position=32768, norm=norm(c)), _from(c))


def qwen3_moe(c: Fields) -> Decoder:
    """Qwen3-MoE: as Qwen3, with experts and no network beside them."""
    attend = _normalised(c, attention(c, kv_heads=4, max_position=32768))
    spec = _sparse(c, attend, _experts(c, count=128, top_k=8, width=768), Names())
    if c.integer("max_window_layers", 0, MAX_POSITION, 0) and c.flag("use_sliding_window"):
        raise c.wrong(
            "max_window_layers", "0 or left out where `use_sliding_window` is true: then every layer's slides"
        )
    return _windows(c, spec, (True,) * len(spec.layers))


def _normalised(c: Fields, attend: Attention) -> Attention:
    c.refuse("use_qk_norm", (True,), "the heads of Qwen3 are always normalised")
    bias = c.flag("attention_bias")
    return replace(attend, qk_norm=HeadNorm(norm=norm(c)), qkv_bias=bias, out_bias=bias)


def _experts(c: Fields, *, count: int, top_k: int, width: int) -> Sparse:
    choose = router(c, experts=count, top_k=top_k, renormalize=c.flag("norm_topk_prob"))
    width = c.integer("moe_intermediate_size", 1, MAX_WIDTH, width)
    return Sparse(router=choose, width=width, act=activation(c))


def _sparse(c: Fields, attend: Attention, experts: Sparse, names: Names) -> Decoder:
    networks = sparse_at_times(c, experts, dense(c))
    layers = [Layer(attention=attend, feed_forward=network) for network in networks]
    return decoder(c, layers, max_position=32768, norm=norm(c), names=names)


def _from(c: Fields) -> Sequence[bool]:
    """Whose window slides: the layers that `layer_types` names, or those from `max_window_layers` on."""
    first = c.integer("max_window_layers", 0, MAX_POSITION, 28)
    return layer_types(c, lambda index: index >= first)


def _windows(c: Fields, spec: Decoder, slides: Sequence[bool]) -> Decoder:
    """With windows on these layers, if they are in use at all."""
    in_use = c.flag("use_sliding_window")
    # Where they are not, some configs say 0.
    width = c.integer_or_none("sliding_window", int(in_use), MAX_POSITION, absent=4096)
    if not in_use or width is None:
        return spec
    layers = zip(spec.layers, slides, strict=True)
    return replace(spec, layers=tuple(windowed(layer, width) if slide else layer for layer, slide in layers))


FAMILIES = {
    "Qwen2ForCausalLM": Family(
        read=qwen2,
        model_type="qwen2",
        examples=("Qwen/Qwen2.5-0.5B-Instruct", "Qwen/QwQ-32B", "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"),
    ),
    "Qwen2MoeForCausalLM": Family(
        read=qwen2_moe, model_type="qwen2_moe", examples=("Qwen/Qwen1.5-MoE-A2.7B", "Qwen/Qwen2-57B-A14B-Instruct")
    ),
    "Qwen3ForCausalLM": Family(
        read=qwen3, model_type="qwen3", examples=("Qwen/Qwen3-0.6B", "deepseek-ai/DeepSeek-R1-0528-Qwen3-8B")
    ),
    "Qwen3MoeForCausalLM": Family(
        read=qwen3_moe,
        model_type="qwen3_moe",
        examples=("Qwen/Qwen3-30B-A3B", "Qwen/Qwen3-235B-A22B", "Qwen/Qwen3-Coder-30B-A3B-Instruct"),
    ),
}
