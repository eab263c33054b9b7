"""How far `quantization="int8"` is from bf16: logits of random models, and the embedded model's greedy answers.

Errors are the norm of all differences of logits over the norm of all logits, against the same weights in fp32. Greedy
answers of the embedded model to the questions that its training never draws are compared token by token.
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from bench.decode import model_directory
from candle_vllm_core import EngineConfig, GenerationParams, InferenceEngine
from candle_vllm_core.attention import choose_backend
from candle_vllm_core.attention.backend import Layout
from candle_vllm_core.config import DType, Quantization
from candle_vllm_core.model.build import build_decoder
from candle_vllm_core.model.device_ops import choose_ops
from candle_vllm_core.model.families import decoder_spec
from candle_vllm_core.weights.source import open_source

WAYS: dict[str, tuple[torch.dtype, Quantization | None]] = {
    "fp32": (torch.float32, None),
    "bf16": (torch.bfloat16, None),
    "int8": (torch.bfloat16, "int8"),
}
TOKENS = 200
SUPPORT = Path(__file__).parents[1] / "packages/candle-vllm-core/tests/support"


def logits(path: Path, way: str) -> Tensor:
    """Of random tokens [tokens, vocabulary], all in one step."""
    dtype, quantization = WAYS[way]
    source, device = open_source(path), torch.device("cpu")
    spec = decoder_spec(source.config)
    decoder = build_decoder(spec, source, device=device, dtype=dtype, quantization=quantization, ops=choose_ops(device))
    source.close()
    blocks = torch.arange(-(-TOKENS // 16))
    groups = len(spec.groups())
    backend = choose_backend(device, spec, num_blocks=[len(blocks)] * groups, block_size=16, dtype=dtype, num_states=1)
    positions = torch.arange(TOKENS)
    layout = Layout(
        tokens=torch.randint(spec.vocab, (TOKENS,), generator=torch.Generator().manual_seed(0)),
        positions=positions,
        slot_mapping=[positions] * groups,
        block_tables=[[blocks]] * groups,
        query_lens=[TOKENS],
        seq_lens=[TOKENS],
        state_slots=[0] if backend.cache.states else (),
    )
    found: Tensor = decoder(layout.tokens, backend.plan(layout))
    return found


def errors(path: Path) -> list[str]:
    """Of bf16 and int8 against fp32, and how often the likeliest token is the same."""
    right = logits(path, "fp32")
    cells = []
    for way in ("bf16", "int8"):
        found = logits(path, way)
        cells.append(f"{float((found - right).norm() / right.norm()):.4f}")
        cells.append(f"{float((found.argmax(-1) == right.argmax(-1)).float().mean()):.3f}")
    return cells


def answers(questions: Sequence[str], how: Quantization | None, dtype: DType) -> list[tuple[int, ...]]:
    """Greedy answers of the embedded model."""
    config = EngineConfig(device="cpu", dtype=dtype, quantization=how, max_batch_size=64)
    with InferenceEngine(config) as engine:
        prompts = [
            engine.tokenize(f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n") for text in questions
        ]
        outputs = engine.generate_batch(prompts, GenerationParams(max_tokens=200, temperature=0))
        return [tuple(output.tokens) for output in outputs]


def agreement(questions: Sequence[str]) -> list[tuple[str, str]]:
    """Answers that are the same, token by token."""
    right = answers(questions, None, "bf16")
    rows = []
    others: list[tuple[str, Quantization | None, DType]] = [("fp32", None, "fp32"), ("int8", "int8", "bf16")]
    for name, how, dtype in others:
        found = answers(questions, how, dtype)
        same = sum(own == other for own, other in zip(found, right, strict=True))
        rows.append((f"embedded, {name} against bf16", f"{same} of {len(right)} answers"))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(prog="bench rounding", description=__doc__)
    parser.add_argument("--variants", nargs="*", help="small random models of the tests; no names: all")
    parser.add_argument("--questions", type=int, default=400, help="for the embedded model; 0: none")
    parser.add_argument("--large", action="store_true", help="the random model of Qwen2.5-0.5B's shape too")
    args = parser.parse_args(arguments)
    logging.getLogger("candle_vllm_core").setLevel(logging.ERROR)
    console = Console(width=120)
    if args.questions:
        from training.corpus import held_out

        questions = [question.text for question in held_out()]
        step = max(1, len(questions) // args.questions)
        table = Table("greedy answers to held-out questions", "the same")
        for row in agreement(questions[::step]):
            table.add_row(*row)
        console.print(table)
    table = Table("model", "bf16 error", "same token", "int8 error", "same token", title=f"Logits of {TOKENS} tokens")
    if args.large:
        table.add_row("Qwen2.5-0.5B's shape", *errors(model_directory()))
    sys.path.append(str(SUPPORT))
    from checkpoints import save_model
    from variants import MODELS

    for name in MODELS if args.variants == [] else args.variants or ():
        with tempfile.TemporaryDirectory() as folder:
            save_model(Path(folder), name)
            table.add_row(name, *errors(Path(folder)))
    if table.row_count:
        console.print(table)


if __name__ == "__main__":
    main()
