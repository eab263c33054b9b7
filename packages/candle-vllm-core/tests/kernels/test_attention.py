from dataclasses import replace

import pytest
import torch
from attending import Sequence, attend, attend_in, grouped, of
from kernel_errors import close
from paged import Caches
from torch import Tensor

from candle_vllm_core import spec as s
from candle_vllm_core.attention.triton import TritonBackend, TritonPass
from candle_vllm_core.kernels import attention as kernel
from candle_vllm_core.kernels.cache import write
from candle_vllm_core.kernels.parts import Work

pytestmark = pytest.mark.usefixtures("poisoned")
MIXED = [[5, 1, 1, 9], [1, 1, 20, 1], [0, 33], [2, 0, 1, 1]]
# The interpreter cuts off where a GPU rounds to the nearest bfloat16.
TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 3e-2}


def caches(
    a: s.Attention,
    lengths: list[int],
    device: torch.device,
    *,
    block_size: int = 16,
    dtype: torch.dtype = torch.float32,
    fp8: bool = False,
) -> Caches:
    return Caches(of(a), lengths, block_size, dtype=dtype, scattered=True, make=TritonBackend, device=device, fp8=fp8)


def reference(a: s.Attention, lengths: list[int], block_size: int, dtype: torch.dtype = torch.float32) -> Caches:
    return Caches(of(a), lengths, block_size, dtype=dtype, scattered=True)


def sinks_of(a: s.Attention, device: torch.device) -> Tensor | None:
    return torch.linspace(-2, 3, a.heads, device=device) if a.sinks else None


