"""What a process takes once on a CPU beside weights, KV cache and activations: libraries, machine code, the tokenizer.

These numbers were measured; `python -m bench memory` measures their sum anew. No torch here.
"""

from __future__ import annotations

from collections.abc import Iterator

from .. import spec as s

LIBRARIES, ONEDNN, OF_INTEGERS, OF_EXPERTS = 14_000_000, 10_000_000, 1_000_000, 3_000_000
"""Code of libraries that is read in where it is first run, and the threads and tables of an engine; more where oneDNN
multiplies, as it does for routers of experts, for 8 bits, and for experts."""
MACHINE_CODE = 700_000
"""What oneDNN makes for a matrix of one shape and a number of rows, with or without a residual, and keeps."""
TOKENIZER = 300
"""For each text: twice in a table, its merge, and what is left over from reading it; 250 to 340 were measured."""


def overhead_bytes(spec: s.Decoder, *, native: bool, quantized: bool) -> int:
    """What comes beside the rest when a model is opened and its largest step runs for the first time.

    oneDNN makes code for the largest step; C functions, where they multiply, are there already.
    """
    products = 0 if native else MACHINE_CODE * len(set(_shapes(spec)))
    experts = any(isinstance(layer.feed_forward, s.Sparse) for layer in spec.layers)
    libraries = LIBRARIES + OF_INTEGERS * quantized + OF_EXPERTS * experts
    libraries += ONEDNN if experts or not native else 0
    return libraries + products + TOKENIZER * spec.vocab


def _shapes(spec: s.Decoder) -> Iterator[tuple[int, int]]:
    """Rows and columns of the matrices that a step multiplies with."""
    yield spec.vocab, spec.dim
    for layer in spec.layers:
        match layer.attention:
            case s.Attention() as a:
                yield (a.heads * (1 + a.gate) + 2 * a.kv_heads) * a.head_dim, spec.dim
                yield spec.dim, a.heads * a.head_dim
            case s.LatentAttention() as a:
                yield a.heads * (a.nope_dim + a.rope.dim), a.q_rank or spec.dim
                yield a.key_dim, spec.dim
                yield spec.dim, a.heads * a.value_head_dim
            case s.DeltaNet() as a:
                yield a.conv_dim + a.value_heads * a.value_dim, spec.dim
                yield spec.dim, a.value_heads * a.value_dim
        match layer.feed_forward:
            case s.Dense() as f:
                yield (1 + f.gated) * f.width, spec.dim
                yield spec.dim, f.width
            case s.Sparse() as f:
                yield 2 * f.width, spec.dim
                yield spec.dim, f.width
