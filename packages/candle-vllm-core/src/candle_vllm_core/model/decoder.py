"""The one decoder: every family is this, with another spec."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .. import spec as s
from ..attention.backend import Pass
from .attention import mixer
from .feed_forward import feed_forward
from .layers import Embedding, Head, Norm
from .loader import Loader
from .ops import Angles
from .rope import Rotary


class Stream(NamedTuple):
    """The residual stream [tokens, dim], and what waits to be added to it; see `Ops.adds_in_norms`."""

    x: Tensor
    waiting: Tensor | None = None

    @property
    def sum(self) -> Tensor:
        """The stream with nothing waiting."""
        return self.x if self.waiting is None else self.x + self.waiting


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
        self.residual, self.scale, self.ops = layer.residual, layer.residual_scale, load.ops
        before, after = layer.residual != "post", layer.residual in ("post", "sandwich")
        lone = layer.residual == "parallel"
        self.attention_norm = Norm(norm, dim, load.within("attention_norm")) if before else None
        self.attention = mixer(layer.attention, dim, index, load)
        self.attention_out_norm = Norm(norm, dim, load.within("attention_out_norm")) if after else None
        self.feed_forward_norm = Norm(norm, dim, load.within("feed_forward_norm")) if before and not lone else None
        self.feed_forward = feed_forward(layer.feed_forward, dim, load.within("mlp"))
        self.feed_forward_out_norm = Norm(norm, dim, load.within("feed_forward_out_norm")) if after else None
        self.whole = load.ops.whole(self)

    def forward(self, stream: Stream, pass_: Pass, angles: Angles) -> Stream:
        """The stream after this layer."""
        if self.whole is not None and (found := self.whole(stream.x, pass_, angles)) is not None:
            return Stream(found)
        stream, seen = self._seen(self.attention_norm, stream)
        stream = self._joined(stream, self.attention, self.attention_out_norm, seen, pass_, angles)
        if self.residual != "parallel":
            stream, seen = self._seen(self.feed_forward_norm, stream)
        return self._joined(stream, self.feed_forward, self.feed_forward_out_norm, seen)

    def _seen(self, norm: Norm | None, stream: Stream) -> tuple[Stream, Tensor]:
        """The stream with nothing waiting, and what a part sees of it."""
        if norm is None:
            return Stream(stream.sum), stream.sum
        if stream.waiting is None:
            return stream, norm(stream.x)
        seen, x = self.ops.add_and_normalise(norm.weights, stream.x, stream.waiting)
        return Stream(x), seen

    def _joined(self, stream: Stream, part: nn.Module, out_norm: Norm | None, *seen: object) -> Stream:
        """The stream plus what a part makes of what it sees: added before that is rounded, if that is all."""
        if self.scale != 1.0:
            found: Tensor = part(*seen)
            return Stream(stream.sum + (found if out_norm is None else out_norm(found)) * self.scale)
        if out_norm is not None:
            return Stream(out_norm(part(*seen), residual=stream.sum))
        if self.ops.adds_in_norms:
            return Stream(stream.x, part(*seen, residual=stream.waiting))
        return Stream(part(*seen, residual=stream.sum))


class Decoder(nn.Module):
    """A language model: tokens of many sequences in, logits out; what the tokens see is the pass's affair."""

    def __init__(self, spec: s.Decoder, load: Loader, *, device: torch.device, num_parameters: int = 0) -> None:
        super().__init__()
        self.spec, self.num_parameters, self.ops = spec, num_parameters, load.ops
        inner = load.within("model")
        self.embedding = Embedding(spec.vocab, spec.dim, spec.embed_scale, inner.within("embed_tokens"), tied=spec.tied)
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
        return logits.float()

    @torch.inference_mode()
    def hidden(self, tokens: Tensor, pass_: Pass, rows: Tensor | None = None) -> Tensor:
        """What `forward` gives to the head: [rows, dim]."""
        stream = Stream(self.embedding(tokens))
        angles: dict[s.Rope | None, Angles] = {None: None}
        angles |= {rope: rotary.angles(pass_.positions) for rope, rotary in self.rotaries.items()}
        for block, rope in zip(self.blocks, self.rope_of_block, strict=True):
            stream = block(stream, pass_, angles[rope])
        return self.ops.normalise_rows(self.norm.weights, stream.x, stream.waiting, rows)
