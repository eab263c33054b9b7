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
    slots: list[int] = []
    for part in step:
        table = part.request.block_table
        tokens += part.request.token_slice(part.start, part.stop)
        positions += range(part.start, part.stop)
        slots += [table[at // block_size] * block_size + at % block_size for at in range(part.start, part.stop)]
    tables = [part.request.block_table[: -(-part.stop // block_size)] for part in step]
    return Layout(
        tokens=torch.tensor(tokens, device=device),
        positions=torch.tensor(positions, device=device),
        slot_mapping=torch.tensor(slots, device=device),
        block_tables=[torch.tensor(table, device=device) for table in tables],
        query_lens=[part.stop - part.start for part in step],
        seq_lens=[part.stop for part in step],
    )


def sampling_rows(step: Step, device: torch.device) -> Tensor:
    """[rows] the last token of each slice that draws a token, as its place among the step's tokens."""
    rows, end = [], 0
    for part in step:
        end += part.stop - part.start
        if part.samples:
            rows.append(end - 1)
    return torch.tensor(rows, dtype=torch.int64, device=device)
