"""The one decoder: every family is this, with another spec."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .. import spec as s
from ..attention.backend import Pass
from .attention import Attention
from .feed_forward import Dense
from .layers import Embedding, Head, Norm
from .loader import Loader
from .rope import Rotary


class Block(nn.Module):
    """One decoder layer.

    ```
    x ─┬─ norm ─ attention ─ + ─┬─ norm ─ feed-forward ─ + ─
       └─────────────────────┘  └────────────────────────┘
    ```
    """

    def __init__(self, layer: s.Layer, norm: s.Norm, dim: int, index: int, load: Loader) -> None:
        super().__init__()
        self.attention_norm = Norm(norm, dim, load.within("input_layernorm"))
        self.attention = Attention(layer.attention, dim, index, load.within("self_attn"))
        self.feed_forward_norm = Norm(norm, dim, load.within("post_attention_layernorm"))
        self.feed_forward = Dense(layer.feed_forward, dim, load.within("mlp"))

    def forward(self, x: Tensor, pass_: Pass, angles: tuple[Tensor, Tensor]) -> Tensor:
        """[tokens, dim] to the same."""
        x = x + self.attention(self.attention_norm(x), pass_, angles)
        result: Tensor = x + self.feed_forward(self.feed_forward_norm(x))
        return result


class Decoder(nn.Module):
    """A language model: tokens of many sequences in, logits out; what the tokens see is the pass's affair."""

    def __init__(self, spec: s.Decoder, load: Loader, *, device: torch.device, num_parameters: int = 0) -> None:
        super().__init__()
        self.spec, self.num_parameters = spec, num_parameters
        inner = load.within("model")
        self.embedding = Embedding(spec.vocab, spec.dim, inner.within("embed_tokens"))
        layers = inner.within("layers")
        self.blocks = nn.ModuleList(
            Block(layer, spec.norm, spec.dim, index, layers.within(str(index)))
            for index, layer in enumerate(spec.layers)
        )
        self.norm = Norm(spec.norm, spec.dim, inner.within("norm"))
        self.head = Head(spec, self.embedding, load)
        ropes = [layer.attention.rope for layer in spec.layers]
        distinct = list(dict.fromkeys(ropes))
        self.rotaries = [Rotary(rope, device) for rope in distinct]
        self.rotary_of_block = [distinct.index(rope) for rope in ropes]

    @torch.inference_mode()
    def forward(self, tokens: Tensor, pass_: Pass, rows: Tensor | None = None) -> Tensor:
        """Logits [rows, vocab] in float32 of the tokens [tokens]; `rows` says of which ones, None of all."""
        x = self.embedding(tokens)
        angles = [rotary.angles(pass_.positions) for rotary in self.rotaries]
        for block, rotary in zip(self.blocks, self.rotary_of_block, strict=True):
            x = block(x, pass_, angles[rotary])
        logits: Tensor = self.head(self.norm(x if rows is None else x[rows]))
        return logits
