"""Hidden states of prompts → embeddings: summed token after token, so that a vector is the same bits in any chunks."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import torch
from torch import Tensor

from .pool import Pool
from .scheduler import Step

PIECE = 256
"""Hidden states that are there in float64 at once, however long the prompt is."""


def pool_rows(step: Step) -> Iterator[tuple[Pool, range]]:
    """What a step can give to which pool, as places among the step's tokens.

    Raises:
        RuntimeError: a slice begins after a token whose hidden state is wanted and was never computed.
    """
    begin = 0
    for request, start, stop in step:
        if (pool := request.pool) is not None:
            if pool.next < min(start, pool.positions.stop):
                raise RuntimeError(f"request {request.id} lacks the hidden states of tokens {pool.next} to {start}")
            first, last = max(start, pool.next), min(stop, pool.positions.stop)
            if first < last:
                yield pool, range(begin + first - start, begin + last - start)
        begin += stop - start


def take(pool: Pool, hidden: Tensor) -> None:
    """Add the next hidden states [tokens, dim] of a prompt; the vector is there once all were taken."""
    for piece in torch.split(hidden, PIECE):
        rows = piece.double()
        if pool.total is not None:
            rows = torch.cat([pool.total[None], rows])
        # A running sum adds one after the other; a plain one would add in an order that the number of rows says.
        pool.total = rows.cumsum(0)[-1].clone()
    pool.num_taken += len(hidden)
    if pool.done and pool.total is not None:
        _finish(pool, pool.total)


def _finish(pool: Pool, total: Tensor) -> None:
    """Cut the sum and bring it to length 1; dividing it by the number of tokens before would change nothing."""
    vector = total[: pool.dimensions]
    vector = vector / vector.norm().clamp(min=torch.finfo(torch.float64).tiny)
    if bool(vector.isfinite().all()):
        pool.values = array("f", vector.float().cpu().numpy().tobytes())
    else:
        pool.error = "the model's hidden states are not finite, so there is no embedding"
    pool.total = None
