"""Mixtral."""

from __future__ import annotations

from dataclasses import replace

from ...spec import Decoder, Layer, Names, Sparse
from ..fields import MAX_WIDTH, Fields
from .common import Family, activation, attention, decoder, norm, router, window

NAMES = Names(
    renames=(("mlp", "block_sparse_moe"), ("gate_proj", "w1"), ("up_proj", "w3"), ("down_proj", "w2")),
)


def mixtral(c: Fields) -> Decoder:
    """Mixtral: Mistral with experts."""
    attend = replace(attention(c, kv_heads=8, max_position=131072, theta=1e6), window=window(c, absent=None))
    experts = Sparse(
        router=router(c, experts=8, top_k=2, renormalize=True),
        width=c.integer("intermediate_size", 1, MAX_WIDTH),
        act=activation(c),
    )
    layer = Layer(attention=attend, feed_forward=experts)
    return decoder(c, layer, max_position=131072, norm=norm(c, default=1e-5), names=NAMES)


FAMILIES = {
    "MixtralForCausalLM": Family(
        read=mixtral,
        model_type="mixtral",
        examples=("mistralai/Mixtral-8x7B-Instruct-v0.1", "mistralai/Mixtral-8x22B-Instruct-v0.1"),
    ),
}
