import pytest
import torch

from candle_vllm_core.kernels.cache import FP8, write


def numbers(*shape: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype).to(device)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("kv_heads", "head_dim"), [(1, 16), (3, 80), (8, 64)])
def test_keys_and_values_are_written_as_they_are(
    kv_heads: int, head_dim: int, dtype: torch.dtype, device: torch.device
) -> None:
    both = numbers(4, 2 * kv_heads + 1, head_dim, dtype=dtype, device=device)
    k, v = both[:, :kv_heads], both[:, kv_heads : 2 * kv_heads]
    cache = torch.full((9, 2, kv_heads, head_dim), torch.nan, dtype=dtype, device=device)
    write(cache, torch.tensor([7, -1, 0, 3], device=device), k, v)
    assert torch.equal(cache[[7, 0, 3]], torch.stack((k, v), 1)[[0, 2, 3]])
    assert cache[[1, 2, 4, 5, 6, 8]].isnan().all(), "and nothing else, nor where the slot is below 0"


def test_a_latent_has_one_side(device: torch.device) -> None:
    k = numbers(3, 1, 20, dtype=torch.float32, device=device)
    cache = torch.full((5, 1, 1, 20), torch.nan, device=device)
    write(cache, torch.tensor([4, 1, 2], device=device), k)
    assert torch.equal(cache[[4, 1, 2], 0], k)


def test_fp8_is_nearer_than_its_steps_for_heads_of_any_size(device: torch.device) -> None:
    sizes = torch.tensor([1e-4, 1.0, 3e4], device=device)[None, :, None]
    k, v = (numbers(5, 3, dim, dtype=torch.float32, device=device) * sizes for dim in (32, 32))
    k[2, 1] = 0
    cache = torch.empty((5, 2, 3, 32), device=device).to(FP8)
    scales = torch.full((5, 2, 3), torch.nan, device=device)
    write(cache, torch.arange(5, device=device), k, v, scales=scales)
    for given, read in zip((k, v), (cache.float() * scales[..., None]).unbind(1), strict=True):
        # Four bits of each number, the first of which is not stored; below 2^-6 of 448 the steps are all alike.
        step = torch.maximum(given.abs() / 8, given.abs().amax(-1, keepdim=True) * 2**-9 / 448)
        assert ((read - given).abs() <= step).all()
        torch.testing.assert_close(read.abs().amax(-1), given.abs().amax(-1), rtol=1e-6, atol=0)


def test_what_the_kernel_does_not_take_is_named(device: torch.device) -> None:
    cache, slots = torch.zeros(4, 2, 2, 16, device=device), torch.zeros(1, dtype=torch.int64, device=device)
    k = torch.zeros(1, 2, 16, device=device)
    with pytest.raises(ValueError, match="do not fit a cache"):
        write(cache, slots, k)
    with pytest.raises(ValueError, match="do not fit a cache"):
        write(cache, slots, k, k[..., :8])
    with pytest.raises(ValueError, match="side by side"):
        write(cache, slots, k, torch.zeros(1, 2, 32, device=device)[..., ::2])
    with pytest.raises(ValueError, match="float8.* has no scales"):
        write(cache.to(FP8), slots, k, k)
