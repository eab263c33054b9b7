import importlib.machinery
import importlib.util

import pytest
import torch
import triton
from triton import language as tl

from candle_vllm_core.kernels import available


@triton.jit
def _next_kernel(out, given, size, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.arange(0, BLOCK)
    tl.store(out + at, tl.load(given + at, mask=at < size) + 1, mask=at < size)


def test_kernels_are_for_gpus_where_triton_is_installed() -> None:
    assert available(torch.device("cuda", 1))
    assert not available(torch.device("cpu"))
    assert not available(torch.device("mps"))


def test_kernels_are_not_available_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def without_triton(name: str, package: str | None = None) -> importlib.machinery.ModuleSpec | None:
        return None if name == "triton" else found(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without_triton)
    assert not available(torch.device("cuda"))


def test_a_kernel_runs_here(device: torch.device) -> None:
    given = torch.arange(5, dtype=torch.float32, device=device)
    out = torch.full((8,), torch.nan, device=device)
    _next_kernel[(1,)](out, given, 5, BLOCK=8)
    assert out[:5].tolist() == [1, 2, 3, 4, 5]
    assert out[5:].isnan().all()
