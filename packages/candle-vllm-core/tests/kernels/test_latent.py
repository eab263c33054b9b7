from typing import Any

import pytest
import torch
from attending import Sequence, attend, latent, of
from kernel_errors import close
from paged import Caches
from torch import Tensor

from candle_vllm_core import spec as s
from candle_vllm_core.attention import triton
from candle_vllm_core.attention.triton import TritonBackend
from candle_vllm_core.kernels import latent as kernel
from candle_vllm_core.kernels.cache import FP8, write
from candle_vllm_core.kernels.parts import Work

pytestmark = pytest.mark.usefixtures("poisoned")
# The interpreter cuts off where a GPU rounds to the nearest bfloat16.
TOLERANCE = {torch.float32: 4e-6, torch.float16: 4e-3, torch.bfloat16: 6e-2}


def caches(
    a: s.LatentAttention,
    lengths: list[int],
    device: torch.device,
    *,
    block_size: int = 16,
    dtype: torch.dtype = torch.float32,
) -> Caches:
    return Caches(of(a), lengths, block_size, dtype=dtype, scattered=True, make=TritonBackend, device=device)


def written(cache: Caches, sequences: list[Sequence], stops: list[int]) -> None:
    """Keys of beginnings, without attending to them."""
    step = cache.layout({number: (0, stop) for number, stop in enumerate(stops)})
    k = torch.cat([one.k[:stop] for one, stop in zip(sequences, stops, strict=True)])
    cache.cache.write(0, step.slot_mapping[0], k.to(cache.device), None)


def check(found: Tensor, sequences: list[Sequence], starts: list[int], stops: list[int], tolerance: float) -> None:
    """A step is given what whole sequences give, in float64."""
    right = [one.right(start, stop, None) for one, start, stop in zip(sequences, starts, stops, strict=True)]
    close(found.cpu(), torch.cat(right), atol=tolerance, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("heads", "rank", "ends", "block_size"), [(5, 24, 8, 16), (16, 64, 16, 128), (20, 33, 10, 48)])
def test_prompts_and_answers_in_one_step(
    heads: int, rank: int, ends: int, block_size: int, dtype: torch.dtype, device: torch.device
) -> None:
    a, stops = latent(heads, rank, ends), [[5, 1, 0, 70], [6, 9, 33, 71], [17, 10, 34, 80]]
    sequences = [Sequence(a, length, seed).to(dtype) for seed, length in enumerate(stops[-1])]
    cache, starts = caches(a, stops[-1], device, block_size=block_size, dtype=dtype), [0] * 4
    for ends_of_step in stops:
        (found,) = attend(cache, [0], sequences, starts, ends_of_step)
        check(found, sequences, starts, ends_of_step, TOLERANCE[dtype])
        starts = ends_of_step


def test_the_real_size(device: torch.device) -> None:
    a = latent(16, 512, 64)
    one = Sequence(a, 40, 0).to(torch.bfloat16)
    cache = caches(a, [40], device, block_size=64, dtype=torch.bfloat16)
    for start, stop in ((0, 35), (35, 36), (36, 40)):
        (found,) = attend(cache, [0], [one], [start], [stop])
        check(found, [one], [start], [stop], TOLERANCE[torch.bfloat16])


