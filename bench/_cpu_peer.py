"""The engine, or `transformers`, as a contender of `bench.cpu`, in a process of its own as programs have it.

Two runtimes in one process would share its OpenMP threads, which then sleep between steps where they else wait awake.
Reads lines of JSON, `{"prompts": [[token, ...], ...], "new_tokens": n}`, and writes each prompt's likeliest tokens.
"""

import json
import logging
import sys
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from bench.decode import Contender, Prompts, Transformers
from candle_vllm_core import EngineConfig, GenerationParams, InferenceEngine


class Engine:
    """The engine as programs use it."""

    name = "engine"

    def __init__(self, path: Path, quantization: str | None, batch: int, threads: int) -> None:
        config = EngineConfig(
            model_path=path,
            device="cpu",
            dtype="bf16",
            quantization=quantization,
            max_batch_size=batch,
            kv_cache_memory=1 << 29,
            enable_prefix_cache=False,
            num_threads=threads,
        )
        self._engine = InferenceEngine(config)

    def generate(self, given: Prompts, new_tokens: int) -> list[list[int]]:
        """See `Contender.generate`."""
        params = GenerationParams(max_tokens=new_tokens, temperature=0, ignore_eos=True)
        return [list(answer.tokens) for answer in self._engine.generate_batch(given, params)]


def contender(kind: str, path: Path, batch: int, threads: int) -> Contender:
    """The one that a kind means: `bf16` and `int8` are the engine."""
    if kind == "transformers":
        return Transformers(path, "bf16", batch)
    return Engine(path, None if kind == "bf16" else kind, batch, threads)


def main() -> None:
    """Answer until there are no more lines."""
    kind, path, batch, threads = sys.argv[1:]
    logging.getLogger("candle_vllm_core").setLevel(logging.ERROR)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(int(threads))
    own = contender(kind, Path(path), int(batch), int(threads))
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(own.generate(asked["prompts"], asked["new_tokens"])), flush=True)


if __name__ == "__main__":
    main()
