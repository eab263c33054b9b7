import math
from dataclasses import replace

import pytest
import torch
from attending import AnyAttention, Sequence, attend, grouped, latent, model, of, recurrent
from hypothesis import given, settings
from hypothesis import strategies as st
from paged import CPU, Caches, layout

from candle_vllm_core import spec as s
from candle_vllm_core.attention import choose_backend, reading, reference
from candle_vllm_core.attention.backend import Rows
from candle_vllm_core.errors import DeviceError


def cache_of(spec: s.Decoder, lengths: list[int], block_size: int, scattered: bool) -> Caches:
    return Caches(spec, lengths, block_size, dtype=torch.float32, scattered=scattered)


def check(spec: s.Decoder, chunks: list[list[int]], block_size: int, scattered: bool) -> None:
    """Sequences that grow by chunks, all in the same steps and in every layer, give what exact attention gives."""
    lengths = [sum(sizes) for sizes in chunks]
    for index, attention in enumerate(spec.attentions()):
        cache = cache_of(spec, lengths, block_size, scattered)
        sinks = torch.linspace(-2, 3, attention.heads) if attention.sinks else None
        sequences = [Sequence(attention, length, seed) for seed, length in enumerate(lengths)]
        done = [0] * len(chunks)
        for number in range(max(map(len, chunks))):
            stops = [at + (sizes[number] if number < len(sizes) else 0) for at, sizes in zip(done, chunks, strict=True)]
            (found,) = attend(cache, [index], sequences, done, stops, sinks)
            parts = [one.right(a, b, sinks) for one, a, b in zip(sequences, done, stops, strict=True)]
            torch.testing.assert_close(found.double(), torch.cat(parts), rtol=0, atol=2e-6)
            done = stops


@pytest.mark.parametrize("scattered", [True, False])
@pytest.mark.parametrize("block_size", [1, 3, 16])
@pytest.mark.parametrize(
    ("heads", "kv_heads", "head_dim"), [(1, 1, 8), (4, 4, 16), (8, 1, 64), (6, 2, 128), (2, 1, 256), (14, 2, 64)]
)
def test_attention_is_exact(heads: int, kv_heads: int, head_dim: int, block_size: int, scattered: bool) -> None:
    chunks = [[5, 1, 1, 9], [1, 1, 20, 1], [33], [2, 0, 1, 1]]
    check(model(heads, kv_heads, head_dim, None, 7), chunks, block_size, scattered)


@pytest.mark.parametrize("window", [1, 2, 5, 16, 40])
def test_a_token_sees_itself_and_those_before_it_within_the_window(window: int) -> None:
    check(model(4, 2, 16, window, None), [[30, 1, 1, 7], [1, 1, 1, 17]], 4, True)


@settings(max_examples=60)
@given(
    chunks=st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=5), min_size=1, max_size=4),
    window=st.none() | st.integers(1, 20),
    block_size=st.integers(1, 9),
    tile=st.integers(1, 6),
    most_copied=st.integers(1, 40_000),
    scattered=st.booleans(),
)
def test_however_sequences_are_cut_and_tiled_and_read(
    chunks: list[list[int]], window: int | None, block_size: int, tile: int, most_copied: int, scattered: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "QUERY_TILE", tile)
        patch.setattr(reading, "MOST_COPIED", most_copied)
        check(model(4, 2, 8, window), chunks, block_size, scattered)


def test_a_prefill_of_several_tiles() -> None:
    check(model(2, 1, 16, None, 300), [[600], [100, 300]], 16, True)


@pytest.mark.parametrize("scattered", [True, False])
@pytest.mark.parametrize("block_size", [1, 3, 16])
@pytest.mark.parametrize("window", [None, 6])
@pytest.mark.parametrize(("softcap", "sinks"), [(0.7, False), (None, True), (1.5, True)])
def test_soft_caps_and_sinks_are_exact(
    softcap: float | None, sinks: bool, window: int | None, block_size: int, scattered: bool
) -> None:
    attention = replace(grouped(6, 2, 16, window), softcap=softcap, sinks=sinks)
    check(of(attention, grouped(6, 2, 16)), [[5, 1, 1, 9], [1, 1, 20, 1], [2, 0, 1, 1]], block_size, scattered)


