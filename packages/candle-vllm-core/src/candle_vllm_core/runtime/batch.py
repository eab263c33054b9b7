"""A step of the scheduler as the tensors that a model takes."""

from __future__ import annotations

import torch
from torch import Tensor

from ..attention.backend import Layout
from .scheduler import Step


def layout_of(step: Step, block_size: int, device: torch.device) -> Layout:
    """The tensors of one step: the tokens of all its slices, one slice after the other."""
    tokens: list[int] = []
    positions: list[int] = []
    for part in step:
        tokens += part.request.token_slice(part.start, part.stop)
        positions += range(part.start, part.stop)
    groups = range(len(step[0].request.block_tables)) if step else ()
    return Layout(
        tokens=torch.tensor(tokens, device=device),
        positions=torch.tensor(positions, device=device),
        slot_mapping=[_slots(step, group, block_size, device) for group in groups],
        block_tables=[_tables(step, group, block_size, device) for group in groups],
        query_lens=[part.stop - part.start for part in step],
        seq_lens=[part.stop for part in step],
        state_slots=[slot for part in step if (slot := part.request.state_slot) is not None],
    )


def _slots(step: Step, group: int, block_size: int, device: torch.device) -> Tensor:
    slots: list[int] = []
    for part in step:
        table = part.request.block_tables[group]
        slots += [table[at // block_size] * block_size + at % block_size for at in range(part.start, part.stop)]
    return torch.tensor(slots, device=device)


def _tables(step: Step, group: int, block_size: int, device: torch.device) -> list[Tensor]:
    tables = [part.request.block_tables[group][: -(-part.stop // block_size)] for part in step]
    return [torch.tensor(table, device=device) for table in tables]


def sampling_rows(step: Step, device: torch.device) -> Tensor:
    """[rows] the last token of each slice that draws a token, as its place among the step's tokens."""
    rows, end = [], 0
    for part in step:
        end += part.stop - part.start
        if part.samples:
            rows.append(end - 1)
    return torch.tensor(rows, dtype=torch.int64, device=device)
