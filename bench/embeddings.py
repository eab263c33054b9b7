"""How fast prompts are embedded, how near to `transformers`, and how long a stream beside them waits for a token.

The model is random and small. Its embeddings are the mean of the last hidden states; `transformers` computes the same
prompts padded to a batch, and one by one. The same bits: of so many ways to compute a prompt, in chunks of several
sizes and beside an answer, how many gave the vector that it gives alone and whole.
"""

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoModel

from bench.models import random_model, small_config
from candle_vllm_core import Embedding, EngineConfig, GenerationParams, InferenceEngine

CHUNKS = (64, 256, 1024)
LIMIT = GenerationParams(max_tokens=4096, ignore_eos=True)


def main(arguments: Sequence[str]) -> None:
    """Print one table of rates and one of waits."""
    parser = argparse.ArgumentParser(prog="bench embeddings", description=__doc__)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--length", type=int, default=256, help="tokens of the longest prompt")
    asked = parser.parse_args(arguments)
    draw = random.Random(0)
    lengths = [draw.randrange(asked.length // 2, asked.length + 1) for _ in range(asked.prompts)]
    prompts = [[draw.randrange(2, 2048) for _ in range(length)] for length in lengths]
    console = Console()
    console.print(rates(prompts))
    console.print(asyncio.run(waits(prompts)))


def open_engine(**settings: object) -> InferenceEngine:
    """An engine over the random model."""
    known = {"device": "cpu", "model_path": random_model("embeddings", small_config(length=8192))}
    return InferenceEngine(EngineConfig(**known | settings))


def rates(prompts: Sequence[Sequence[int]]) -> Table:
    """Tokens per second, and how far the vectors are from those of `transformers` in fp32."""
    table = Table("", "tokens/s", "cosine, least", title=f"{len(prompts)} prompts, {sum(map(len, prompts))} tokens")
    model = AutoModel.from_pretrained(random_model("embeddings", small_config(length=8192)), dtype=torch.float32).eval()
    seconds, right = timed(lambda: torch.stack([reference(model, [prompt])[0] for prompt in prompts]))
    total = sum(map(len, prompts))
    table.add_row("transformers, fp32, one by one", f"{total / seconds:,.0f}", "")
    seconds, padded = timed(lambda: reference(model, prompts))
    table.add_row("transformers, fp32, padded", f"{total / seconds:,.0f}", f"{least(padded, right):.6f}")
    for dtype in ("fp32", "bf16"):
        with open_engine(dtype=dtype) as engine:
            seconds, found = timed(lambda engine=engine: vectors(engine.embed_sync(prompts)))
        table.add_row(f"embed, {dtype}", f"{total / seconds:,.0f}", f"{least(found, right):.6f}")
    return table


def timed(work: Callable[[], torch.Tensor]) -> tuple[float, torch.Tensor]:
    """The least time of three, and the result."""
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        found = work()
        seconds.append(time.perf_counter() - begin)
    return min(seconds), found


async def waits(prompts: Sequence[Sequence[int]]) -> Table:
    """The gaps of a stream beside embeddings, and how many vectors are the same bits."""
    table = Table("chunk", "gap alone, ms: median", "longest", "beside: median", "longest", "same bits")
    with open_engine(enable_chunked_prefill=False) as engine:
        right = [engine.embed_sync([prompt])[0].values for prompt in prompts]
    for chunk in CHUNKS:
        with open_engine(prefill_chunk_size=chunk) as engine:
            alone, beside, found = await gaps(engine, prompts)
        same = sum(each.values == its for each, its in zip(found, right, strict=True))
        cells = [f"{1000 * pick(part):.1f}" for part in (alone, beside) for pick in (statistics.median, max)]
        table.add_row(str(chunk), *cells, f"{same} of {len(right)}")
    return table


async def gaps(
    engine: InferenceEngine, prompts: Sequence[Sequence[int]]
) -> tuple[list[float], list[float], list[Embedding]]:
    """Seconds between a stream's tokens before and while prompts are embedded, and the embeddings."""
    alone: list[float] = []
    beside: list[float] = []
    embedding: asyncio.Task[list[Embedding]] | None = None
    last = 0.0
    async for _ in engine.generate_stream(prompts[0], LIMIT):
        now = time.perf_counter()
        (alone if embedding is None else beside).append(now - last)
        last = now
        if embedding is None and len(alone) > 50:
            embedding = asyncio.create_task(engine.embed(prompts))
        if embedding is not None and embedding.done():
            break
    return alone[1:], beside, await embedding if embedding is not None else []


@torch.inference_mode()
def reference(model: torch.nn.Module, prompts: Sequence[Sequence[int]]) -> torch.Tensor:
    """[prompts, dim] as `transformers` gives them."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[*prompt, *[0] * (longest - len(prompt))] for prompt in prompts])
    mask = torch.tensor([[1] * len(prompt) + [0] * (longest - len(prompt)) for prompt in prompts])
    states = model(ids, attention_mask=mask).last_hidden_state * mask[..., None]
    return torch.nn.functional.normalize(states.sum(1), dim=-1)


def vectors(embeddings: Sequence[Embedding]) -> torch.Tensor:
    """[prompts, dim]"""
    return torch.stack([torch.tensor(each.values) for each in embeddings])


def least(found: torch.Tensor, right: torch.Tensor) -> float:
    """The smallest cosine of a vector and the one that it should be."""
    return float((found * right).sum(-1).min())
