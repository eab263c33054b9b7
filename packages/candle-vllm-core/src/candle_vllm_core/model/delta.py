"""The gated delta-net: attention in linear time, whose memory of a sequence is one matrix per head.

A token decays the memory, reads with its key what the memory holds for it, and writes the difference to its own value
back (the delta rule); what it gives is read with its query. All of it is float32 (Yang et al. 2024).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import spec as s
from ..attention.backend import Pass
from .layers import Linear, Norm
from .loader import Loader
from .ops import DeltaWeights

CHUNK = 64
"""Tokens of one sequence that are computed at once."""
EPS = 1e-6
"""Keeps the length of a query or key off zero."""


def recurrent(memory: Tensor, q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor) -> Tensor:
    """What the next token of a sequence is given [heads, 1, value_dim]; the memory is changed where it lies.

    memory [heads, key_dim, value_dim]; q and k [heads, 1, key_dim], v [heads, 1, value_dim]; the logarithm of the
    decay, at most 0, and beta, how much of the difference is written, [heads, 1].
    """
    memory *= log_decay.exp()[..., None]
    written = beta[..., None] * (v - k @ memory)
    memory.baddbmm_(k.mT, written)
    return q @ memory


def chunked(memory: Tensor, q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor) -> Tensor:
    """As `recurrent`, for any number of tokens in turn: dimensions of 1 are then their number."""
    parts = zip(*(torch.split(part, CHUNK, 1) for part in (q, k, v, log_decay, beta)), strict=True)
    return torch.cat([_chunk(memory, *part) for part in parts], 1)


def _chunk(memory: Tensor, q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, beta: Tensor) -> Tensor:
    """All tokens of a chunk at once.

    What token i writes depends on what those before it wrote: w_i = beta_i (v_i - k_i M_i), where M_i is the old memory
    and the k_j w_j of every j < i, decayed. That is one triangular system for all w.
    """
    since, decay = _decays(log_decay)
    system = beta[..., None] * since * (k @ k.mT)
    free = beta[..., None] * (v - decay * (k @ memory))
    written = torch.linalg.solve_triangular(system, free, upper=False, unitriangular=True)
    given = torch.baddbmm(decay * (q @ memory), since * (q @ k.mT), written)
    memory *= decay[:, -1:]
    memory.baddbmm_((since[:, -1, :, None] * k).mT, written)
    return given


def _decays(log_decay: Tensor) -> tuple[Tensor, Tensor]:
    """What is left at token i of what j wrote [heads, i, j], 0 where j is later, and of the old memory [heads, i, 1].

    Sums over the tokens from j to i, not differences of sums from the first on, which lose what is small beside them.
    """
    count = log_decay.shape[1]
    later = torch.ones(count, count, dtype=torch.bool, device=log_decay.device).tril(-1)
    between = torch.where(later, log_decay[..., None], 0.0).cumsum(1)
    return between.exp().tril(), log_decay.cumsum(1).exp()[..., None]


class DeltaNet(nn.Module):
    """The gated delta-net of a layer.

    ```
    x ─┬─ q, k, v ─ convolution ─ silu ─ delta rule ─ norm ─ * ─ out
       ├─ decay, beta ───────────────────────┘               │
       └─ gate ─ silu ───────────────────────────────────────┘
    ```
    """

    def __init__(self, spec: s.DeltaNet, dim: int, index: int, load: Loader) -> None:
        super().__init__()
        self.spec, self.index, self.ops = spec, index, load.ops
        values = spec.value_heads * spec.value_dim
        rows = (spec.conv_dim + values, 2 * spec.value_heads)
        self.inner = Linear(("in_proj_qkvz", "in_proj_ba"), rows, dim, load, bias=False)
        self.norm = Norm(spec.norm, spec.value_dim, load.within("norm"))
        self.weights = DeltaWeights(
            taps=load.within("conv1d").tensor("weight", spec.conv_dim, 1, spec.kernel)[:, 0].t().float().contiguous(),
            rate=-load.tensor("A_log", spec.value_heads).float().exp(),
            dt_bias=load.tensor("dt_bias", spec.value_heads).float(),
            norm=self.norm.weights,
        )
        self.out = Linear(("out_proj",), (dim,), values, load, bias=False)

    def forward(self, x: Tensor, pass_: Pass, angles: object, residual: Tensor | None = None) -> Tensor:
        """[tokens, dim] to the same, plus a residual; positions are not looked at."""
        inner = self.inner(x)
        found = x.new_empty(x.shape[0], self.spec.value_heads * self.spec.value_dim)
        states = pass_.recurrent(self.index)
        answered = self.ops.delta_answers(self.spec, self.weights, inner, states, found)
        for index, row in enumerate(states.sequences):
            if answered and row.is_answer:
                continue
            conv, memory = states.take(index)
            if row.is_first:
                conv.zero_()
                memory.zero_()
            found[row.start : row.stop] = self._sequence(inner[row.start : row.stop], conv, memory)
            states.put(index, conv, memory)
        result: Tensor = self.out(found, residual)
        return result

    def _sequence(self, inner: Tensor, conv: Tensor, memory: Tensor) -> Tensor:
        """What one sequence's tokens are given [tokens, heads * value_dim]; its states are changed where they lie.

        Sequences are computed one by one: the memory is far larger than what is done to it, so that is faster than to
        gather many, and the result is the same bits whatever else is in the step.
        """
        qkv, gate, decay, beta = self._parts(inner)
        q, k, v = self._heads(self._convolved(conv, qkv))
        log_decay = self.weights.rate * F.softplus(decay.float() + self.weights.dt_bias)
        parts = (part.transpose(0, 1) for part in (q, k, v, log_decay, beta.float().sigmoid()))
        given = (recurrent if inner.shape[0] == 1 else chunked)(memory, *parts).transpose(0, 1)
        gated: Tensor = self.norm(given.to(inner.dtype)) * F.silu(gate.float())
        return gated.to(inner.dtype).flatten(1)

    def _parts(self, inner: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """q, k and v [tokens, conv_dim], gate [.., value_heads, value_dim], decay and beta [.., value_heads].

        The rows of a key head and of its value heads stand together in the checkpoint.
        """
        a = self.spec
        each = a.value_heads // a.key_heads
        sizes = (a.key_dim, a.key_dim, each * a.value_dim, each * a.value_dim)
        main, small = inner.split_with_sizes((a.key_heads * sum(sizes), 2 * a.value_heads), 1)
        q, k, v, gate = main.view(inner.shape[0], a.key_heads, -1).split_with_sizes(sizes, 2)
        beta, decay = small.view(inner.shape[0], a.key_heads, 2, each).unbind(2)
        qkv = torch.cat([part.flatten(1) for part in (q, k, v)], 1)
        return qkv, gate.reshape(-1, a.value_heads, a.value_dim), decay.flatten(1), beta.flatten(1)

    def _convolved(self, state: Tensor, x: Tensor) -> Tensor:
        """A sequence's tokens [tokens, conv_dim] with those before them, in float32; the state goes along."""
        count, seen = x.shape[0], torch.cat((state.mT, x))
        state.copy_(seen[count:].mT)
        seen = seen.float()
        taps = self.weights.taps
        found = seen[:count] * taps[0]
        for later, tap in enumerate(taps[1:], 1):
            found.addcmul_(seen[later : later + count], tap)
        return F.silu(found)

    def _heads(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k and v [tokens, value_heads, ..], of which q and k are made as long as they shall be."""
        a = self.spec
        keys = a.key_heads * a.key_dim
        q, k, v = qkv.split_with_sizes((keys, keys, a.value_heads * a.value_dim), 1)
        q, k = (_unit(part.view(-1, a.key_heads, a.key_dim)) for part in (q, k))
        q, k = (part.repeat_interleave(a.value_heads // a.key_heads, 1) for part in (q * a.key_dim**-0.5, k))
        return q, k, v.view(-1, a.value_heads, a.value_dim)


def _unit(x: Tensor) -> Tensor:
    """Heads of length 1."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + EPS)
