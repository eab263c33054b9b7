"""Attention over keys in a tensor: the library's function, and what it does not know, made with it or beside it.

A query's result is the same bits whatever other queries stand beside it and however many masked keys follow its own.
For that the library's function needs at least `FEWEST_ROWS` queries, and numbers of keys that `padded` gives: it takes
`KEYS_AT_ONCE` keys at a time, and sums the last ones in another order if they are of some other numbers.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

KEYS_AT_ONCE = 512
"""Keys that the library's function takes at a time, from the first on."""
LANES = 16
"""Numbers that a processor adds at a time, at most."""
QUERIES_AT_ONCE = 32
"""Queries that the library's function takes at a time, or a multiple of it."""
FEWEST_ROWS = 4
"""Matrix products of fewer rows are computed in another way."""
NARROW = 12
"""Those of narrower ones are, if their rows are an odd number."""


def padded(length: int) -> int:
    """The least number of keys, of which `length` are seen, that gives a query the same bits as any larger one."""
    whole, rest = divmod(length, KEYS_AT_ONCE)
    return whole * KEYS_AT_ONCE + (next(tail for tail in _tails() if tail >= rest) if rest else 0)


def padded_rows(rows: int, key_dim: int) -> int:
    """So many queries or a few more, so that none is computed among fewer than `FEWEST_ROWS`."""
    rest = rows % QUERIES_AT_ONCE
    enough = rows + max(0, FEWEST_ROWS - rest) if rest else rows
    return enough + enough % 2 if key_dim < NARROW else enough


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor,
    *,
    scale: float,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """q [batch, heads, queries, key_dim] over k [batch, heads or 1, keys, key_dim], v [.., value_dim].

    `mask` [.., 1 or padded queries, keys] is added to the scores; -inf hides a key, which must be finite all the same.
    `sinks` [.., heads, queries or 1] are further scores that take their share of the softmax and give nothing.
    Scores and softmax are float32. Returns [batch, heads, queries, value_dim].
    """
    rows = q.shape[2]
    if (missing := padded_rows(rows, q.shape[3]) - rows) > 0:
        q = F.pad(q, (0, 0, 0, missing))
    if softcap is not None or (sinks is not None and not q.is_cpu):
        found, total = _written_out(q, k, v, mask, scale, softcap, sinks is not None)
    else:
        found, total = _flash(q, k, v, mask, scale, sinks is not None)
    if missing > 0:
        found = found[:, :, :rows]
    if sinks is None or total is None:
        return found
    # Not torch's own sigmoid: its last bits depend on where a number stands.
    share = torch.exp(sinks.float() - total[..., :rows]).add_(1).reciprocal_()
    return found * share[..., None].to(found.dtype)


def _flash(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float, with_total: bool
) -> tuple[Tensor, Tensor | None]:
    """What is given, and the logarithm of the sum of all exponentials [batch, heads, queries]."""
    if k.shape[1] != q.shape[1]:
        k, v = (side.expand(-1, q.shape[1], -1, -1) for side in (k, v))
    if lone := q.is_cpu and q.shape[0] * q.shape[1] == 1 and q.shape[2] <= QUERIES_AT_ONCE:
        # Work for one thread alone would be shared out inside its matrix products, which changes their sums.
        q, k, v = (part.expand(2, -1, -1, -1) for part in (q, k, v))
    if not with_total:
        found, total = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale), None
    else:
        found, total = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q, k, v, 0.0, False, attn_mask=mask[(None,) * (4 - mask.dim())], scale=scale
        )
    return (found[:1], None if total is None else total[:1]) if lone else (found, total)


def _written_out(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float, softcap: float | None, with_total: bool
) -> tuple[Tensor, Tensor | None]:
    """As `_flash`, with a soft cap; sums over keys are made in the same parts."""
    batch, heads, rows, _ = q.shape
    scores = (q.reshape(batch, k.shape[1], -1, q.shape[3]).float() @ k.float().mT).view(batch, heads, rows, -1) * scale
    if softcap is not None:
        scores = (scores / softcap).tanh() * softcap
    scores = scores + mask
    weights = scores.softmax(-1).view(batch, k.shape[1], -1, k.shape[2])
    parts = zip(torch.split(weights, KEYS_AT_ONCE, -1), torch.split(v.float(), KEYS_AT_ONCE, 2), strict=True)
    first, *others = (weight @ values for weight, values in parts)
    found = sum(others, first).view(batch, heads, rows, -1).to(q.dtype)
    return found, scores.logsumexp(-1) if with_total else None


@functools.cache
def _tails() -> tuple[int, ...]:
    """Numbers of keys up to `KEYS_AT_ONCE` that the library sums in one order, found out by trying."""
    shorter = range(LANES, KEYS_AT_ONCE, LANES)
    return (*(tail for tail in shorter if all(_same_bits(tail, dtype) for dtype in _TRIED)), KEYS_AT_ONCE)


_TRIED = (torch.float32, torch.bfloat16)


def _same_bits(tail: int, dtype: torch.dtype) -> bool:
    """Whether `tail` keys give the same bits by themselves and with hidden ones behind them."""
    q, k, v = _random(dtype)
    mask = torch.zeros(1, KEYS_AT_ONCE, dtype=dtype)
    mask[:, tail:] = -torch.inf
    alone = F.scaled_dot_product_attention(q, k[:, :, :tail], v[:, :, :tail], attn_mask=mask[:, :tail])
    return torch.equal(alone, F.scaled_dot_product_attention(q, k, v, attn_mask=mask))


@functools.cache
def _random(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn((1, 4, rows, 64), generator=generator) for rows in (8, KEYS_AT_ONCE, KEYS_AT_ONCE))
    return q.to(dtype), k.to(dtype), v.to(dtype)
