"""`python -m training --seed 0 --out DIR`: make the embedded model."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from rich.console import Console
from transformers import Qwen3ForCausalLM

from . import tokenizer as bpe
from .corpus import held_out
from .evaluate import mark, markdown, score, table
from .model import LONGEST, make
from .topics import TOPICS
from .train import Schedule, train

TEMPLATE = Path(__file__).with_name("template.jinja")
CARD = Path(__file__).with_name("card.md")
STEPS = 3200


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="training", description="Train the embedded model from scratch.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="directory to write the model to")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of 4,096 tokens")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--score-only", action="store_true", help="score the model that lies in --out")
    return parser.parse_args()


def _train(args: argparse.Namespace, console: Console) -> None:
    started = time.perf_counter()
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer = bpe.fit(bpe.sample(args.seed))
    model = make(tokenizer.get_vocab_size())
    console.print(f"{sum(tensor.numel() for tensor in model.parameters()):,} parameters")
    train(model, tokenizer, Schedule(steps=args.steps), args.seed)
    bpe.save(tokenizer, TEMPLATE.read_text(encoding="utf-8"), args.out, longest=LONGEST)
    _save(model, args.out)
    console.print(f"trained in {(time.perf_counter() - started) / 60:.1f} minutes")


def _save(model: Qwen3ForCausalLM, directory: Path) -> None:
    model.to(torch.bfloat16).save_pretrained(directory)
    (directory / "model.safetensors").chmod(0o644)
    generation = {
        "do_sample": False,
        "eos_token_id": model.config.eos_token_id,
        "pad_token_id": model.config.pad_token_id,
    }
    (directory / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n", encoding="utf-8")


def _score(directory: Path, console: Console) -> None:
    tokenizer = bpe.Tokenizer.from_file(str(directory / "tokenizer.json"))
    model = Qwen3ForCausalLM.from_pretrained(directory, dtype=torch.float32)
    marked = mark(model, tokenizer, held_out())
    for one in marked:
        if not one.right:
            console.print(f"[{one.question.topic.name}] {one.question.text} -> {one.answer[:70]}", markup=False)
    console.print(table(marked))
    parameters = f"{sum(tensor.numel() for tensor in model.parameters()):,}"
    card = CARD.read_text(encoding="utf-8").format(topics=len(TOPICS), parameters=parameters, score=markdown(marked))
    (directory / "README.md").write_text(card, encoding="utf-8")
    console.print(json.dumps({"questions": len(marked), "score": round(score(marked), 4)}))


def main() -> None:
    """Train, save and score; or score only, which writes the model card too."""
    args = _arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    torch.use_deterministic_algorithms(True)  # gradients of gathered rows are summed in one order
    console = Console()
    if not args.score_only:
        _train(args, console)
    _score(args.out, console)


if __name__ == "__main__":
    main()
