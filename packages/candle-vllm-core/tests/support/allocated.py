"""What torch's allocator gives out on a CPU."""

from __future__ import annotations

import gc
from collections.abc import Callable
from itertools import accumulate

import torch


def allocations(work: Callable[[], object]) -> list[int]:
    """The bytes that torch's allocator has given out, after each change, while something is done."""
    gc.collect()
    with torch.autograd.profiler.profile(profile_memory=True) as profile:
        work()
    changes = [event.nbytes() for event in profile.kineto_results.events() if event.name() == "[memory]"]
    return list(accumulate(changes))
