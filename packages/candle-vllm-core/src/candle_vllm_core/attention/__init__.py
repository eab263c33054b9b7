"""The one seam between a model and the hardware; it imports the spec. `choose_backend` is its front door."""

from __future__ import annotations

import torch

from ..spec import Decoder
from .cache import KVCache
from .reference import ReferenceBackend


def choose_backend(
    device: torch.device, spec: Decoder, *, num_blocks: int, block_size: int, dtype: torch.dtype
) -> ReferenceBackend:
    """The best attention that a device has, with a KV cache of `num_blocks` blocks of `block_size` tokens."""
    return ReferenceBackend(
        spec, KVCache(spec, num_blocks=num_blocks, block_size=block_size, dtype=dtype, device=device)
    )
