"""A step of the scheduler as the tensors that a model takes."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from operator import sub
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..attention.backend import BlockTables, Layout
from .request import Request
from .scheduler import Step

Ints = NDArray[np.int64]

UNKNOWN = 0
"""Stands for a token that is being drawn."""


def layout_of(step: Step, block_size: int, device: torch.device) -> Layout:
    """The tensors of one step: the tokens of all its slices, one slice after the other, `UNKNOWN` if not known yet."""
    requests, starts, stops = zip(*step, strict=True) if step else ((), (), ())
    lengths = list(map(sub, stops, starts))
    positions = _positions(starts, lengths)
    tables = [_tables(step, group, block_size) for group in range(len(requests[0].block_tables) if step else 0)]
    return Layout(
        tokens=on_device(_tokens(step), device),
        positions=on_device(positions, device),
        slot_mapping=[on_device(_slots(table, positions, lengths, block_size), device) for table in tables],
        block_tables=[BlockTables(on_device(table.blocks, device), table.lengths) for table in tables],
        query_lens=lengths,
        seq_lens=list(stops),
        state_slots=[request.state_slot for request in requests if request.state_slot is not None],
    )


def _tokens(step: Step) -> list[int]:
    tokens: list[int] = []
    end = 0
    for request, start, stop in step:
        tokens += request.token_slice(start, stop)
        end += stop - start
        if len(tokens) < end:
            tokens += [UNKNOWN] * (end - len(tokens))
    return tokens


def _positions(starts: Sequence[int], lengths: Sequence[int]) -> Ints:
    """Those from each start on, as many as each length says."""
    count = np.array(lengths, np.int64)
    ahead: Ints = np.array(starts, np.int64) - count.cumsum() + count
    return np.arange(count.sum()) + ahead.repeat(count)


class _Tables(NamedTuple):
    """The block tables of one group of layers, one after the other."""

    blocks: Ints
    lengths: list[int]


def _tables(step: Step, group: int, block_size: int) -> _Tables:
    """One array of all: a tensor made for each sequence costs more than all that is in them."""
    blocks, lengths = array("q"), []
    for request, _, stop in step:
        length = -(-stop // block_size)
        blocks += request.block_tables[group][:length]
        lengths.append(length)
    return _Tables(np.frombuffer(blocks, np.int64), lengths)


def _slots(tables: _Tables, positions: Ints, lengths: Sequence[int], block_size: int) -> Ints:
    """Where each token's keys and values are written: its place in its block."""
    size = np.array(tables.lengths, np.int64)
    table: Ints = (size.cumsum() - size).repeat(lengths)
    number, offset = np.divmod(positions, block_size)
    slots: Ints = tables.blocks[table + number] * block_size + offset
    return slots


def sampling_rows(step: Step, device: torch.device) -> Tensor:
    """[rows] the last token of each slice that draws a token, as its place among the step's tokens."""
    rows, end = [], 0
    for part in step:
        end += part.stop - part.start
        if part.may_sample:
            rows.append(end - 1)
    return on_device(rows, device)


def unknown_tokens(step: Step, drawing: Sequence[Request], device: torch.device) -> tuple[Tensor, Tensor] | None:
    """[n] where a step's unknown tokens are among its tokens, and where among those drawn for `drawing`; None: nowhere.

    Raises:
        RuntimeError: a slice has an unknown token, and none is drawn for its request.
    """
    drawn = {request.id: row for row, request in enumerate(drawing)}
    places, rows, end = [], [], 0
    for request, start, stop in step:
        end += stop - start
        if stop > request.num_tokens:
            if stop > request.num_tokens + 1 or request.id not in drawn:
                raise RuntimeError(
                    f"request {request.id} has {request.num_tokens} tokens and {stop} are to be computed"
                )
            places.append(end - 1)
            rows.append(drawn[request.id])
    return (on_device(places, device), on_device(rows, device)) if places else None


def on_device(numbers: Sequence[int] | Ints, device: torch.device) -> Tensor:
    """Numbers as int64; the host does not wait for them, and on a CPU those of an array lie in its own memory."""
    if not len(numbers):
        return torch.empty(0, dtype=torch.int64, device=device)
    found = torch.from_numpy(np.asarray(numbers, np.int64))
    if device.type == "cuda":
        found = found.pin_memory()  # from other memory a copy waits for all that the device has to do
    return found.to(device, non_blocking=True)
