"""Qwen: from the second generation on."""

from __future__ import annotations

from dataclasses import replace

from ...spec import Decoder, HeadNorm, Layer
from ..fields import MAX_POSITION, Fields
from .common import Family, attention, decoder, dense, layer_types, norm, window, windowed


def qwen2(c: Fields) -> Decoder:
    """Qwen2, Qwen2.5 and QwQ."""
    attend = replace(attention(c, kv_heads=32, max_position=32768), qkv_bias=True)
    layer = Layer(attention=attend, feed_forward=dense(c))
    return _windows(c, decoder(c, layer, max_position=32768, norm=norm(c)))


def qwen3(c: Fields) -> Decoder:
    """Qwen3: heads are normalised before the rotation."""
    bias = c.flag("attention_bias")
    attend = attention(c, kv_heads=32, max_position=32768, head_dim=128)
    attend = replace(attend, qk_norm=HeadNorm(norm=norm(c)), qkv_bias=bias, out_bias=bias)
    return _windows(c, decoder(c, Layer(attention=attend, feed_forward=dense(c)), max_position=32768, norm=norm(c)))


def _windows(c: Fields, spec: Decoder) -> Decoder:
    """On the layers that `layer_types` names, or from `max_window_layers` on, if windows are in use at all."""
    width = window(c, absent=4096)
    first = c.integer("max_window_layers", 0, MAX_POSITION, 28)
    slides = layer_types(c, lambda index: index >= first)
    if width is None or not c.flag("use_sliding_window"):
        return spec
    layers = zip(spec.layers, slides, strict=True)
    return replace(spec, layers=tuple(windowed(layer, width) if slide else layer for layer, slide in layers))


FAMILIES = {
    "Qwen2ForCausalLM": Family(
        read=qwen2,
        model_type="qwen2",
        examples=("Qwen/Qwen2.5-0.5B-Instruct", "Qwen/QwQ-32B", "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"),
    ),
    "Qwen3ForCausalLM": Family(
        read=qwen3, model_type="qwen3", examples=("Qwen/Qwen3-0.6B", "deepseek-ai/DeepSeek-R1-0528-Qwen3-8B")
    ),
}
