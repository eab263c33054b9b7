"""Speed of decoding and prefill of a random model beside `transformers` in the same run.

The contenders take turns, so that what the machine does beside touches all of them alike. Decode is the time from the
first token to the last; prefill is the time to the first.
"""

import argparse
import logging
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import tokenizers
import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM
from transformers.utils import logging as transformers_logging

from bench.models import QWEN3_30B_A3B_2_LAYERS, random_model
from candle_vllm_core import EngineConfig, GenerationParams, InferenceEngine
from candle_vllm_core.attention import choose_backend
from candle_vllm_core.attention.backend import Layout
from candle_vllm_core.model.build import build_decoder
from candle_vllm_core.model.device_ops import choose_ops
from candle_vllm_core.model.families import decoder_spec
from candle_vllm_core.weights.source import open_source

CACHE = Path(__file__).parent / ".cache"
BLOCK_SIZE = 16
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
SHAPE = Qwen2Config(
    vocab_size=151936,
    hidden_size=896,
    intermediate_size=4864,
    num_hidden_layers=24,
    num_attention_heads=14,
    num_key_value_heads=2,
    tie_word_embeddings=True,
    max_position_embeddings=32768,
)

Prompts = Sequence[Sequence[int]]


class Contender(Protocol):
    """Something that answers prompts of one length with so many tokens each, the likeliest ones."""

    name: str

    def generate(self, prompts: Prompts, new_tokens: int) -> list[list[int]]:
        """The new tokens of each prompt."""
        ...


class Engine:
    """The engine as programs use it."""

    name = "engine"

    def __init__(self, path: Path, dtype: str, batch: int) -> None:
        config = EngineConfig(
            model_path=path,
            device="cpu",
            dtype=dtype,
            max_batch_size=batch,
            kv_cache_memory=1 << 30,
            block_size=BLOCK_SIZE,
        )
        self._engine = InferenceEngine(config)

    def generate(self, prompts: Prompts, new_tokens: int) -> list[list[int]]:
        """See `Contender.generate`."""
        params = GenerationParams(max_tokens=new_tokens, temperature=0, ignore_eos=True)
        answers = self._engine.generate_batch(prompts, params)
        if failed := [answer.error for answer in answers if answer.error]:
            raise RuntimeError(failed[0])
        return [list(answer.tokens) for answer in answers]


