"""Tensors in memory as something to load from."""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from candle_vllm_core.model.loader import Checkpoint
from candle_vllm_core.model.names import NameMap
from candle_vllm_core.quant.weight import DenseWeight, Weight
from candle_vllm_core.spec import Names


class Tensors:
    """A source of the tensors of a table; `asked` says which have been handed out."""

    path = Path()
    model_id = "in memory"
    config: Mapping[str, Any] = {}

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors
        self.asked: list[str] = []

    def names(self) -> Set[str]:
        return self._tensors.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._tensors[name].shape)

    def tensor(self, name: str) -> Tensor:
        self.asked.append(name)
        return self._tensors[name]

    def weight(self, name: str) -> Weight:
        return DenseWeight(self.tensor(name))

    def close(self) -> None:
        pass


def checkpoint(
    source: Tensors,
    dtype: torch.dtype = torch.float32,
    names: Names | None = None,
    reported: list[int] | None = None,
) -> Checkpoint:
    """A loader of these tensors, which tells `reported` what it has loaded."""
    report = [] if reported is None else reported
    return Checkpoint(NameMap(names or Names()), source, torch.device("cpu"), dtype, report.append)