@pytest.mark.parametrize("scattered", [True, False])
@pytest.mark.parametrize("block_size", [1, 3, 16])
@pytest.mark.parametrize(("heads", "kv_rank", "rope_dim"), [(1, 8, 4), (6, 16, 8), (16, 64, 2)])
def test_a_latent_is_key_and_value(heads: int, kv_rank: int, rope_dim: int, block_size: int, scattered: bool) -> None:
    check(of(latent(heads, kv_rank, rope_dim)), [[5, 1, 1, 9], [1, 1, 20, 1], [2, 0, 1, 1]], block_size, scattered)


def test_half_precision_rounds_weights_and_no_score() -> None:
    attention = replace(grouped(4, 2, 16), softcap=50.0, sinks=True)
    cache = Caches(of(attention), [50], 4, dtype=torch.bfloat16, scattered=True)
    one, sinks = Sequence(attention, 50, 0), torch.linspace(-2, 3, 4).bfloat16()
    one.q, one.k, one.v = (side.bfloat16() for side in (one.q * 20, one.k, one.v))
    pieces = [attend(cache, [0], [one], [a], [b], sinks)[0] for a, b in ((0, 49), (49, 50))]
    error = (torch.cat(pieces).double() - one.right(0, 50, sinks)).abs().max()
    assert 0 < error < 2e-2, "weights and values of 8 bits; scores of 8 bits would be wrong by a tenth"


