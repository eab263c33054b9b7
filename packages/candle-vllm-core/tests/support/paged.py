"""Runs a decoder over sequences whose blocks lie scattered in a cache that was full of NaN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from candle_vllm_core.attention import choose_backend
from candle_vllm_core.attention.backend import Layout
from candle_vllm_core.model.decoder import Decoder

CPU = torch.device("cpu")


def layout(
    tables: Sequence[Tensor], starts: Sequence[int], stops: Sequence[int], block_size: int, tokens: Tensor | None = None
) -> Layout:
    """The layout of a step in which each sequence computes its tokens from start up to stop."""
    positions = [torch.arange(start, stop) for start, stop in zip(starts, stops, strict=True)]
    slots = [t[at // block_size] * block_size + at % block_size for t, at in zip(tables, positions, strict=True)]
    empty = torch.zeros(0, dtype=torch.int64)
    return Layout(
        tokens=torch.cat([empty, *positions]) if tokens is None else tokens,
        positions=torch.cat([empty, *positions]),
        slot_mapping=torch.cat([empty, *slots]),
        block_tables=[table[: -(-stop // block_size)] for table, stop in zip(tables, stops, strict=True)],
        query_lens=[stop - start for start, stop in zip(starts, stops, strict=True)],
        seq_lens=list(stops),
    )


class Paged:
    """A decoder with a cache of its own; `step` computes the next tokens of some sequences at once."""

    def __init__(
        self,
        decoder: Decoder,
        sequences: Mapping[str, Tensor],
        *,
        dtype: torch.dtype = torch.float32,
        block_size: int = 4,
        scattered: bool = True,
    ) -> None:
        self._decoder = decoder
        self._sequences = sequences
        self._block_size = block_size
        self._done = dict.fromkeys(sequences, 0)
        counts = [-(-len(tokens) // block_size) for tokens in sequences.values()]
        num_blocks = sum(counts) + 3
        order = torch.randperm(num_blocks) if scattered else torch.arange(num_blocks)
        self._tables = dict(zip(sequences, order[: sum(counts)].split(counts), strict=True))
        self.backend = choose_backend(CPU, decoder.spec, num_blocks=num_blocks, block_size=block_size, dtype=dtype)
        for layer in self.backend.cache.layers:
            layer.fill_(float("nan"))

    def step(self, parts: Mapping[str, int]) -> dict[str, Tensor]:
        """Logits [tokens, vocab] of the next so many tokens of each named sequence."""
        starts = {name: self._done[name] for name in parts}
        stops = {name: starts[name] + count for name, count in parts.items()}
        tokens = [self._sequences[name][starts[name] : stops[name]] for name in parts]
        step = layout(
            [self._tables[name] for name in parts],
            list(starts.values()),
            list(stops.values()),
            self._block_size,
            torch.cat(tokens),
        )
        logits = self._decoder(step.tokens, self.backend.plan(step))
        self._done |= stops
        return dict(zip(parts, logits.split(list(parts.values())), strict=True))


def in_chunks(decoder: Decoder, tokens: Tensor, sizes: Sequence[int], **settings: object) -> Tensor:
    """Logits of one sequence computed in chunks of the given sizes."""
    paged = Paged(decoder, {"only": tokens}, **settings)  # type: ignore[arg-type]
    return torch.cat([paged.step({"only": size})["only"] for size in sizes])
