"""The activation of a gated feed-forward network, and gates by a sigmoid, each number read once; all in float32.

    silu           g / (1 + exp(-g)) * u
    gelu           g * (1 + erf(g / sqrt(2))) / 2 * u                        (Hendrycks and Gimpel 2016)
    gelu_tanh      g / (1 + exp(-2 sqrt(2 / pi) (g + 0.044715 g^3))) * u     (its approximation by tanh)
    clamped_swish  g' / (1 + exp(-1.702 g')) * (u' + 1),  g' = min(g, 7),  u' = max(min(u, 7), -7)

gate_up    [tokens, 2 * width], the gates g, then u; or [tokens, width] without u, which is then 1
out        [tokens, width]

`gate_heads` gives x / (1 + exp(-gate)):

x, out     [tokens, heads, dim]
gate       [tokens, heads, dim], lying anywhere; or [tokens, heads, 1]
"""

from __future__ import annotations

from typing import Literal

import triton
from torch import Tensor
from triton import language as tl

from .case import Case
from .tiles import tiles

Activation = Literal["silu", "gelu", "gelu_tanh", "clamped_swish"]
ACTIVATIONS: tuple[Activation, ...] = ("silu", "gelu", "gelu_tanh", "clamped_swish")
BLOCK, WARPS = 1024, 4
"""8 numbers for each thread, which of two bytes are read at once."""


@triton.jit
def _sigmoid(x):
    return 1 / (1 + tl.exp(-x))


@triton.jit
def _activate(gate, ACT: tl.constexpr):
    if ACT == "silu":
        found = gate * _sigmoid(gate)
    elif ACT == "gelu":
        found = 0.5 * gate * (1 + tl.erf(gate * 0.7071067811865476))
    elif ACT == "gelu_tanh":
        found = gate * _sigmoid(1.5957691216057308 * gate * (1 + 0.044715 * gate * gate))
    else:
        found = gate * _sigmoid(1.702 * gate)
    return found


@triton.jit
def _gated_kernel(
    out, gate_up, width, stride, blocks, ACT: tl.constexpr, GATED: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """A block of the columns of one token."""
    token = (tl.program_id(0) // blocks).to(tl.int64)
    columns = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    gate = tl.load(gate_up + token * stride + columns, mask=columns < width, other=0.0).to(tl.float32)
    if ACT == "clamped_swish":
        gate = tl.where(gate > 7, 7.0, gate)  # A NaN stays one.
    found = _activate(gate, ACT)
    if GATED:
        up = tl.load(gate_up + token * stride + width + columns, mask=columns < width, other=0.0).to(tl.float32)
        if ACT == "clamped_swish":
            up = tl.where(up > 7, 7.0, tl.where(up < -7, -7.0, up)) + 1
        found *= up
    elif ACT == "clamped_swish":
        found *= 2
    tl.store(out + token * width + columns, found.to(out.dtype.element_ty), mask=columns < width)


@triton.jit
def _gate_heads_kernel(
    out, x, gate, width, dim, x_stride, gate_token, gate_head, gate_dim, blocks, BLOCK: tl.constexpr
):  # fmt: skip
    """A block of the columns of one token's heads."""
    token = (tl.program_id(0) // blocks).to(tl.int64)
    columns = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    here = columns < width
    places = gate + token * gate_token + columns // dim * gate_head + columns % dim * gate_dim
    found = tl.load(x + token * x_stride + columns, mask=here, other=0.0).to(tl.float32)
    found *= _sigmoid(tl.load(places, mask=here, other=0.0).to(tl.float32))
    tl.store(out + token * width + columns, found.to(out.dtype.element_ty), mask=here)


def gated(act: Activation, gate_up: Tensor, *, has_up: bool = True) -> Tensor:
    """[tokens, 2 * width] to [tokens, width], or without `has_up` [tokens, width] to the same.

    Raises:
        ValueError: shapes or strides are none that the kernel takes.
    """
    if act not in ACTIVATIONS:
        raise ValueError(f"no activation is called {act!r}; there are {', '.join(ACTIVATIONS)}")
    if gate_up.dim() != 2 or gate_up.stride(1) != 1 or gate_up.shape[1] % (1 + has_up):
        raise ValueError(f"{tuple(gate_up.shape)} with strides {gate_up.stride()} is no gate and up side by side")
    tokens, width = gate_up.shape[0], gate_up.shape[1] // (1 + has_up)
    out = gate_up.new_empty(tokens, width)
    own = tiles("activation", f"numbers of {out.dtype.itemsize} bytes", {"block": BLOCK, "warps": WARPS})
    blocks = triton.cdiv(width, own["block"])
    if out.numel():
        _gated_kernel[(tokens * blocks,)](
            out, gate_up, width, gate_up.stride(0), blocks, ACT=act, GATED=has_up, BLOCK=own["block"],
            num_warps=own["warps"],
        )  # fmt: skip
    return out


def gate_heads(x: Tensor, gate: Tensor) -> Tensor:
    """x [tokens, heads, dim] times the sigmoid of a gate of that shape, or of [tokens, heads, 1].

    Raises:
        ValueError: shapes or strides are none that the kernel takes.
    """
    tokens, heads, dim = x.shape
    if gate.shape not in (x.shape, (tokens, heads, 1)) or x.stride()[1:] != (dim, 1):
        raise ValueError(f"a gate of {tuple(gate.shape)} for {tuple(x.shape)} with strides {x.stride()}")
    gate, out = gate.expand_as(x), x.new_empty(x.shape)
    blocks = triton.cdiv(heads * dim, BLOCK)
    if out.numel():
        _gate_heads_kernel[(tokens * blocks,)](
            out, x, gate, heads * dim, dim, x.stride(0), *gate.stride(), blocks, BLOCK=BLOCK, num_warps=WARPS
        )
    return out


def signatures() -> list[Case]:
    """The configurations to compile ahead."""
    cases = []
    for act, dtype in (*((act, "bf16") for act in ACTIVATIONS), ("silu", "fp16"), ("silu", "fp32")):
        types = {"out": f"*{dtype}", "gate_up": f"*{dtype}", "width": "i32:16", "stride": "i32:16", "blocks": "i32"}
        constants = {"ACT": act, "GATED": True, "BLOCK": BLOCK}
        cases.append(Case(f"{act}, {dtype}", _gated_kernel, types, constants, WARPS, 1))
    numbers = dict.fromkeys(("width", "dim", "x_stride", "gate_token", "gate_head"), "i32:16")
    types = dict.fromkeys(("out", "x", "gate"), "*bf16") | numbers | {"blocks": "i32"}
    constants = {"gate_dim": 1, "BLOCK": BLOCK}
    return [*cases, Case("gate of heads, bf16", _gate_heads_kernel, types, constants, WARPS, 1)]