SINKS = torch.linspace(-1, 1, 8)
KINDS: dict[str, AnyAttention] = {
    **{f"heads of {head_dim}": grouped(8, 2, head_dim) for head_dim in (16, 64, 128)},
    "window": grouped(8, 2, 64, 40),
    "soft cap": replace(grouped(8, 2, 64), softcap=5.0),
    "sinks": replace(grouped(8, 2, 64), sinks=True),
    "latent": latent(8, 64, 16),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequence_decodes_to_the_same_bits_alone_and_among_others(kind: str) -> None:
    spec = of(KINDS[kind])
    sinks = SINKS if KINDS[kind].sinks else None
    lengths = [70, 1, 33, 128, 500]
    sequences = [Sequence(KINDS[kind], length, seed) for seed, length in enumerate(lengths)]
    alone = []
    for sequence, length in zip(sequences, lengths, strict=True):
        cache = cache_of(spec, [length], 16, scattered=False)
        attend(cache, [0], [sequence], [0], [length - 1], sinks)
        alone += attend(cache, [0], [sequence], [length - 1], [length], sinks)
    cache = cache_of(spec, lengths, 16, scattered=True)
    before = [length - 1 for length in lengths]
    attend(cache, [0], sequences, [0] * len(lengths), before, sinks)
    assert torch.equal(attend(cache, [0], sequences, before, lengths, sinks)[0], torch.cat(alone))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_a_token_is_given_the_same_bits_in_whatever_chunks_its_sequence_comes(kind: str, dtype: torch.dtype) -> None:
    spec, length = of(KINDS[kind]), 900
    sinks = SINKS if KINDS[kind].sinks else None
    one = Sequence(KINDS[kind], length, 0)
    one.q, one.k, one.v = (side.to(dtype) for side in (one.q, one.k, one.v))
    found = []
    for size, block_size in ((length, 16), (1, 16), (7, 16), (16, 1), (35, 24), (290, 16)):
        cache = Caches(spec, [length], block_size, dtype=dtype, scattered=size != length)
        spans = [(start, min(start + size, length)) for start in range(0, length, size)]
        found.append(torch.cat([attend(cache, [0], [one], [a], [b], sinks)[0] for a, b in spans]))
    assert [int((other != found[0]).flatten(1).any(1).sum()) for other in found] == [0] * len(found)


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_sequence_does_not_touch_the_others(kind: str) -> None:
    sequences = [Sequence(KINDS[kind], 10, seed) for seed in range(3)]
    sequences[1].v.fill_(math.nan)
    cache = cache_of(of(KINDS[kind]), [10] * 3, 4, scattered=True)
    attend(cache, [0], sequences, [0] * 3, [9] * 3, SINKS)
    (found,) = attend(cache, [0], sequences, [9] * 3, [10] * 3, SINKS)
    assert [bool(row.isnan().any()) for row in found] == [False, True, False]


def test_layers_of_one_window_share_a_table_and_keep_their_own_keys() -> None:
    spec = model(4, 2, 16, None, 3, None, 3)
    cache = cache_of(spec, [30, 30], 4, scattered=True)
    assert len(cache.tables) == 2
    kept = {layer: [Sequence(spec.attentions()[layer], 30, 10 * layer + n) for n in range(2)] for layer in range(4)}
    for start, stop in ((0, 13), (13, 29), (29, 30)):
        step = cache.layout({0: (start, stop), 1: (start, stop)})
        pass_ = cache.backend.plan(step)
        for layer, own in kept.items():
            q, k, v = (
                torch.cat([side[start:stop] for side in sides])
                for sides in zip(*((o.q, o.k, o.v) for o in own), strict=True)
            )
            found = pass_.attend(layer, own[0].a, q, k, v)
            right = torch.cat([one.right(start, stop, None) for one in own])
            torch.testing.assert_close(found.double(), right, rtol=0, atol=2e-6)


def test_an_empty_step_attends_to_nothing() -> None:
    spec = of(grouped(4, 2, 16), grouped(4, 2, 16, 3), latent(4, 8, 4))
    pass_ = cache_of(spec, [], 4, scattered=False).backend.plan(layout([[], []], [], [], 4))
    empty = torch.empty(0, 4, 16)
    for layer in (0, 1):
        assert pass_.attend(layer, spec.attentions()[layer], empty, empty[:, :2], empty[:, :2]).shape == (0, 4, 16)
    assert pass_.attend(2, spec.attentions()[2], empty[..., :12], empty[:, :1, :12], None).shape == (0, 4, 8)


def test_a_recurrent_layer_is_given_its_states_and_whose_tokens_are_where() -> None:
    spec = of(recurrent(), grouped(4, 2, 16), recurrent())
    backend = choose_backend(CPU, spec, num_blocks=[3], block_size=4, dtype=torch.bfloat16, num_states=7)
    tables = [[torch.tensor([0]), torch.tensor([1, 2]), torch.tensor([]), torch.tensor([2])]]
    pass_ = backend.plan(layout(tables, [0, 5, 2, 0], [3, 6, 2, 1], 4, state_slots=[6, 0, 3, 1]))
    first, last = pass_.recurrent(0), pass_.recurrent(2)
    assert list(first.sequences) == [Rows(6, 0, 3, True), Rows(0, 3, 4, False), Rows(1, 4, 5, True)]
    assert (first.conv.shape, first.conv.dtype) == ((7, 2 * 2 * 8 + 4 * 6, 3), torch.bfloat16)
    assert (first.memory.shape, first.memory.dtype) == ((7, 4, 8, 6), torch.float32)
    first.memory[6] = 1.0
    last.memory[6] = 2.0
    assert pass_.recurrent(0).memory[6].eq(1).all(), "each layer has its own"


def test_the_cache_takes_what_the_spec_says() -> None:
    spec = of(grouped(4, 2, 16), grouped(4, 2, 16, 3), latent(4, 8, 4), recurrent())
    backend = choose_backend(CPU, spec, num_blocks=[5, 3], block_size=4, dtype=torch.bfloat16, num_states=2)
    state = 56 * 3 * 2 + 4 * 8 * 6 * 4
    assert backend.kv_bytes == (5 * 4 * (2 * 2 * 16 + 12) + 3 * 4 * (2 * 2 * 16)) * 2 + 2 * state


def test_a_cache_that_is_too_large_is_named() -> None:
    with pytest.raises(DeviceError, match="the KV cache takes .* lower kv_cache_memory") as raised:
        choose_backend(CPU, model(4, 2, 16, None), num_blocks=[2**44], block_size=4, dtype=torch.bfloat16)
    assert raised.value.device == "cpu"
