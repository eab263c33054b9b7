"""A step of the scheduler as the tensors that a model takes."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import torch
from torch import Tensor

from ..attention.backend import Layout
from .request import Request
from .scheduler import Step

UNKNOWN = 0
"""Stands for a token that is being drawn."""


def layout_of(step: Step, block_size: int, device: torch.device) -> Layout:
    """The tensors of one step: the tokens of all its slices, one slice after the other, `UNKNOWN` if not known yet."""
    tokens, positions = array("q"), array("q")
    for request, start, stop in step:
        known = request.token_slice(start, stop)
        tokens.extend(known)
        tokens.extend([UNKNOWN] * (stop - start - len(known)))
        positions.extend(range(start, stop))
    groups = range(len(step[0].request.block_tables)) if step else ()
    return Layout(
        tokens=on_device(tokens, device),
        positions=on_device(positions, device),
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
    return on_device(slots, device)


def _tables(step: Step, group: int, block_size: int, device: torch.device) -> list[Tensor]:
    """Views of one tensor: a tensor made for each sequence costs more than all that is in them."""
    blocks, lengths = array("q"), []
    for request, _, stop in step:
        length = -(-stop // block_size)
        blocks.extend(request.block_tables[group][:length])
        lengths.append(length)
    return list(on_device(blocks, device).split_with_sizes(lengths))


def sampling_rows(step: Step, device: torch.device) -> Tensor:
    """[rows] the last token of each slice that draws a token, as its place among the step's tokens."""
    rows, end = array("q"), 0
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
    places, rows, end = array("q"), array("q"), 0
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


def on_device(numbers: array[int], device: torch.device) -> Tensor:
    """Numbers as int64; the host does not wait for them, and on a CPU they lie in the array's own memory."""
    if not numbers:
        return torch.empty(0, dtype=torch.int64, device=device)
    found = torch.frombuffer(numbers, dtype=torch.int64)
    if device.type == "cuda":
        found = found.pin_memory()  # from other memory a copy waits for all that the device has to do
    return found.to(device, non_blocking=True)
