"""The training run: packed rows, Muon for matrices, AdamW for the rest, bf16 arithmetic, one pass over fresh text."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import AdamW, Muon, Optimizer
from transformers import Qwen3ForCausalLM

from .rows import Packer, Rows


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long to train, and on what when."""

    steps: int
    tokens_per_step: int = 4096
    warm_up: int = 50
    decay: float = 0.4
    """The share of the steps, at the end, in which the rate falls to zero."""
    long_rows: float = 0.06
    """The share of the steps, at the end, with rows of 512 tokens and conversations of many turns."""
    matrix_rate: float = 4e-3
    other_rate: float = 4e-3

    def rate(self, step: int) -> float:
        """The factor on the learning rates at this step."""
        return min(1.0, (step + 1) / self.warm_up, (self.steps - step) / (self.steps * self.decay))


def _optimizers(model: Qwen3ForCausalLM, schedule: Schedule) -> list[Optimizer]:
    named = list(model.named_parameters())
    matrices = [tensor for name, tensor in named if tensor.ndim == 2 and "embed" not in name]
    others = [tensor for name, tensor in named if tensor.ndim != 2 or "embed" in name]
    return [
        Muon(matrices, lr=schedule.matrix_rate, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"),
        AdamW(others, lr=schedule.other_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def _batch(packer: Packer, schedule: Schedule, step: int) -> Rows:
    """First whole answers are learned by heart; then mostly which one is asked for; at last both."""
    done = step / schedule.steps
    is_long = done > 1 - schedule.long_rows
    length = 512 if is_long else 256
    return packer.batch(
        rows=schedule.tokens_per_step // length,
        length=length,
        whole=1.0 if done < 0.1 or is_long else 0.15 if done < 0.8 else 0.3,
        turns=6 if is_long else 3,
    )


def _loss(model: Qwen3ForCausalLM, forward: torch.nn.Module, rows: Rows) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        seen = forward(input_ids=rows.tokens, position_ids=rows.positions, attention_mask=rows.mask, use_cache=False)
        logits = model.lm_head(seen.last_hidden_state[rows.learned])
    return cross_entropy(logits.float(), rows.targets[rows.learned])


def _step(loss: Tensor, model: Qwen3ForCausalLM, optimizers: list[Optimizer], factor: float) -> None:
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("full_rate", group["lr"]) * factor
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def train(model: Qwen3ForCausalLM, tokenizer: Tokenizer, schedule: Schedule, seed: int) -> None:
    """Train the model in place, with a progress bar that shows the loss."""
    packer, optimizers = Packer(seed, tokenizer), _optimizers(model, schedule)
    forward = torch.compile(model.model, dynamic=False)
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
    )
    model.train()
    mean = 0.0
    with Progress(TextColumn("training"), *columns, refresh_per_second=1) as progress:
        task = progress.add_task("training", total=schedule.steps, loss="")
        for step in range(schedule.steps):
            loss = _loss(model, forward, _batch(packer, schedule, step))
            _step(loss, model, optimizers, schedule.rate(step))
            mean = loss.item() if step == 0 else 0.95 * mean + 0.05 * loss.item()
            progress.update(task, advance=1, loss=f"loss {mean:.4f}")
            if not progress.console.is_terminal and step % 50 == 49:
                progress.console.print(f"step {step + 1} loss {mean:.4f}")
    model.eval()
