"""From config.json to a spec: one short function per family. No torch here; families are named nowhere else.

The defaults are those that `transformers` fills in for fields that an older checkpoint does not have.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..errors import ModelLoadError
from ..spec import Attention, Decoder, Dense, Layer, Norm
from .fields import Fields
from .positions import rope

MAX_LAYERS = 4096
MAX_HEADS = 4096
MAX_HEAD_DIM = 1024
MAX_WIDTH = 2**24
MAX_POSITION = 2**31 - 1
LAYER_TYPES = ("full_attention", "sliding_attention")

Family = Callable[[Fields], Decoder]


def llama(c: Fields) -> Decoder:
    """Llama 2, 3 and 3.1 to 3.3, Yi, and what was distilled into them."""
    bias = c.flag("attention_bias")
    attention = replace(_attention(c, kv_heads=None, max_position=2048), qkv_bias=bias, out_bias=bias)
    return _decoder(c, Layer(attention=attention, feed_forward=_dense(c, bias=c.flag("mlp_bias"))), 2048)


def mistral(c: Fields) -> Decoder:
    """Mistral; its window is 4,096 tokens where config.json does not say null or another number."""
    window = c.integer_or_none("sliding_window", 1, MAX_POSITION, absent=4096)
    attention = replace(_attention(c, kv_heads=8, max_position=131072), window=window)
    return _decoder(c, Layer(attention=attention, feed_forward=_dense(c)), 131072)


def qwen2(c: Fields) -> Decoder:
    """Qwen2, Qwen2.5 and QwQ."""
    attention = replace(_attention(c, kv_heads=32, max_position=32768), qkv_bias=True)
    return _windowed(c, _decoder(c, Layer(attention=attention, feed_forward=_dense(c)), 32768))


def qwen3(c: Fields) -> Decoder:
    """Qwen3: heads are normalised before the rotation."""
    bias = c.flag("attention_bias")
    attention = _attention(c, kv_heads=32, max_position=32768, head_dim=128)
    attention = replace(attention, qk_norm=_norm(c), qkv_bias=bias, out_bias=bias)
    return _windowed(c, _decoder(c, Layer(attention=attention, feed_forward=_dense(c)), 32768))


FAMILIES: Mapping[str, Family] = {
    "LlamaForCausalLM": llama,
    "MistralForCausalLM": mistral,
    "Qwen2ForCausalLM": qwen2,
    "Qwen3ForCausalLM": qwen3,
}


def decoder_spec(config: Mapping[str, Any]) -> Decoder:
    """What a checkpoint's config.json describes.

    Raises:
        ModelLoadError: the architecture is unknown, or a field is missing, impossible or not honoured by this version.
    """
    c = Fields(config)
    family = FAMILIES[architecture(config)]
    _refuse_quantized(c)
    c.word("hidden_act", ("silu", "swish"), "silu")
    c.refuse("partial_rotary_factor", (1,), "this architecture rotates whole heads")
    return family(c)


def architecture(config: Mapping[str, Any]) -> str:
    """The checkpoint's architecture by the name that its config.json gives it.

    Raises:
        ModelLoadError: this version does not know it.
    """
    named = config.get("architectures")
    names = [name for name in named if isinstance(name, str)] if isinstance(named, list) else []
    if not names and isinstance(kind := config.get("model_type"), str):
        names = [name for name in FAMILIES if name.removesuffix("ForCausalLM").lower() == kind] or [kind]
    for name in names:
        if name in FAMILIES:
            return name
    found = reprlib.repr(", ".join(names)) if names else "not named in config.json"
    remote = " Code that a checkpoint brings along is never run." if "auto_map" in config else ""
    raise ModelLoadError(
        f"the architecture is {found}; this version knows {', '.join(sorted(FAMILIES))}.{remote}", names[:8]
    )


def _refuse_quantized(c: Fields) -> None:
    for name in ("quantization_config", "compression_config"):
        if name in c:
            method = reprlib.repr(c.table(name).get("quant_method", "without a method"))
            raise ModelLoadError(
                f"config.json: `{name}` says that the weights are quantized ({method}); this version loads "
                "float32, float16 and bfloat16 weights, so take the checkpoint that is not quantized",
                [name],
            )


def _attention(c: Fields, *, kv_heads: int | None, max_position: int, head_dim: int | None = None) -> Attention:
    dim, heads = _dim(c), c.integer("num_attention_heads", 1, MAX_HEADS)
    kv_heads = c.integer_or_none("num_key_value_heads", 1, MAX_HEADS, absent=kv_heads) or heads
    if heads % kv_heads:
        raise c.wrong("num_key_value_heads", f"a divisor of num_attention_heads, which is {heads}")
    if head_dim is None and "head_dim" not in c and dim % heads:
        raise c.wrong("hidden_size", f"a multiple of num_attention_heads, which is {heads}")
    head_dim = c.integer("head_dim", 2, MAX_HEAD_DIM, head_dim or dim // heads)
    if head_dim % 2 or head_dim < 2:
        raise c.wrong("head_dim", f"even, and is {head_dim}")
    return Attention(
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        rope=rope(c, head_dim, _max_position(c, max_position)),
        scale=head_dim**-0.5,
    )


def _dense(c: Fields, *, bias: bool = False) -> Dense:
    return Dense(width=c.integer("intermediate_size", 1, MAX_WIDTH), bias=bias)


def _norm(c: Fields) -> Norm:
    return Norm(eps=c.number("rms_norm_eps", 0.0, 1.0, 1e-6))


def _dim(c: Fields) -> int:
    return c.integer("hidden_size", 1, MAX_WIDTH)


def _max_position(c: Fields, default: int) -> int:
    return c.integer("max_position_embeddings", 1, MAX_POSITION, default)


def _decoder(c: Fields, layer: Layer, max_position: int) -> Decoder:
    return Decoder(
        vocab=c.integer("vocab_size", 1, MAX_WIDTH),
        dim=_dim(c),
        norm=_norm(c),
        layers=(layer,) * c.integer("num_hidden_layers", 1, MAX_LAYERS),
        max_position=_max_position(c, max_position),
        tied=c.flag("tie_word_embeddings"),
    )


def _windowed(c: Fields, spec: Decoder) -> Decoder:
    """Qwen's windows: on the layers that `layer_types` names, or from `max_window_layers` on, if in use at all."""
    window = c.integer_or_none("sliding_window", 1, MAX_POSITION, absent=4096)
    first = c.integer("max_window_layers", 0, MAX_POSITION, 28)
    types = c.words("layer_types", LAYER_TYPES, len(spec.layers))
    if window is None or not c.flag("use_sliding_window"):
        return spec
    slides = [kind == LAYER_TYPES[1] for kind in types] if types else [i >= first for i in range(len(spec.layers))]
    return replace(
        spec,
        layers=tuple(
            replace(layer, attention=replace(layer.attention, window=window)) if slide else layer
            for layer, slide in zip(spec.layers, slides, strict=True)
        ),
    )