def check(
    a: s.Attention,
    chunks: list[list[int]],
    device: torch.device,
    *,
    block_size: int = 16,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Sequences that grow by chunks, all in the same steps, are given what the reference gives on a CPU."""
    lengths = [sum(sizes) for sizes in chunks]
    mine = caches(a, lengths, device, block_size=block_size, dtype=dtype)
    right = reference(a, lengths, block_size, dtype)
    sequences = [Sequence(a, length, seed).to(dtype) for seed, length in enumerate(lengths)]
    done = [0] * len(chunks)
    for number in range(max(map(len, chunks))):
        stops = [at + (sizes[number] if number < len(sizes) else 0) for at, sizes in zip(done, chunks, strict=True)]
        (found,) = attend(mine, [0], sequences, done, stops, sinks_of(a, device))
        (wanted,) = attend(right, [0], sequences, done, stops, sinks_of(a, torch.device("cpu")))
        close(found.cpu(), wanted, atol=TOLERANCE[dtype], rtol=0)
        done = stops


@pytest.mark.parametrize(
    ("heads", "kv_heads", "head_dim", "block_size"),
    [(1, 1, 64, 16), (4, 4, 16, 64), (8, 1, 64, 128), (6, 2, 80, 16), (14, 2, 96, 48), (2, 1, 256, 32)],
)
def test_prompts_and_answers_in_one_step(
    heads: int, kv_heads: int, head_dim: int, block_size: int, device: torch.device
) -> None:
    check(grouped(heads, kv_heads, head_dim), MIXED, device, block_size=block_size)


@pytest.mark.parametrize("window", [1, 2, 40])
def test_a_token_sees_those_within_the_window(window: int, device: torch.device) -> None:
    check(grouped(4, 2, 16, window), [[70, 1, 1, 7], [1, 1, 1, 67]], device)


@pytest.mark.parametrize(("softcap", "sinks", "window"), [(0.7, False, 6), (None, True, 6), (1.5, True, None)])
def test_soft_caps_and_sinks(softcap: float | None, sinks: bool, window: int | None, device: torch.device) -> None:
    check(replace(grouped(6, 2, 32, window), softcap=softcap, sinks=sinks), MIXED, device)


@pytest.mark.parametrize(("head_dim", "dtype"), [(128, torch.bfloat16), (128, torch.float16), (192, torch.bfloat16)])
def test_half_precision(head_dim: int, dtype: torch.dtype, device: torch.device) -> None:
    check(grouped(4, 1, head_dim), [[70, 1], [1, 9]], device, block_size=64, dtype=dtype)


SPLIT = {
    "plain": grouped(2, 1, 16),
    "window": grouped(2, 1, 16, 600),
    "sinks": replace(grouped(2, 1, 16), sinks=True, softcap=3.0),
}


@pytest.mark.parametrize("kind", SPLIT)
def test_keys_that_are_split_among_programs(kind: str, device: torch.device) -> None:
    a, lengths, last = SPLIT[kind], [1100, 513, 256, 520], [5, 1, 1, 1]
    sequences = [Sequence(a, length, seed) for seed, length in enumerate(lengths)]
    before = [length - new for length, new in zip(lengths, last, strict=True)]
    mine, right = caches(a, lengths, device, block_size=64), reference(a, lengths, 64)
    written(mine, sequences, before)
    attend(right, [0], sequences, [0] * 4, before)
    (found,) = attend(mine, [0], sequences, before, lengths, sinks_of(a, device))
    (wanted,) = attend(right, [0], sequences, before, lengths, sinks_of(a, torch.device("cpu")))
    close(found.cpu(), wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("kind", "dtype"), [("plain", torch.float32), ("window", torch.float32), ("sinks", torch.bfloat16)]
)
def test_a_sequence_is_given_the_same_bits_alone_and_among_others(
    kind: str, dtype: torch.dtype, device: torch.device
) -> None:
    a, lengths, last = SPLIT[kind], [1100, 1, 300, 50], [3, 1, 1, 40]
    sequences = [Sequence(a, length, seed).to(dtype) for seed, length in enumerate(lengths)]
    before = [length - new for length, new in zip(lengths, last, strict=True)]
    among = caches(a, lengths, device, dtype=dtype)
    written(among, sequences, before)
    (found,) = attend(among, [0], sequences, before, lengths, sinks_of(a, device))
    for one, start, stop, own in zip(sequences, before, lengths, found.split(last), strict=True):
        alone = caches(a, [stop], device, dtype=dtype)
        written(alone, [one], [start])
        assert torch.equal(attend(alone, [0], [one], [start], [stop], sinks_of(a, device))[0], own)


@pytest.mark.parametrize("kind", ["window", "sinks"])
def test_a_prompt_is_given_the_same_bits_in_whatever_chunks(kind: str, device: torch.device) -> None:
    a, length = SPLIT[kind], 150
    one = Sequence(a, length, 0)
    found = []
    for sizes in ([150], [75, 75], [37, 113]):
        cache = caches(a, [length], device)
        stops = [sum(sizes[: n + 1]) for n in range(len(sizes))]
        steps = [
            attend(cache, [0], [one], [b - n], [b], sinks_of(a, device))[0] for n, b in zip(sizes, stops, strict=True)
        ]
        found.append(torch.cat(steps))
    assert [torch.equal(found[0], other) for other in found] == [True] * 3


def written(cache: Caches, sequences: list[Sequence], stops: list[int]) -> None:
    """Keys and values of beginnings, without attending to them."""
    step = cache.layout({number: (0, stop) for number, stop in enumerate(stops)})
    k, v = (
        torch.cat([side[:stop] for side, stop in zip(sides, stops, strict=True)])
        for sides in zip(*((o.k, o.v) for o in sequences), strict=True)
    )
    cache.cache.write(0, step.slot_mapping[0], k.to(cache.device), v.to(cache.device))


def test_a_very_long_sequence_beside_a_short_one(device: torch.device) -> None:
    a, lengths = grouped(2, 1, 16), [17 * 256 + 5, 3]
    sequences = [Sequence(a, length, seed) for seed, length in enumerate(lengths)]
    before = [length - 1 for length in lengths]
    mine, right = caches(a, lengths, device, block_size=64), reference(a, lengths, 64)
    written(mine, sequences, before)
    attend(right, [0], sequences, [0, 0], before)
    (found,) = attend(mine, [0], sequences, before, lengths)
    (wanted,) = attend(right, [0], sequences, before, lengths)
    close(found.cpu(), wanted, atol=1e-6, rtol=0)


def test_what_was_written_before_is_not_written_again(device: torch.device) -> None:
    a = grouped(4, 2, 16)
    one = Sequence(a, 9, 0)
    cache, right = (caches(a, [9], device) for _ in range(2))
    step = cache.layout({0: (0, 9)})
    pass_ = cache.backend.plan(step)
    slots_of, slots, _ = pass_.destination(0)
    slots_of[slots] = torch.stack((one.k, one.v), 1).to(device)
    found = pass_.attend(0, a, one.q.to(device), None, None)
    assert torch.equal(found, attend(right, [0], [one], [0], [9])[0])


def test_a_broken_sequence_does_not_touch_the_others(device: torch.device) -> None:
    a = grouped(4, 2, 16)
    sequences = [Sequence(a, 10, seed) for seed in range(3)]
    sequences[1].v.fill_(torch.nan)
    cache = caches(a, [10] * 3, device, block_size=4)
    attend(cache, [0], sequences, [0] * 3, [9] * 3)
    (found,) = attend(cache, [0], sequences, [9] * 3, [10] * 3)
    assert [bool(row.isnan().any()) for row in found] == [False, True, False]


def test_an_empty_step_attends_to_nothing(device: torch.device) -> None:
    a = grouped(4, 2, 16)
    empty = torch.empty(0, 4, 16, device=device)
    pass_ = caches(a, [], device).backend.plan(caches(a, [], device).layout({}))
    assert pass_.attend(0, a, empty, empty[:, :2], empty[:, :2]).shape == (0, 4, 16)


def test_a_step_of_answers_is_filled_again(device: torch.device) -> None:
    a = replace(grouped(4, 2, 16, 600), sinks=True)
    lengths = [700, 5, 300]
    sequences = [Sequence(a, length + 1, seed) for seed, length in enumerate(lengths)]
    mine, other = (caches(a, [length + 1 for length in lengths], device) for _ in range(2))
    starts, more = [1, 4, 299], [699, 4, 300]
    for cache in (mine, other):
        written(cache, sequences, starts)
    backend = mine.backend
    assert isinstance(backend, TritonBackend)
    pass_ = backend.plan(mine.layout({n: (start, start + 1) for n, start in enumerate(starts)}), longest=1000)
    same(pass_, mine, other, sequences, starts)
    for cache in (mine, other):
        written(cache, sequences, more)
    assert pass_.refill(mine.layout({n: (start, start + 1) for n, start in enumerate(more)}))
    same(pass_, mine, other, sequences, more)
    assert not pass_.refill(mine.layout({0: (699, 701), 1: (4, 5), 2: (300, 301)})), "not an answer"
    assert not pass_.refill(mine.layout({0: (699, 700), 1: (4, 5)})), "fewer sequences"
    assert not backend.plan(mine.layout({0: (699, 700)})).refill(mine.layout({0: (699, 700)})), "no room was made"


def same(pass_: TritonPass, mine: Caches, other: Caches, sequences: list[Sequence], starts: list[int]) -> None:
    """A pass gives the bits that one of its own for the same step gives."""
    stops = [start + 1 for start in starts]
    sinks = sinks_of(sequences[0].a, mine.device)
    found = attend_in(pass_, mine, 0, sequences, starts, stops, sinks)
    assert torch.equal(found, attend(other, [0], sequences, starts, stops, sinks)[0])


@pytest.mark.parametrize("kind", SPLIT)
def test_a_sequence_of_nobody_is_given_zeros_and_written_nowhere(kind: str, device: torch.device) -> None:
    a = SPLIT[kind]
    sequences = [Sequence(a, 6, seed) for seed in range(2)]
    cache = caches(a, [6, 6], device)
    written(cache, sequences, [5, 5])
    step = cache.layout({0: (5, 6), 1: (5, 6)})
    step.slot_mapping[0][1] = -1
    step = replace(step, seq_lens=[6, 0], block_tables=[[step.block_tables[0][0], step.block_tables[0][1][:0]]])
    before = cache.cache.layers[0].clone()
    found = attend_in(cache.backend.plan(step), cache, 0, sequences, [5, 5], [6, 6], sinks_of(a, device))
    assert found[1].eq(0).all()
    assert found[0].ne(0).all()
    changed = (cache.cache.layers[0] != before) & ~(cache.cache.layers[0].isnan() & before.isnan())
    assert changed.flatten(1).any(1).nonzero().flatten().tolist() == [int(step.slot_mapping[0][0])]


def test_what_the_kernels_do_not_take_is_named(device: torch.device) -> None:
    a = grouped(4, 2, 16)
    cache = caches(a, [8], device).cache.layers[0]
    q = torch.zeros(1, 4, 16, device=device)
    numbers = torch.zeros((1, 8), dtype=torch.int32, device=device)
    work = Work(numbers, numbers, numbers[:0, :4], q, q)
    tile = kernel.tile_of(2, 16, torch.float32, single=True)
    wrong = {
        "do not fit": (q[..., :8], cache, q[..., :8]),
        "side by side": (q, cache, q.new_zeros(1, 4, 32)[..., ::2]),
        "a cache in": (q.half(), cache, q.half()),
    }
    for why, (queries, slots, out) in wrong.items():
        with pytest.raises(ValueError, match=why):
            kernel.attend(queries, slots, work, tile, out, block_size=16, scale=1.0)
    with pytest.raises(ValueError, match="has no room"):
        kernel.attend(q, cache, work, tile._replace(queries=16), q, block_size=16, scale=1.0)


def test_a_cache_in_fp8_is_read_as_it_was_rounded(device: torch.device) -> None:
    a, lengths = replace(grouped(4, 2, 32, 200), softcap=4.0), [300, 9]
    before = [length - new for length, new in zip(lengths, [1, 5], strict=True)]
    sequences = [Sequence(a, length, seed) for seed, length in enumerate(lengths)]
    mine, right = caches(a, lengths, device, fp8=True), reference(a, lengths, 16)
    for start, stop in (([0, 0], before), (before, lengths)):
        step = mine.layout(dict(enumerate(zip(start, stop, strict=True))))
        sides = [
            torch.cat([side[a:b] for side, a, b in zip(each, start, stop, strict=True)])
            for each in zip(*((o.k, o.v) for o in sequences), strict=True)
        ]
        k, v = (side.to(device) for side in sides)
        write(mine.cache.layers[0], step.slot_mapping[0], k, v, scales=mine.cache.scales[0])
    for one in sequences:
        one.k, one.v = (rounded(side) for side in (one.k, one.v))
    attend(right, [0], sequences, [0, 0], before)
    (wanted,) = attend(right, [0], sequences, before, lengths)
    q = torch.cat([one.q[start:] for one, start in zip(sequences, before, strict=True)]).to(device)
    found = mine.backend.plan(step).attend(0, a, q, None, None)
    close(found.cpu(), wanted, atol=2e-6, rtol=0)


def rounded(side: Tensor) -> Tensor:
    """What a cache in fp8 makes of keys or values."""
    unit = side.float().abs().amax(-1, keepdim=True) / 448
    return ((side.float() / unit).to(torch.float8_e4m3fn).float() * unit).to(side.dtype)


def test_the_error_of_fp8_is_kept_beside_bf16(device: torch.device) -> None:
    a, length = grouped(8, 2, 64), 100
    one = Sequence(a, length, 0).to(torch.bfloat16)
    exact = one.right(length - 40, length, None)
    found = {}
    for fp8 in (False, True):
        cache = caches(a, [length], device, dtype=torch.bfloat16, fp8=fp8)
        attend(cache, [0], [one], [0], [length - 40])
        (got,) = attend(cache, [0], [one], [length - 40], [length])
        close(got.cpu(), exact, atol=0.1, rtol=0)
        found[fp8] = float((got.cpu().double() - exact).pow(2).mean().sqrt() / exact.pow(2).mean().sqrt())
    assert found[False] < 0.01
    assert 0.02 < found[True] < 0.05, "three bits behind the point, of keys and of values"
