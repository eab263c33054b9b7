"""The one decoder: every family is this, with another spec."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .. import spec as s
from ..attention.backend import Pass
from .attention import Angles, mixer
from .feed_forward import feed_forward
from .layers import Embedding, Head, Norm
from .loader import Loader
from .rope import Rotary


class Block(nn.Module):
    """One decoder layer.

    ```
    pre       x ─┬─ norm ─ attention ─ + ─┬─ norm ─ feed-forward ─ + ─
                 └─────────────────────┘  └────────────────────────┘
    post      x ─┬─ attention ─ norm ─ + ─┬─ feed-forward ─ norm ─ + ─
                 └─────────────────────┘  └────────────────────────┘
    sandwich  x ─┬─ norm ─ attention ─ norm ─ + ─┬─ norm ─ feed-forward ─ norm ─ + ─
                 └────────────────────────────┘  └───────────────────────────────┘
    parallel  x ─┬─ norm ─┬─ attention ──── + ─ + ─
                 │        └─ feed-forward ──┘   │
                 └──────────────────────────────┘
    ```
    """

    def __init__(self, layer: s.Layer, norm: s.Norm, dim: int, index: int, load: Loader) -> None:
        super().__init__()
        self.residual, self.scale = layer.residual, layer.residual_scale
        before, after = layer.residual != "post", layer.residual in ("post", "sandwich")
        lone = layer.residual == "parallel"
        self.attention_norm = Norm(norm, dim, load.within("attention_norm")) if before else None
        self.attention = mixer(layer.attention, dim, index, load)
        self.attention_out_norm = Norm(norm, dim, load.within("attention_out_norm")) if after else None
        self.feed_forward_norm = Norm(norm, dim, load.within("feed_forward_norm")) if before and not lone else None
        self.feed_forward = feed_forward(layer.feed_forward, dim, load.within("mlp"))
        self.feed_forward_out_norm = Norm(norm, dim, load.within("feed_forward_out_norm")) if after else None

    def forward(self, x: Tensor, pass_: Pass, angles: Angles) -> Tensor:
        """[tokens, dim] to the same."""
        seen = _through(self.attention_norm, x)
        x = self._joined(x, self.attention, self.attention_out_norm, seen, pass_, angles)
        if self.residual != "parallel":
            seen = _through(self.feed_forward_norm, x)
        return self._joined(x, self.feed_forward, self.feed_forward_out_norm, seen)

    def _joined(self, x: Tensor, part: nn.Module, out_norm: Norm | None, *seen: object) -> Tensor:
        """x plus what a part makes of what it sees: added before that is rounded, if nothing is done to it before."""
        if out_norm is None and self.scale == 1.0:
            added: Tensor = part(*seen, residual=x)
            return added
        found = _through(out_norm, part(*seen))
        return x + found if self.scale == 1.0 else x + found * self.scale


def _through(norm: Norm | None, x: Tensor) -> Tensor:
    if norm is None:
        return x
    result: Tensor = norm(x)
    return result


class Decoder(nn.Module):
    """A language model: tokens of many sequences in, logits out; what the tokens see is the pass's affair."""

    def __init__(self, spec: s.Decoder, load: Loader, *, device: torch.device, num_parameters: int = 0) -> None:
        super().__init__()
        self.spec, self.num_parameters = spec, num_parameters
        inner = load.within("model")
        self.embedding = Embedding(spec.vocab, spec.dim, spec.embed_scale, inner.within("embed_tokens"))
        layers = inner.within("layers")
        self.blocks = nn.ModuleList(
            Block(layer, spec.norm, spec.dim, index, layers.within(str(index)))
            for index, layer in enumerate(spec.layers)
        )
        self.norm = Norm(spec.norm, spec.dim, inner.within("norm"))
        self.head = Head(spec, self.embedding, load)
        ropes = [None if isinstance(a, s.DeltaNet) else a.rope for a in spec.attentions()]
        self.rope_of_block = ropes
        self.rotaries = {rope: Rotary(rope, device) for rope in dict.fromkeys(ropes) if rope is not None}

    @torch.inference_mode()
    def forward(self, tokens: Tensor, pass_: Pass, rows: Tensor | None = None) -> Tensor:
        """Logits [rows, vocab] in float32 of the tokens [tokens]; `rows` says of which ones, None of all."""
        logits: Tensor = self.head(self.hidden(tokens, pass_, rows))
        return logits

    @torch.inference_mode()
    def hidden(self, tokens: Tensor, pass_: Pass, rows: Tensor | None = None) -> Tensor:
        """What `forward` gives to the head: [rows, dim]."""
        x = self.embedding(tokens)
        angles: dict[s.Rope | None, Angles] = {None: None}
        angles |= {rope: rotary.angles(pass_.positions) for rope, rotary in self.rotaries.items()}
        for block, rope in zip(self.blocks, self.rope_of_block, strict=True):
            x = block(x, pass_, angles[rope])
        hidden: Tensor = self.norm(x if rows is None else x[rows])
        return hidden
