import io

import pytest
from rich.console import Console

from candle_vllm_core import EngineStats, ModelInfo
from candle_vllm_server.settings import Settings
from candle_vllm_server.startup import announce_ready


@pytest.mark.parametrize(
    ("beyond", "state", "line"),
    [
        (36_864, 0, "KV cache  8,192 blocks of 16: 131,072 tokens fit, 36,864 bytes each"),
        (4096, 0, "KV cache  8,192 blocks of 16: 131,072 tokens fit, 36,864 bytes each and 4,096 beyond the window"),
        (0, 0, "KV cache  8,192 blocks of 16: 131,072 tokens fit, 36,864 bytes each and 0 beyond the window"),
        (
            36_864,
            1_500_000,
            "KV cache  8,192 blocks of 16: 131,072 tokens fit, 36,864 bytes each; "
            "1,500,000 bytes a sequence for recurrent layers",
        ),
    ],
)
def test_the_start_says_what_a_token_takes(beyond: int, state: int, line: str) -> None:
    info = ModelInfo(
        model_id="m",
        architecture="A",
        max_sequence_length=4096,
        vocab_size=9,
        num_parameters=1_234_567,
        dtype="bf16",
        device="cpu",
        kv_cache_tokens=131_072,
        kv_bytes_per_token=36_864,
        kv_bytes_per_token_beyond_window=beyond,
        state_bytes_per_sequence=state,
    )
    stats = EngineStats(kv_blocks_total=8192, block_size=16)
    written = io.StringIO()
    announce_ready(Console(file=written, width=60), Settings(), info, stats, "http://127.0.0.1:2000")
    assert line in written.getvalue().splitlines()
