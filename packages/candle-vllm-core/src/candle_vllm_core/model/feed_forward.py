"""What a layer does to each token alone: one network for all, or a mixture of experts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .. import spec as s
from .activation import sigmoid
from .layers import Linear
from .loader import Loader


def feed_forward(spec: s.Dense | s.Sparse, dim: int, load: Loader) -> nn.Module:
    """The module of a spec."""
    return Dense(spec, dim, load) if isinstance(spec, s.Dense) else Sparse(spec, dim, load)


class Dense(nn.Module):
    """down(act(gate(x)) * up(x)), where gate and up are one matrix; without a gate down(act(up(x)))."""

    def __init__(self, dense: s.Dense, dim: int, load: Loader) -> None:
        super().__init__()
        self.spec, self.ops, width = dense, load.ops, dense.width
        names = ("gate_proj", "up_proj") if dense.gated else ("up_proj",)
        self.gate_up = Linear(names, (width,) * len(names), dim, load, bias=dense.bias)
        self.down = Linear(("down_proj",), (dim,), width, load, bias=dense.bias)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """[tokens, dim] to the same, plus a residual."""
        inner = self.gate_up(x)
        activated = self.ops.gated if self.spec.gated else self.ops.activated
        result: Tensor = self.down(activated(self.spec.act, inner), residual)
        return result


class Router(nn.Module):
    """Which experts each token goes to, and with which weights."""

    def __init__(self, router: s.Router, dim: int, load: Loader) -> None:
        super().__init__()
        self.spec = router
        count = router.experts
        self.weight = load.pack(load.tensor("weight", count, dim).float(), exact=True)
        self.bias = load.tensor("bias", count).float() if router.bias else None
        self.correction = load.tensor("e_score_correction_bias", count, wide=True) if router.correction else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[tokens, dim] to experts [tokens, top_k] and their weights [tokens, top_k] in float32."""
        r = self.spec
        logits = self.weight.matmul(x.float(), self.bias)
        scores = logits.softmax(-1) if r.score == "softmax" else sigmoid(logits)
        choice = scores if self.correction is None else scores + self.correction
        experts = self._in_the_best_groups(choice).topk(r.top_k, -1).indices
        weights = scores.gather(1, experts)
        if r.renormalize:
            weights = weights / weights.sum(-1, keepdim=True)
        return experts, weights * r.scale

    def _in_the_best_groups(self, choice: Tensor) -> Tensor:
        """The scores [tokens, experts], minus infinity outside the best groups."""
        r = self.spec
        if r.top_groups == r.groups:
            return choice
        grouped = choice.view(choice.shape[0], r.groups, r.experts // r.groups)
        best = grouped.amax(-1) if r.group_score == "best" else grouped.topk(2, -1).values.sum(-1)
        worse = torch.ones_like(best, dtype=torch.bool).scatter_(1, best.topk(r.top_groups, -1).indices, False)
        return grouped.masked_fill(worse[..., None], -torch.inf).flatten(1)


class Sparse(nn.Module):
    """A mixture of experts: tokens are sorted by expert, so that each expert multiplies its own once."""

    def __init__(self, sparse: s.Sparse, dim: int, load: Loader) -> None:
        super().__init__()
        self.spec, self.ops = sparse, load.ops
        width, count = sparse.width, sparse.router.experts
        self.router = Router(sparse.router, dim, load.within("gate"))
        experts = load.within("experts")
        self.gate_up = experts.experts(("gate_proj", "up_proj"), width, dim, count=count, bias=sparse.bias)
        self.down = experts.experts(("down_proj",), dim, width, count=count, bias=sparse.bias)
        self.shared = Dense(sparse.shared, dim, load.within("shared_experts")) if sparse.shared else None
        gated = sparse.shared_gate
        self.shared_gate = Linear(("shared_expert_gate",), (1,), dim, load, bias=False) if gated else None

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """[tokens, dim] to the same, plus a residual."""
        experts, weights = self.router(x)
        routing = self.gate_up.route(experts)
        inner = self.ops.gated(self.spec.act, self.gate_up.spread(x, routing))
        added = [] if self.shared is None else [self._shared(self.shared, x)]
        return self.down.gather(inner, routing, weights, added if residual is None else [*added, residual])

    def _shared(self, shared: Dense, x: Tensor) -> Tensor:
        result: Tensor = shared(x)
        if self.shared_gate is not None:
            result = result * sigmoid(self.shared_gate(x))
        return result
