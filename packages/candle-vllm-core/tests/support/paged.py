"""Runs a decoder over sequences whose blocks lie scattered in a cache that was full of NaN."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from candle_vllm_core.attention import backend_over
from candle_vllm_core.attention.backend import AttentionBackend, BlockTables, Layout
from candle_vllm_core.attention.cache import KVCache
from candle_vllm_core.attention.reference import ReferenceBackend
from candle_vllm_core.model.decoder import Decoder
from candle_vllm_core.spec import Decoder as Spec

CPU = torch.device("cpu")
FREED = -1


def layout(
    tables: Sequence[Sequence[Tensor]],
    starts: Sequence[int],
    stops: Sequence[int],
    block_size: int,
    tokens: Tensor | None = None,
    state_slots: Sequence[int] = (),
) -> Layout:
    """The layout of a step in which each sequence computes its tokens from start up to stop; tables are by group."""
    positions = [torch.arange(start, stop) for start, stop in zip(starts, stops, strict=True)]
    empty = torch.zeros(0, dtype=torch.int64)
    return Layout(
        tokens=torch.cat([empty, *positions]) if tokens is None else tokens,
        positions=torch.cat([empty, *positions]),
        slot_mapping=[
            torch.cat(
                [
                    empty,
                    *(
                        t[at // block_size] * block_size + at % block_size
                        for t, at in zip(each, positions, strict=True)
                    ),
                ]
            )
            for each in tables
        ],
        block_tables=[_block_tables(each, [-(-stop // block_size) for stop in stops]) for each in tables],
        query_lens=[stop - start for start, stop in zip(starts, stops, strict=True)],
        seq_lens=list(stops),
        state_slots=state_slots,
    )


def _block_tables(tables: Sequence[Tensor], lengths: Sequence[int]) -> BlockTables:
    """As a step has them: the beginnings of the tables, one after the other."""
    parts = [table[:length] for table, length in zip(tables, lengths, strict=True)]
    return BlockTables(torch.cat([torch.zeros(0, dtype=torch.int64), *parts]), lengths)


def moved(step: Layout, device: torch.device) -> Layout:
    """A layout on another device."""
    return replace(
        step,
        tokens=step.tokens.to(device),
        positions=step.positions.to(device),
        slot_mapping=[slots.to(device) for slots in step.slot_mapping],
        block_tables=[[table.to(device) for table in tables] for tables in step.block_tables],
    )


class Caches:
    """A backend full of NaN and the tables of some sequences in it, one for each group of layers.

    Blocks that slide out of a window are filled with NaN again and, where blocks are scattered, the next to be given to
    anyone.
    """

    def __init__(
        self,
        spec: Spec,
        lengths: Sequence[int],
        block_size: int,
        *,
        dtype: torch.dtype,
        scattered: bool,
        seed: int = 0,
        make: Callable[[Spec, KVCache], AttentionBackend] = ReferenceBackend,
        device: torch.device = CPU,
        fp8: bool = False,
    ) -> None:
        self.block_size = block_size
        self._groups, self._scattered = spec.groups(), scattered
        generator = torch.Generator().manual_seed(seed)
        counts = [-(-length // block_size) for length in lengths]
        total = sum(counts) + 3
        order = torch.randperm(total, generator=generator) if scattered else torch.arange(total)
        self._own = [[blocks.tolist() for blocks in order[: sum(counts)].split(counts)] for _ in self._groups]
        self._slid: list[list[int]] = [[] for _ in self._groups]
        self.tables: list[list[list[int]]] = [[[] for _ in lengths] for _ in self._groups]
        self.state_slots = torch.randperm(len(lengths), generator=generator).tolist()
        self.device = device
        self.cache = KVCache(
            spec,
            num_blocks=[total] * len(self._groups),
            block_size=block_size,
            dtype=dtype,
            device=device,
            num_states=len(lengths),
            fp8=fp8,
        )
        self.backend = make(spec, self.cache)
        for tensor in (*self.cache.layers.values(), *self.cache.scales.values(), *sum(self.cache.states.values(), ())):
            tensor.fill_(torch.nan)

    def layout(self, parts: Mapping[int, tuple[int, int]], tokens: Tensor | None = None) -> Layout:
        """A step in which sequences compute their tokens from start up to stop."""
        for sequence, (start, stop) in parts.items():
            self._slide(sequence, start)
            self._extend(sequence, stop)
        tables = [[torch.tensor(each[sequence], dtype=torch.int64) for sequence in parts] for each in self.tables]
        starts, stops = [start for start, _ in parts.values()], [stop for _, stop in parts.values()]
        slots = [self.state_slots[sequence] for sequence in parts]
        step = layout(tables, starts, stops, self.block_size, tokens, slots if self.cache.states else ())
        return step if self.device == CPU else moved(step, self.device)

    def _slide(self, sequence: int, position: int) -> None:
        for group, each, slid in zip(self._groups, self.tables, self._slid, strict=True):
            table = each[sequence]
            gone = 0 if group.window is None else max(position - group.window + 1, 0) // self.block_size
            for index, block in enumerate(table[:gone]):
                if block != FREED:
                    for layer in group.layers:
                        slots = self.cache.layers[layer]
                        slots[block * self.block_size : (block + 1) * self.block_size] = torch.nan
                    slid += [block] if self._scattered else []
                    table[index] = FREED

    def _extend(self, sequence: int, stop: int) -> None:
        for each, own, slid in zip(self.tables, self._own, self._slid, strict=True):
            while len(each[sequence]) * self.block_size < stop:
                each[sequence].append(slid.pop() if slid else own[sequence].pop(0))


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
        self._done = dict.fromkeys(sequences, 0)
        self._numbers = {name: number for number, name in enumerate(sequences)}
        lengths = [len(tokens) for tokens in sequences.values()]
        self.caches = Caches(decoder.spec, lengths, block_size, dtype=dtype, scattered=scattered, make=backend_over)

    def step(self, parts: Mapping[str, int]) -> dict[str, Tensor]:
        """Logits [tokens, vocab] of the next so many tokens of each named sequence."""
        spans = {name: (self._done[name], self._done[name] + count) for name, count in parts.items()}
        tokens = torch.cat([self._sequences[name][start:stop] for name, (start, stop) in spans.items()])
        step = self.caches.layout({self._numbers[name]: span for name, span in spans.items()}, tokens)
        logits = self._decoder(step.tokens, self.caches.backend.plan(step))
        self._done |= {name: stop for name, (_, stop) in spans.items()}
        return dict(zip(parts, logits.split(list(parts.values())), strict=True))


def in_chunks(decoder: Decoder, tokens: Tensor, sizes: Sequence[int], **settings: object) -> Tensor:
    """Logits of one sequence computed in chunks of the given sizes."""
    paged = Paged(decoder, {"only": tokens}, **settings)  # type: ignore[arg-type]
    return torch.cat([paged.step({"only": size})["only"] for size in sizes])
