"""Ratios of speed on a CPU: the engine beside `transformers` and llama.cpp, on the same random weights, taking turns.

bf16 against bf16 and int8 against q8_0 (one scale for 32 weights; ours has one for a row), at several batches, and a
prefill. llama.cpp runs in a process of its own, with the Python that `--llama-python` names, which has
`llama-cpp-python` and `gguf`, which writes the files that it reads. The last columns tell what share of the memory's
speed decoding reached: the bytes of all weights, once a step, over the time that a plain read of as many takes.
"""

import argparse
import json
import logging
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file
from transformers.utils import logging as transformers_logging

from bench.decode import CACHE, SHAPE, Contender, Prompts, Transformers, model_directory, prompts, seconds
from candle_vllm_core import EngineConfig, GenerationParams, InferenceEngine

READ_BYTES = 1 << 30
PEER = Path(__file__).with_name("_llama_peer.py")
WRITER = Path(__file__).with_name("_gguf_writer.py")
SHAPE_FIELDS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
    "rms_norm_eps",
)


class Engine:
    """The engine as programs use it."""

    def __init__(self, path: Path, quantization: str | None, batch: int, threads: int) -> None:
        self.name = f"engine {quantization or 'bf16'}"
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


class Llama:
    """llama.cpp in a process of its own, which is spoken to in lines of JSON."""

    def __init__(self, python: Path, model: Path, batch: int, length: int, threads: int) -> None:
        self.name = f"llama.cpp {model.stem}"
        command = [str(python), str(PEER), str(model), str(batch), str(length), str(threads)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def generate(self, given: Prompts, new_tokens: int) -> list[list[int]]:
        """See `Contender.generate`."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("llama.cpp has no pipes")
        print(json.dumps({"prompts": given, "new_tokens": new_tokens}), file=self._process.stdin, flush=True)
        answers: list[list[int]] = json.loads(self._process.stdout.readline())
        return answers


def write_gguf(python: Path, path: Path, kind: str) -> Path:
    """The model's weights as a GGUF file, in bf16 or q8_0."""
    out = CACHE / f"{kind}.gguf"
    if not out.exists():
        shape = {name: getattr(SHAPE, name) for name in SHAPE_FIELDS}
        subprocess.run([python, WRITER, path / "model.safetensors", out, kind, json.dumps(shape)], check=True)
    return out


def read_speed() -> float:
    """Bytes per second of a plain read, the best of a few."""
    block = torch.ones(READ_BYTES // 4)
    taken = []
    for _ in range(5):
        begin = time.perf_counter()
        block.sum()
        taken.append(time.perf_counter() - begin)
    return READ_BYTES / min(taken)


def weight_bytes(path: Path) -> dict[str, float]:
    """What a step reads of the weights, by the end of a contender's name."""
    numbers = sum(tensor.numel() for tensor in load_file(path / "model.safetensors").values())
    return {"bf16": 2 * numbers, "int8": numbers, "q8_0": numbers * 34 / 32, "transformers": 2 * numbers}


def turns(
    contenders: Sequence[Contender], batch: int, length: int, new_tokens: int, rounds: int
) -> list[tuple[float, float]]:
    """Decode and prefill tokens per second of each, medians over the rounds, in each of which all take their turn."""
    decode: list[list[float]] = [[] for _ in contenders]
    prefill: list[list[float]] = [[] for _ in contenders]
    for contender in contenders:
        contender.generate(prompts(batch, length, 999), 2)
    for turn in range(rounds):
        for number, contender in enumerate(contenders):
            first = seconds(contender, prompts(batch, length, 2 * turn), 1)
            prefill[number].append(batch * length / first)
            if new_tokens > 1:
                whole = seconds(contender, prompts(batch, length, 2 * turn + 1), new_tokens)
                decode[number].append(batch * (new_tokens - 1) / (whole - first))
    return [
        (statistics.median(own) if own else 0.0, statistics.median(other))
        for own, other in zip(decode, prefill, strict=True)
    ]


def contenders_of(path: Path, args: argparse.Namespace) -> list[Contender]:
    """Ours, then the peers that there are."""
    most = max(args.batch)
    found: list[Contender] = [Engine(path, how, most, args.threads) for how in (None, "int8")]
    if args.transformers:
        found.append(Transformers(path, "bf16", most))
    if args.llama_python is not None:
        length = max(args.prefill, args.prompt + args.new_tokens) + 16
        files = [write_gguf(args.llama_python, path, kind) for kind in ("bf16", "q8_0")]
        found += [Llama(args.llama_python, file, most, length, args.threads) for file in files]
    return found


def ratio(own: dict[str, float], ours: str, peer: str) -> str:
    """How many times as fast as a peer, if it is there."""
    return f"{own[ours] / own[peer]:.2f}" if own.get(peer) else "-"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(prog="bench cpu", description=__doc__)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4, 16], help="sequences at once")
    parser.add_argument("--prompt", type=int, default=128, help="tokens in each prompt")
    parser.add_argument("--new-tokens", type=int, default=48, help="tokens in each answer")
    parser.add_argument("--prefill", type=int, default=512, help="tokens of the prompt that is only read; 0: none")
    parser.add_argument("--rounds", type=int, default=3, help="how often each contender takes its turn")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of each contender")
    parser.add_argument("--llama-python", type=Path, help="a Python that has llama-cpp-python and gguf")
    parser.add_argument("--no-transformers", dest="transformers", action="store_false")
    args = parser.parse_args(arguments)
    logging.getLogger("candle_vllm_core").setLevel(logging.ERROR)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(args.threads)
    path = model_directory()
    contenders = contenders_of(path, args)
    names, sizes = [contender.name for contender in contenders], weight_bytes(path)
    title = f"0.5B, {args.threads} threads, prompt {args.prompt}, {args.new_tokens} new tokens, median of {args.rounds}"
    table = Table(
        "batch", "contender", "tokens/s", "/ llama.cpp bf16", "/ q8_0", "/ transformers", "of a plain read", title=title
    )
    for batch in (*args.batch, *([0] if args.prefill else [])):
        before = read_speed()
        if batch:
            rows = [decode for decode, _ in turns(contenders, batch, args.prompt, args.new_tokens, args.rounds)]
        else:
            rows = [prefill for _, prefill in turns(contenders, 1, args.prefill, 1, args.rounds)]
        read = (before + read_speed()) / 2
        own = dict(zip(names, rows, strict=True))
        for name in names:
            share = sizes[name.rsplit(" ", 1)[-1]] * own[name] / max(batch, 1) / read
            against = (ratio(own, name, peer) for peer in ("llama.cpp bf16", "llama.cpp q8_0", "transformers"))
            label = str(batch) if batch else f"prefill {args.prefill}"
            table.add_row(label, name, f"{own[name]:.1f}", *against, f"{share:.2f}" if batch == 1 else "")
        table.add_row(
            "",
            f"plain read: {before / 1e9:.0f} GB/s before, {2 * read / 1e9 - before / 1e9:.0f} after",
            end_section=True,
        )
    Console(width=140).print(table)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
