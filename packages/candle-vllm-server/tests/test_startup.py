import io

import pytest
from rich.console import Console

from candle_vllm_core import EngineStats, MemoryPlan, ModelInfo
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


def test_the_start_says_what_memory_was_planned_for() -> None:
    plan = MemoryPlan(
        device="cpu",
        dtype="bf16",
        weight_bytes=1_260_000_000,
        kv_bytes=402_653_184,
        activation_bytes=351_000_000,
        free_bytes=22_800_000_000,
        block_size=16,
        kv_blocks=2048,
        kv_tokens=32_768,
        max_sequence_length=4096,
        longest_sequences=8,
    )
    info = ModelInfo(
        model_id="m",
        architecture="A",
        max_sequence_length=4096,
        vocab_size=9,
        num_parameters=1,
        dtype="bf16",
        device="cpu",
        memory=plan,
    )
    written = io.StringIO()
    announce_ready(Console(file=written, width=60), Settings(), info, EngineStats(), "http://127.0.0.1:2000")
    assert (
        "Memory    2.01 GB of 22.8 GB free on cpu: weights 1.26 GB in bf16, KV cache 403 MB (2,048 blocks of 16, "
        "32,768 tokens, 8 sequences of 4,096 at once), activations 351 MB"
    ) in written.getvalue().splitlines()
