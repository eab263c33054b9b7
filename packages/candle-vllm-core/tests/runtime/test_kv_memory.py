import pytest

from candle_vllm_core import spec as s
from candle_vllm_core.errors import ConfigError
from candle_vllm_core.runtime.kv_memory import KVNeeds, Load, divide, enough

ROPE = s.Rope(theta=10000.0, dim=16)
DELTA = s.DeltaNet(key_heads=2, value_heads=4, key_dim=8, value_dim=6, kernel=4, norm=s.Norm())
LATENT = s.LatentAttention(
    heads=8, q_rank=None, kv_rank=64, nope_dim=8, value_head_dim=8, rope=ROPE, scale=1.0, norm=s.Norm()
)


def plain(window: int | None = None) -> s.Attention:
    return s.Attention(heads=8, kv_heads=2, head_dim=16, rope=ROPE, scale=1.0, window=window)


def of(*attentions: s.Attention | s.LatentAttention | s.DeltaNet) -> s.Decoder:
    layers = tuple(s.Layer(attention=attention, feed_forward=s.Dense(width=1)) for attention in attentions)
    return s.Decoder(vocab=1, dim=1, norm=s.Norm(), layers=layers, max_position=1)


@pytest.mark.parametrize(
    ("spec", "itemsize", "token", "beyond", "state"),
    [
        # layers * (key and value) * KV heads * numbers of a head * bytes
        (of(plain(), plain(), plain()), 2, 3 * 2 * 2 * 16 * 2, 3 * 2 * 2 * 16 * 2, 0),
        (of(plain(), plain()), 4, 2 * 2 * 2 * 16 * 4, 2 * 2 * 2 * 16 * 4, 0),
        (of(plain(9), plain(), plain(9)), 2, 3 * 2 * 2 * 16 * 2, 2 * 2 * 16 * 2, 0),
        (of(plain(9), plain(9)), 2, 2 * 2 * 2 * 16 * 2, 0, 0),
        (of(plain(9), plain(5), plain()), 2, 3 * 2 * 2 * 16 * 2, 2 * 2 * 16 * 2, 0),
        # one latent of 64 and one rotated part of 16, whatever the heads, and no value
        (of(LATENT, LATENT), 2, 2 * (64 + 16) * 2, 2 * (64 + 16) * 2, 0),
        # the last 3 inputs of 2 * 2 * 8 + 4 * 6 channels, and 4 matrices of 8 by 6 in float32
        (of(DELTA, DELTA, plain()), 2, 2 * 2 * 16 * 2, 2 * 2 * 16 * 2, 2 * (3 * 56 * 2 + 4 * 8 * 6 * 4)),
        (of(DELTA), 4, 0, 0, 3 * 56 * 4 + 4 * 8 * 6 * 4),
    ],
)
def test_bytes_are_those_of_the_formula(spec: s.Decoder, itemsize: int, token: int, beyond: int, state: int) -> None:
    needs = KVNeeds.of(spec, itemsize)
    found = (needs.bytes_per_token, needs.bytes_per_token_beyond_window, needs.state_bytes)
    assert found == (token, beyond, state)


def test_fp8_takes_a_byte_for_each_number_and_a_scale_for_each_head() -> None:
    needs = KVNeeds.of(of(plain(), plain(9), LATENT, DELTA), 2, fp8=True)
    # A key and a value of each of 2 heads; a latent and its rotated part, which have one scale.
    each, latent = 2 * 2 * (16 + 4), 64 + 16 + 4
    assert needs.token_bytes == (each + latent, each)
    assert needs.state_bytes == 3 * 56 * 2 + 4 * 8 * 6 * 4


LOAD = Load(sequences=2, length=100, chunk=20, block_size=4)
# Two windows of 8 that begin and end within blocks, and the 20 tokens of a step: 2 * (8 + 2 * 4) + 20 = 52, 13 blocks.
SLIDING = KVNeeds((None, 8), (10, 30), 0)


@pytest.mark.parametrize(
    ("memory", "num_blocks"),
    [
        (160, (1, 1)),  # 4 tokens of 10 + 30 bytes
        (319, (1, 1)),
        (320, (2, 2)),
        (13 * 160, (13, 13)),
        (13 * 160 + 39, (13, 13)),
        (13 * 160 + 40, (14, 13)),  # what has no window goes on alone
        (100 * 40 + 13 * 120, (100, 13)),
    ],
)
def test_a_window_gets_what_it_needs_and_the_others_the_rest(memory: int, num_blocks: tuple[int, ...]) -> None:
    sizes = divide(memory, SLIDING, LOAD)
    assert (sizes.num_blocks, sizes.windows, sizes.block_size, sizes.num_states) == (num_blocks, (None, 8), 4, 0)


def test_without_windows_all_memory_is_used() -> None:
    assert divide(10_007, KVNeeds((None,), (10,), 0), LOAD).num_blocks == (250,)


def test_windows_alone_take_no_more_than_they_need() -> None:
    # A window of 30 needs 2 * (30 + 8) + 20 = 96 tokens, 24 blocks.
    needs = KVNeeds((8, 30), (10, 10), 0)
    assert divide(10**9, needs, LOAD).num_blocks == (13, 24)
    assert divide(24 * 40 + 13 * 40, needs, LOAD).num_blocks == (13, 24)
    assert divide(24 * 40 + 13 * 40 - 1, needs, LOAD).num_blocks == (13, 23)
    assert divide(13 * 80 - 1, needs, LOAD).num_blocks == (12, 12)


def test_states_come_first() -> None:
    sizes = divide(2 * 1000 + 81, KVNeeds((None,), (10,), 1000), LOAD)
    assert (sizes.num_blocks, sizes.num_states) == ((2,), 2)
    only = divide(2000, KVNeeds((), (), 1000), LOAD)
    assert (only.num_blocks, only.num_states) == ((), 2)


@pytest.mark.parametrize(
    ("memory", "needs", "load"),
    [
        (159, SLIDING, LOAD),
        (0, SLIDING, LOAD),
        (2039, KVNeeds((None,), (10,), 1000), LOAD),
        (1999, KVNeeds((), (), 1000), LOAD),
        # One block of one token is no room for a prompt and an answer.
        (19, KVNeeds((None,), (10,), 0), Load(sequences=1, length=9, chunk=9, block_size=1)),
    ],
)
def test_memory_for_no_sequence_at_all_is_refused(memory: int, needs: KVNeeds, load: Load) -> None:
    with pytest.raises(ConfigError, match=f"gets {memory} bytes and .* give it more") as raised:
        divide(memory, needs, load)
    assert raised.value.field == "kv_cache_memory"
    assert ("recurrent states of 1000; give it more" in str(raised.value)) is bool(needs.state_bytes)
    assert ("max_batch_size" in str(raised.value)) is bool(needs.state_bytes)


@pytest.mark.parametrize("needs", [SLIDING, KVNeeds((8,), (10,), 0), KVNeeds((None, 3), (7, 9), 50)])
def test_enough_holds_a_full_batch_of_the_longest_sequences_and_no_block_more(needs: KVNeeds) -> None:
    full = LOAD.sequences * 100 // 4
    sizes = divide(enough(needs, LOAD), needs, LOAD)
    for window, count in zip(sizes.windows, sizes.num_blocks, strict=True):
        assert count == (full if window is None else -(-(2 * (window + 8) + 20) // 4))
    assert sizes.longest(LOAD.chunk) in (200, None)
