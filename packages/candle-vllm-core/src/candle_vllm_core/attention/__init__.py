"""The one seam between a model and the hardware; it imports the spec. `choose_backend` is its front door."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from .. import kernels
from ..native import library
from ..spec import Decoder
from . import native
from .cache import KVCache
from .native import NativeBackend
from .reference import ReferenceBackend

if TYPE_CHECKING:
    from .triton import TritonBackend


def choose_backend(
    device: torch.device,
    spec: Decoder,
    *,
    num_blocks: Sequence[int],
    block_size: int,
    dtype: torch.dtype,
    num_states: int = 0,
    fp8: bool = False,
) -> ReferenceBackend | NativeBackend | TritonBackend:
    """The best attention that a device has, with a KV cache.

    `num_blocks` says for each group of layers how many blocks of `block_size` tokens it gets, and `num_states` how many
    sequences can have recurrent states. `fp8` is for keys and values: see `KVCache`.
    """
    cache = KVCache(
        spec, num_blocks=num_blocks, block_size=block_size, dtype=dtype, device=device, num_states=num_states, fp8=fp8
    )
    return backend_over(spec, cache)


def backend_over(spec: Decoder, cache: KVCache) -> ReferenceBackend | NativeBackend | TritonBackend:
    """The best attention over a KV cache where it is."""
    if kernels.available(cache.device):
        from .triton import TritonBackend

        return TritonBackend(spec, cache)
    functions = library() if native.fits(spec, cache) else None
    if functions is not None:
        return NativeBackend(spec, cache, functions)
    return ReferenceBackend(spec, cache)