LENGTHS, LAST = [1100, 1, 300, 1060], [1, 1, 3, 40]
BEFORE = [length - new for length, new in zip(LENGTHS, LAST, strict=True)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_keys_are_split_among_programs_as_their_sequence_alone_says(dtype: torch.dtype, device: torch.device) -> None:
    a = latent(5, 16, 8)
    sequences = [Sequence(a, length, seed).to(dtype) for seed, length in enumerate(LENGTHS)]
    among = caches(a, LENGTHS, device, block_size=64, dtype=dtype)
    written(among, sequences, BEFORE)
    (found,) = attend(among, [0], sequences, BEFORE, LENGTHS)
    check(found, sequences, BEFORE, LENGTHS, TOLERANCE[dtype])
    for one, start, stop, own in zip(sequences, BEFORE, LENGTHS, found.split(LAST), strict=True):
        alone = caches(a, [stop], device, block_size=64, dtype=dtype)
        written(alone, [one], [start])
        assert torch.equal(attend(alone, [0], [one], [start], [stop])[0], own)


def test_a_prompt_is_given_the_same_bits_in_whatever_chunks(device: torch.device) -> None:
    a = latent(5, 16, 8)
    one, found = Sequence(a, 150, 0), []
    for sizes in ([150], [75, 75], [37, 2, 111]):
        cache = caches(a, [150], device)
        stops = [sum(sizes[: n + 1]) for n in range(len(sizes))]
        steps = [attend(cache, [0], [one], [b - n], [b])[0] for n, b in zip(sizes, stops, strict=True)]
        found.append(torch.cat(steps))
    assert [torch.equal(found[0], other) for other in found] == [True] * 3


def test_a_step_of_answers_is_filled_again(device: torch.device) -> None:
    a, lengths = latent(5, 16, 8), [700, 5]
    sequences = [Sequence(a, length, seed) for seed, length in enumerate(lengths)]
    cache = caches(a, lengths, device)
    backend = cache.backend
    assert isinstance(backend, TritonBackend)
    written(cache, sequences, [1, 4])
    pass_ = backend.plan(cache.layout({0: (0, 1), 1: (3, 4)}), longest=1000)
    written(cache, sequences, lengths)
    assert pass_.refill(cache.layout({0: (699, 700), 1: (4, 5)}))
    q = torch.cat([one.q[-1:] for one in sequences]).to(device)
    found = pass_.attend(0, a, q, None, None)
    check(found, sequences, [699, 4], lengths, TOLERANCE[torch.float32])


class Counted:
    """A kernel that keeps how many programs it was launched with."""

    def __init__(self, launched: Any) -> None:
        self.launched, self.programs = launched, list[int]()

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        self.programs.append(grid[0])
        return self.launched[grid]


def test_a_step_that_can_be_filled_again_has_no_more_programs_than_run_at_once(
    monkeypatch: pytest.MonkeyPatch, device: torch.device
) -> None:
    a, lengths, most = latent(70, 16, 8), [1500, 5, 800], 3
    sequences, before = [Sequence(a, length, seed) for seed, length in enumerate(lengths)], [1499, 4, 799]
    cache = caches(a, lengths, device, block_size=64)
    written(cache, sequences, lengths)
    step = cache.layout(dict(enumerate(zip(before, lengths, strict=True))))
    backend, q = cache.backend, torch.cat([one.q[-1:] for one in sequences]).to(device)
    assert isinstance(backend, TritonBackend)
    kernel_ = Counted(kernel._latent_kernel)
    monkeypatch.setattr(kernel, "_latent_kernel", kernel_)
    monkeypatch.setattr(triton, "_most_programs", lambda device: most)
    found = [backend.plan(step, longest).attend(0, a, q, None, None) for longest in (None, 1600, 40_000)]
    check(found[0], sequences, before, lengths, TOLERANCE[torch.float32])
    assert [torch.equal(found[0], other) for other in found] == [True] * 3
    tiles = 2
    assert kernel_.programs == [(6 + 1 + 4) * tiles, most, most]


def test_latents_in_fp8_are_read_with_their_scales(device: torch.device) -> None:
    a = latent(5, 16, 8)
    one = Sequence(a, 40, 0)
    slots = torch.arange(64, 64 + 40, device=device)
    cache = torch.full((128, 1, 1, 24), torch.nan, device=device).to(FP8)
    scales = torch.full((128, 1, 1), torch.nan, device=device)
    write(cache, slots, one.k.to(device), scales=scales)
    one.k = (cache.float() * scales[..., None])[slots, 0].cpu()
    tile = kernel.tile_of(5, 16, torch.float32, single=True)
    numbers = torch.tensor([[0, 0, 1, 39, 0, 40, -1, 0]], dtype=torch.int32, device=device)
    room = torch.empty(0, 1, 5, 16, device=device)
    tables = torch.tensor([[2, 3]], dtype=torch.int32, device=device)
    work = Work(tables, numbers, numbers[:0, :4], room, room[..., 0])
    out = torch.full((1, 5, 16), torch.nan, device=device)
    kernel.attend(one.q[39:].to(device), cache, work, tile, out, block_size=32, scale=a.scale, scales=scales)
    one.v = one.k[..., :16]
    check(out, [one], [39], [40], TOLERANCE[torch.float32])


def test_what_the_kernels_do_not_take_is_named(device: torch.device) -> None:
    a = latent(5, 16, 8)
    cache = caches(a, [8], device).cache.layers[0]
    q, out = torch.zeros(1, 5, 24, device=device), torch.zeros(1, 5, 16, device=device)
    numbers = torch.zeros((1, 8), dtype=torch.int32, device=device)
    room = torch.empty(0, 1, 5, 16, device=device)
    work = Work(numbers, numbers, numbers[:0, :4], room, room[..., 0])
    tile = kernel.tile_of(5, 16, torch.float32, single=True)
    wrong = {
        "do not fit": (q[..., :20], cache, out),
        "side by side": (q, cache, out.expand(2, 5, 16)),
        "a cache in": (q.half(), cache, out.half()),
    }
    for why, (queries, slots, found) in wrong.items():
        with pytest.raises(ValueError, match=why):
            kernel.attend(queries, slots, work, tile, found, block_size=16, scale=1.0)
    with pytest.raises(ValueError, match="does not go with"):
        kernel.attend(q, cache, work, tile._replace(queries=2), out, block_size=16, scale=1.0)
    with pytest.raises(ValueError, match="a latent of"):
        kernel.tile_of(5, 1024, torch.float32, single=True)
