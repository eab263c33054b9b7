"""What is predicted of a model's memory, against what the operating system then counts, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_models import save_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

SLACK = 30_000_000
"""What libraries and the C library take differs by some MB from machine to machine."""
SCRIPT = """
import gc, json, sys
from pathlib import Path

from candle_vllm_core import EngineConfig, GenerationParams, InferenceEngine, plan
from candle_vllm_core.runtime import runner


def resident(kind):
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith(kind)).split()[1])


gc.collect()
before = resident("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
config = EngineConfig(
    model_path=sys.argv[1], device="cpu", dtype="fp32", max_batch_size=1, num_threads=1, prefill_chunk_size=256
)
with InferenceEngine(config) as engine:
    loading = resident("VmHWM") - before
    engine.generate_batch([list(range(3, 250))] * 2, GenerationParams(max_tokens=1))
    print(json.dumps({"loading": loading, "all": resident("VmHWM") - before, "plan": plan(config).total_bytes}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux says how much was resident at most")
def test_what_is_resident_was_predicted(tmp_path: Path) -> None:
    shape = {"vocab_size": 512, "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 4}
    made = LlamaConfig(**shape, num_attention_heads=16, max_position_embeddings=256)
    LlamaForCausalLM._from_config(made, dtype=torch.float32).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    env = os.environ | {"MALLOC_MMAP_THRESHOLD_": "1048576"}  # what is freed is handed back at once
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, env=env).stdout
    found = json.loads(told.splitlines()[-1])
    weights = (tmp_path / "model.safetensors").stat().st_size
    assert weights > 6 * SLACK
    assert found["all"] == pytest.approx(found["plan"], abs=SLACK)
    assert found["loading"] <= weights + 3 * SLACK, "what was read of the file is let go while the rest is"
