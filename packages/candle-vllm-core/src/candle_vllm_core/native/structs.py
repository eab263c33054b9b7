"""What C functions take as one: matrices, layers, steps. The fields are those of the C code, in its order."""

from __future__ import annotations

import ctypes

from . import Address, Number, Real


class Matrix(ctypes.Structure):
    """A matrix in panels, with its bias; one in bfloat16 has no scale."""

    _fields_ = (
        *((name, Address) for name in ("weight", "bias", "scale", "sums")),
        *((name, Number) for name in ("rows", "columns")),
    )


class Norm(ctypes.Structure):
    """An RMS norm; its weight is float32 if it is wide."""

    _fields_ = (("weight", Address), ("is_wide", Number), ("eps", Real))


class Layer(ctypes.Structure):
    """A decoder layer of the most usual kind."""

    _fields_ = (
        *((name, Norm) for name in ("before_attention", "of_heads", "before_feed_forward")),
        *((name, Matrix) for name in ("qkv", "out", "gate_up", "down")),
        ("sinks", Address),
        *((n, Number) for n in ("heads", "kv_heads", "head_dim", "turning", "is_interleaved", "window", "is_gelu")),
        ("scale", Real),
        ("softcap", Real),
    )


class Step(ctypes.Structure):
    """What the layers of one group have in common in one step."""

    _fields_ = (
        *((name, Address) for name in ("slots", "sequences", "room")),
        *((name, Number) for name in ("rows", "count", "block_size", "threads", "attention_threads")),
    )


class Places(ctypes.Structure):
    """Where results lie until the next part of a layer has taken them."""

    _fields_ = tuple(
        (name, Address)
        for name in ("seen", "projected", "q", "attended", "sum", "gate_up", "inner", "rounded", "largest")
    )
