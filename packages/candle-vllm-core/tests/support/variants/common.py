"""What the variants share: sizes, and ways of rotating positions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

SIZES = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "rms_norm_eps": 0.01,
    "initializer_range": 0.2,
    "attn_implementation": "eager",
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN = {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 32}
TUNED = {"mscale": 0.7, "mscale_all_dim": 0.4, "beta_fast": 4.0, "beta_slow": 0.5, "truncate": False}
LINEAR = {"rope_type": "linear", "rope_theta": 500.0, "factor": 2.5}
THETA = {"rope_type": "default", "rope_theta": 500.0}
SLIDING = ["sliding_attention", "full_attention", "sliding_attention"]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One small model: classes of transformers, and what differs from `SIZES`; "absent" takes a size out."""

    config: type[Any]
    model: type[Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    length: int | None = None
    """The longest sequence to ask for, where the family depends on it."""
    beside: tuple[str, ...] = ()
    """Beginnings of the names of parameters that are no part of the language model."""

    def filled(self, **changes: Any) -> Any:
        """The config of the model, as transformers fills it in."""
        # Configs write their defaults into the tables that they are given.
        settings = SIZES | deepcopy(dict(self.settings)) | changes
        return self.config(**{name: value for name, value in settings.items() if value != "absent"})

    def written(self) -> dict[str, Any]:
        """The whole config.json of the model, defaults and all."""
        written: dict[str, Any] = json.loads(self.filled().to_json_string(use_diff=False))
        return written | {"architectures": [self.model.__name__]}
