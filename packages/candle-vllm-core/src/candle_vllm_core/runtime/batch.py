"""A step of the scheduler as the tensors that a model takes."""

from __future__ import annotations

from array import array

import torch
from torch import Tensor

from ..attention.backend import Layout
from .scheduler import Step


def layout_of(step: Step, block_size: int, device: torch.device) -> Layout:
    """The tensors of one step: the tokens of all its slices, one slice after the other."""
    tokens, positions = array("q"), array("q")
    for request, start, stop in step:
        tokens.extend(request.token_slice(start, stop))
        positions.extend(range(start, stop))
    groups = range(len(step[0].request.block_tables)) if step else ()
    return Layout(
        tokens=_tensor(tokens, device),
        positions=_tensor(positions, device),
        slot_mapping=[_slots(step, group, block_size, device) for group in groups],
        block_tables=[_tables(step, group, block_size, device) for group in groups],
        query_lens=[stop - start for _, start, stop in step],
        seq_lens=[stop for _, _, stop in step],
        state_slots=[slot for part in step if (slot := part.request.state_slot) is not None],
    )


def _slots(step: Step, group: int, block_size: int, device: torch.device) -> Tensor:
    slots = array("q")
    for request, start, stop in step:
        table = request.block_tables[group]
        slots.extend([table[at // block_size] * block_size + at % block_size for at in range(start, stop)])
    return _tensor(slots, device)


def _tables(step: Step, group: int, block_size: int, device: torch.device) -> list[Tensor]:
    """Views of one tensor: a tensor made for each sequence costs more than all that is in them."""
    blocks, lengths = array("q"), []
    for request, _, stop in step:
        length = -(-stop // block_size)
        blocks.extend(request.block_tables[group][:length])
        lengths.append(length)
    return list(_tensor(blocks, device).split_with_sizes(lengths))


def sampling_rows(step: Step, device: torch.device) -> Tensor:
    """[rows] the last token of each slice that draws a token, as its place among the step's tokens."""
    rows, end = array("q"), 0
    for part in step:
        end += part.stop - part.start
        if part.samples:
            rows.append(end - 1)
    return _tensor(rows, device)


def _tensor(numbers: array[int], device: torch.device) -> Tensor:
    """The numbers as int64; on a CPU the tensor lies in the array's own memory."""
    return (
        torch.frombuffer(numbers, dtype=torch.int64).to(device)
        if numbers
        else torch.empty(0, dtype=torch.int64, device=device)
    )
