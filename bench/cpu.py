"""Ratios of speed on a CPU: the engine beside `transformers` and llama.cpp, on the same random weights, taking turns.

bf16 against bf16 and int8 against q8_0 (one scale for 32 weights; ours has one for a row), at several batches, and a
prefill. Each runs in a process of its own: llama.cpp with the Python that `--llama-python` names, which has
`llama-cpp-python` and `gguf`, which writes the files that it reads. A ratio is the median of the rounds' own ratios.
The last column tells what share of the memory's speed decoding reached: the bytes of all weights, once a step, over
the time that a plain read of as many takes.
"""

import argparse
import json
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

from bench.decode import CACHE, SHAPE, Prompts, model_directory, prompts, seconds

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


class Apart:
    """A contender in a process of its own, which is spoken to in lines of JSON."""

    def __init__(self, name: str, command: Sequence[str | Path | int]) -> None:
        self.name = name
        words = [str(word) for word in command]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def generate(self, given: Prompts, new_tokens: int) -> list[list[int]]:
        """See `Contender.generate`."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError(f"{self.name} has no pipes")
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


def turns(contenders: Sequence[Apart], batch: int, length: int, new_tokens: int, rounds: int) -> list[list[float]]:
    """Tokens per second of each, of decoding or (with one new token) of prefill: one number for each round."""
    found: list[list[float]] = [[] for _ in contenders]
    for contender in contenders:
        contender.generate(prompts(batch, length, 999), 2)
    for turn in range(rounds):
        for contender, own in zip(contenders, found, strict=True):
            first = seconds(contender, prompts(batch, length, 2 * turn), 1)
            if new_tokens == 1:
                own.append(batch * length / first)
                continue
            whole = seconds(contender, prompts(batch, length, 2 * turn + 1), new_tokens)
            own.append(batch * (new_tokens - 1) / (whole - first))
    return found


def contenders_of(path: Path, args: argparse.Namespace) -> list[Apart]:
    """Ours, then the peers that there are."""
    most = max(args.batch)
    kinds = ["bf16", "int8", *(["transformers"] if args.transformers else [])]
    names = {kind: kind if kind == "transformers" else f"engine {kind}" for kind in kinds}
    ours = (sys.executable, "-m", "bench._cpu_peer")
    found = [Apart(names[kind], (*ours, kind, path, most, args.threads)) for kind in kinds]
    if args.llama_python is not None:
        length = max(args.prefill, args.prompt + args.new_tokens) + 16
        for kind in ("bf16", "q8_0"):
            file = write_gguf(args.llama_python, path, kind)
            found.append(Apart(f"llama.cpp {kind}", (args.llama_python, PEER, file, most, length, args.threads)))
    return found


def ratio(own: dict[str, list[float]], ours: str, peer: str) -> str:
    """How many times as fast as a peer, if it is there: the median of the rounds' own ratios."""
    if peer not in own:
        return "-"
    return f"{statistics.median(a / b for a, b in zip(own[ours], own[peer], strict=True)):.2f}"


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
            rows = turns(contenders, batch, args.prompt, args.new_tokens, args.rounds)
        else:
            rows = turns(contenders, 1, args.prefill, 1, args.rounds)
        read = (before + read_speed()) / 2
        own = dict(zip(names, rows, strict=True))
        for name in names:
            speed = statistics.median(own[name])
            share = sizes[name.rsplit(" ", 1)[-1]] * speed / read
            against = (ratio(own, name, peer) for peer in ("llama.cpp bf16", "llama.cpp q8_0", "transformers"))
            label = str(batch) if batch else f"prefill {args.prefill}"
            table.add_row(label, name, f"{speed:.1f}", *against, f"{share:.2f}" if batch == 1 else "")
        table.add_row(
            "",
            f"plain read: {before / 1e9:.0f} GB/s before, {2 * read / 1e9 - before / 1e9:.0f} after",
            end_section=True,
        )
    Console(width=140).print(table)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
