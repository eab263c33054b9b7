"""SmolLM, the third generation; those before it are built like Llama."""

from __future__ import annotations

from dataclasses import replace

from ...spec import Decoder, Layer
from ..fields import MAX_LAYERS, MAX_POSITION, Fields
from .common import Family, attention, decoder, dense, layer_types, norm, num_layers, window


def smollm3(c: Fields) -> Decoder:
    """SmolLM3: every fourth layer does not know positions."""
    turns, bias = _turns(c), c.flag("attention_bias")
    attend = replace(attention(c, kv_heads=4, max_position=32768, theta=2e6), qkv_bias=bias, out_bias=bias)
    feed = dense(c, bias=c.flag("mlp_bias"))
    layers = [
        Layer(attention=replace(attend, rope=attend.rope if turn else None, window=width), feed_forward=feed)
        for turn, width in zip(turns, _windows(c, turns), strict=True)
    ]
    return decoder(c, layers, max_position=32768, norm=norm(c), tied=True)


def _turns(c: Fields) -> tuple[bool, ...]:
    """For each layer whether it rotates; config.json says it the other way round from what the field's name says."""
    count, every = num_layers(c), c.integer("no_rope_layer_interval", 1, MAX_LAYERS, 4)
    said = c.integers("no_rope_layers", 0, 1)
    if said and len(said) < count:
        raise c.wrong("no_rope_layers", f"a 0 or 1 for each of {count} layers")
    return tuple(map(bool, said[:count])) if said else tuple((index + 1) % every != 0 for index in range(count))


def _windows(c: Fields, turns: tuple[bool, ...]) -> list[int | None]:
    """Those that `layer_types` names have one, or those that do not rotate, if windows are in use at all."""
    width, used = window(c, absent=None), c.flag("use_sliding_window")
    c.integer("max_window_layers", 0, MAX_POSITION, 0)  # published, and read by nobody
    slides = layer_types(c, lambda index: used and width is not None and not turns[index])
    if any(slides) and not (used and width):
        raise c.wrong("layer_types", "without windows where `use_sliding_window` and `sliding_window` say none")
    return [width if slide else None for slide in slides]


FAMILIES = {
    "SmolLM3ForCausalLM": Family(
        read=smollm3, model_type="smollm3", examples=("HuggingFaceTB/SmolLM3-3B", "HuggingFaceTB/SmolLM3-3B-Base")
    ),
}
