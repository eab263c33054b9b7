"""Small random models of transformers, written as checkpoints, with every parameter random: norms and biases too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.utils import logging
from variants import MODELS

logging.set_verbosity_error()
logging.disable_progress_bar()


def random_model(name: str, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """One of `MODELS`."""
    variant = MODELS[name]
    config = variant.filled(**changes)
    torch.manual_seed(seed)
    model: PreTrainedModel = variant.model(config).eval()
    with torch.no_grad():
        for name, parameter in model.state_dict().items():
            if parameter.dim() == 1 or name.endswith("bias") or "norm" in name:
                parameter.uniform_(0.3, 1.5).mul_(torch.randn_like(parameter).sign())
    return model


def save_model(path: Path, name: str, seed: int = 0, shard_size: str = "5GB", **changes: Any) -> PreTrainedModel:
    """Write one of `MODELS` as a checkpoint; the model that was written."""
    model = random_model(name, seed, **changes)
    model.save_pretrained(path, max_shard_size=shard_size)
    return model