class Bare:
    """The engine's decoder alone, in the shortest loop: what scheduling, sampling and text cost is what is missing."""

    name = "bare decoder"

    def __init__(self, path: Path, dtype: str, batch: int) -> None:
        source, device, torch_dtype = open_source(path), torch.device("cpu"), DTYPES[dtype]
        spec = decoder_spec(source.config)
        self._decoder = build_decoder(spec, source, device=device, dtype=torch_dtype, ops=choose_ops(device))
        source.close()
        self._backend = choose_backend(device, spec, num_blocks=[batch * 64], block_size=BLOCK_SIZE, dtype=torch_dtype)
        self._batch = batch

    def generate(self, prompts: Prompts, new_tokens: int) -> list[list[int]]:
        """See `Contender.generate`."""
        tokens = [torch.tensor(prompt) for prompt in prompts]
        answers: list[list[int]] = [[] for _ in prompts]
        length = 0
        for _ in range(new_tokens):
            query = len(tokens[0])
            layout = self._layout(tokens, range(length, length + query))
            rows = torch.arange(1, len(prompts) + 1) * query - 1
            drawn = self._decoder(layout.tokens, self._backend.plan(layout), rows).argmax(-1)
            length += query
            tokens = list(drawn[:, None])
            for answer, token in zip(answers, drawn.tolist(), strict=True):
                answer.append(token)
        return answers

    def _layout(self, tokens: list[torch.Tensor], positions: range) -> Layout:
        """Blocks are dealt out to the sequences in turn, so none has two that lie side by side in a larger batch."""
        at = torch.arange(positions.start, positions.stop)
        tables = [torch.arange(-(-positions.stop // BLOCK_SIZE)) * self._batch + i for i in range(len(tokens))]
        slots = [table[at // BLOCK_SIZE] * BLOCK_SIZE + at % BLOCK_SIZE for table in tables]
        return Layout(
            tokens=torch.cat(tokens),
            positions=at.repeat(len(tokens)),
            slot_mapping=[torch.cat(slots)],
            block_tables=[tables],
            query_lens=[len(positions)] * len(tokens),
            seq_lens=[positions.stop] * len(tokens),
        )


class Transformers:
    """`generate` of the transformers library with its defaults."""

    name = "transformers"

    def __init__(self, path: Path, dtype: str, batch: int) -> None:
        self._model = AutoModelForCausalLM.from_pretrained(path, dtype=DTYPES[dtype]).eval()

    def generate(self, prompts: Prompts, new_tokens: int) -> list[list[int]]:
        """See `Contender.generate`."""
        ids = torch.tensor(prompts)
        with torch.inference_mode():
            found = self._model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=new_tokens,
                min_new_tokens=new_tokens,
                do_sample=False,
                pad_token_id=0,
            )
        return [row[ids.shape[1] :] for row in found.tolist()]


SHAPES: dict[str, Callable[[], Path]] = {
    "qwen2.5-0.5b": lambda: model_directory(),
    "qwen3-30b-a3b-2-layers": lambda: random_model("qwen3-30b-a3b-2-layers", QWEN3_30B_A3B_2_LAYERS),
}
CONTENDERS = {"engine": Engine, "bare": Bare, "transformers": Transformers}


def model_directory() -> Path:
    """The random model, written when it is first asked for (1 GB)."""
    path = CACHE / "qwen2.5-0.5b-random"
    if (path / "tokenizer.json").exists():
        return path
    torch.manual_seed(0)
    Qwen2ForCausalLM(SHAPE).to(torch.bfloat16).save_pretrained(path)
    words = {f"t{i}": i for i in range(SHAPE.vocab_size)}
    tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="t0")).save(str(path / "tokenizer.json"))
    return path


def prompts(batch: int, length: int, seed: int) -> Prompts:
    """Random prompts, other ones for each seed, so that no cache of prefixes has them."""
    return torch.randint(1000, 150000, (batch, length), generator=torch.Generator().manual_seed(seed)).tolist()


def seconds(contender: Contender, given: Prompts, new_tokens: int) -> float:
    """How long the contender takes."""
    begin = time.perf_counter()
    answers = contender.generate(given, new_tokens)
    elapsed = time.perf_counter() - begin
    if [len(answer) for answer in answers] != [new_tokens] * len(given):
        raise RuntimeError(f"{contender.name} gave {[len(answer) for answer in answers]} tokens, not {new_tokens} each")
    return elapsed


def measure(contenders: Sequence[Contender], batch: int, args: argparse.Namespace) -> list[tuple[str, float, float]]:
    """Name, decode tokens per second and prefill tokens per second of each contender: medians over the rounds."""
    decode: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    prefill: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for contender in contenders:
        contender.generate(prompts(batch, args.prompt, 999), 4)
    for turn in range(args.rounds):
        for contender in contenders:
            first = seconds(contender, prompts(batch, args.prompt, 2 * turn), 1)
            whole = seconds(contender, prompts(batch, args.prompt, 2 * turn + 1), args.new_tokens)
            prefill[contender.name].append(batch * args.prompt / first)
            decode[contender.name].append(batch * (args.new_tokens - 1) / (whole - first))
    return [
        (contender.name, statistics.median(decode[contender.name]), statistics.median(prefill[contender.name]))
        for contender in contenders
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="bench decode", description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="qwen2.5-0.5b")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16], help="sequences at once")
    parser.add_argument("--prompt", type=int, default=128, help="tokens in each prompt")
    parser.add_argument("--new-tokens", type=int, default=64, help="tokens in each answer")
    parser.add_argument("--rounds", type=int, default=3, help="how often each contender takes its turn")
    parser.add_argument("--dtype", choices=DTYPES, default="bf16")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    args = parser.parse_args(arguments)
    logging.getLogger("candle_vllm_core").setLevel(logging.ERROR)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    path = SHAPES[args.shape]()
    contenders = [CONTENDERS[name](path, args.dtype, max(args.batch)) for name in args.contenders]
    table = Table(
        title=f"{args.shape}, {args.dtype}, prompt {args.prompt}, {args.new_tokens} new tokens, median of {args.rounds}"
    )
    for column in ("batch", "contender", "decode tok/s", "x", "prefill tok/s", "x"):
        table.add_column(column, justify="left" if column == "contender" else "right")
    for batch in args.batch:
        results = measure(contenders, batch, args)
        _, decode, prefill = results[-1]
        for name, own_decode, own_prefill in results:
            ratios = f"{own_decode / decode:.2f}", f"{own_prefill / prefill:.2f}"
            table.add_row(str(batch), name, f"{own_decode:.1f}", ratios[0], f"{own_prefill:.0f}", ratios[1])
    Console().print(table)


if __name__ == "__main__":
    main()
