"""Gemma: norms store their weight less one, embeddings are scaled, heads are wider than the hidden state's share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...spec import Activation, Attention, Decoder, HeadNorm, Layer, Names, Norm, Rope
from ..fields import MAX_LAYERS, Fields
from ..positions import MAX_THETA, MIN_THETA
from .common import (
    ACTIVATIONS,
    Family,
    attention,
    decoder,
    dense,
    dimension,
    head_dimension,
    layer_types,
    norm,
    two_ropes,
    window,
    windowed,
)
from .harmless import HARMLESS

Renames = tuple[tuple[str, str], ...]
SANDWICH: Renames = (
    ("attention_out_norm", "post_attention_layernorm"),
    ("feed_forward_norm", "pre_feedforward_layernorm"),
    ("feed_forward_out_norm", "post_feedforward_layernorm"),
)
VISION = ("vision_config", "mm_tokens_per_image", "boi_token_index", "eoi_token_index", "image_token_index")
BESIDE = ("vision_tower.", "multi_modal_projector.")
SPARSE = {"num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 262208}
"""What the text part of the published configs leaves out."""


def gemma(c: Fields) -> Decoder:
    """Gemma: the first generation, CodeGemma too."""
    feed = dense(c, act="gelu_pytorch_tanh")
    # The first checkpoints say "gelu" and mean the approximation that they were trained with.
    feed = replace(feed, act="gelu_tanh" if feed.act == "gelu" else feed.act)
    _no_other_activation(c, "hidden_activation", feed.act)
    attend = _attention(c, kv_heads=16, max_position=8192)
    return _decoder(c, Layer(attention=attend, feed_forward=feed), 8192)


def gemma2(c: Fields) -> Decoder:
    """Gemma 2: every other layer has a window; scores and logits are capped."""
    width = window(c, absent=4096)
    c.refuse("sliding_window_size", (width,), f"`sliding_window` is {width}, and one of them must be wrong")
    cap = c.number_or_none("attn_logit_softcapping", 1e-3, 1e9, absent=50.0)
    attend = replace(_attention(c, kv_heads=4, max_position=8192), scale=_scale(c), softcap=cap)
    full = _sandwich(c, attend)
    slides = layer_types(c, lambda index: index % 2 == 0)
    layers = [windowed(full, width) if slide else full for slide in slides]
    return replace(_decoder(c, layers, 8192, SANDWICH), logit_softcap=_logit_cap(c, absent=30.0))


def gemma3(c: Fields) -> Decoder:
    """Gemma 3: five of six layers have a window and a rotation of their own; heads are normalised."""
    c.refuse("attn_logit_softcapping", (), "Gemma 3 normalises heads and caps no scores")
    local = c.number("rope_local_base_freq", MIN_THETA, MAX_THETA, 1e4)
    far, near = two_ropes(c, head_dimension(c, 1, 256), 131072, theta=1e6, local=local)
    attend = _attention(c, kv_heads=4, max_position=131072, positions=far)
    attend = replace(attend, scale=_scale(c), qk_norm=HeadNorm(norm=_norm(c)))
    full = _sandwich(c, attend)
    sliding = windowed(replace(full, attention=replace(attend, rope=near)), window(c, absent=4096))
    every = c.integer("sliding_window_pattern", 1, MAX_LAYERS, c.integer("_sliding_window_pattern", 1, MAX_LAYERS, 6))
    slides = layer_types(c, lambda index: (index + 1) % every != 0)
    layers = [sliding if slide else full for slide in slides]
    return replace(_decoder(c, layers, 131072, SANDWICH), logit_softcap=_logit_cap(c, absent=None))


def gemma3_conditional(c: Fields) -> Decoder:
    """Gemma 3 with a vision tower: its text part."""
    c.leave(*VISION)
    text = Fields(SPARSE | dict(c.table("text_config")), "config.json, text_config", length=c.length)
    text.refuse("final_logit_softcapping", (), "with a vision tower Gemma 3 caps no logits")
    spec = gemma3(text)
    text.refuse_others(HARMLESS)
    names = replace(
        spec.names,
        roots=(("language_model.model", "language_model.lm_head"), ("model.language_model", "lm_head")),
        ignored=(*BESIDE, *(f"model.{name}" for name in BESIDE)),
    )
    return replace(spec, tied=c.flag("tie_word_embeddings", spec.tied), names=names)


def _decoder(c: Fields, layers: Layer | Sequence[Layer], max_position: int, renames: Renames = ()) -> Decoder:
    c.refuse("use_bidirectional_attention", (False,), "this version only lets tokens see those before them")
    spec = decoder(c, layers, max_position=max_position, norm=_norm(c), tied=True, names=Names(renames=renames))
    return replace(spec, embed_scale=dimension(c) ** 0.5)


def _norm(c: Fields) -> Norm:
    return replace(norm(c), offset=True, wide=True)


def _attention(c: Fields, *, kv_heads: int, max_position: int, positions: Rope | None = None) -> Attention:
    attend = attention(c, kv_heads=kv_heads, max_position=max_position, head_dim=256, positions=positions)
    bias = c.flag("attention_bias")
    return replace(attend, qkv_bias=bias, out_bias=bias)


def _sandwich(c: Fields, attend: Attention) -> Layer:
    feed = dense(c, act="gelu_pytorch_tanh", field="hidden_activation")
    _no_other_activation(c, "hidden_act", feed.act)
    return Layer(attention=attend, feed_forward=feed, residual="sandwich")


def _no_other_activation(c: Fields, field: str, act: Activation) -> None:
    """Configs may name their activation twice; the second name must say the same."""
    same = [word for word, meaning in ACTIVATIONS.items() if meaning == act]
    c.refuse(field, same, "it contradicts the other name that config.json gives the activation")


def _scale(c: Fields) -> float:
    return float(c.number("query_pre_attn_scalar", 1e-3, 1e9, 256.0) ** -0.5)


def _logit_cap(c: Fields, absent: float | None) -> float | None:
    return c.number_or_none("final_logit_softcapping", 1e-3, 1e9, absent=absent)


FAMILIES = {
    "GemmaForCausalLM": Family(read=gemma, model_type="gemma", examples=("google/gemma-7b-it", "google/codegemma-2b")),
    "Gemma2ForCausalLM": Family(
        read=gemma2, model_type="gemma2", examples=("google/gemma-2-2b-it", "google/gemma-2-27b-it")
    ),
    "Gemma3ForCausalLM": Family(
        read=gemma3, model_type="gemma3_text", examples=("google/gemma-3-270m-it", "google/gemma-3-1b-it")
    ),
    "Gemma3ForConditionalGeneration": Family(
        read=gemma3_conditional, model_type="gemma3", examples=("google/gemma-3-4b-it", "google/gemma-3-27b-it")
    ),
}
