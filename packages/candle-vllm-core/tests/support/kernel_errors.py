"""Comparisons of kernels with their references that keep how far apart the two were."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Error:
    """The largest difference of a comparison, and how large that is beside the largest value that was expected."""

    dtype: str
    absolute: float
    relative: float


SEEN: list[Error] = []
"""The comparisons of the test that runs now."""


def close(actual: Tensor, expected: Tensor, *, atol: float, rtol: float) -> None:
    """Assert that a kernel's result is its reference's within tolerances, and that no element is missing."""
    assert actual.shape == expected.shape
    if actual.numel():
        wide, wanted = actual.double(), expected.double()
        absolute = float((wide - wanted).abs().nan_to_num(nan=0.0).max())
        largest = float(wanted.abs().nan_to_num(nan=0.0).max())
        SEEN.append(Error(str(actual.dtype).removeprefix("torch."), absolute, absolute / max(largest, 1e-30)))
    torch.testing.assert_close(actual, expected, atol=atol, rtol=rtol, check_dtype=False, check_device=False)


def lines(found: Iterable[tuple[str, Error]]) -> list[str]:
    """A table of the worst error of each operation and dtype."""
    worst: dict[tuple[str, str], tuple[int, float, float]] = {}
    for operation, error in found:
        count, absolute, relative = worst.get((operation, error.dtype), (0, 0.0, 0.0))
        both = max(absolute, error.absolute), max(relative, error.relative)
        worst[operation, error.dtype] = (count + 1, *both)
    header = f"{'operation':<24} {'dtype':<10} {'compared':>8} {'worst error':>12} {'beside the largest value':>25}"
    rows = (f"{op:<24} {dtype:<10} {n:>8} {a:>12.2e} {r:>25.2e}" for (op, dtype), (n, a, r) in sorted(worst.items()))
    return [header, *rows]
