"""Our own machine code for what layers do: as near to exact as torch, and each row by itself."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from candle_vllm_core import spec as s
from candle_vllm_core.attention.backend import Destination, States
from candle_vllm_core.model.native_ops import NativeOps
from candle_vllm_core.model.ops import TORCH_OPS, NormWeights, Ops
from candle_vllm_core.model.rope import Rotary
from candle_vllm_core.native import library

pytestmark = pytest.mark.skipif(library() is None, reason="the C functions are not for this machine, or were not built")

Computed = Callable[[Ops, Tensor], Tensor]
SHAPES = [(1, 896), (3, 70), (33, 1000), (200, 896), (2, 5)]
HEADS = [
    (14, 2, 64, 64, False, False),
    (4, 4, 80, 32, False, True),
    (4, 2, 128, 128, True, True),
    (3, 1, 24, 24, False, True),
    (2, 2, 64, None, False, False),
    (2, 1, 40, 20, True, False),
]


class Into:
    """A pass that has a place for keys and values, or none; nothing attends."""

    positions = torch.zeros(0, dtype=torch.int64)

    def __init__(self, place: Destination | None = None) -> None:
        self._place = place

    def destination(self, layer: int) -> Destination | None:
        return self._place

    def attend(self, *given: object, **named: object) -> Tensor:
        raise NotImplementedError

    def recurrent(self, layer: int) -> States:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def native() -> NativeOps:
    found = library()
    if found is None:
        raise RuntimeError("these tests are skipped where there is no library")
    return NativeOps(found)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def check(compute: Computed, x: Tensor) -> None:
    """As near to float32 as torch comes, and a row the same bits alone, by one thread, as among all by two."""
    found, torchs, right = (
        compute(ops, given)
        for ops, given in ((native(), x.bfloat16()), (TORCH_OPS, x.bfloat16()), (TORCH_OPS, x.bfloat16().float()))
    )
    error, torch_error = (float((own.float() - right).norm() / right.norm()) for own in (found, torchs))
    assert found.shape == torchs.shape
    assert found.dtype == torch.bfloat16
    assert error <= 1.02 * torch_error + 1e-6
    last = x.bfloat16()[-1:]
    assert torch.equal(compute(native(), last), found[-1:])


@pytest.mark.parametrize(("rows", "dim"), SHAPES)
@pytest.mark.parametrize("wide", [False, True])
def test_rms_norm(rows: int, dim: int, wide: bool) -> None:
    weight = normal(dim, seed=1).bfloat16()

    def compute(ops: Ops, x: Tensor) -> Tensor:
        own = weight.float() if wide or x.dtype == torch.float32 else weight
        return ops.normalise(NormWeights(s.Norm(eps=1e-6), own, None), x)

    check(compute, normal(rows, dim))


@pytest.mark.parametrize(("rows", "dim"), SHAPES)
@pytest.mark.parametrize("act", ["silu", "gelu_tanh"])
def test_gated_activations(rows: int, dim: int, act: s.Activation) -> None:
    check(lambda ops, x: ops.gated(act, x), 4 * normal(rows, 2 * dim))


@pytest.mark.parametrize("act", ["silu", "gelu_tanh"])
def test_an_activation_has_no_limits(act: s.Activation) -> None:
    large = torch.tensor([-torch.inf, -1e38, -100.0, -89.0, -0.0, 0.0, 89.0, 100.0, 1e12, torch.nan])
    given = torch.stack((large, torch.ones_like(large))).bfloat16().view(1, -1)
    right = TORCH_OPS.gated(act, given.float())
    right[..., 0] = torch.nan if act == "gelu_tanh" else right[..., 0]
    found = native().gated(act, given).float()
    assert torch.allclose(found[..., 1:], right[..., 1:], rtol=1e-2, atol=1e-30, equal_nan=True)


@pytest.mark.parametrize("tokens", [1, 3, 70])
@pytest.mark.parametrize(("heads", "kv_heads", "dim", "turning", "interleaved", "normed"), HEADS)
def test_heads(
    tokens: int, heads: int, kv_heads: int, dim: int, turning: int | None, interleaved: bool, normed: bool
) -> None:
    rope = None if turning is None else s.Rope(theta=1e4, dim=turning, interleaved=interleaved)
    attention = s.Attention(heads=heads, kv_heads=kv_heads, head_dim=dim, rope=rope, scale=0.1)
    norm = NormWeights(s.Norm(eps=1e-6), normal(heads + kv_heads, dim, seed=1), None) if normed else None
    every = None if rope is None else Rotary(rope, torch.device("cpu")).angles(torch.arange(tokens) + 5)

    for side in range(3):

        def compute(ops: Ops, x: Tensor, side: int = side) -> Tensor:
            angles = None if every is None else (every[0][-len(x) :], every[1][-len(x) :])
            found = ops.heads(attention, x, norm, angles, Into(), 0)[side]
            assert found is not None
            return found.flatten(1)

        check(compute, normal(tokens, (heads + 2 * kv_heads) * dim))


def test_keys_and_values_go_into_the_cache_and_nowhere_else() -> None:
    attention = s.Attention(heads=4, kv_heads=2, head_dim=40, rope=None, scale=0.1)
    projected = normal(5, 8 * 40).bfloat16()
    right = native().heads(attention, projected, None, None, Into(), 0)
    cache, slots = torch.full((20, 2, 2, 40), torch.nan, dtype=torch.bfloat16), torch.tensor([19, 3, 4, 0, 11])
    found = native().heads(attention, projected, None, None, Into(Destination(cache, slots)), 0)
    assert right.k is not None
    assert right.v is not None
    assert (found.k, found.v) == (None, None)
    assert torch.equal(found.q, right.q)
    assert torch.equal(cache[slots], torch.stack((right.k, right.v), 1))
    assert int(cache.isnan().sum()) == 15 * 2 * 2 * 40


def test_a_rotation_wider_than_a_head_never_reaches_c() -> None:
    rope = s.Rope(theta=1e4, dim=64)
    attention = s.Attention(heads=2, kv_heads=1, head_dim=40, rope=rope, scale=0.1)
    angles = Rotary(rope, torch.device("cpu")).angles(torch.arange(3))
    with pytest.raises(RuntimeError, match="size of tensor"):
        native().heads(attention, normal(3, 4 * 40).bfloat16(), None, angles, Into(), 0)


def test_what_there_is_no_code_for_is_torchs() -> None:
    x = normal(3, 40).bfloat16()
    centred = NormWeights(s.Norm(eps=1e-6, kind="layer"), normal(40).bfloat16(), None)
    assert torch.equal(native().normalise(centred, x), TORCH_OPS.normalise(centred, x))
    assert torch.equal(native().gated("gelu", x), TORCH_OPS.gated("gelu", x))
    assert torch.equal(native().gated("silu", x.float()), TORCH_OPS.gated("silu", x.float()))
