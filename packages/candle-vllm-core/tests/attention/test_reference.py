import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from paged import CPU, layout
from torch import Tensor

from candle_vllm_core import spec as s
from candle_vllm_core.attention import choose_backend, reading, reference
from candle_vllm_core.attention.reference import ReferenceBackend
from candle_vllm_core.errors import DeviceError


def model(heads: int, kv_heads: int, head_dim: int, *windows: int | None) -> s.Decoder:
    rope = s.Rope(theta=10000.0, dim=head_dim)
    attentions = [
        s.Attention(heads=heads, kv_heads=kv_heads, head_dim=head_dim, rope=rope, scale=head_dim**-0.5, window=window)
        for window in windows
    ]
    layers = tuple(s.Layer(attention=attention, feed_forward=s.Dense(width=1)) for attention in attentions)
    return s.Decoder(vocab=1, dim=1, norm=s.Norm(), layers=layers, max_position=1)


class Sequence:
    """Queries, keys and values of a whole sequence, and the exact attention over them."""

    def __init__(self, attention: s.Attention, length: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.a = attention
        self.q, self.k, self.v = (
            torch.randn((length, heads, attention.head_dim), generator=generator)
            for heads in (attention.heads, attention.kv_heads, attention.kv_heads)
        )

    def right(self, start: int, stop: int) -> Tensor:
        """[stop - start, heads, head_dim], one query and head at a time, in float64."""
        group = self.a.heads // self.a.kv_heads
        found = torch.empty((stop - start, self.a.heads, self.a.head_dim), dtype=torch.float64)
        for at in range(start, stop):
            first = max(0, at + 1 - self.a.window) if self.a.window else 0
            for head in range(self.a.heads):
                k, v = (side[first : at + 1, head // group].double() for side in (self.k, self.v))
                weights = (k @ self.q[at, head].double() * self.a.scale).softmax(0)
                found[at - start, head] = weights @ v
        return found


class Cache:
    """A backend whose cache is full of NaN, and blocks of sequences in it."""

    def __init__(self, spec: s.Decoder, lengths: list[int], block_size: int, scattered: bool, seed: int = 0) -> None:
        counts = [-(-length // block_size) for length in lengths]
        generator = torch.Generator().manual_seed(seed)
        total = sum(counts) + 2
        order = torch.randperm(total, generator=generator) if scattered else torch.arange(total)
        self.tables = list(order[: sum(counts)].split(counts))
        self.block_size = block_size
        self.backend: ReferenceBackend = choose_backend(
            CPU, spec, num_blocks=total, block_size=block_size, dtype=torch.float32
        )
        for layer in self.backend.cache.layers:
            layer.fill_(math.nan)

    def attend(self, layer: int, sequences: list[Sequence], starts: list[int], stops: list[int]) -> Tensor:
        step = layout(self.tables, starts, stops, self.block_size)
        q, k, v = (
            torch.cat([getattr(one, side)[a:b] for one, a, b in zip(sequences, starts, stops, strict=True)])
            for side in "qkv"
        )
        return self.backend.plan(step).attend(layer, sequences[0].a, q, k, v)


def check(spec: s.Decoder, chunks: list[list[int]], block_size: int, scattered: bool) -> None:
    """Sequences that grow by chunks, all in the same steps and in every layer, give what exact attention gives."""
    lengths = [sum(sizes) for sizes in chunks]
    cache = Cache(spec, lengths, block_size, scattered)
    for index, layer in enumerate(spec.layers):
        sequences = [Sequence(layer.attention, length, seed) for seed, length in enumerate(lengths)]
        done = [0] * len(chunks)
        for number in range(max(map(len, chunks))):
            stops = [at + (sizes[number] if number < len(sizes) else 0) for at, sizes in zip(done, chunks, strict=True)]
            found = cache.attend(index, sequences, done, stops)
            parts = [one.right(a, b) for one, a, b in zip(sequences, done, stops, strict=True)]
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
    most_copied=st.integers(1, 40),
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


@pytest.mark.parametrize("head_dim", [16, 64, 128])
def test_a_sequence_decodes_to_the_same_bits_alone_and_among_others(head_dim: int) -> None:
    spec = model(8, 2, head_dim, None)
    lengths = [70, 1, 33, 128, 500]
    sequences = [Sequence(spec.layers[0].attention, length, seed) for seed, length in enumerate(lengths)]
    alone = []
    for sequence, length in zip(sequences, lengths, strict=True):
        cache = Cache(spec, [length], 16, scattered=False)
        cache.attend(0, [sequence], [0], [length - 1])
        alone.append(cache.attend(0, [sequence], [length - 1], [length]))
    cache = Cache(spec, lengths, 16, scattered=True)
    before = [length - 1 for length in lengths]
    cache.attend(0, sequences, [0] * len(lengths), before)
    assert torch.equal(cache.attend(0, sequences, before, lengths), torch.cat(alone))


def test_a_broken_sequence_does_not_touch_the_others() -> None:
    spec = model(4, 2, 16, None)
    sequences = [Sequence(spec.layers[0].attention, 10, seed) for seed in range(3)]
    sequences[1].v.fill_(math.nan)
    cache = Cache(spec, [10] * 3, 4, scattered=True)
    cache.attend(0, sequences, [0] * 3, [9] * 3)
    found = cache.attend(0, sequences, [9] * 3, [10] * 3)
    assert [bool(row.isnan().any()) for row in found] == [False, True, False]


def test_an_empty_step_attends_to_nothing() -> None:
    spec = model(4, 2, 16, None, 3)
    cache = Cache(spec, [], 4, scattered=False)
    empty = torch.empty(0, 4, 16)
    step = layout([], [], [], 4)
    for layer in (0, 1):
        found = cache.backend.plan(step).attend(layer, spec.layers[layer].attention, empty, empty[:, :2], empty[:, :2])
        assert found.shape == (0, 4, 16)


def test_the_cache_takes_what_the_spec_says() -> None:
    spec = model(4, 2, 16, None, 3)
    backend = choose_backend(CPU, spec, num_blocks=5, block_size=4, dtype=torch.bfloat16)
    assert backend.kv_bytes == 5 * 4 * spec.kv_numbers_per_token() * 2


def test_a_cache_that_is_too_large_is_named() -> None:
    with pytest.raises(DeviceError, match="the KV cache takes .* lower kv_cache_memory") as raised:
        choose_backend(CPU, model(4, 2, 16, None), num_blocks=2**44, block_size=4, dtype=torch.bfloat16)
    assert raised.value.device == "cpu"
