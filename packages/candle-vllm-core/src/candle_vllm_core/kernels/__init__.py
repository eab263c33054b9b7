"""Triton kernels, one file per operation; they import torch and triton and nothing of ours.

Triton is an extra that a CPU has no need of: ask `available` before a module that imports kernels is imported.
"""

from __future__ import annotations

import importlib.util

import torch


def available(device: torch.device) -> bool:
    """Whether the kernels run on a device: it is a GPU, NVIDIA's or AMD's, and triton is installed."""
    return device.type == "cuda" and importlib.util.find_spec("triton") is not None
