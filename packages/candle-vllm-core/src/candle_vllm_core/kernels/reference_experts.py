"""References of `routing` and `experts`, in plain torch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def sort_pairs(experts: Tensor, count: int, height: int) -> tuple[Tensor, Tensor]:
    """The pairs of `experts` [tokens, top_k] at each place, -1 where there is none, and the tiles that are needed."""
    owners = experts.flatten().tolist()
    places, tiles = list[int](), list[tuple[int, int]]()
    for expert in range(count):
        own = [pair for pair, owner in enumerate(owners) if owner == expert]
        for start in range(0, len(own), height):
            part = own[start : start + height]
            places += [*part, *[-1] * (height - len(part))]
            tiles.append((expert, len(part)))
    return torch.tensor(places, dtype=torch.int32), torch.tensor(tiles, dtype=torch.int32).reshape(-1, 2)


def multiply(
    x: Tensor, matrices: Tensor, experts: Tensor, biases: Tensor | None = None, weights: Tensor | None = None
) -> Tensor:
    """Rows of x [tokens or pairs, columns] times the matrices of their experts [tokens, top_k]: [pairs, rows]."""
    owners = experts.flatten()
    source = x.repeat_interleave(len(owners) // max(len(x), 1), 0).float()
    found = torch.stack([matrices[owner].float() @ row for owner, row in zip(owners.tolist(), source, strict=True)])
    if biases is not None:
        found = found + biases[owners].float()
    if weights is not None:
        found = found * weights.flatten()[:, None]
    return found.to(x.dtype)


def combine(given: Tensor, top_k: int, added: Sequence[Tensor] = ()) -> Tensor:
    """The sums of what each token's experts gave [tokens * top_k, columns], plus what is added to them."""
    found = given.float().view(-1, top_k, given.shape[1]).sum(1)
    for its in added:
        found = found + its.float()
    return found.to(given.dtype)
