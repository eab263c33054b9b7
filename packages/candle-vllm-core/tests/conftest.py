from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_models import save_llama

from candle_vllm_core import EngineConfig, InferenceEngine


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llama(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def engine(tiny_llama: Path) -> Iterator[InferenceEngine]:
    with InferenceEngine(EngineConfig(model_path=tiny_llama, device="cpu", dtype="fp32", block_size=4)) as engine:
        yield engine
        assert (engine.stats().running, engine.stats().waiting, engine.stats().kv_blocks_used) == (0, 0, 0)
