"""Attention in machine code of ours: exact within bfloat16, and the same bits however a step is made up."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from attending import AnyAttention, Sequence, attend, grouped, latent, model, of, recurrent
from hypothesis import given, settings
from hypothesis import strategies as st
from paged import CPU, Caches, layout

from candle_vllm_core import spec as s
from candle_vllm_core.attention import choose_backend
from candle_vllm_core.attention.cache import KVCache
from candle_vllm_core.attention.native import SPLIT, NativeBackend, fits
from candle_vllm_core.attention.reference import ReferenceBackend
from candle_vllm_core.native import library

pytestmark = pytest.mark.skipif(library() is None, reason="this processor has no instructions for it")

SINKS = torch.linspace(-1, 1, 8).bfloat16()
KINDS: dict[str, AnyAttention] = {
    **{f"heads of {head_dim}": grouped(8, 2, head_dim) for head_dim in (2, 16, 64, 80, 128, 256)},
    "a key for each query": grouped(8, 8, 64),
    "one key for all": grouped(8, 1, 34),
    "window": grouped(8, 2, 64, 40),
    "soft cap": replace(grouped(8, 2, 64), softcap=5.0),
    "sinks": replace(grouped(8, 2, 64), sinks=True),
    "latent": latent(8, 64, 16),
    "large latent": latent(40, 512, 64),
}


def native(spec: s.Decoder, cache: KVCache) -> NativeBackend:
    functions = library()
    if functions is None:
        raise LookupError("no library")
    return NativeBackend(spec, cache, functions)


def cache_of(spec: s.Decoder, lengths: list[int], block_size: int, *, scattered: bool = True) -> Caches:
    return Caches(spec, lengths, block_size, dtype=torch.bfloat16, scattered=scattered, make=native)


def sinks_of(attention: AnyAttention) -> torch.Tensor | None:
    return SINKS if attention.sinks else None


@contextmanager
def using(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def check(attention: AnyAttention, chunks: list[list[int]], block_size: int) -> None:
    """Sequences that grow by chunks in the same steps give what exact attention gives, within rounding."""
    lengths = [sum(sizes) for sizes in chunks]
    cache = cache_of(of(attention), lengths, block_size)
    sequences = [Sequence(attention, length, seed).to(torch.bfloat16) for seed, length in enumerate(lengths)]
    sinks, done = sinks_of(attention), [0] * len(chunks)
    for number in range(max(map(len, chunks))):
        stops = [at + (sizes[number] if number < len(sizes) else 0) for at, sizes in zip(done, chunks, strict=True)]
        (found,) = attend(cache, [0], sequences, done, stops, sinks)
        parts = [one.right(a, b, sinks) for one, a, b in zip(sequences, done, stops, strict=True)]
        torch.testing.assert_close(found.double(), torch.cat(parts), rtol=8e-3, atol=4e-3)
        done = stops


@pytest.mark.parametrize("block_size", [1, 3, 16])
@pytest.mark.parametrize("kind", KINDS)
def test_attention_is_exact_within_rounding(kind: str, block_size: int) -> None:
    check(KINDS[kind], [[5, 1, 1, 9], [1, 1, 20, 1], [33, 40], [2, 0, 1, 1]], block_size)


@settings(max_examples=60)
@given(
    chunks=st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=4), min_size=1, max_size=4),
    window=st.none() | st.integers(1, 60),
    block_size=st.integers(1, 20),
)
def test_however_sequences_are_cut(chunks: list[list[int]], window: int | None, block_size: int) -> None:
    check(grouped(4, 2, 8, window), chunks, block_size)


@pytest.mark.parametrize("window", [None, 600])
def test_few_queries_over_many_keys_are_shared_out(window: int | None) -> None:
    check(grouped(6, 2, 8, window), [[2 * SPLIT + 9, 1, 3, 5], [3, 1, 1, 1], [SPLIT, 1, 1, 4]], 16)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_token_is_given_the_same_bits_in_whatever_chunks_its_sequence_comes(kind: str, threads: int) -> None:
    spec, length = of(KINDS[kind]), (2 if kind == "heads of 64" else 1) * SPLIT + 150
    one = Sequence(KINDS[kind], length, 0).to(torch.bfloat16)
    found = []
    for size, block_size in ((length, 16), (1, 16), (7, 24), (290, 3)):
        cache = cache_of(spec, [length], block_size, scattered=size != length)
        spans = [(start, min(start + size, length)) for start in range(0, length, size)]
        with using(threads):
            found.append(torch.cat([attend(cache, [0], [one], [a], [b], sinks_of(KINDS[kind]))[0] for a, b in spans]))
    assert [int((other != found[0]).flatten(1).any(1).sum()) for other in found] == [0] * len(found)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_is_given_the_same_bits_alone_and_among_others(kind: str) -> None:
    spec, sinks = of(KINDS[kind]), sinks_of(KINDS[kind])
    lengths = [70, 1, 33, SPLIT + 4, 1300]
    starts = [length - new for length, new in zip(lengths, (1, 1, 9, 2, 1), strict=True)]
    sequences = [Sequence(KINDS[kind], length, seed).to(torch.bfloat16) for seed, length in enumerate(lengths)]
    alone = []
    for sequence, start, length in zip(sequences, starts, lengths, strict=True):
        cache = cache_of(spec, [length], 16, scattered=False)
        attend(cache, [0], [sequence], [0], [start], sinks)
        alone += attend(cache, [0], [sequence], [start], [length], sinks)
    cache = cache_of(spec, lengths, 16)
    attend(cache, [0], sequences, [0] * len(lengths), starts, sinks)
    assert torch.equal(attend(cache, [0], sequences, starts, lengths, sinks)[0], torch.cat(alone))


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_sequence_does_not_touch_the_others(kind: str) -> None:
    sequences = [Sequence(KINDS[kind], 10, seed).to(torch.bfloat16) for seed in range(3)]
    (sequences[1].k if kind.endswith("latent") else sequences[1].v).fill_(math.nan)
    cache = cache_of(of(KINDS[kind]), [10] * 3, 4)
    attend(cache, [0], sequences, [0] * 3, [9] * 3, sinks_of(KINDS[kind]))
    (found,) = attend(cache, [0], sequences, [9] * 3, [10] * 3, sinks_of(KINDS[kind]))
    assert [bool(row.isnan().any()) for row in found] == [False, True, False]


def test_scores_far_apart_are_neither_lost_nor_infinite() -> None:
    attention = grouped(4, 2, 16)
    one = Sequence(attention, 200, 0)
    one.q *= 40
    one.to(torch.bfloat16)
    (found,) = attend(cache_of(of(attention), [200], 16), [0], [one], [0], [200])
    torch.testing.assert_close(found.double(), one.right(0, 200, None), rtol=8e-3, atol=4e-3)


def test_an_empty_step_attends_to_nothing() -> None:
    spec = of(grouped(4, 2, 16), latent(4, 8, 4))
    pass_ = cache_of(spec, [], 4).backend.plan(layout([[]], [], [], 4))
    empty = torch.empty(0, 4, 16, dtype=torch.bfloat16)
    assert pass_.attend(0, spec.attentions()[0], empty, empty[:, :2], empty[:, :2]).shape == (0, 4, 16)
    assert pass_.attend(1, spec.attentions()[1], empty[..., :12], empty[:, :1, :12], None).shape == (0, 4, 8)


def test_what_the_code_has_no_room_for_is_left_to_torch() -> None:
    def chosen(attention: AnyAttention, dtype: torch.dtype = torch.bfloat16) -> type:
        return type(choose_backend(CPU, of(attention), num_blocks=[3], block_size=4, dtype=dtype))

    assert chosen(grouped(4, 2, 16)) is NativeBackend
    assert chosen(grouped(4, 2, 16), torch.float32) is ReferenceBackend
    assert chosen(grouped(4, 2, 15)) is ReferenceBackend
    assert chosen(grouped(4, 2, 642)) is ReferenceBackend


def test_layers_that_keep_no_tokens_are_no_hindrance() -> None:
    spec = of(recurrent(), grouped(4, 2, 16))
    cache = KVCache(spec, num_blocks=[3], block_size=4, dtype=torch.bfloat16, device=CPU, num_states=7)
    assert fits(spec, cache)
    first = native(spec, cache).plan(layout([[torch.tensor([0])]], [0], [3], 4, state_slots=[6])).recurrent(0)
    assert first.memory.shape == (7, 4, 8, 6)


def test_a_step_makes_nothing_that_grows_with_its_sequences() -> None:
    """Beside a place for the results of splits, which stays: numbers of one row for every SPLIT keys."""
    spec, length = model(8, 2, 64, None), 20_000
    cache = cache_of(spec, [length], 16)
    one = Sequence(grouped(8, 2, 64), length, 0).to(torch.bfloat16)
    attend(cache, [0], [one], [0], [length - 2])
    attend(cache, [0], [one], [length - 2], [length - 1])
    step = cache.layout({0: (length - 1, length)})
    with torch.profiler.profile(profile_memory=True) as profiler:
        pass_ = cache.backend.plan(step)
        pass_.attend(0, one.a, one.q[-1:], one.k[-1:], one.v[-1:])
    made = sum(max(event.self_cpu_memory_usage, 0) for event in profiler.key_averages())
    assert 0 < made < 10_000
